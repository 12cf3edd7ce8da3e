import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";
import { context, propagation, SpanStatusCode, trace } from "@opentelemetry/api";
import { AsyncLocalStorageContextManager } from "@opentelemetry/context-async-hooks";
import { W3CTraceContextPropagator } from "@opentelemetry/core";
import {
  AggregationTemporality,
  InMemoryMetricExporter,
  MeterProvider,
  PeriodicExportingMetricReader,
} from "@opentelemetry/sdk-metrics";
import {
  BasicTracerProvider,
  InMemorySpanExporter,
  SimpleSpanProcessor,
} from "@opentelemetry/sdk-trace-base";
import { status } from "@grpc/grpc-js";
import { SiloGRPCClient, SiloWorker } from "../../src/index";
import { TaskExecution } from "../../src/worker/task-execution";
import type { Task } from "../../src/index";
import { batches, FakeServer, grpcError, protoTask, until } from "../fake-server";

const spans = new InMemorySpanExporter();
let server: FakeServer;
let client: SiloGRPCClient;

before(async () => {
  context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
  propagation.setGlobalPropagator(new W3CTraceContextPropagator());
  const processor = new SimpleSpanProcessor(spans);
  trace.setGlobalTracerProvider(new BasicTracerProvider({ spanProcessors: [processor] }));
  server = await FakeServer.start();
  client = new SiloGRPCClient({ servers: server.address });
});
after(() => {
  client.close();
  server.stop();
});
afterEach(() => {
  server.calls.length = 0;
  spans.reset();
});

function worker(options: object): SiloWorker {
  return new SiloWorker({
    client,
    workerId: "w",
    taskGroup: "group",
    pollIntervalMs: 20,
    handler: async () => undefined,
    onError: () => {},
    ...options,
  });
}

test("one span for each task, carried by its report and not by polls", async () => {
  server.handlers.leaseTasks = batches([protoTask("k")]);
  server.handlers.reportOutcome = () => ({});
  const w = worker({});
  await w.start();
  await until(() => spans.getFinishedSpans().length === 1);
  await w.stop();
  const [span] = spans.getFinishedSpans();
  assert.equal(span.name, "silo.task.lifecycle");
  assert.equal(span.attributes["silo.task_id"], "k");
  assert.equal(span.attributes["silo.job_id"], "job-of-k");
  assert.equal(span.attributes["silo.tenant"], "");
  assert.equal(span.attributes["silo.attempt_number"], 1);
  const report = server.calls.find((call) => call.method === "reportOutcome");
  const traceparent = String(report?.metadata.get("traceparent")[0]);
  assert.equal(traceparent.split("-")[2], span.spanContext().spanId);
  for (const call of server.calls.filter((seen) => seen.method === "leaseTasks")) {
    assert.deepEqual(call.metadata.get("traceparent"), []);
  }
});

test("a failed report marks the span", async () => {
  server.handlers.leaseTasks = batches([protoTask("k")]);
  server.handlers.reportOutcome = () => {
    throw grpcError(status.NOT_FOUND, "lease not found");
  };
  const w = worker({});
  await w.start();
  await until(() => spans.getFinishedSpans().length === 1);
  await w.stop();
  const [span] = spans.getFinishedSpans();
  assert.equal(span.status.code, SpanStatusCode.ERROR);
  assert.equal(span.events[0].name, "exception");
});

test("the worker's instruments", async () => {
  const exporter = new InMemoryMetricExporter(AggregationTemporality.CUMULATIVE);
  const reader = new PeriodicExportingMetricReader({ exporter, exportIntervalMillis: 60_000 });
  const provider = new MeterProvider({ readers: [reader] });
  server.handlers.leaseTasks = batches([protoTask("k1"), protoTask("k2")]);
  server.handlers.reportOutcome = () => ({});
  const w = worker({ meter: provider.getMeter("test") });
  await w.start();
  await until(() => server.requests("leaseTasks").length >= 3);
  await w.stop();
  await reader.forceFlush();
  const points = new Map<string, { value: unknown; attributes: unknown }>();
  for (const { descriptor, dataPoints } of exporter.getMetrics()[0].scopeMetrics[0].metrics) {
    points.set(descriptor.name, dataPoints[0]);
    for (const point of dataPoints) {
      assert.deepEqual(point.attributes, { task_group: "group" });
    }
  }
  const polls = Number(points.get("silo.worker.polls")?.value);
  assert.ok(polls >= 3);
  assert.equal(points.get("silo.worker.polls.empty")?.value, polls - 1);
  assert.equal(points.get("silo.worker.polls.tasks_returned")?.value, 2);
  assert.equal(points.get("silo.worker.available_task_slots")?.value, 10);
  await provider.shutdown();
});

test("TaskExecution keeps the first reason and loses its lease once", async () => {
  const cancelled: string[] = [];
  const fake = {
    cancelJob: async (id: string) => {
      cancelled.push(id);
    },
  };
  const execution = new TaskExecution({ jobId: "j" } as Task, "w", fake);
  assert.equal(execution.isCancelled, false);
  await execution.cancelFromClient();
  await execution.cancelFromClient();
  execution.markCancelledByServer();
  assert.deepEqual(cancelled, ["j"]);
  assert.equal(execution.cancellationReason, "client");
  assert.equal(execution.shouldReportCancelled, true);
  assert.equal(execution.markLeaseLost(), true);
  assert.equal(execution.markLeaseLost(), false);
  assert.equal(execution.cancellationReason, "client");
  assert.equal(execution.shouldReportCancelled, false);
  assert.equal(execution.isLeaseLost, true);
  execution.markSettled();
  assert.equal(execution.isSettled, true);
});

// Workers whose outcomes leave together, and workers of several servers.
import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, test } from "node:test";
import { context, SpanStatusCode, trace } from "@opentelemetry/api";
import { AsyncLocalStorageContextManager } from "@opentelemetry/context-async-hooks";
import {
  BasicTracerProvider,
  InMemorySpanExporter,
  SimpleSpanProcessor,
} from "@opentelemetry/sdk-trace-base";
import { status } from "@grpc/grpc-js";
import { SiloGRPCClient, SiloWorker, TaskNotFoundError } from "../../src/index";
import type { SiloWorkerOptions } from "../../src/index";
import { batches, clusterInfo, FakeServer, protoTask, until } from "../fake-server";

const spans = new InMemorySpanExporter();
let server: FakeServer;
let client: SiloGRPCClient;
let worker: SiloWorker<any, any, any>;
let errors: { error: Error; taskId?: string }[];

before(async () => {
  context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
  const processor = new SimpleSpanProcessor(spans);
  trace.setGlobalTracerProvider(new BasicTracerProvider({ spanProcessors: [processor] }));
});
after(() => context.disable());
beforeEach(async () => {
  server = await FakeServer.start({
    reportOutcome: () => ({}),
    reportOutcomes: ({ outcomes }) => ({ results: outcomes.map(() => ({ code: 0 })) }),
  });
  client = new SiloGRPCClient({ servers: server.address, shardRouting: { retryDelayMs: 1 } });
  errors = [];
  spans.reset();
});
afterEach(async () => {
  await worker.stop(1000);
  client.close();
  server.stop();
});

function makeWorker(options: Partial<SiloWorkerOptions<any, any, any>>): SiloWorker<any, any, any> {
  worker = new SiloWorker({
    client,
    workerId: "w",
    taskGroup: "group",
    pollIntervalMs: 20,
    handler: async () => undefined,
    onError: (error, context) => errors.push({ error, taskId: context?.taskId }),
    ...options,
  });
  return worker;
}

/** A promise and what resolves it. */
function gate(): { opened: Promise<void>; open: () => void } {
  let open: () => void = () => {};
  const opened = new Promise<void>((resolve) => (open = resolve));
  return { opened, open };
}

/** Tasks k0, k1, ..., or from another number on, with their numbers as payloads. */
function tasks(count: number, from = 0) {
  return Array.from({ length: count }, (_, i) => protoTask(`k${from + i}`, from + i));
}

test("outcomes during one report leave in one call; each error reaches its own task", async () => {
  const [reported, finish] = [gate(), gate()];
  server.handlers.leaseTasks = batches(tasks(20));
  server.handlers.reportOutcome = () => reported.opened;
  server.handlers.reportOutcomes = ({ outcomes }) => ({
    results: outcomes.map(({ taskId }: { taskId: string }) =>
      taskId === "k7" ? { code: status.NOT_FOUND, message: "lease not found" } : { code: 0 },
    ),
  });
  makeWorker({
    maxConcurrentTasks: 20,
    tasksPerPoll: 20,
    handler: async ({ payload }) => (payload === 0 ? "first" : finish.opened),
  });
  await worker.start();
  await until(() => server.requests("reportOutcome").length === 1, "the first report");
  finish.open();
  await until(() => server.requests("reportOutcomes").length === 1, "the other reports");
  reported.open();
  await until(() => spans.getFinishedSpans().length === 20, "all spans");
  assert.equal(server.requests("reportOutcome").length, 1);
  assert.deepEqual(
    server.requests("reportOutcomes").map(({ outcomes }) => outcomes.length),
    [19],
  );
  assert.equal(errors.length, 1);
  assert.equal(errors[0].taskId, "k7");
  assert.ok(errors[0].error instanceof TaskNotFoundError);
  const failed = spans.getFinishedSpans().filter((s) => s.status.code === SpanStatusCode.ERROR);
  assert.deepEqual(
    failed.map((span) => span.attributes["silo.task_id"]),
    ["k7"],
  );
  assert.equal(failed[0].events[0].name, "exception");
});

test("a server without ReportOutcomes gets single reports and is asked once", async () => {
  delete server.handlers.reportOutcomes;
  server.handlers.leaseTasks = batches(tasks(10), tasks(10, 10), tasks(10, 20));
  makeWorker({ maxConcurrentTasks: 10, tasksPerPoll: 10 });
  await worker.start();
  await until(() => server.requests("reportOutcome").length === 30, "all reports");
  assert.equal(server.requests("reportOutcomes").length, 1);
  assert.equal(errors.length, 0);
});

test("stop() waits for reports in flight; heartbeats go on until they are answered", async () => {
  const reported = gate();
  server.handlers.leaseTasks = batches(tasks(3));
  server.handlers.heartbeat = () => ({});
  server.handlers.reportOutcomes = async ({ outcomes }) => {
    await reported.opened;
    return { results: outcomes.map(() => ({ code: 0 })) };
  };
  makeWorker({ heartbeatIntervalMs: 5 });
  await worker.start();
  await until(() => server.requests("reportOutcomes").length === 1, "the report");
  const beats = server.requests("heartbeat").length;
  let stopped = false;
  const stopping = worker.stop().then(() => (stopped = true));
  await until(() => server.requests("heartbeat").length >= beats + 10, "more heartbeats");
  assert.equal(stopped, false);
  assert.equal(worker.activeTasks, 3, "a task holds its slot until its report is answered");
  reported.open();
  await stopping;
  assert.equal(worker.activeTasks, 0);
  // A call made after the last heartbeat shows that those in flight have arrived.
  await client.heartbeat("w", "last", "shard");
  const after = server.requests("heartbeat").length;
  await new Promise((resolve) => setTimeout(resolve, 30));
  assert.equal(server.requests("heartbeat").length, after);
});

test("with several servers a poll waits at each, for one task", async () => {
  const released = gate();
  const idle = async () => {
    await released.opened;
    return {};
  };
  const second = await FakeServer.start({ leaseTasks: idle, reportOutcome: () => ({}) });
  try {
    server.handlers.leaseTasks = idle;
    server.handlers.getClusterInfo = () => clusterInfo([server.address, second.address]);
    await client.refreshTopology();
    makeWorker({ tasksPerPoll: 10 });
    await worker.start();
    const polls = () => [server, second].map((one) => one.requests("leaseTasks"));
    await until(() => polls().every((list) => list.length > 0), "a poll at each server");
    assert.deepEqual(
      polls().map((list) => list.map(({ maxTasks }) => maxTasks)),
      [[1], [1]],
    );
    released.open();
    await worker.stop();
  } finally {
    second.stop();
  }
});

test("servers that are learnt later get polls, those that are gone get none", async () => {
  const hold = (request: { waitMs: number }) =>
    new Promise((resolve) => setTimeout(() => resolve({}), request.waitMs));
  const second = await FakeServer.start({ leaseTasks: hold });
  try {
    server.handlers.leaseTasks = hold;
    makeWorker({});
    await worker.start();
    await until(() => server.requests("leaseTasks").length >= 2);
    server.handlers.getClusterInfo = () => clusterInfo([server.address, second.address]);
    await client.refreshTopology();
    await until(() => second.requests("leaseTasks").length >= 2, "polls at the second server");
    server.handlers.getClusterInfo = () => clusterInfo([server.address]);
    await client.refreshTopology();
    // At the latest the polls after these know that the second server is gone.
    let seen = server.requests("leaseTasks").length;
    await until(() => server.requests("leaseTasks").length >= seen + 2);
    const gone = second.requests("leaseTasks").length;
    seen = server.requests("leaseTasks").length;
    await until(() => server.requests("leaseTasks").length >= seen + 3);
    assert.equal(second.requests("leaseTasks").length, gone);
    const { maxTasks } = server.requests("leaseTasks").at(-1);
    assert.equal(maxTasks, 10, "all slots, as ever with one server");
    assert.equal(errors.length, 0);
  } finally {
    second.stop();
  }
});

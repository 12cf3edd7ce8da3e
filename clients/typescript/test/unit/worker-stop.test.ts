// Orderly stops: what was begun is finished, what was not is given back.
import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";
import { status } from "@grpc/grpc-js";
import { SiloGRPCClient, SiloWorker } from "../../src/index";
import type { SiloWorkerOptions } from "../../src/index";
import {
  batches,
  FakeServer,
  grpcError,
  OTHER_SHARD,
  protoTask,
  SHARD,
  until,
} from "../fake-server";

let server: FakeServer;
let client: SiloGRPCClient;
let worker: SiloWorker<any, any, any>;
let errors: Error[];

beforeEach(async () => {
  server = await FakeServer.start({
    heartbeat: () => ({ cancelled: false }),
    reportOutcome: () => ({}),
    reportOutcomes: ({ outcomes }) => ({ results: outcomes.map(() => ({ code: 0 })) }),
    returnTasks: ({ tasks }) => ({ results: tasks.map(() => ({ code: 0 })) }),
  });
  client = new SiloGRPCClient({ servers: server.address, shardRouting: { retryDelayMs: 1 } });
  errors = [];
});
afterEach(async () => {
  await worker.stop(1000);
  client.close();
  server.stop();
});

async function start(options: Partial<SiloWorkerOptions<any, any, any>>): Promise<void> {
  worker = new SiloWorker({
    client,
    workerId: "w",
    taskGroup: "group",
    pollIntervalMs: 20,
    heartbeatIntervalMs: 10,
    onError: (error) => errors.push(error),
    handler: async () => undefined,
    ...options,
  });
  await worker.start();
}

function reported(): string[] {
  const bulk = server.requests("reportOutcomes").flatMap(({ outcomes }) => outcomes);
  return [...server.requests("reportOutcome"), ...bulk].map(({ taskId }) => taskId).sort();
}

/** A handler that runs until `finish` is called, and the tasks that it began. */
function gated() {
  const ran: string[] = [];
  let finish: () => void = () => {};
  const gate = new Promise<void>((resolve) => (finish = resolve));
  const handler = async ({ id }: { id: string }) => {
    ran.push(id);
    await gate;
  };
  return { ran, finish, handler };
}

test("an abort of the start's signal stops the worker, and that stop can be waited for", async () => {
  server.handlers.leaseTasks = batches([protoTask("k1")]);
  const { ran, finish, handler } = gated();
  const controller = new AbortController();
  worker = new SiloWorker({ client, workerId: "w", taskGroup: "group", pollWaitMs: 20, handler });
  await worker.start({ signal: AbortSignal.abort() });
  assert.equal(worker.isRunning, false);
  await worker.start({ signal: controller.signal });
  await until(() => ran.length === 1, "the task");
  controller.abort();
  assert.equal(worker.isRunning, false);
  const stopped = worker.stop();
  await worker.stop(1);
  assert.deepEqual(reported(), [], "a shorter wait is over, the stop is not");
  finish();
  await stopped;
  assert.deepEqual(reported(), ["k1"]);
  await worker.start();
  assert.equal(worker.isRunning, true, "the old signal is nothing to a new start");
});

test("a worker whose client is closed says so once and stops", async () => {
  server.handlers.leaseTasks = batches();
  await start({ pollWaitMs: 5 });
  await until(() => server.requests("leaseTasks").length > 0, "a poll");
  client.close();
  await until(() => !worker.isRunning, "the worker's end");
  await worker.stop();
  assert.deepEqual(errors.map(({ name }) => name), ["SiloClientClosedError"]);
});

test("a stop is cut short by its signal", async () => {
  server.handlers.leaseTasks = batches([protoTask("k1")]);
  const { ran, handler } = gated();
  await start({ handler });
  await until(() => ran.length === 1, "the task");
  const controller = new AbortController();
  const stopped = worker.stop({ timeoutMs: Infinity, signal: controller.signal });
  controller.abort();
  await stopped;
  assert.deepEqual(reported(), []);
});

test("tasks that were not begun are given back, those that were are finished", async () => {
  server.handlers.leaseTasks = batches([
    protoTask("k1", 1, { tenantId: "t" }),
    protoTask("k2", 2, { tenantId: "t" }),
    protoTask("k3", 3, { tenantId: "u" }),
    protoTask("k4", 4, { shard: OTHER_SHARD }),
  ]);
  const { ran, finish, handler } = gated();
  await start({ maxConcurrentTasks: 1, prefetchTasks: 3, handler });
  await until(() => worker.queuedTasks === 3);
  const stopping = worker.stop();
  await until(() => server.requests("returnTasks").length === 2, "two calls, one for each shard");
  const calls = server.requests("returnTasks");
  const [here, there] = [SHARD, OTHER_SHARD].map((shard) => calls.find((c) => c.shard === shard));
  const back = (list: { taskId: string; tenantId?: string }[]) =>
    list.map(({ taskId, tenantId }) => [taskId, tenantId]);
  assert.deepEqual(back(here.tasks), [
    ["k2", "t"],
    ["k3", "u"],
  ]);
  assert.deepEqual([here.workerId, back(there.tasks)], ["w", [["k4", undefined]]]);
  finish();
  await stopping;
  assert.deepEqual([ran, reported()], [["k1"], ["k1"]]);
  assert.equal(errors.length, 0);
});

test("tasks that arrive after the stop are given back", async () => {
  let answer: (value: object) => void = () => {};
  server.handlers.leaseTasks = () => new Promise((resolve) => (answer = resolve));
  const ran: string[] = [];
  await start({ handler: async ({ id }) => void ran.push(id) });
  await until(() => server.requests("leaseTasks").length === 1);
  const stopping = worker.stop();
  answer({ tasks: [protoTask("k1"), protoTask("k2")] });
  await stopping;
  assert.deepEqual(
    server.requests("returnTasks").map(({ tasks }) => tasks.length),
    [2],
  );
  assert.deepEqual([ran, reported()], [[], []]);
});

test("tasks that arrive after the patience of a stop are given back, too", async () => {
  let answer: (value: object) => void = () => {};
  server.handlers.leaseTasks = () => new Promise((resolve) => (answer = resolve));
  const ran: string[] = [];
  await start({ handler: async ({ id }) => void ran.push(id) });
  await until(() => server.requests("leaseTasks").length === 1);
  await worker.stop(0);
  answer({ tasks: [protoTask("k1"), protoTask("k2")] });
  await until(() => server.requests("returnTasks").length === 1, "the tasks to be given back");
  assert.deepEqual([server.requests("returnTasks")[0].tasks.length, ran], [2, []]);
});

test("polls are cancelled when the client is closed: then the server gives back", async () => {
  let cancelled = false;
  server.handlers.leaseTasks = () => new Promise(() => {});
  server.onCancel = (method) => (cancelled ||= method === "leaseTasks");
  await start({ pollWaitMs: 60_000 });
  await until(() => server.requests("leaseTasks").length === 1);
  await worker.stop(0);
  const closedAt = performance.now();
  client.close();
  await until(() => cancelled, "the poll to be cancelled");
  assert.ok(performance.now() - closedAt < 1500, "before its time is over");
});

test("a poll that stays away is cancelled", async () => {
  let cancelled = false;
  server.handlers.leaseTasks = () => new Promise(() => {});
  server.onCancel = (method) => (cancelled ||= method === "leaseTasks");
  await start({ pollWaitMs: 60_000 });
  await until(() => server.requests("leaseTasks").length === 1);
  const started = performance.now();
  await worker.stop(Infinity);
  assert.ok(performance.now() - started < 8000);
  await until(() => cancelled, "the server to hear of it");
  assert.equal(errors.length, 0);
});

for (const [name, answer] of [
  ["does not know how", () => { throw grpcError(status.UNIMPLEMENTED, "unknown method"); }],
  ["cannot take one", ({ tasks }) => ({
    results: tasks.map(() => ({ code: status.UNAVAILABLE, message: "busy" })),
  })],
] as [string, (request: any) => unknown][]) {
  test(`tasks are run after all if the server ${name}`, async () => {
    server.handlers.returnTasks = answer;
    server.handlers.leaseTasks = batches([protoTask("k1"), protoTask("k2")]);
    const { ran, finish, handler } = gated();
    await start({ maxConcurrentTasks: 1, prefetchTasks: 1, handler });
    await until(() => worker.queuedTasks === 1);
    const stopping = worker.stop();
    await until(() => server.requests("returnTasks").length === 1);
    finish();
    await stopping;
    assert.deepEqual([ran, reported()], [["k1", "k2"], ["k1", "k2"]]);
    assert.equal(errors.length, 0);
  });
}

test("a task whose lease is gone when it is given back is forgotten", async () => {
  server.handlers.returnTasks = ({ tasks }) => ({
    results: tasks.map(() => ({ code: status.NOT_FOUND, message: "lease not found" })),
  });
  server.handlers.leaseTasks = batches([protoTask("k1"), protoTask("k2")]);
  const { ran, finish, handler } = gated();
  await start({ maxConcurrentTasks: 1, prefetchTasks: 1, handler });
  await until(() => worker.queuedTasks === 1);
  const stopping = worker.stop();
  finish();
  await stopping;
  assert.deepEqual(ran, ["k1"]);
});

for (const timeoutMs of [Infinity, 30 * 86_400_000, 2 ** 31]) {
  test(`stop(${timeoutMs}) waits for the handler`, async () => {
    server.handlers.leaseTasks = batches([protoTask("k")]);
    const { ran, finish, handler } = gated();
    await start({ handler });
    await until(() => ran.length === 1);
    let stopped = false;
    const stopping = worker.stop(timeoutMs).then(() => (stopped = true));
    await new Promise((resolve) => setTimeout(resolve, 60));
    assert.equal(stopped, false);
    finish();
    await stopping;
    assert.deepEqual(reported(), ["k"]);
  });
}

test("a stop waits for reports whose server is away, no longer than told", async () => {
  server.handlers.leaseTasks = batches([protoTask("k")]);
  server.handlers.reportOutcome = () => {
    throw grpcError(status.UNAVAILABLE, "away");
  };
  await start({});
  await until(() => server.requests("reportOutcome").length > 0);
  const started = performance.now();
  await worker.stop(200);
  assert.ok(performance.now() - started < 5000);
  server.handlers.reportOutcome = () => ({});
});

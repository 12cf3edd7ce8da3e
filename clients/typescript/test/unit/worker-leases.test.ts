// Workers whose server is away, and what they do with finished jobs and lapsed leases.
import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";
import { status } from "@grpc/grpc-js";
import { bytesOf, decodeBytes } from "../../src/wire/codec";
import { SiloGRPCClient, SiloWorker, TaskLeaseLostError } from "../../src/index";
import type { SiloWorkerOptions } from "../../src/index";
import { batches, FakeServer, grpcError, protoTask, until } from "../fake-server";

let server: FakeServer;
let client: SiloGRPCClient;
let worker: SiloWorker<any, any, any>;
let errors: { error: Error; taskId?: string }[];

beforeEach(async () => {
  server = await FakeServer.start({
    heartbeat: () => ({ cancelled: false }),
    reportOutcome: () => ({}),
    reportOutcomes: ({ outcomes }) => ({ results: outcomes.map(() => ({ code: 0 })) }),
  });
  client = new SiloGRPCClient({
    servers: server.address,
    shardRouting: { retryDelayMs: 1, maxRetries: 2 },
  });
  errors = [];
});
afterEach(async () => {
  await worker.stop(2000);
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
    handler: async () => undefined,
    onError: (error, context) => errors.push({ error, taskId: context?.taskId }),
    ...options,
  });
  await worker.start();
}

function unavailable(): never {
  throw grpcError(status.UNAVAILABLE, "away");
}

/** Lets the server answer nothing but UNAVAILABLE until the function returned is called. */
function away(): () => void {
  const before = { ...server.handlers };
  for (const method of Object.keys(before)) {
    server.handlers[method] = unavailable;
  }
  return () => Object.assign(server.handlers, before);
}

function recorded(): Map<string, any> {
  const bulk = server.requests("reportOutcomes").flatMap(({ outcomes }) => outcomes);
  const all = [...server.requests("reportOutcome"), ...bulk];
  return new Map(all.map(({ taskId, outcome }) => [taskId, outcome]));
}

test("finished jobs are reported when their server is back, whatever their number", async () => {
  const tasks = Array.from({ length: 60 }, (_, i) => protoTask(`k${i}`, i));
  server.handlers.leaseTasks = batches(tasks);
  let finish: () => void = () => {};
  const gate = new Promise<void>((resolve) => (finish = resolve));
  await start({ maxConcurrentTasks: 60, handler: async () => gate });
  await until(() => worker.activeTasks === 60);
  const back = away();
  finish();
  const isTried = () => server.calls.filter(({ method }) => /^report/.test(method)).length >= 2;
  await until(isTried, "reports in vain");
  server.calls.length = 0;
  back();
  await until(() => worker.activeTasks === 0, "all reports");
  assert.equal(recorded().size, 60);
  assert.equal(errors.filter(({ error }) => !/away|within its timeoutMs/.test(error.message)).length, 0);
});

test("heartbeats go on until a report is answered", async () => {
  server.handlers.leaseTasks = batches([protoTask("k")]);
  let answer: () => void = () => {};
  server.handlers.reportOutcome = () => new Promise<void>((resolve) => (answer = resolve));
  await start({});
  await until(() => server.requests("reportOutcome").length === 1);
  const beats = server.requests("heartbeat").length;
  await until(() => server.requests("heartbeat").length >= beats + 5, "heartbeats");
  answer();
  await until(() => worker.activeTasks === 0);
});

test("heartbeats begin at delivery, before there is a slot", async () => {
  server.handlers.leaseTasks = batches([protoTask("k1"), protoTask("k2")]);
  const beats = () => new Set(server.requests("heartbeat").map(({ taskId }) => taskId));
  await start({
    maxConcurrentTasks: 1,
    handler: async ({ id }) => {
      if (id === "k1") {
        await until(() => beats().has("k2"), "a heartbeat of the task that waits");
      }
    },
  });
  await until(() => recorded().size === 2);
});

test("heartbeats are never further apart than half a lease", async () => {
  server.handlers.leaseTasks = batches([protoTask("k", 1, { leaseMs: 1000n })]);
  await start({
    heartbeatIntervalMs: 2 ** 40,
    handler: async ({ cancellationSignal }) => {
      await until(() => server.requests("heartbeat").length >= 3);
      assert.equal(cancellationSignal.aborted, false);
    },
  });
  await until(() => recorded().size === 1);
  assert.equal(recorded().get("k").oneofKind, "success");
});

test("an outcome the server refuses is replaced by a failure that says so", async () => {
  server.handlers.leaseTasks = batches([protoTask("k")]);
  server.handlers.reportOutcome = ({ outcome }) => {
    if (outcome.oneofKind === "success") {
      throw grpcError(status.INVALID_ARGUMENT, "result holds a NUL");
    }
    return {};
  };
  await start({ handler: async () => "x" });
  await until(() => recorded().get("k")?.oneofKind === "failure");
  const { code, data } = recorded().get("k").failure;
  assert.equal(code, "OUTCOME_REFUSED");
  assert.match((decodeBytes(bytesOf(data), "d") as { message: string }).message, /NUL/);
  assert.equal(errors.length, 1);
});

test("a worker that is cut off tells its handler when the lease has lapsed", async () => {
  server.handlers.leaseTasks = batches([protoTask("k", 1, { leaseMs: 300n })]);
  server.handlers.heartbeat = () => new Promise(() => {});
  let reason: unknown;
  let waited = 0;
  await start({
    handler: async ({ cancellationSignal }) => {
      const started = performance.now();
      await new Promise((resolve) => cancellationSignal.addEventListener("abort", resolve));
      waited = performance.now() - started;
      reason = cancellationSignal.reason;
      return "done all the same";
    },
  });
  await until(() => recorded().size === 1, "a report: the server decides");
  assert.ok(reason instanceof TaskLeaseLostError);
  assert.match(reason.message, /no heartbeat was answered for 300 ms/);
  assert.ok(waited >= 290 && waited < 5000, `${waited} ms`);
  assert.equal(recorded().get("k").oneofKind, "success");
  assert.equal(errors.filter(({ error }) => error instanceof TaskLeaseLostError).length, 1);
});

test("a handler that blocks the event loop for longer than the lease hears of it", async () => {
  server.handlers.leaseTasks = batches([protoTask("k", 1, { leaseMs: 200n })]);
  server.handlers.heartbeat = () => new Promise(() => {});
  let aborted: boolean | undefined;
  await start({
    handler: async ({ cancellationSignal }) => {
      const end = performance.now() + 400;
      while (performance.now() < end) {
        // Nothing else runs.
      }
      await until(() => cancellationSignal.aborted);
      aborted = true;
    },
  });
  await until(() => aborted !== undefined);
  assert.equal(aborted, true);
});

test("a handler that blocks the event loop for less than the lease does not", async () => {
  server.handlers.leaseTasks = batches([protoTask("k", 1, { leaseMs: 600n })]);
  let aborted: boolean | undefined;
  await start({
    heartbeatIntervalMs: 50,
    handler: async ({ cancellationSignal }) => {
      await until(() => server.requests("heartbeat").length >= 4);
      const end = performance.now() + 300;
      while (performance.now() < end) {
        // Nothing else runs.
      }
      await new Promise((resolve) => setTimeout(resolve, 50));
      aborted = cancellationSignal.aborted;
    },
  });
  await until(() => aborted !== undefined);
  assert.equal(aborted, false);
});

test("a report that outlives its lease frees the slot and is sent on", async () => {
  server.handlers.leaseTasks = batches([protoTask("k1", 1, { leaseMs: 200n })], [protoTask("k2")]);
  let isAway = true;
  const sends = () =>
    server.calls.filter(({ method, request }) => {
      const outcomes = method === "reportOutcomes" ? request.outcomes : [request];
      return /^report/.test(method) && outcomes.some((o: { taskId: string }) => o.taskId === "k1");
    }).length;
  server.handlers.heartbeat = unavailable;
  server.handlers.reportOutcome = ({ taskId }) => (isAway && taskId === "k1" ? unavailable() : {});
  server.handlers.reportOutcomes = ({ outcomes }) => ({
    results: outcomes.map(({ taskId }: { taskId: string }) => ({
      code: isAway && taskId === "k1" ? status.UNAVAILABLE : 0,
    })),
  });
  await start({ maxConcurrentTasks: 1 });
  await until(() => recorded().has("k2"), "the next task");
  isAway = false;
  const before = sends();
  assert.ok(before > 0);
  await until(() => sends() > before, "the report sent once more");
});

test("refresh tasks are reported when their server is back, too", async () => {
  const refresh = {
    id: "r",
    queueKey: "q",
    currentMaxConcurrency: 1,
    lastRefreshedAtMs: 0n,
    metadata: {},
    leaseMs: 10000n,
    shard: protoTask("x").shard,
    taskGroup: "group",
  };
  server.handlers.leaseTasks = batches({ refreshTasks: [refresh] });
  server.handlers.reportRefreshOutcome = unavailable;
  await start({ refreshHandler: async () => 5 });
  await until(() => server.requests("reportRefreshOutcome").length >= 5);
  const beats = server.requests("heartbeat").length;
  await until(() => server.requests("heartbeat").length > beats + 2, "heartbeats meanwhile");
  server.handlers.reportRefreshOutcome = () => ({});
  await until(() => worker.activeTasks === 0);
});

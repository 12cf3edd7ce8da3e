import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, test } from "node:test";
import { status } from "@grpc/grpc-js";
import { bytesOf, decodeBytes, serialized } from "../../src/wire/codec";
import {
  DuplicateTaskDeliveryError,
  JobCancelledError,
  SiloGRPCClient,
  SiloWorker,
  TaskLeaseLostError,
} from "../../src/index";
import type { SiloWorkerOptions, TaskContext } from "../../src/index";
import { batches, FakeServer, grpcError, protoTask, SHARD, until } from "../fake-server";

let server: FakeServer;
let client: SiloGRPCClient;
let worker: SiloWorker<any, any, any>;
let errors: { error: Error; taskId?: string }[];

before(async () => {
  server = await FakeServer.start();
});
after(() => server.stop());
beforeEach(() => {
  server.calls.length = 0;
  server.handlers.reportOutcome = () => ({});
  server.handlers.reportRefreshOutcome = () => ({});
  server.handlers.heartbeat = () => ({ cancelled: false });
  client = new SiloGRPCClient({ servers: server.address, shardRouting: { retryDelayMs: 1 } });
  errors = [];
});
afterEach(async () => {
  await worker.stop(1000);
  client.close();
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

function reports(): any[] {
  return server.requests("reportOutcome");
}

/** All reports by task id, of whichever call. */
function reported(): Map<string, any> {
  const bulk = server.requests("reportOutcomes").flatMap(({ outcomes }) => outcomes);
  return new Map([...reports(), ...bulk].map((report) => [report.taskId, report]));
}

function outcomeOf(report: any): unknown {
  const { outcome } = report;
  switch (outcome.oneofKind) {
    case "success":
      return { success: decodeBytes(bytesOf(outcome.success), "success") };
    case "failure":
      return { code: outcome.failure.code, data: decodeBytes(bytesOf(outcome.failure.data), "d") };
    default:
      return outcome.oneofKind;
  }
}

test("the task's fields and the context form reach the handler", async () => {
  server.handlers.leaseTasks = batches([protoTask("k", { to: "x" }, { tenantId: "t" })]);
  let seen: TaskContext<any> | undefined;
  makeWorker({
    handler: async (context) => {
      seen = context;
      return { sent: true };
    },
  });
  await worker.start();
  await until(() => reports().length === 1);
  assert.deepEqual(seen?.payload, { to: "x" });
  assert.equal(seen?.jobId, "job-of-k");
  assert.equal(seen?.task.id, "k");
  assert.equal(seen?.cancellationSignal.aborted, false);
  assert.equal(typeof seen?.cancel, "function");
  const [report] = reports();
  assert.deepEqual([report.taskId, report.shard, report.tenantId], ["k", SHARD, "t"]);
  assert.deepEqual(outcomeOf(report), { success: { sent: true } });
  const [poll] = server.requests("leaseTasks");
  assert.deepEqual(
    [poll.workerId, poll.maxTasks, poll.taskGroup, poll.waitMs, poll.shard],
    ["w", 10, "group", 20, undefined],
  );
});

test("what handlers return", async () => {
  const values: [unknown, unknown][] = [
    [undefined, { success: undefined }],
    [null, { success: null }],
    [7, { success: 7 }],
    [{ type: "other" }, { success: { type: "other" } }],
    [{ type: "success", result: 1 }, { success: 1 }],
    [{ type: "failure", code: "C", data: { a: 1 } }, { code: "C", data: { a: 1 } }],
    [{ type: "cancelled" }, "cancelled"],
  ];
  const tasks = values.map((_, i) => protoTask(`k${i}`, i));
  server.handlers.leaseTasks = batches(tasks);
  makeWorker({ handler: async ({ payload }) => values[payload][0], tasksPerPoll: 10 });
  await worker.start();
  await until(() => reports().length === values.length);
  values.forEach(([, expected], i) => {
    const report = reports().find((r) => r.taskId === `k${i}`);
    assert.deepEqual(outcomeOf(report), expected, `value ${i}`);
  });
});

test("a throwing handler fails its attempt and the worker goes on", async () => {
  server.handlers.leaseTasks = batches([protoTask("k1", 1)], [protoTask("k2", 2)]);
  makeWorker({
    handler: async ({ payload }) => {
      if (payload === 1) {
        throw Object.assign(new TypeError("bad"), { extra: 5 });
      }
      return "ok";
    },
  });
  await worker.start();
  await until(() => reports().length === 2);
  const failure = outcomeOf(reports().find((r) => r.taskId === "k1")) as any;
  assert.equal(failure.code, "HANDLER_ERROR");
  assert.equal(failure.data.name, "TypeError");
  assert.equal(failure.data.message, "bad");
  assert.equal(failure.data.extra, 5);
  assert.match(failure.data.stack, /bad/);
  assert.deepEqual(outcomeOf(reports().find((r) => r.taskId === "k2")), { success: "ok" });
});

/** A server that always has as many tasks as are asked for. */
function endless(): void {
  let n = 0;
  server.handlers.leaseTasks = (request) => ({
    tasks: Array.from({ length: request.maxTasks }, () => protoTask(`k${n++}`)),
  });
}

for (const [prefetchTasks, pollers] of [
  [0, 1],
  [0, 3],
  [2, 1],
  [2, 3],
]) {
  test(`${pollers} polls hold at most 3 running and ${prefetchTasks} waiting tasks`, async () => {
    endless();
    let most = 0;
    let running = 0;
    let open: () => void = () => {};
    const gate = new Promise<void>((resolve) => (open = resolve));
    makeWorker({
      maxConcurrentTasks: 3,
      prefetchTasks,
      concurrentPollers: pollers,
      handler: async () => {
        most = Math.max(most, ++running);
        await gate;
        running--;
      },
    });
    await worker.start();
    const isFull = () => worker.activeTasks === 3 && worker.queuedTasks === prefetchTasks;
    await until(isFull, "a full worker");
    assert.equal(worker.availableTaskSlots, 0 - prefetchTasks);
    const polls = server.requests("leaseTasks").length;
    await client.heartbeat("w", "any", SHARD);
    assert.equal(server.requests("leaseTasks").length, polls, "a full worker does not poll");
    open();
    await until(() => reports().length >= 20);
    assert.equal(most, 3);
  });
}

test("polls that wait ask for no more together than there are free slots", async () => {
  let asked = 0;
  let most = 0;
  server.handlers.leaseTasks = async ({ maxTasks, waitMs }) => {
    assert.ok(maxTasks > 0);
    most = Math.max(most, (asked += maxTasks));
    await new Promise((resolve) => setTimeout(resolve, waitMs));
    asked -= maxTasks;
    return {};
  };
  makeWorker({ maxConcurrentTasks: 5, tasksPerPoll: 3, concurrentPollers: 4 });
  await worker.start();
  await until(() => server.requests("leaseTasks").length >= 10);
  assert.equal(most, 5);
});

test("a poll that brought tasks is repeated at once, one held by the server too", async () => {
  let polls = 0;
  server.handlers.leaseTasks = (request) => {
    polls++;
    return polls <= 5
      ? { tasks: [protoTask(`k${polls}`)] }
      : new Promise((resolve) => setTimeout(() => resolve({}), request.waitMs));
  };
  const started = Date.now();
  makeWorker({ pollIntervalMs: 2000, pollWaitMs: 50 });
  await worker.start();
  await until(() => polls >= 6);
  assert.ok(Date.now() - started < 2000, "no sleep between polls that bring tasks");
});

test("an empty answer that came early is followed by a sleep, which stop() ends", async () => {
  let polls = 0;
  server.handlers.leaseTasks = () => {
    polls++;
    return {};
  };
  makeWorker({ pollIntervalMs: 60_000 });
  await worker.start();
  await until(() => polls === 1);
  await new Promise((resolve) => setTimeout(resolve, 50));
  assert.equal(polls, 1);
  const started = Date.now();
  await worker.stop();
  assert.ok(Date.now() - started < 5000);
  assert.equal(worker.isRunning, false);
});

test("a failed poll reaches onError and the loop goes on", async () => {
  let polls = 0;
  server.handlers.leaseTasks = () => {
    if (++polls === 1) {
      throw grpcError(status.INTERNAL, "broken");
    }
    return polls === 2 ? { tasks: [protoTask("k")] } : {};
  };
  makeWorker({});
  await worker.start();
  await until(() => reports().length === 1);
  assert.equal(errors.length, 1);
  assert.match(errors[0].error.message, /broken/);
  assert.equal(errors[0].taskId, undefined);
});

test("a task that is held already is dropped", async () => {
  server.handlers.leaseTasks = batches([protoTask("k")], [protoTask("k")]);
  let runs = 0;
  let finish: () => void = () => {};
  makeWorker({
    handler: async () => {
      runs++;
      await new Promise<void>((resolve) => (finish = resolve));
    },
  });
  await worker.start();
  await until(() => errors.length === 1);
  assert.ok(errors[0].error instanceof DuplicateTaskDeliveryError);
  assert.equal(errors[0].taskId, "k");
  finish();
  await until(() => reports().length === 1);
  assert.equal(runs, 1);
});

test("a task that one answer holds twice is run once", async () => {
  server.handlers.leaseTasks = batches([protoTask("k"), protoTask("k")]);
  let runs = 0;
  makeWorker({ handler: async () => void runs++ });
  await worker.start();
  await until(() => reports().length === 1);
  await worker.stop();
  assert.equal(runs, 1);
  assert.ok(errors[0].error instanceof DuplicateTaskDeliveryError);
});

test("a payload that cannot be decoded fails its own attempt only", async () => {
  const bad = protoTask("bad");
  bad.payload = serialized(Buffer.from("9201", "hex"));
  server.handlers.leaseTasks = batches([bad, protoTask("good")]);
  makeWorker({});
  await worker.start();
  await until(() => reports().length === 2);
  const failure = outcomeOf(reports().find((r) => r.taskId === "bad")) as any;
  assert.equal(failure.code, "PAYLOAD_DECODE_ERROR");
  assert.equal(errors[0].taskId, "bad");
});

test("heartbeats run while the handler does, and tell of a cancellation", async () => {
  let beats = 0;
  server.handlers.heartbeat = () => ({ cancelled: ++beats === 3, cancelledAtMs: 1n });
  server.handlers.leaseTasks = batches([protoTask("k", 1, { tenantId: "t" })]);
  let aborts = 0;
  let reason: unknown;
  makeWorker({
    heartbeatIntervalMs: 5,
    handler: async ({ cancellationSignal }) => {
      await new Promise<void>((resolve) => {
        cancellationSignal.addEventListener("abort", () => {
          aborts++;
          resolve();
        });
      });
      reason = cancellationSignal.reason;
      throw reason;
    },
  });
  await worker.start();
  await until(() => reports().length === 1);
  assert.equal(outcomeOf(reports()[0]), "cancelled");
  assert.ok(reason instanceof JobCancelledError);
  assert.deepEqual([reason.reason, reason.taskId, reason.jobId], ["server", "k", "job-of-k"]);
  assert.equal(aborts, 1);
  const [beat] = server.requests("heartbeat");
  assert.deepEqual([beat.workerId, beat.taskId, beat.shard, beat.tenantId], ["w", "k", SHARD, "t"]);
  assert.equal(errors.length, 0);
});

test("cancel() aborts first and cancels the job once, whatever comes of it", async () => {
  server.handlers.leaseTasks = batches([protoTask("k")]);
  server.handlers.cancelJob = () => {
    throw grpcError(status.FAILED_PRECONDITION, "job is already cancelled");
  };
  let aborted = false;
  makeWorker({
    handler: async ({ cancel, cancellationSignal }) => {
      const done = cancel();
      aborted = cancellationSignal.aborted && cancellationSignal.reason.reason === "client";
      await done;
      await cancel();
      throw new Error("ignored");
    },
  });
  await worker.start();
  await until(() => reports().length === 1);
  assert.ok(aborted);
  assert.equal(outcomeOf(reports()[0]), "cancelled");
  assert.equal(server.requests("cancelJob").length, 1);
  assert.equal(server.requests("cancelJob")[0].id, "job-of-k");
});

for (const [name, error] of [
  ["lease not found", () => grpcError(status.NOT_FOUND, "lease not found")],
  ["another owner", () => grpcError(status.FAILED_PRECONDITION, "lease owner mismatch")],
] as const) {
  test(`a lost lease (${name}) aborts and is not reported`, async () => {
    server.handlers.heartbeat = () => {
      throw error();
    };
    server.handlers.leaseTasks = batches([protoTask("k")]);
    let ended = false;
    makeWorker({
      heartbeatIntervalMs: 5,
      handler: async ({ cancellationSignal }) => {
        await new Promise((resolve) => cancellationSignal.addEventListener("abort", resolve));
        ended = true;
      },
    });
    await worker.start();
    await until(() => ended);
    await worker.stop();
    assert.equal(errors.length, 1);
    assert.ok(errors[0].error instanceof TaskLeaseLostError);
    assert.equal(errors[0].taskId, "k");
    assert.equal(reports().length, 0);
  });
}

test("a queued task whose lease is lost never starts", async () => {
  server.handlers.heartbeat = (request) => {
    if (request.taskId === "k2") {
      throw grpcError(status.NOT_FOUND, "lease not found");
    }
    return {};
  };
  server.handlers.leaseTasks = batches([protoTask("k1"), protoTask("k2")]);
  const ran: string[] = [];
  makeWorker({
    heartbeatIntervalMs: 5,
    maxConcurrentTasks: 1,
    tasksPerPoll: 2,
    handler: async ({ id }) => {
      ran.push(id);
      await until(() => errors.some((e) => e.error instanceof TaskLeaseLostError));
    },
  });
  await worker.start();
  await until(() => reports().length === 1);
  await worker.stop();
  assert.deepEqual(ran, ["k1"]);
});

test("a job that is cancelled before its handler began never begins", async () => {
  server.handlers.heartbeat = (request) => ({ cancelled: request.taskId === "k2" });
  server.handlers.leaseTasks = batches([protoTask("k1"), protoTask("k2")]);
  const ran: string[] = [];
  makeWorker({
    heartbeatIntervalMs: 5,
    maxConcurrentTasks: 1,
    handler: async ({ id }) => {
      ran.push(id);
      const beatsOfK2 = () => server.requests("heartbeat").filter((b) => b.taskId === "k2").length;
      await until(() => beatsOfK2() > 0);
      // Beats of this task go on after the other's answer has come: two more rounds are enough.
      const beats = server.requests("heartbeat").length;
      await until(() => server.requests("heartbeat").length >= beats + 4);
    },
  });
  await worker.start();
  await until(() => reports().length === 2);
  assert.deepEqual(ran, ["k1"]);
  assert.equal(outcomeOf(reports().find((r) => r.taskId === "k2")), "cancelled");
});

test("the handler decides how a cancelled job ends; heartbeats go on until it has", async () => {
  const endings: [() => unknown, unknown][] = [
    [() => undefined, "cancelled"],
    [() => ({ paid: true }), { success: { paid: true } }],
    [() => ({ type: "success", result: undefined }), { success: undefined }],
    [() => ({ type: "failure", code: "C" }), { code: "C", data: undefined }],
    [() => ({ type: "cancelled" }), "cancelled"],
    [() => Promise.reject(new Error("stopped")), "cancelled"],
  ];
  server.handlers.heartbeat = () => ({ cancelled: true });
  server.handlers.leaseTasks = batches(endings.map((_, i) => protoTask(`k${i}`, i)));
  const beatsOf = (id: string) =>
    server.requests("heartbeat").filter((beat) => beat.taskId === id).length;
  makeWorker({
    heartbeatIntervalMs: 5,
    handler: async ({ id, payload, cancellationSignal }) => {
      await new Promise((resolve) => cancellationSignal.addEventListener("abort", resolve));
      const beats = beatsOf(id);
      await until(() => beatsOf(id) >= beats + 3, "heartbeats after the cancellation");
      return endings[payload][0]();
    },
  });
  await worker.start();
  await until(() => reported().size === endings.length);
  endings.forEach(([, expected], i) => {
    assert.deepEqual(outcomeOf(reported().get(`k${i}`)), expected, `ending ${i}`);
  });
});

test("other failures of heartbeats are told and change nothing", async () => {
  server.handlers.heartbeat = () => {
    throw grpcError(status.FAILED_PRECONDITION, "tenant is not within shard x range y");
  };
  server.handlers.leaseTasks = batches([protoTask("k")]);
  makeWorker({
    heartbeatIntervalMs: 5,
    handler: async () => {
      await until(() => errors.length >= 2);
      return 1;
    },
  });
  await worker.start();
  await until(() => reports().length === 1);
  assert.deepEqual(outcomeOf(reports()[0]), { success: 1 });
  assert.equal(errors[0].taskId, "k");
});

test("a failed report is told and the worker goes on", async () => {
  server.handlers.reportOutcome = (request) => {
    if (request.taskId === "k1") {
      throw grpcError(status.NOT_FOUND, "lease not found");
    }
    return {};
  };
  server.handlers.leaseTasks = batches([protoTask("k1")], [protoTask("k2")]);
  makeWorker({});
  await worker.start();
  await until(() => reports().length === 2);
  await until(() => errors.length === 1);
  assert.equal(errors[0].taskId, "k1");
});

test("stop() waits for handlers, does not abort them, and start() works again", async () => {
  server.handlers.leaseTasks = batches([protoTask("k1")], [], [protoTask("k2")]);
  let signal: AbortSignal | undefined;
  let started = false;
  makeWorker({
    handler: async ({ cancellationSignal }) => {
      started = true;
      signal = cancellationSignal;
      await new Promise((resolve) => setTimeout(resolve, 100));
      return "done";
    },
  });
  await worker.start();
  await until(() => started);
  await worker.stop();
  assert.deepEqual(outcomeOf(reports()[0]), { success: "done" });
  assert.equal(signal?.aborted, false);
  assert.equal(worker.isRunning, false);
  await worker.stop();
  await worker.start();
  await until(() => reports().length === 2);
});

test("stop() gives up after its timeout", async () => {
  server.handlers.leaseTasks = batches([protoTask("k1"), protoTask("k2")]);
  let finish: () => void = () => {};
  let started = 0;
  makeWorker({
    maxConcurrentTasks: 1,
    tasksPerPoll: 2,
    heartbeatIntervalMs: 5,
    handler: async () => {
      started++;
      await new Promise<void>((resolve) => (finish = resolve));
    },
  });
  await worker.start();
  await until(() => started === 1);
  await worker.stop(30);
  assert.equal(worker.queuedTasks, 0);
  // A call made after the last heartbeat shows that those in flight have arrived.
  await client.heartbeat("w", "last", SHARD);
  const beats = server.requests("heartbeat").length;
  await new Promise((resolve) => setTimeout(resolve, 30));
  assert.equal(server.requests("heartbeat").length, beats, "no heartbeats after the stop");
  finish();
  await until(() => reports().length === 1);
  assert.equal(started, 1, "the queued task was dropped");
});

const REFRESH = {
  id: "r",
  queueKey: "q",
  currentMaxConcurrency: 1,
  lastRefreshedAtMs: 0n,
  metadata: { k: "v" },
  leaseMs: 10000n,
  shard: SHARD,
  taskGroup: "group",
  tenantId: "t",
};

test("refresh tasks: success and failure", async () => {
  const refreshTasks = [REFRESH, { ...REFRESH, id: "r2" }];
  server.handlers.leaseTasks = batches({ refreshTasks });
  makeWorker({
    refreshHandler: async ({ task, shard, workerId, signal }) => {
      assert.deepEqual([shard, workerId, signal.aborted, task.tenant], [SHARD, "w", false, "t"]);
      if (task.id === "r2") {
        throw new Error("no number");
      }
      return 8;
    },
  });
  await worker.start();
  await until(() => server.requests("reportRefreshOutcome").length === 2);
  const requests = server.requests("reportRefreshOutcome");
  const success = requests.find((request) => request.taskId === "r");
  const failure = requests.find((request) => request.taskId === "r2");
  assert.equal(success.outcome.success.newMaxConcurrency, 8);
  assert.equal(success.tenantId, "t");
  assert.equal(failure.outcome.failure.code, "REFRESH_HANDLER_ERROR");
  assert.equal(failure.outcome.failure.message, "no number");
});

test("refresh tasks without a handler: told, and the other tasks still run", async () => {
  server.handlers.leaseTasks = batches({ tasks: [protoTask("k")], refreshTasks: [REFRESH] });
  makeWorker({});
  await worker.start();
  await until(() => reports().length === 1 && errors.length === 1);
  assert.match(errors[0].error.message, /1 floating limit refresh task.*refreshHandler/);
});

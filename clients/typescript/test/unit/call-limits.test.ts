// How long calls go on, and what ends them early.
import assert from "node:assert/strict";
import { test } from "node:test";
import { status } from "@grpc/grpc-js";
import type { RpcOptions } from "@protobuf-ts/runtime-rpc";
import type { StandardSchemaV1 } from "@standard-schema/spec";
import { CallLimits } from "../../src/connection/call-limits";
import { Connection } from "../../src/connection/connection";
import type { CallInfo } from "../../src/connection/connection";
import { JobStatus as ProtoJobStatus } from "../../src/gen/silo";
import {
  InvalidOptionError,
  SiloCancelledError,
  SiloDeadlineExceededError,
  SiloGRPCClient,
  SiloUnavailableError,
} from "../../src/index";
import type { CallOptions, SiloGRPCClientOptions } from "../../src/index";
import { serialize } from "../../src/wire/codec";
import { enqueueEcho, FakeServer, grpcError, SHARD, until } from "../fake-server";
import { closers } from "../support/closers";
import { SlowLink } from "../support/slow-link";

const JOB = { payload: 1, taskGroup: "g" };
const hung = () => new Promise(() => undefined);

async function startServer(handlers = {}): Promise<FakeServer> {
  const server = await FakeServer.start({ enqueue: enqueueEcho, ...handlers });
  closers.push(() => server.stop());
  return server;
}

function makeClient(options: SiloGRPCClientOptions): SiloGRPCClient {
  const client = new SiloGRPCClient(options);
  closers.push(() => client.close());
  return client;
}

/** The timeout in seconds that the first try of a call gets; undefined = none. */
async function timeoutOf(options: SiloGRPCClientOptions, info: Partial<CallInfo> = {}) {
  const connection = new Connection({ servers: "localhost:1", ...options });
  closers.push(() => connection.close());
  const { timeout } = await connection.anyCall<RpcOptions>(
    undefined,
    { operation: "heartbeat", ...info },
    async (_stub, rpc) => rpc,
  );
  return timeout === undefined ? undefined : Math.round(Number(timeout) / 1000);
}

test("every call has a deadline: its own, the client's, or the default", async () => {
  assert.equal(await timeoutOf({}), 60);
  assert.equal(await timeoutOf({ timeoutMs: 5000 }), 5);
  assert.equal(await timeoutOf({ timeoutMs: 5000 }, { timeoutMs: 9000 }), 9);
  assert.equal(await timeoutOf({ rpcOptions: { timeout: 7000 } }), 7);
  assert.equal(await timeoutOf({ rpcOptions: { timeout: 7000 } }, { timeoutMs: 3000 }), 3);
});

test("0 and Infinity mean no deadline", async () => {
  for (const none of [0, Infinity]) {
    assert.equal(await timeoutOf({ timeoutMs: none }), undefined);
    assert.equal(await timeoutOf({ timeoutMs: 5000 }, { timeoutMs: none }), undefined);
  }
});

test("a long poll has its wait on top, a large request time to be sent", async () => {
  assert.equal(await timeoutOf({}, { waitMs: 20_000 }), 80);
  assert.equal(await timeoutOf({ timeoutMs: 5000 }, { waitMs: 20_000 }), 25);
  assert.equal(await timeoutOf({}, { requestBytes: 64_000_000 }), 1060);
});

test("a deadline that is none is refused by its name", async () => {
  const server = await startServer();
  for (const timeoutMs of [-1, NaN, "5" as never]) {
    assert.throws(() => makeClient({ servers: server.address, timeoutMs }), InvalidOptionError);
    const client = makeClient({ servers: server.address });
    const refused = { code: "SILO_INVALID_OPTION", option: "timeoutMs" };
    await assert.rejects(client.enqueue(JOB, { timeoutMs }), refused);
    await assert.rejects(client.enqueueMany([JOB], { timeoutMs }), refused);
    await assert.rejects(client.handle("j").awaitResult({ timeoutMs }), refused);
  }
  assert.equal(server.calls.length, 0);
});

test("a default deadline does not make a call be tried until then", async () => {
  const enqueue = () => {
    throw grpcError(status.UNAVAILABLE, "shard not ready");
  };
  const server = await startServer({ enqueue });
  const shardRouting = { retryDelayMs: 1, topologyRefreshIntervalMs: 0 };
  const client = makeClient({ servers: server.address, shardRouting });
  await assert.rejects(client.enqueue(JOB), SiloUnavailableError);
  assert.equal(server.requests("enqueue").length, 9);
});

test("a call whose time is over says what its last try met", async () => {
  const enqueue = () => {
    throw grpcError(status.UNAVAILABLE, "shard not ready");
  };
  const server = await startServer({ enqueue });
  const client = makeClient({ servers: server.address, shardRouting: { retryDelayMs: 60_000 } });
  await assert.rejects(client.enqueue(JOB, { timeoutMs: 200 }), (error) => {
    assert.ok(error instanceof SiloDeadlineExceededError);
    assert.match(error.message, /within its timeoutMs of 200; .* shard not ready/);
    assert.ok(error.cause instanceof SiloUnavailableError);
    assert.deepEqual([error.address, error.cause.address], [server.address, server.address]);
    return true;
  });
});

test("a call that found no connection says so, and not what it says itself", async () => {
  const silent = await SlowLink.to((await startServer()).address);
  closers.push(() => silent.close());
  silent.pause();
  const client = makeClient({ servers: silent.address });
  const calls = [
    () => client.enqueue(JOB, { timeoutMs: 300 }),
    () => client.leaseTasks({ workerId: "w", maxTasks: 1, taskGroup: "g", timeoutMs: 300 }),
  ];
  for (const call of calls) {
    await assert.rejects(call(), (error) => {
      assert.ok(error instanceof SiloDeadlineExceededError, String(error));
      const told = `timeoutMs of 300; the last try failed: no connection to ${silent.address} (no answer)`;
      assert.ok(error.message.endsWith(told), error.message);
      assert.equal(error.address, silent.address);
      return true;
    });
  }
});

test("why an earlier try failed is kept when later ones only take too long", async () => {
  const answers = [grpcError(status.DEADLINE_EXCEEDED, "deadline exceeded")];
  answers.push(grpcError(status.UNAVAILABLE, "no space left on device"), answers[0]);
  let tries = 0;
  const enqueue = () => {
    throw answers[Math.min(tries++, 2)];
  };
  const server = await startServer({ enqueue });
  const client = makeClient({ servers: server.address, shardRouting: { retryDelayMs: 1 } });
  await assert.rejects(client.enqueue(JOB, { timeoutMs: 500 }), /no space left on device/);
  assert.ok(tries > 2);
});

test("a default deadline is not called the caller's", () => {
  const limits = new CallLimits({}, {}, new AbortController().signal, 0);
  assert.throws(() => limits.check(), /did not end within 0 s, the default/);
});

/** Every call that can wait, on a server that never answers. */
const CALLS: [string, (client: SiloGRPCClient, call: CallOptions) => Promise<unknown>][] = [
  ["getClusterInfo", (client, call) => client.refreshTopology(call)],
  ["enqueue", (client, call) => client.enqueue(JOB, call)],
  ["enqueueMany", (client, call) => client.enqueueMany([JOB], call)],
  ["importJobs", (client, call) => client.importJobs([{ ...JOB, id: "j" }], call)],
  ["getJob", (client, call) => client.getJob("j", undefined, call)],
  ["getJob", (client, call) => client.handle("j").getStatus(call)],
  ["getJobResult", (client, call) => client.handle("j").awaitResult(call)],
  ["cancelJob", (client, call) => client.handle("j").cancel(call)],
  ["restartJob", (client, call) => client.handle("j").restart(call)],
  ["expediteJob", (client, call) => client.handle("j").expedite(call)],
  ["deleteJob", (client, call) => client.handle("j").delete(call)],
  ["leaseTask", (client, call) => client.leaseTask({ id: "j", workerId: "w", ...call })],
  ["query", (client, call) => client.query("select 1", undefined, [], call)],
  ["resetShards", (client, call) => client.resetShards(call)],
  [
    "reportRefreshOutcome",
    (client, call) => {
      const outcome = { type: "success" as const, newMaxConcurrency: 1 };
      return client.reportRefreshOutcome({ taskId: "t", shard: SHARD, outcome }, call);
    },
  ],
];

for (const [method, run] of CALLS) {
  test(`signal and timeoutMs end ${method}`, async () => {
    const server = await startServer({ [method]: hung });
    const client = makeClient({ servers: server.address });
    const controller = new AbortController();
    const call = run(client, { signal: controller.signal });
    await until(() => server.requests(method).length > 0, "the call");
    const reason = new Error("the user left");
    controller.abort(reason);
    await assert.rejects(call, (error) => {
      assert.ok(error instanceof SiloCancelledError, String(error));
      assert.equal(error.cause, reason);
      return true;
    });
    await assert.rejects(run(client, { timeoutMs: 50 }), { code: "SILO_DEADLINE_EXCEEDED" });
    const asked = server.calls.length;
    await assert.rejects(run(client, { signal: AbortSignal.abort() }), { code: "SILO_CANCELLED" });
    assert.equal(server.calls.length, asked, "nothing was sent");
  });
}

/** A validator that never answers. */
const silentSchema: StandardSchemaV1<any, any> = {
  "~standard": { version: 1, vendor: "test", validate: () => new Promise<never>(() => {}) },
};
const CHECKED_JOB = { ...JOB, payloadSchema: silentSchema };

/** Every call that asks a validator. */
const CHECKED_CALLS: typeof CALLS = [
  ["enqueue", (client, call) => client.enqueue(CHECKED_JOB, call)],
  ["enqueueMany", (client, call) => client.enqueueMany([JOB, CHECKED_JOB], call)],
  ["importJobs", (client, call) => client.importJobs([{ ...CHECKED_JOB, id: "j" }], call)],
  [
    "getJobResult",
    (client, call) => client.getJobResult("j", undefined, { ...call, resultSchema: silentSchema }),
  ],
  [
    "awaitResult",
    (client, call) => client.handle("j").awaitResult({ ...call, resultSchema: silentSchema }),
  ],
];

for (const [method, run] of CHECKED_CALLS) {
  test(`signal, timeoutMs and close end a validator of ${method} that never answers`, async () => {
    const result = { oneofKind: "successData", successData: serialize(1) };
    const server = await startServer({
      getJobResult: () => ({ status: ProtoJobStatus.SUCCEEDED, result }),
    });
    const client = makeClient({ servers: server.address });
    await assert.rejects(run(client, { timeoutMs: 100 }), (error) => {
      assert.ok(error instanceof SiloDeadlineExceededError, String(error));
      assert.match(`${error.message} ${error.cause}`, /its validator has not answered/);
      return true;
    });
    const controller = new AbortController();
    const call = run(client, { signal: controller.signal });
    controller.abort();
    await assert.rejects(call, { code: "SILO_CANCELLED" });
    const closed = run(client, {});
    client.close();
    await assert.rejects(closed, { code: "SILO_CLIENT_CLOSED" });
    assert.deepEqual(server.requests("enqueue"), [], "nothing was stored");
  });
}

test("reportOutcomes tells each outcome that the call was ended", async () => {
  const server = await startServer({ reportOutcomes: hung, reportOutcome: hung });
  const client = makeClient({ servers: server.address });
  const outcome = { type: "cancelled" as const };
  const outcomes = ["a", "b"].map((taskId) => ({ taskId, shard: SHARD, outcome }));
  for (const list of [outcomes, outcomes.slice(1)]) {
    const results = await client.reportOutcomes(list, { timeoutMs: 50 });
    assert.equal(results.length, list.length);
    assert.ok(results.every(({ error }) => error instanceof SiloDeadlineExceededError));
  }
});

test("enqueueMany has one deadline for all its calls", async () => {
  let calls = 0;
  const server = await startServer({
    enqueueMany: ({ jobs }: { jobs: object[] }) =>
      ++calls > 1 ? hung() : { results: jobs.map(() => ({ code: 0, id: "i" })) },
  });
  const client = makeClient({ servers: server.address });
  const jobs = Array.from({ length: 1001 }, () => JOB);
  await assert.rejects(client.enqueueMany(jobs, { timeoutMs: 1000 }), SiloDeadlineExceededError);
  assert.equal(calls, 2);
});

test("a closed client says so, whatever it is asked", async () => {
  const server = await startServer();
  const client = makeClient({ servers: server.address });
  client.close();
  for (const [, run] of CALLS) {
    await assert.rejects(run(client, {}), { name: "SiloClientClosedError" });
  }
  assert.equal(server.calls.length, 0);
});

test("work that never ends is not waited for when the call is over already", async () => {
  const { signal: open } = new AbortController();
  const aborted = new CallLimits({}, { signal: AbortSignal.abort() }, open);
  await assert.rejects(aborted.join(hung()), { code: "CANCELLED" });
  const closed = new CallLimits({}, {}, AbortSignal.abort());
  await assert.rejects(closed.join(hung()), { name: "SiloClientClosedError" });
});

test("a deadline beyond what timers and the gRPC library know is one", async () => {
  const server = await startServer();
  const client = makeClient({ servers: server.address });
  for (const timeoutMs of [Number.MAX_SAFE_INTEGER, Number.MAX_VALUE, 2n ** 70n]) {
    await client.enqueue(JOB, { timeoutMs });
  }
});

test("a timeout or a signal that is none is refused", async () => {
  for (const timeout of [NaN, new Date(NaN), "5" as unknown as number]) {
    await assert.rejects(timeoutOf({ rpcOptions: { timeout } }), (error: InvalidOptionError) => {
      return error instanceof InvalidOptionError && error.option === "rpcOptions.timeout";
    });
  }
  for (const signal of [null, {}, "no"] as unknown as AbortSignal[]) {
    await assert.rejects(timeoutOf({}, { signal }), (error: InvalidOptionError) => {
      return error instanceof InvalidOptionError && error.option === "signal";
    });
  }
});

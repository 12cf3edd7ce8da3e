import assert from "node:assert/strict";
import { test } from "node:test";
import { status } from "@grpc/grpc-js";
import { RpcError } from "@protobuf-ts/runtime-rpc";
import { inCalls, MissingMethods } from "../../src/client/bulk";
import {
  SiloFailedPreconditionError,
  SiloGRPCClient,
  SiloGrpcError,
  SiloUnavailableError,
  TaskNotFoundError,
  ValueNotEncodableError,
} from "../../src/index";
import type { ReportOutcomeOptions } from "../../src/index";
import {
  clusterInfo,
  enqueueEcho,
  FakeServer,
  grpcError,
  OTHER_SHARD,
  SHARD,
} from "../fake-server";
import type { Handler } from "../fake-server";
import { closers } from "../support/closers";

async function startServer(handlers: Record<string, Handler> = {}): Promise<FakeServer> {
  const server = await FakeServer.start(handlers);
  closers.push(() => server.stop());
  return server;
}

function makeClient(server: FakeServer, maxRetries = 2): SiloGRPCClient {
  const shardRouting = { retryDelayMs: 1, maxRetries };
  const client = new SiloGRPCClient({ servers: server.address, shardRouting });
  closers.push(() => client.close());
  return client;
}

/** Two servers with a shard each, and a client that knows. */
async function startPair(handlers: Record<string, Handler>) {
  const second = await startServer(handlers);
  const first: FakeServer = await startServer({
    ...handlers,
    getClusterInfo: () => clusterInfo([first.address, second.address]),
  });
  const client = makeClient(first);
  await client.refreshTopology();
  return { first, second, client };
}

function outcome(taskId: string, more: Partial<ReportOutcomeOptions> = {}): ReportOutcomeOptions {
  return { taskId, shard: SHARD, outcome: { type: "success", result: taskId }, ...more };
}

/** Answers each task id by its first word: "ok", or the name of a status. */
function byName(request: { outcomes: { taskId: string }[] }) {
  return {
    results: request.outcomes.map(({ taskId }) => {
      const name = taskId.split(" ")[0];
      const code = name === "ok" ? 0 : Number(status[name as keyof typeof status]);
      return { code, message: code === 0 ? "" : `about ${taskId}` };
    }),
  };
}

function taskIds(requests: { outcomes: { taskId: string }[] }[]): string[][] {
  return requests.map(({ outcomes }) => outcomes.map(({ taskId }) => taskId));
}

test("reportOutcomes: a call for each shard, results in order, each outcome alone", async () => {
  const { first, second, client } = await startPair({ reportOutcomes: byName });
  const results = await client.reportOutcomes([
    outcome("ok a", { tenant: "t" }),
    outcome("ok b", { shard: OTHER_SHARD }),
    outcome("NOT_FOUND c"),
    outcome("FAILED_PRECONDITION d", { shard: OTHER_SHARD, outcome: { type: "cancelled" } }),
    outcome("ok e", { outcome: { type: "failure", code: "E" } }),
  ]);
  assert.deepEqual([results[0], results[1], results[4]], [{}, {}, {}]);
  const [notFound, refused] = [results[2].error, results[3].error];
  assert.ok(notFound instanceof TaskNotFoundError);
  assert.equal(notFound.taskId, "NOT_FOUND c");
  assert.equal(notFound.grpcMessage, "about NOT_FOUND c");
  assert.ok(refused instanceof SiloFailedPreconditionError);
  const [call, ...more] = first.requests("reportOutcomes");
  assert.equal(more.length, 0);
  assert.equal(call.shard, SHARD);
  assert.deepEqual(taskIds([call]), [["ok a", "NOT_FOUND c", "ok e"]]);
  assert.equal(call.outcomes[0].tenantId, "t");
  assert.equal(call.outcomes[2].outcome.failure.code, "E");
  const [other] = second.requests("reportOutcomes");
  assert.equal(other.shard, OTHER_SHARD);
  assert.deepEqual(taskIds([other]), [["ok b", "FAILED_PRECONDITION d"]]);
});

test("reportOutcomes: no outcomes, no call; a lone one is a plain report", async () => {
  const server = await startServer({ reportOutcome: () => ({}) });
  const client = makeClient(server);
  assert.deepEqual(await client.reportOutcomes([]), []);
  assert.equal(server.calls.length, 0);
  assert.deepEqual(await client.reportOutcomes([outcome("k")]), [{}]);
  assert.deepEqual(server.calls.map((call) => call.method), ["reportOutcome"]);
});

test("reportOutcomes: calls are bounded in outcomes and in bytes", async () => {
  const server = await startServer({ reportOutcomes: byName, reportOutcome: () => ({}) });
  const client = makeClient(server);
  const many = Array.from({ length: 600 }, (_, i) => outcome(`ok ${i}`));
  assert.deepEqual(await client.reportOutcomes(many), many.map(() => ({})));
  const calls = server.requests("reportOutcomes");
  assert.deepEqual(
    calls.map(({ outcomes }) => outcomes.length).sort(),
    [256, 256, 88].sort(),
  );
  server.calls.length = 0;
  const result = new Uint8Array(1.5 * 1024 * 1024);
  const large = [1, 2, 3].map((i) => outcome(`ok ${i}`, { outcome: { type: "success", result } }));
  assert.deepEqual(await client.reportOutcomes(large), [{}, {}, {}]);
  assert.deepEqual(taskIds(server.requests("reportOutcomes")), [["ok 1", "ok 2"]]);
  assert.equal(server.requests("reportOutcome")[0].taskId, "ok 3");
});

test("reportOutcomes: what cannot be encoded, or was not answered, fails alone", async () => {
  const server = await startServer({
    reportOutcomes: (request) => ({ results: byName(request).results.slice(0, -1) }),
  });
  const results = await makeClient(server).reportOutcomes([
    outcome("ok 1"),
    outcome("ok 2", { outcome: { type: "success", result: 2n ** 70n } }),
    outcome("ok 3"),
  ]);
  assert.deepEqual(results[0], {});
  assert.ok(results[1].error instanceof ValueNotEncodableError);
  assert.match(String(results[2].error?.message), /No result returned.*ok 3/);
});

for (const [name, code, words] of [
  ["refused", status.INVALID_ARGUMENT, "bad bytes"],
  ["failed", status.INTERNAL, "broken"],
  ["too large", status.RESOURCE_EXHAUSTED, "Received message larger than max (9 vs. 4)"],
  ["out of range", status.OUT_OF_RANGE, "decoded message length too large"],
] as const) {
  test(`reportOutcomes: one bad outcome of a ${name} call fails alone`, async () => {
    const isBad = ({ taskId }: { taskId: string }) => taskId === "bad";
    const fail = () => {
      throw grpcError(code, words);
    };
    const server = await startServer({
      reportOutcomes: (request) => (request.outcomes.some(isBad) ? fail() : byName(request)),
      reportOutcome: (request) => (isBad(request) ? fail() : {}),
    });
    const names = Array.from({ length: 8 }, (_, i) => (i === 5 ? "bad" : `ok ${i}`));
    const results = await makeClient(server).reportOutcomes(names.map((task) => outcome(task)));
    results.forEach(({ error }, i) => assert.equal(error !== undefined, i === 5, names[i]));
  });
}

test("reportOutcomes: a busy or absent server is not asked in parts", async () => {
  for (const code of [status.RESOURCE_EXHAUSTED, status.UNAUTHENTICATED]) {
    const server = await startServer({
      reportOutcomes: () => {
        throw grpcError(code, "not now");
      },
      reportOutcome: () => ({}),
    });
    const results = await makeClient(server).reportOutcomes([outcome("ok 1"), outcome("ok 2")]);
    assert.ok(results.every(({ error }) => error instanceof SiloGrpcError));
    assert.equal(server.requests("reportOutcome").length, 0);
  }
});

test("reportOutcomes: what may have been recorded before says so", async () => {
  let calls = 0;
  const server = await startServer({
    reportOutcomes: ({ outcomes }) => {
      if (++calls === 1) {
        throw grpcError(status.UNAVAILABLE, "gone");
      }
      const gone = { code: status.NOT_FOUND, message: "lease not found" };
      return { results: outcomes.map(() => gone) };
    },
  });
  const [first] = await makeClient(server).reportOutcomes([outcome("ok 1"), outcome("ok 2")]);
  assert.ok(first.error instanceof TaskNotFoundError);
  assert.equal(first.error.mayBeRecorded, true);
});

test("reportOutcomes: a failed call fails its own outcomes only", async () => {
  const { second, client } = await startPair({ reportOutcomes: byName });
  for (const method of ["reportOutcomes", "reportOutcome"]) {
    second.handlers[method] = () => {
      throw grpcError(status.INTERNAL, "broken");
    };
  }
  const results = await client.reportOutcomes([
    outcome("ok 1"),
    outcome("ok 2", { shard: OTHER_SHARD }),
    outcome("ok 3"),
    outcome("ok 4", { shard: OTHER_SHARD }),
  ]);
  assert.deepEqual([results[0], results[2]], [{}, {}]);
  for (const { error } of [results[1], results[3]]) {
    assert.ok(error instanceof SiloGrpcError);
    assert.equal(error.grpcCode, "INTERNAL");
  }
  second.handlers.reportOutcomes = () => {
    throw grpcError(status.NOT_FOUND, "shard not found");
  };
  const lost = ["ok 5", "ok 6"].map((id) => outcome(id, { shard: OTHER_SHARD }));
  for (const [i, { error }] of (await client.reportOutcomes(lost)).entries()) {
    assert.ok(error instanceof TaskNotFoundError);
    assert.equal(error.taskId, lost[i].taskId);
  }
});

test("reportOutcomes: a call is routed and sent again as a single report is", async () => {
  const { first, second, client } = await startPair({ reportOutcomes: byName });
  let unavailable = 1;
  first.handlers.reportOutcomes = () => {
    if (unavailable-- > 0) {
      throw grpcError(status.UNAVAILABLE, "not now");
    }
    const owner = { "x-silo-shard-owner-addr": second.address };
    throw grpcError(status.NOT_FOUND, "shard not found", owner);
  };
  assert.deepEqual(await client.reportOutcomes([outcome("ok 1"), outcome("ok 2")]), [{}, {}]);
  assert.equal(first.requests("reportOutcomes").length, 2);
  assert.deepEqual(taskIds(second.requests("reportOutcomes")), [["ok 1", "ok 2"]]);
});

test("reportOutcomes: an outcome whose own status can be retried is reported again", async () => {
  const server = await startServer({
    reportOutcomes: byName,
    reportOutcome: ({ taskId }) => {
      if (taskId.endsWith("for ever")) {
        throw grpcError(status.UNAVAILABLE, "still");
      }
      return {};
    },
  });
  const results = await makeClient(server).reportOutcomes([
    outcome("UNAVAILABLE 1"),
    outcome("ok 2"),
    outcome("RESOURCE_EXHAUSTED 3"),
    outcome("UNAVAILABLE for ever"),
  ]);
  assert.deepEqual(results.slice(0, 3), [{}, {}, {}]);
  assert.ok(results[3].error instanceof SiloUnavailableError);
  assert.equal(server.requests("reportOutcomes").length, 1);
});

test("reportOutcomes: single calls where there is no better, as is remembered", async () => {
  let running = 0;
  let most = 0;
  const { first, second, client } = await startPair({
    reportOutcome: async ({ taskId }) => {
      most = Math.max(most, ++running);
      await new Promise((resolve) => setTimeout(resolve, 2));
      running--;
      if (taskId === "gone") {
        throw grpcError(status.NOT_FOUND, "lease not found");
      }
      return {};
    },
  });
  second.handlers.reportOutcomes = byName;
  const list = [...Array.from({ length: 100 }, (_, i) => outcome(`ok ${i}`)), outcome("gone")];
  const results = await client.reportOutcomes(list);
  assert.ok(results.slice(0, 100).every(({ error }) => error === undefined));
  assert.ok(results[100].error instanceof TaskNotFoundError);
  assert.ok(most > 1 && most <= 32, `${most} calls at once`);
  assert.equal(first.requests("reportOutcomes").length, 1);
  await client.reportOutcomes(list.slice(0, 3));
  assert.equal(first.requests("reportOutcomes").length, 1, "not asked again");
  assert.equal(first.requests("reportOutcome").length, 104);
  await client.reportOutcomes(
    ["ok 1", "ok 2"].map((id) => outcome(id, { shard: OTHER_SHARD })),
  );
  assert.equal(second.requests("reportOutcomes").length, 1);
});

test("a method that is missing is asked for again after a while", async () => {
  let now = 0;
  const missing = new MissingMethods(() => now);
  let calls = 0;
  const unknown = async () => {
    calls++;
    throw new RpcError("unknown method", "UNIMPLEMENTED");
  };
  assert.equal(await missing.attempt("a:1", "m", unknown), undefined);
  assert.equal(await missing.attempt("a:1", "m", unknown), undefined);
  assert.equal(calls, 1);
  assert.equal(await missing.attempt("b:1", "m", async () => 1), 1);
  assert.equal(await missing.attempt("a:1", "other", async () => 2), 2);
  now = 60_000;
  assert.equal(await missing.attempt("a:1", "m", async () => 3), 3);
  await assert.rejects(
    missing.attempt("a:1", "m", async () => {
      throw new RpcError("broken", "INTERNAL");
    }),
    /broken/,
  );
});

test("inCalls cuts by number and by bytes, and takes no item early", () => {
  const MIB = 1024 * 1024;
  let taken = 0;
  function* sizes() {
    for (const size of [1, 1, 1, 5 * MIB, 2 * MIB, 2 * MIB, 1]) {
      taken++;
      yield size;
    }
  }
  const calls = inCalls(sizes(), 2, (size) => size);
  assert.deepEqual(calls.next().value, [1, 1]);
  assert.equal(taken, 3);
  assert.deepEqual([...calls], [[1], [5 * MIB], [2 * MIB, 2 * MIB], [1]]);
  assert.deepEqual([...inCalls([], 2, () => 1)], []);
});

test("enqueueMany: bounded in bytes; single calls are remembered", async () => {
  const server = await startServer({
    enqueueMany: ({ jobs }) => ({ results: jobs.map(enqueueEcho) }),
    enqueue: enqueueEcho,
  });
  const client = makeClient(server);
  const payload = new Uint8Array(1.5 * 1024 * 1024);
  const jobs = ["a", "b", "c"].map((id) => ({ id, payload, taskGroup: "g" }));
  const ids = async () => (await client.enqueueMany(jobs)).map(({ id }) => id);
  assert.deepEqual(await ids(), ["a", "b", "c"]);
  assert.deepEqual(
    server.requests("enqueueMany").map((request) => request.jobs.length),
    [2, 1],
  );
  delete server.handlers.enqueueMany;
  assert.deepEqual(await ids(), ["a", "b", "c"]);
  assert.deepEqual(await ids(), ["a", "b", "c"]);
  assert.equal(server.requests("enqueueMany").length, 3);
  assert.equal(server.requests("enqueue").length, 6);
});

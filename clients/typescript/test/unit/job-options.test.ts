// What callers give of numbers, times, policies and schemas, and what reaches the server of it.
import assert from "node:assert/strict";
import { after, before, beforeEach, test } from "node:test";
import {
  AttemptStatus,
  InvalidOptionError,
  JobStatus,
  SiloGRPCClient,
  SiloValidationError,
} from "../../src/index";
import type { EnqueueJobOptions, Job, JobLimit, JobResult } from "../../src/index";
import { JobStatus as ProtoJobStatus } from "../../src/gen/silo";
import { bytesOf, decodeBytes, serialize } from "../../src/wire/codec";
import { FakeServer } from "../fake-server";
import { numbered } from "../support/schema";

let server: FakeServer;
let client: SiloGRPCClient;

before(async () => {
  server = await FakeServer.start({ enqueue: ({ id }) => ({ id }) });
  client = new SiloGRPCClient({ servers: server.address });
});
after(() => {
  client.close();
  server.stop();
});
beforeEach(() => {
  server.calls.length = 0;
});

const job = { payload: 1, taskGroup: "g" };

async function sent(options: Partial<EnqueueJobOptions>) {
  await client.enqueue({ ...job, ...options });
  const [request] = server.requests("enqueue").slice(-1);
  return request;
}

test("an empty retry policy is the documented one", async () => {
  assert.deepEqual({ ...(await sent({ retryPolicy: {} })).retryPolicy }, {
    retryCount: 3,
    initialIntervalMs: 1000n,
    maxIntervalMs: 300_000n,
    backoffFactor: 2,
    randomizeInterval: true,
  });
  assert.equal((await sent({})).retryPolicy, undefined, "no policy, no retries");
});

test("what a retry policy says is sent as it is", async () => {
  const full = {
    retryCount: 0,
    initialIntervalMs: 0n,
    maxIntervalMs: 0n,
    backoffFactor: 0,
    randomizeInterval: false,
  };
  assert.deepEqual({ ...(await sent({ retryPolicy: full })).retryPolicy }, full);
  const numbers = { ...full, retryCount: 7, initialIntervalMs: 5, maxIntervalMs: 9 };
  assert.deepEqual({ ...(await sent({ retryPolicy: numbers })).retryPolicy }, {
    ...full,
    retryCount: 7,
    initialIntervalMs: 5n,
    maxIntervalMs: 9n,
  });
  const slow = (await sent({ retryPolicy: { initialIntervalMs: 600_000 } })).retryPolicy;
  assert.equal(slow.maxIntervalMs, 600_000n, "never below the first wait");
});

test("times are numbers, bigints or dates", async () => {
  for (const startAtMs of [1_700_000_000_000, 1_700_000_000_000n, new Date(1_700_000_000_000)]) {
    assert.equal((await sent({ startAtMs })).startAtMs, 1_700_000_000_000n);
  }
  const limits: JobLimit[] = [
    { type: "concurrency", key: "k", maxConcurrency: 2 },
    { type: "rateLimit", name: "n", uniqueKey: "u", limit: 10, durationMs: 60_000 },
    { type: "floatingConcurrency", key: "f", defaultMaxConcurrency: 1, refreshIntervalMs: 1n },
  ];
  const [, rate, floating] = (await sent({ limits })).limits;
  const { limit, durationMs, hits } = rate.limit.rateLimit;
  assert.deepEqual([limit, durationMs, hits], [10n, 60_000n, 1]);
  assert.equal(floating.limit.floatingConcurrency.refreshIntervalMs, 1n);
});

test("what cannot be meant is refused by its name, and nothing is sent", async () => {
  const rate: JobLimit = { type: "rateLimit", name: "n", uniqueKey: "u", limit: 1, durationMs: 1 };
  const floating: JobLimit = {
    type: "floatingConcurrency",
    key: "f",
    defaultMaxConcurrency: 1,
    refreshIntervalMs: 1,
  };
  const bad: [Partial<EnqueueJobOptions>, string][] = [
    [{ priority: 100 }, "priority: expected a whole number from 0 to 99, not 100"],
    [{ priority: 1.5 }, "priority: expected a whole number from 0 to 99, not 1.5"],
    [{ startAtMs: 1.5 }, "startAtMs: expected whole milliseconds since 1970"],
    [{ startAtMs: new Date("no date") }, "or a valid Date"],
    [{ retryPolicy: { retryCount: -1 } }, "retryPolicy.retryCount: expected a whole number"],
    [
      { retryPolicy: { initialIntervalMs: 0.5 } },
      "retryPolicy.initialIntervalMs: expected a whole number of milliseconds from 0 to 9223372036854775807, " +
        "as number or bigint, not 0.5",
    ],
    [{ retryPolicy: { maxIntervalMs: 2n ** 63n } }, "retryPolicy.maxIntervalMs: expected"],
    [{ retryPolicy: { backoffFactor: NaN } }, "retryPolicy.backoffFactor: expected a finite number"],
    [{ retryPolicy: { retries: 3 } as object }, "retryPolicy.retries: unknown; a retry policy has retryCount,"],
    // A number among the labels made the call's deadline none, which ended the whole process.
    [{ metadata: { user: 42 as never } }, "metadata.user: expected a text, not 42"],
    [{ metadata: { user: null as never } }, "metadata.user: expected a text, not null"],
    [{ metadata: "user=42" as never }, "metadata: expected an object of texts, not user=42"],
    [{ id: 5 as never }, "id: expected a text, not 5"],
    [{ tenant: 5 as never }, "tenant: expected a text, not 5"],
    [{ taskGroup: 5 as never }, "taskGroup: expected a text, not 5"],
    [
      { limits: [{ type: "concurrency", key: 5 as never, maxConcurrency: 1 }] },
      "limits[0].key: expected a text, not 5",
    ],
    [{ limits: [{ ...rate, name: 5 as never }] }, "limits[0].name: expected a text, not 5"],
    [{ limits: [{ ...rate, uniqueKey: 5 as never }] }, "limits[0].uniqueKey: expected a text"],
    [{ limits: [{ ...rate, algorithm: "x" as never }] }, "limits[0].algorithm: expected a whole"],
    [
      { limits: [{ ...floating, metadata: { a: 5 as never } }] },
      "limits[0].metadata.a: expected a text, not 5",
    ],
    [{ limits: [null as never] }, "limits[0]: expected a limit, not null"],
    [{ limits: ["k" as never] }, "limits[0]: expected a limit, not k"],
    [{ limits: [{ type: "queue" } as never] }, "limits[0]: Unknown limit type: queue"],
    [{ limits: null as never }, "limits: expected a list of limits, not null"],
    [{ limits: { type: "concurrency" } as never }, "limits: expected a list of limits, not"],
    [
      { limits: [{ type: "concurrency", key: "k", maxConcurrency: -1 }] },
      "limits[0].maxConcurrency: expected a whole number from 0 to 4294967295, not -1",
    ],
    [
      {
        limits: [
          { type: "rateLimit", name: "n", uniqueKey: "u", limit: 1, durationMs: "60" as never },
        ],
      },
      'limits[0].durationMs: expected a whole number of milliseconds from 0 to 9223372036854775807, as number or bigint, not "60"',
    ],
  ];
  for (const [options, text] of bad) {
    await assert.rejects(client.enqueue({ ...job, ...options }), (error) => {
      assert.ok(error instanceof InvalidOptionError, String(error));
      assert.ok(error.message.includes(text), error.message);
      return true;
    });
  }
  const attempts = [
    { status: AttemptStatus.Failed as const, startedAtMs: 1, finishedAtMs: 2.5 },
  ];
  const [imported] = await client.importJobs([{ ...job, id: "i", attempts }]);
  assert.match(imported.error ?? "", /^attempts\[0\]\.finishedAtMs: expected whole milliseconds/);
  assert.equal(server.requests("enqueue").length + server.requests("importJobs").length, 0);
});

test("times of the client are numbers or bigints, too", async () => {
  const shardRouting = { retryDelayMs: 1n, topologyRefreshIntervalMs: 0n };
  const own = new SiloGRPCClient({ servers: server.address, timeoutMs: 5000n, shardRouting });
  await own.enqueue(job, { timeoutMs: 4000n });
  own.close();
  for (const retryDelayMs of [-1, NaN, "1s" as never]) {
    assert.throws(
      () => new SiloGRPCClient({ servers: server.address, shardRouting: { retryDelayMs } }),
      /^InvalidOptionError: shardRouting\.retryDelayMs: expected milliseconds, at least 0, not /,
    );
  }
});

test("a payload that its schema refuses is not sent", async () => {
  const payloadSchema = numbered;
  const bad = { n: "1" } as unknown as { n: number };
  await assert.rejects(client.enqueue({ taskGroup: "g", payload: bad, payloadSchema }), (error) => {
    assert.ok(error instanceof SiloValidationError);
    assert.equal(error.message, "The payload is not valid: n: expected a number; no good");
    assert.equal(error.issues.length, 2);
    return true;
  });
  const jobs = [{ taskGroup: "g", payload: bad, payloadSchema, id: "bad" }];
  const [many] = await client.enqueueMany(jobs);
  assert.ok(many.error instanceof SiloValidationError);
  const [imported] = await client.importJobs(jobs);
  assert.match(imported.error ?? "", /The payload is not valid/);
  assert.equal(server.calls.filter(({ method }) => method !== "getClusterInfo").length, 0);
  const { payload } = await sent({ payload: { n: 2 }, payloadSchema });
  assert.deepEqual(
    decodeBytes(bytesOf(payload), "payload"),
    { n: 2 },
    "sent as it was given: the reader transforms it",
  );
});

test("a result is checked, and is what its schema makes of it", async () => {
  let result: unknown = { n: 4 };
  server.handlers.getJobResult = () => ({
    status: ProtoJobStatus.SUCCEEDED,
    result: { oneofKind: "successData", successData: serialize(result) },
  });
  const ended = await client.handle("j").awaitResult({ resultSchema: numbered });
  assert.ok(ended.status === JobStatus.Succeeded);
  assert.equal(ended.result.doubled, 8);
  result = { n: "four" };
  await assert.rejects(
    client.getJobResult("j", undefined, { resultSchema: numbered }),
    SiloValidationError,
  );
});

// Compiled, not run: the status tells which members there are.
export function lengthOf(result: JobResult<string>): number {
  switch (result.status) {
    case JobStatus.Succeeded:
      return result.result.length;
    case JobStatus.Failed:
      return result.errorCode.length;
    case JobStatus.Cancelled:
      return 0;
  }
}

// Compiled, not run: what is read stays a bigint.
export function sumOf(read: Job): bigint {
  return read.limits.reduce(
    (sum, limit) => (limit.type === "rateLimit" ? sum + limit.durationMs + limit.limit : sum),
    read.enqueueTimeMs + (read.retryPolicy?.maxIntervalMs ?? 0n),
  );
}

// A payload that is not what the schema takes does not compile.
export const refusedByTheCompiler = () =>
  // @ts-expect-error: n is a number
  client.enqueue({ taskGroup: "g", payload: { n: "1" }, payloadSchema: numbered });

// Handlers that return or throw what cannot be sent, and payloads that cannot be read.
import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, test } from "node:test";
import { bytesOf, decodeBytes, serialized } from "../../src/wire/codec";
import { SiloGRPCClient, SiloWorker, ValueNotEncodableError } from "../../src/index";
import type { SiloWorkerOptions } from "../../src/index";
import { numbered } from "../support/schema";
import { batches, FakeServer, protoTask, until } from "../fake-server";

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
  server.handlers.reportOutcomes = ({ outcomes }) => ({
    results: outcomes.map(() => ({ code: 0 })),
  });
  client = new SiloGRPCClient({ servers: server.address, shardRouting: { retryDelayMs: 1 } });
  errors = [];
});
afterEach(async () => {
  await worker.stop(1000);
  client.close();
});

async function start(options: Partial<SiloWorkerOptions<any, any, any>>): Promise<void> {
  worker = new SiloWorker({
    client,
    workerId: "w",
    taskGroup: "group",
    pollIntervalMs: 20,
    maxConcurrentTasks: 50,
    tasksPerPoll: 50,
    handler: async () => undefined,
    onError: (error, context) => errors.push({ error, taskId: context?.taskId }),
    ...options,
  });
  await worker.start();
}

/** The outcomes reported so far, by task id. */
function outcomes(): Map<string, any> {
  const bulk = server.requests("reportOutcomes").flatMap((request) => request.outcomes);
  const all = [...server.requests("reportOutcome"), ...bulk];
  return new Map(all.map(({ taskId, outcome }) => [taskId, outcome]));
}

function failureIn(outcome: any): { code: string; data: any; bytes: number } {
  assert.equal(outcome.oneofKind, "failure");
  const bytes = bytesOf(outcome.failure.data) ?? new Uint8Array();
  return { code: outcome.failure.code, data: decodeBytes(bytes, "data"), bytes: bytes.length };
}

/** Runs a handler for each function: the payload is its number. */
async function runAll(functions: (() => unknown)[]): Promise<void> {
  server.handlers.leaseTasks = batches(functions.map((_, i) => protoTask(`k${i}`, i)));
  await start({ handler: async ({ payload }) => functions[payload]() });
  await until(() => outcomes().size === functions.length, "all outcomes");
}

function revoked(): object {
  const { proxy, revoke } = Proxy.revocable({}, {});
  revoke();
  return proxy;
}

class Unspeakable extends Error {
  override get message(): string {
    throw new Error("message");
  }
  override get stack(): string {
    throw new Error("stack");
  }
}

function cycle(): object {
  const value: Record<string, unknown> = {};
  value.self = value;
  return value;
}

test("a result that cannot be encoded ends its attempt at once, in words", async () => {
  const results = [
    Symbol("s"),
    2n ** 64n,
    cycle(),
    new Map(),
    new Set(),
    /a/,
    () => 1,
    "\ud800",
    { deep: [new Float32Array(1)] },
    { get bad() { throw new Error("getter"); } },
    { toJSON() { throw new Error("toJSON"); } },
    { type: "success", result: new Map() },
    { type: "success", get result() { throw new Error("result"); } },
    Buffer.alloc(127 * 1024 * 1024),
  ];
  await runAll([...results.map((result) => () => result), () => "fine"]);
  results.forEach((_, i) => {
    const { code, data, bytes } = failureIn(outcomes().get(`k${i}`));
    assert.equal(code, "RESULT_NOT_ENCODABLE", `result ${i}`);
    assert.equal(typeof data.message, "string");
    assert.ok(bytes < 100_000);
  });
  assert.equal(outcomes().get(`k${results.length}`).oneofKind, "success");
  assert.equal(errors.length, results.length);
  assert.ok(errors[0].error instanceof ValueNotEncodableError);
  assert.ok(errors.some(({ taskId }) => taskId === "k3"));
});

test("whatever is thrown ends its attempt at once, cut to size", async () => {
  const thrown = [
    undefined,
    null,
    revoked(),
    Symbol("s"),
    2n ** 70n,
    new Unspeakable(),
    Object.assign(new Error("big"), { body: Buffer.alloc(1024 * 1024) }),
    Object.assign(new Error("odd"), { map: new Map(), symbol: Symbol("s"), self: cycle() }),
    new Error("x".repeat(5_000_000)),
    Object.fromEntries(Array.from({ length: 70_000 }, (_, i) => [`k${i}`, i])),
  ];
  await runAll(thrown.map((value) => () => { throw value; }));
  thrown.forEach((_, i) => {
    const { code, bytes } = failureIn(outcomes().get(`k${i}`));
    assert.equal(code, "HANDLER_ERROR");
    assert.ok(bytes < 300_000, `${bytes} bytes for ${i}`);
  });
  assert.equal(failureIn(outcomes().get("k6")).data.message, "big");
  assert.equal(errors.length, 0);
});

test("a handler that returns a revoked proxy fails like one that throws", async () => {
  await runAll([revoked]);
  assert.equal(failureIn(outcomes().get("k0")).code, "HANDLER_ERROR");
});

test("a failure keeps its code, and its data in words if need be", async () => {
  await runAll([
    () => ({ type: "failure", code: "MINE", data: { cause: new Map(), n: 1 } }),
    () => ({ type: "failure", code: "x".repeat(100_000) }),
    () => ({ type: "failure", code: 7 as unknown as string }),
    () => ({ type: "failure", code: "MINE", data: cycle() }),
    () => ({ type: "failure", code: "MINE", data: revoked() as Record<string, unknown> }),
  ]);
  const { code, data } = failureIn(outcomes().get("k0"));
  assert.deepEqual([code, data], ["MINE", { cause: "[Map] of 0", n: 1 }]);
  assert.ok(failureIn(outcomes().get("k1")).code.length < 300);
  assert.equal(failureIn(outcomes().get("k2")).code, "HANDLER_ERROR");
  assert.equal(failureIn(outcomes().get("k3")).code, "MINE");
  assert.equal(failureIn(outcomes().get("k4")).code, "MINE");
});

test("payloads that announce what is not there end their own attempts only", async () => {
  const bad = ["dd 7fffffff", "dd 07ffffff".repeat(20), "df ffffffff", "c1", "91".repeat(5000)];
  const tasks = bad.map((hex, i) => {
    const payload = serialized(Buffer.from(hex.replaceAll(" ", ""), "hex"));
    return protoTask(`bad${i}`, 1, { payload });
  });
  const before = process.memoryUsage().rss;
  server.handlers.leaseTasks = batches([...tasks, protoTask("good")]);
  await start({});
  await until(() => outcomes().size === bad.length + 1, "all outcomes");
  for (let i = 0; i < bad.length; i++) {
    assert.equal(failureIn(outcomes().get(`bad${i}`)).code, "PAYLOAD_DECODE_ERROR");
  }
  assert.equal(outcomes().get("good").oneofKind, "success");
  assert.ok(process.memoryUsage().rss - before < 200 * 1024 * 1024);
});

test("refresh handlers that return no count or throw oddly are reported as failures", async () => {
  const refreshes = [NaN, -1, 1.5, 2 ** 32, "5", undefined, 5n];
  const odd = [...refreshes.map((value) => () => value), () => { throw revoked(); }];
  const refreshTasks = odd.map((_, i) => ({
    id: `r${i}`,
    queueKey: "q",
    currentMaxConcurrency: 1,
    lastRefreshedAtMs: 0n,
    metadata: {},
    leaseMs: 10000n,
    shard: protoTask("x").shard,
    taskGroup: "group",
  }));
  server.handlers.reportRefreshOutcome = () => ({});
  server.handlers.leaseTasks = batches({ refreshTasks });
  await start({ refreshHandler: async ({ task }) => odd[Number(task.id.slice(1))]() as number });
  await until(() => server.requests("reportRefreshOutcome").length === odd.length);
  for (const { outcome } of server.requests("reportRefreshOutcome")) {
    assert.equal(outcome.failure.code, "REFRESH_HANDLER_ERROR");
  }
  assert.equal(errors.length, 0);
});

for (const [name, fail] of [
  ["throws", () => { throw revoked(); }],
  ["rejects", async () => { throw revoked(); }],
] as [string, () => void][]) {
  test(`an onError that ${name} something odd ends nothing`, async () => {
    let told = 0;
    server.handlers.leaseTasks = batches([protoTask("k1", 1), protoTask("k2", 2)]);
    await start({
      handler: async ({ payload }) => (payload === 1 ? new Map() : "fine"),
      onError: () => {
        told++;
        return fail();
      },
    });
    await until(() => outcomes().size === 2);
    assert.equal(told, 1);
  });
}

test("handlers need not be asynchronous", async () => {
  server.handlers.leaseTasks = batches([protoTask("value", "v"), protoTask("throw", "t")]);
  await start({
    handler: ({ payload }) => {
      if (payload === "t") {
        throw new Error("thrown at once");
      }
      return { got: payload };
    },
  });
  await until(() => outcomes().size === 2, "all outcomes");
  const { success } = outcomes().get("value");
  assert.deepEqual(decodeBytes(bytesOf(success) ?? new Uint8Array(), "result"), { got: "v" });
  assert.equal(failureIn(outcomes().get("throw")).code, "HANDLER_ERROR");
});

test("payloads and results are checked by the schemas of the worker", async () => {
  const tasks = [{ n: 1 }, { n: "one" }, { n: 2 }, { n: 3 }];
  server.handlers.leaseTasks = batches(tasks.map((payload, i) => protoTask(`k${i}`, payload)));
  const seen: unknown[] = [];
  await start({
    payloadSchema: numbered,
    resultSchema: numbered,
    handler: async ({ payload, task }) => {
      seen.push(payload);
      assert.equal(task.payload, payload);
      if (payload.n === 3) {
        return { type: "failure", code: "OWN", retry: false };
      }
      return payload.n === 1 ? payload : "no object";
    },
  });
  await until(() => outcomes().size === tasks.length, "all outcomes");
  assert.deepEqual(seen.slice(0, 1), [{ n: 1, doubled: 2 }], "what the schema makes of it");
  assert.equal(seen.length, 3, "the handler is not called for what the schema refuses");
  assert.equal(outcomes().get("k0").oneofKind, "success");
  const refused = failureIn(outcomes().get("k1"));
  assert.equal(refused.code, "PAYLOAD_INVALID");
  assert.equal(refused.data.issues.length, 2);
  assert.equal(failureIn(outcomes().get("k2")).code, "RESULT_INVALID");
  const bulk = server.requests("reportOutcomes").flatMap((request) => request.outcomes);
  const finals = [...server.requests("reportOutcome"), ...bulk].filter(({ noRetry }) => noRetry);
  assert.deepEqual(
    finals.map(({ taskId }) => taskId).sort(),
    ["k1", "k3"],
    "what would be refused again is not retried, nor what says so",
  );
  assert.deepEqual(errors.map(({ error }) => error.name), [
    "SiloValidationError",
    "SiloValidationError",
  ]);
});

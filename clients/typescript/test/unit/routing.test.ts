import assert from "node:assert/strict";
import { test } from "node:test";
import { context, propagation } from "@opentelemetry/api";
import type { TextMapPropagator } from "@opentelemetry/api";
import { status } from "@grpc/grpc-js";
import {
  AggregationTemporality,
  InMemoryMetricExporter,
  MeterProvider,
  PeriodicExportingMetricReader,
} from "@opentelemetry/sdk-metrics";
import {
  JobNotFoundError,
  SiloClientClosedError,
  SiloGRPCClient,
  SiloResourceExhaustedError,
  SiloUnavailableError,
} from "../../src/index";
import type { SiloGRPCClientOptions } from "../../src/index";
import {
  clusterInfo,
  enqueueEcho,
  FakeServer,
  grpcError,
  OTHER_SHARD,
  SHARD,
} from "../fake-server";
import { closers } from "../support/closers";

async function startServer(handlers = {}): Promise<FakeServer> {
  const server = await FakeServer.start({ enqueue: enqueueEcho, ...handlers });
  closers.push(() => server.stop());
  return server;
}

function makeClient(options: SiloGRPCClientOptions): SiloGRPCClient {
  const client = new SiloGRPCClient({
    ...options,
    shardRouting: { retryDelayMs: 1, ...options.shardRouting },
  });
  closers.push(() => client.close());
  return client;
}

const JOB = { payload: 1, taskGroup: "g" };

// XXH64 of "-" is 7a16..., of "a" d24e...: the first belongs to the lower half of two shards.
const LOWER = undefined;
const UPPER = "a";

test("concurrent first calls load the topology once", async () => {
  const server = await startServer();
  const client = makeClient({ servers: [server.address] });
  assert.deepEqual(client.getTopology(), { shardToServer: new Map(), shards: [] });
  await Promise.all(Array.from({ length: 5 }, () => client.enqueue(JOB)));
  assert.equal(server.requests("getClusterInfo").length, 1);
  assert.equal(server.requests("enqueue").length, 5);
});

test("tenants go to the owners of their shards", async () => {
  const second = await startServer();
  const first = await startServer({
    getClusterInfo: () => clusterInfo([first.address, second.address]),
  });
  const client = makeClient({ servers: first.address });
  await client.enqueue({ ...JOB, tenant: LOWER });
  await client.enqueue({ ...JOB, tenant: UPPER });
  assert.equal(first.requests("enqueue")[0].shard, SHARD);
  assert.equal(second.requests("enqueue")[0].shard, OTHER_SHARD);
  assert.equal(client.getShardForTenant("a"), OTHER_SHARD);
  assert.equal(client.getTopology().shardToServer.get(OTHER_SHARD), second.address);
});

test("getShardForTenant without topology or in a gap", async () => {
  const server = await startServer({
    getClusterInfo: () => ({
      shardOwners: [{ shardId: SHARD, grpcAddr: server.address, rangeStart: "", rangeEnd: "8" }],
    }),
  });
  const client = makeClient({ servers: server.address });
  assert.throws(() => client.getShardForTenant("a"), /Cluster topology not discovered yet/);
  await client.refreshTopology();
  assert.throws(() => client.getShardForTenant("a"), {
    message: 'No shard found for tenant "a". This indicates a topology error.',
  });
});

test("a dead first address is skipped, and dropped", async () => {
  const gone = await startServer();
  gone.stop();
  const server = await startServer();
  const client = makeClient({ servers: [gone.address, server.address] });
  await client.refreshTopology();
  assert.equal(client.getTopology().shards.length, 1);
});

test("no server answers", async () => {
  const gone = await startServer();
  gone.stop();
  const client = makeClient({ servers: gone.address });
  const expected = /Failed to refresh cluster topology from any server: .*ECONNREFUSED/;
  await assert.rejects(client.refreshTopology(), expected);
  const started = Date.now();
  await assert.rejects(client.enqueue(JOB), expected);
  assert.ok(Date.now() - started < 5000, "fails fast");
});

test("an answer without owners keeps the bootstrap channels and is asked for again", async () => {
  const server = await startServer({ getClusterInfo: () => clusterInfo([""]) });
  const client = makeClient({ servers: server.address });
  await assert.rejects(client.enqueue(JOB), /not discovered yet: no server .* a shard open/);
  server.handlers.getClusterInfo = () => clusterInfo([server.address]);
  await client.enqueue(JOB);
});

test("addressMap applies to what servers say", async () => {
  const server = await startServer({
    getClusterInfo: () => clusterInfo(["silo-0.internal:50051"]),
  });
  const client = makeClient({
    servers: server.address,
    addressMap: { "silo-0.internal:50051": server.address },
  });
  await client.enqueue(JOB);
  assert.equal(client.getTopology().shards[0].serverAddr, server.address);
});

test("a redirect is followed without reading the topology, counted, and remembered", async () => {
  const owner = await startServer();
  const wrong = await startServer({
    enqueue: () => {
      throw grpcError(status.NOT_FOUND, "shard not found", {
        "x-silo-shard-owner-addr": "owner.internal:1",
        "x-silo-shard-owner-node": "node-9",
      });
    },
  });
  const exporter = new InMemoryMetricExporter(AggregationTemporality.CUMULATIVE);
  const reader = new PeriodicExportingMetricReader({ exporter, exportIntervalMillis: 60_000 });
  const provider = new MeterProvider({ readers: [reader] });
  const client = makeClient({
    servers: wrong.address,
    addressMap: { "owner.internal:1": owner.address },
    meter: provider.getMeter("test"),
  });
  await client.enqueue(JOB);
  await client.enqueue(JOB);
  assert.equal(wrong.requests("enqueue").length, 1);
  assert.equal(owner.requests("enqueue").length, 2);
  assert.equal(wrong.requests("getClusterInfo").length, 1);
  await reader.forceFlush();
  const [metric] = exporter.getMetrics()[0].scopeMetrics[0].metrics;
  assert.equal(metric.descriptor.name, "silo.client.wrong_shard_retries");
  assert.equal(metric.dataPoints[0].value, 1);
  await provider.shutdown();
});

test("a wrong shard without redirect reads the topology and resolves anew", async () => {
  const server = await startServer();
  let split = false;
  server.handlers.getClusterInfo = () =>
    split ? clusterInfo([server.address], [OTHER_SHARD]) : clusterInfo([server.address]);
  server.handlers.enqueue = (request) => {
    if (request.shard === SHARD) {
      split = true;
      throw grpcError(status.NOT_FOUND, "shard not found");
    }
    return enqueueEcho(request);
  };
  await makeClient({ servers: server.address }).enqueue(JOB);
  assert.deepEqual(
    server.requests("enqueue").map((request) => request.shard),
    [SHARD, OTHER_SHARD],
  );
  const [first, second] = server.requests("enqueue");
  assert.equal(first.startAtMs, second.startAtMs, "a retry sends the same job");
});

test("maxRetries: 2 means three calls, then the mapped error", async () => {
  const server = await startServer({
    enqueue: () => {
      throw grpcError(status.UNAVAILABLE, "shard not ready");
    },
    getJob: () => {
      throw grpcError(status.NOT_FOUND, "shard not found");
    },
  });
  const client = makeClient({ servers: server.address, shardRouting: { maxRetries: 2 } });
  await assert.rejects(client.enqueue(JOB), SiloUnavailableError);
  assert.equal(server.requests("enqueue").length, 3);
  await assert.rejects(client.getJob("j"), JobNotFoundError);
  assert.equal(server.requests("getJob").length, 3);
});

test("what is not retried", async () => {
  const server = await startServer({
    getJob: () => {
      throw grpcError(status.NOT_FOUND, "job not found");
    },
    enqueue: () => {
      throw grpcError(status.INTERNAL, "broken");
    },
  });
  const client = makeClient({ servers: server.address });
  await assert.rejects(client.getJob("j"), JobNotFoundError);
  await assert.rejects(client.enqueue(JOB), /broken/);
  assert.equal(server.requests("getJob").length, 1);
  assert.equal(server.requests("enqueue").length, 1);
});

test("the channel itself retries RESOURCE_EXHAUSTED, five tries in all", async () => {
  const server = await startServer({
    enqueue: () => {
      throw grpcError(status.RESOURCE_EXHAUSTED, "full");
    },
  });
  const client = makeClient({ servers: server.address });
  await assert.rejects(client.enqueue(JOB), SiloResourceExhaustedError);
  assert.equal(server.requests("enqueue").length, 5);
});

test("leaseTasks goes round the servers, or where it is told", async () => {
  const second = await startServer({ leaseTasks: () => ({}) });
  const first = await startServer({
    leaseTasks: () => ({}),
    getClusterInfo: () => clusterInfo([first.address, second.address]),
  });
  const client = makeClient({ servers: first.address });
  await client.refreshTopology();
  const poll = { workerId: "w", maxTasks: 1, taskGroup: "g" };
  for (let i = 0; i < 4; i++) {
    await client.leaseTasks(poll);
  }
  assert.equal(first.requests("leaseTasks").length, 2);
  assert.equal(second.requests("leaseTasks").length, 2);
  await client.leaseTasks(poll, 3);
  assert.equal(second.requests("leaseTasks").length, 3);
  await client.leaseTasks({ ...poll, shard: SHARD, waitMs: 7 });
  const request = first.requests("leaseTasks").at(-1);
  assert.deepEqual([request.shard, request.waitMs], [SHARD, 7]);
  assert.equal(second.requests("leaseTasks")[0].shard, undefined);
});

test("tokens: a string, a function asked for each call, an empty one", async () => {
  const server = await startServer();
  const headers = () => server.calls.map((call) => call.metadata.get("authorization")[0]);
  await makeClient({ servers: server.address, token: "secret" }).enqueue(JOB);
  assert.deepEqual(headers(), ["Bearer secret", "Bearer secret"]);
  server.calls.length = 0;
  let n = 0;
  const client = makeClient({ servers: server.address, token: async () => `t${++n}` });
  await client.enqueue(JOB);
  await client.enqueue(JOB);
  assert.deepEqual(headers(), ["Bearer t1", "Bearer t2", "Bearer t3"]);
  server.calls.length = 0;
  await makeClient({ servers: server.address, token: "" }).enqueue(JOB);
  assert.deepEqual(headers(), [undefined, undefined]);
});

test("rpcOptions go with each call and are not changed", async () => {
  const server = await startServer();
  const options = { meta: { "x-custom": "1" } };
  let asked = 0;
  const client = makeClient({
    servers: server.address,
    token: "secret",
    rpcOptions: () => {
      asked++;
      return options;
    },
  });
  await client.enqueue(JOB);
  assert.equal(asked, 2);
  assert.deepEqual(options, { meta: { "x-custom": "1" } });
  assert.deepEqual(server.calls[1].metadata.get("x-custom"), ["1"]);
});

test("the trace context goes out as metadata", async () => {
  const propagator: TextMapPropagator = {
    inject: (_context, carrier, setter) => setter.set(carrier, "TraceParent", "00-ab-cd-01"),
    extract: () => context.active(),
    fields: () => ["TraceParent"],
  };
  propagation.setGlobalPropagator(propagator);
  closers.push(() => propagation.disable());
  const server = await startServer();
  await makeClient({ servers: server.address }).enqueue(JOB);
  assert.deepEqual(server.calls[1].metadata.get("traceparent"), ["00-ab-cd-01"]);
});

test("close may be called twice; later calls fail", async () => {
  const server = await startServer();
  const client = makeClient({ servers: server.address });
  await client.enqueue(JOB);
  client.close();
  client.close();
  await assert.rejects(client.enqueue(JOB), SiloClientClosedError);
  await assert.rejects(client.refreshTopology(), SiloClientClosedError);
});

test("useTls: true does not speak plaintext", async () => {
  const server = await startServer();
  const client = makeClient({ servers: server.address, useTls: true });
  await assert.rejects(client.refreshTopology(), { code: "SILO_TLS" });
  assert.equal(server.calls.length, 0);
});

// Calls of a client while shards move between nodes.
import assert from "node:assert/strict";
import { test } from "node:test";
import { status } from "@grpc/grpc-js";
import { JobStatus as ProtoStatus, GetClusterInfoResponse } from "../../src/gen/silo";
import { JobStatus, SiloGRPCClient, SiloUnavailableError } from "../../src/index";
import type { SiloGRPCClientOptions } from "../../src/index";
import { Topology } from "../../src/connection/topology";
import { serialize } from "../../src/wire/codec";
import { enqueueEcho, grpcError, OTHER_SHARD, protoTask, SHARD, until } from "../fake-server";
import type { Handler } from "../fake-server";
import { closers } from "../support/closers";
import { FakeCluster } from "../support/fake-cluster";
import { SlowLink } from "../support/slow-link";

const JOB = { payload: 1, taskGroup: "g" };

/** Waits between tries that no test lives to see the end of. */
const NEVER_MS = 60_000;

const ok = () => ({});
const HANDLERS: Record<string, Handler> = {
  enqueue: enqueueEcho,
  enqueueMany: ({ jobs }) => ({ results: jobs.map(({ id }: { id: string }) => ({ id })) }),
  importJobs: ({ jobs }) => ({
    results: jobs.map(({ id }: { id: string }) => ({ id, success: true, status: 1 })),
  }),
  getJob: ({ id }) => ({ id, status: ProtoStatus.SCHEDULED, payload: serialize(1) }),
  getJobResult: ({ id }) => ({ id, status: ProtoStatus.CANCELLED }),
  deleteJob: ok,
  cancelJob: ok,
  restartJob: ok,
  expediteJob: ok,
  leaseTask: () => ({ task: protoTask("k") }),
  leaseTasks: ok,
  reportOutcome: ok,
  reportOutcomes: ({ outcomes }) => ({ results: outcomes.map(ok) }),
  returnTasks: ({ tasks }) => ({ results: tasks.map(ok) }),
  reportRefreshOutcome: ok,
  heartbeat: ok,
  awaitCancellations: ok,
  query: ok,
};

async function startCluster(count: number, handlers = {}): Promise<FakeCluster> {
  const cluster = await FakeCluster.start(count, { ...HANDLERS, ...handlers });
  closers.push(() => cluster.stop());
  return cluster;
}

function makeClient(
  cluster: FakeCluster,
  shardRouting: SiloGRPCClientOptions["shardRouting"] = {},
): SiloGRPCClient {
  const client = new SiloGRPCClient({
    servers: cluster.addresses,
    shardRouting: { retryDelayMs: NEVER_MS, ...shardRouting },
  });
  closers.push(() => client.close());
  return client;
}

type Call = (client: SiloGRPCClient) => Promise<unknown>;

const outcome = (taskId: string) =>
  ({ taskId, shard: SHARD, outcome: { type: "success", result: 1 } }) as const;

const CALLS: Record<string, Call> = {
  enqueue: (client) => client.enqueue(JOB),
  enqueueMany: (client) => client.enqueueMany([JOB, JOB]),
  importJobs: (client) => client.importJobs([{ ...JOB, id: "j" }]),
  getJob: (client) => client.getJob("j"),
  getJobResult: (client) => client.handle("j").awaitResult(),
  deleteJob: (client) => client.deleteJob("j"),
  cancelJob: (client) => client.cancelJob("j"),
  restartJob: (client) => client.restartJob("j"),
  expediteJob: (client) => client.expediteJob("j"),
  leaseTask: (client) => client.leaseTask({ id: "j", workerId: "w" }),
  leaseTasks: (client) =>
    client.leaseTasks({ workerId: "w", maxTasks: 1, taskGroup: "g", shard: SHARD }),
  reportOutcome: (client) => client.reportOutcome(outcome("k")),
  reportOutcomes: (client) => client.reportOutcomes([outcome("k1"), outcome("k2")]),
  returnTasks: (client) =>
    client.returnTasks({ workerId: "w", shard: SHARD, tasks: [{ taskId: "k" }] }),
  reportRefreshOutcome: (client) =>
    client.reportRefreshOutcome({
      taskId: "k",
      shard: SHARD,
      outcome: { type: "success", newMaxConcurrency: 1 },
    }),
  heartbeat: (client) => client.heartbeat("w", "k", SHARD),
  awaitCancellations: (client) =>
    client.awaitCancellations({ workerId: "w", shard: SHARD, waitMs: 10 }),
  query: (client) => client.query("select 1"),
};

test("each kind of call goes on over a move that happens while it is under way", async () => {
  const cluster = await startCluster(2);
  const [first, second] = cluster.nodes;
  const client = makeClient(cluster);
  await client.refreshTopology();
  for (const [method, call] of Object.entries(CALLS)) {
    cluster.move(SHARD, first);
    await client.refreshTopology();
    const { [method]: handler } = first.handlers;
    first.handlers[method] = (request, metadata) => {
      cluster.move(SHARD, second);
      return handler(request, metadata);
    };
    const before = second.requests(method).length;
    await call(client);
    assert.equal(second.requests(method).length, before + 1, `${method} at the new owner`);
    assert.equal(client.getTopology().shardToServer.get(SHARD), second.address);
    first.handlers[method] = handler;
  }
});

test("a chain of redirects is followed without a wait", async () => {
  const cluster = await startCluster(3);
  const [first, second, third] = cluster.nodes;
  const client = makeClient(cluster);
  await client.refreshTopology();
  cluster.move(SHARD, third);
  first.handlers.enqueue = () => {
    throw grpcError(status.NOT_FOUND, "shard not found", {
      "x-silo-shard-owner-addr": second.address,
    });
  };
  await client.enqueue(JOB);
  assert.deepEqual(
    cluster.nodes.map((node) => node.requests("enqueue").length),
    [1, 1, 1],
  );
  await client.enqueue(JOB);
  assert.equal(third.requests("enqueue").length, 2, "the owner is remembered");
  assert.equal(cluster.calls("getClusterInfo"), 1);
});

test("nodes that send a call to one another are not asked in circles", async () => {
  const cluster = await startCluster(2);
  const [first, second] = cluster.nodes;
  const pointTo = (node: { address: string }) => () => {
    throw grpcError(status.NOT_FOUND, "shard not found", {
      "x-silo-shard-owner-addr": node.address,
    });
  };
  first.handlers.getJob = pointTo(second);
  second.handlers.getJob = pointTo(first);
  const client = makeClient(cluster, { maxRetries: 3, retryDelayMs: 40 });
  const started = performance.now();
  await assert.rejects(client.getJob("j"));
  assert.equal(cluster.calls("getJob"), 4);
  // Two waits, each shortened by half at most.
  assert.ok(performance.now() - started >= 20, "it waits before it goes round again");
  assert.ok(cluster.calls("getClusterInfo") >= 2, "and reads the topology");
});

test("a chain of redirects that does not end is given up for a while", async () => {
  const cluster = await startCluster(8);
  const client = makeClient(cluster);
  await client.refreshTopology();
  cluster.nodes.forEach((node, i) => {
    node.handlers.getJob = () => {
      throw grpcError(status.NOT_FOUND, "shard not found", {
        "x-silo-shard-owner-addr": cluster.nodes[(i + 1) % 8].address,
      });
    };
  });
  const call = client.getJob("j", undefined, { timeoutMs: 500 });
  await assert.rejects(call, { code: "SILO_DEADLINE_EXCEEDED" });
  assert.equal(cluster.calls("getJob"), 5, "four redirects, then a wait");
});

test("a node that gives a shard up says whom to ask, and when", async () => {
  const cluster = await startCluster(2);
  const [first, second] = cluster.nodes;
  const client = makeClient(cluster);
  await client.refreshTopology();
  first.handlers.enqueue = () => {
    cluster.move(SHARD, second);
    throw grpcError(status.UNAVAILABLE, "shard not ready: acquisition in progress", {
      "x-silo-shard-owner-addr": second.address,
      "x-silo-retry-after-ms": "50",
    });
  };
  const started = performance.now();
  await client.enqueue(JOB);
  assert.ok(performance.now() - started >= 49, "as long as it was asked to");
  assert.equal(second.requests("enqueue").length, 1);
  assert.equal(cluster.calls("getClusterInfo"), 1);
});

test("waits that a server asks for use up no retries, but the time of the call", async () => {
  const notYet = () => {
    throw grpcError(status.UNAVAILABLE, "shard not ready", { "x-silo-retry-after-ms": "1" });
  };
  let tries = 0;
  const cluster = await startCluster(1, {
    enqueue: (request: any) => (++tries <= 20 ? notYet() : enqueueEcho(request)),
    getJob: notYet,
    deleteJob: notYet,
  });
  const client = makeClient(cluster, { retryDelayMs: 1 });
  await client.enqueue(JOB);
  const read = client.getJob("j", undefined, { timeoutMs: 200 });
  await assert.rejects(read, { code: "SILO_DEADLINE_EXCEEDED" });
  const impatient = makeClient(cluster, { maxRetries: 2 });
  await assert.rejects(impatient.deleteJob("j"), SiloUnavailableError);
  assert.equal(cluster.calls("deleteJob"), 3);
});

test("an owner without an address is never dialled", async () => {
  let isThere = false;
  const cluster = await startCluster(1, {
    enqueue: (request: any) => {
      if (!isThere) {
        isThere = true;
        throw grpcError(status.NOT_FOUND, "shard not found", { "x-silo-shard-owner-addr": "" });
      }
      return enqueueEcho(request);
    },
  });
  const client = makeClient(cluster, { retryDelayMs: 1 });
  cluster.move(OTHER_SHARD, undefined);
  await client.enqueue(JOB);
  assert.deepEqual([...client.getTopology().shardToServer], [[SHARD, cluster.addresses[0]]]);
});

test("a call that waits for its next try goes as soon as the shard has an owner", async () => {
  const cluster = await startCluster(2);
  const [, second] = cluster.nodes;
  const client = makeClient(cluster);
  await client.refreshTopology();
  cluster.move(SHARD, undefined);
  const call = client.enqueue(JOB);
  await until(() => cluster.nodes.some((node) => node.watchers.size > 0), "a watch");
  cluster.move(SHARD, second);
  await cluster.tell();
  await call;
  assert.equal(second.requests("enqueue").length, 1);
  await until(() => cluster.nodes.every((node) => node.watchers.size === 0), "the watch's end");
});

test("a call to a node that hangs is sent again when that node has left the cluster", async () => {
  const cluster = await startCluster(3);
  const [first, second] = cluster.nodes;
  const client = makeClient(cluster);
  await client.refreshTopology();
  first.handlers.enqueue = () => new Promise(() => undefined);
  first.handlers.getClusterInfo = () => new Promise(() => undefined);
  first.isWatchable = false;
  const call = client.enqueue(JOB);
  await until(() => second.watchers.size > 0, "a watch");
  cluster.members.delete(first);
  cluster.move(SHARD, second);
  cluster.move(OTHER_SHARD, second);
  await cluster.tell();
  await call;
  assert.equal(second.requests("enqueue").length, 1);
});

test("a server that hangs keeps nobody from learning the topology of another", async () => {
  const cluster = await startCluster(2);
  const [first, second] = cluster.nodes;
  first.handlers.getClusterInfo = () => new Promise(() => undefined);
  cluster.move(SHARD, second);
  const client = makeClient(cluster);
  await client.enqueue(JOB);
  assert.equal(second.requests("enqueue").length, 1);
});

test("jobs of one call that were refused because their shard has moved are sent again", async () => {
  const cluster = await startCluster(1);
  const [node] = cluster.nodes;
  const { enqueueMany, importJobs } = node.handlers;
  node.handlers.enqueueMany = ({ jobs }) => ({
    results: jobs.map(({ id }: { id: string }, i: number) =>
      i === 0 ? { id } : { code: status.UNAVAILABLE, message: "shard not ready" },
    ),
  });
  const client = makeClient(cluster, { retryDelayMs: 1 });
  const stored = await client.enqueueMany([{ ...JOB, id: "a" }, { ...JOB, id: "b" }]);
  assert.deepEqual(stored, [{ id: "a" }, { id: "b" }]);
  assert.deepEqual(node.requests("enqueue").map(({ id }) => id), ["b"]);
  node.handlers.enqueueMany = enqueueMany;
  node.handlers.importJobs = ({ jobs }) => {
    node.handlers.importJobs = importJobs;
    const [first, ...others] = jobs.map(({ id }: { id: string }) => ({ id, success: true }));
    const refused = others.map(({ id }: { id: string }) => ({ id, error: "shard not found" }));
    return { results: [{ ...first, status: ProtoStatus.SCHEDULED }, ...refused] };
  };
  const imported = await client.importJobs(["a", "b"].map((id) => ({ ...JOB, id })));
  assert.deepEqual(imported.map(({ success }) => success), [true, true]);
  const sent = node.requests("importJobs").map(({ jobs }) => jobs.map((job: any) => job.id));
  assert.deepEqual(sent, [["a", "b"], ["b"]]);
});

test("awaits go on over the death of the node they waited at", async () => {
  const cluster = await startCluster(2);
  const [first, second] = cluster.nodes;
  const link = await SlowLink.to(first.address);
  closers.push(() => link.close());
  const client = new SiloGRPCClient({
    servers: second.address,
    addressMap: { [first.address]: link.address },
    shardRouting: { retryDelayMs: 20 },
  });
  closers.push(() => client.close());
  let isWaiting = false;
  first.handlers.getJobResult = () => {
    isWaiting = true;
    return new Promise(() => undefined);
  };
  const result = client.handle("j").awaitResult();
  await until(() => isWaiting, "the wait");
  cluster.members.delete(first);
  cluster.move(SHARD, second);
  link.close();
  assert.equal((await result).status, JobStatus.Cancelled);
});

test("an older answer of the same server replaces no newer one", () => {
  const topology = new Topology();
  let changes = 0;
  topology.changes.listen(() => changes++);
  const answer = (life: bigint, version: bigint, grpcAddr: string) =>
    GetClusterInfoResponse.create({
      life,
      version,
      shardOwners: [{ shardId: SHARD, grpcAddr, nodeId: "n", rangeStart: "", rangeEnd: "" }],
    });
  const take = (...of: Parameters<typeof answer>) =>
    topology.replace(answer(...of), (address) => address);
  assert.equal(take(7n, 2n, "b:1"), true);
  assert.equal(take(7n, 1n, "a:1"), false);
  assert.equal(topology.addressOf(SHARD), "b:1");
  assert.equal(take(7n, 3n, "b:1"), true);
  assert.equal(changes, 1, "nothing has changed by that");
  assert.equal(take(8n, 1n, "c:1"), true, "another life, or another server");
  assert.equal(take(0n, 0n, "d:1"), true, "a server that tells no versions");
  assert.equal(changes, 3);
});

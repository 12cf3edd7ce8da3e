// A worker while nodes come and go, and shards move between them.
import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { status } from "@grpc/grpc-js";
import { SiloGRPCClient, SiloWorker } from "../../src/index";
import type { SiloWorkerOptions } from "../../src/index";
import { PollShares } from "../../src/worker/poll-shares";
import { grpcError, OTHER_SHARD, protoTask, SHARD, until } from "../fake-server";
import type { FakeServer, Handler } from "../fake-server";
import { closers } from "../support/closers";
import { FakeCluster } from "../support/fake-cluster";

/** Polls that no test lives to see the end of. */
const LONG_MS = 60_000;

/** What each node has to hand out, and who waits there. */
class Queues {
  private readonly tasks = new Map<FakeServer, string[]>();
  private readonly wakers = new Map<FakeServer, (() => void)[]>();

  /** A handler of LeaseTasks that holds a poll until there is a task. */
  readonly lease = (node: FakeServer): Handler => {
    return async ({ maxTasks, waitMs }: { maxTasks: number; waitMs: number }) => {
      const due = performance.now() + waitMs;
      while (this.of(node).length === 0 && performance.now() < due) {
        await new Promise<void>((resolve) => {
          const timer = setTimeout(resolve, due - performance.now()).unref();
          const wake = () => {
            clearTimeout(timer);
            resolve();
          };
          this.wakers.set(node, [...(this.wakers.get(node) ?? []), wake]);
        });
      }
      return { tasks: this.of(node).splice(0, maxTasks).map((id) => protoTask(id)) };
    };
  };

  add(node: FakeServer, ...ids: string[]): void {
    this.of(node).push(...ids);
    this.wake(node);
  }

  /** Ends the polls that wait at a node, as one that stops does. */
  wake(node: FakeServer): void {
    const wakers = this.wakers.get(node) ?? [];
    this.wakers.set(node, []);
    wakers.forEach((wake) => wake());
  }

  of(node: FakeServer): string[] {
    const list = this.tasks.get(node) ?? [];
    this.tasks.set(node, list);
    return list;
  }
}

let queues: Queues;
let errors: Error[];
let ran: string[];
beforeEach(() => {
  queues = new Queues();
  errors = [];
  ran = [];
});

async function startCluster(count: number, handlers = {}): Promise<FakeCluster> {
  const cluster = await FakeCluster.start(count, {
    reportOutcome: () => ({}),
    reportOutcomes: ({ outcomes }: { outcomes: object[] }) => ({
      results: outcomes.map(() => ({})),
    }),
    returnTasks: function (this: FakeServer, { tasks }: { tasks: { taskId: string }[] }) {
      queues.add(this, ...tasks.map(({ taskId }) => taskId));
      return { results: tasks.map(() => ({})) };
    },
    heartbeat: () => ({}),
    ...handlers,
  });
  closers.push(() => cluster.stop());
  cluster.nodes.forEach((node) => (node.handlers.leaseTasks = queues.lease(node)));
  return cluster;
}

async function startWorker(
  cluster: FakeCluster,
  options: Partial<SiloWorkerOptions> = {},
): Promise<SiloWorker> {
  const client = new SiloGRPCClient({
    servers: cluster.addresses[0],
    shardRouting: { retryDelayMs: 20, topologyRefreshIntervalMs: 0 },
  });
  // A worker of an earlier test may still say that its client was closed.
  const told = errors;
  const worker = new SiloWorker({
    client,
    workerId: "w",
    taskGroup: "group",
    pollIntervalMs: LONG_MS,
    handler: ({ id }) => {
      ran.push(id);
      return Promise.resolve();
    },
    onError: (error) => told.push(error),
    ...options,
  });
  closers.push(() => {
    void worker.stop(0);
    client.close();
  });
  await worker.start();
  return worker;
}

/** Handlers that run until they are let go. */
function heldHandler() {
  const free: (() => void)[] = [];
  const handler = ({ id }: { id: string }) => {
    ran.push(id);
    return new Promise<void>((resolve) => free.push(resolve));
  };
  return { handler, letGo: () => free.splice(0).forEach((resolve) => resolve()) };
}

const polls = (node: FakeServer) => node.requests("leaseTasks").length;

test("a worker polls all nodes, a new one as soon as it is known, and none that has left", async () => {
  const cluster = await startCluster(2);
  const [first, second] = cluster.nodes;
  cluster.move(OTHER_SHARD, second);
  await startWorker(cluster);
  await until(() => polls(first) > 0 && polls(second) > 0, "polls at both nodes");
  await until(() => first.watchers.size > 0, "a watch");
  const third = await cluster.addNode({ reportOutcome: () => ({}) });
  third.handlers.leaseTasks = queues.lease(third);
  cluster.move(OTHER_SHARD, third);
  await cluster.tell();
  await until(() => polls(third) > 0, "a poll at the new node, while the others wait");
  const before = polls(second);
  cluster.members.delete(second);
  await cluster.tell();
  queues.wake(second);
  queues.add(third, "k");
  await until(() => ran.length === 1, "the new node's task");
  second.stop();
  queues.add(first, "l");
  await until(() => ran.length === 2, "the first node's task");
  assert.equal(polls(second), before, "no more polls at a node that has left");
  assert.deepEqual(errors, []);
});

test("slots go to the node that has work", async () => {
  const cluster = await startCluster(3);
  const [first, second, third] = cluster.nodes;
  // Three nodes with two shards: the third is known as an owner by a redirect.
  cluster.owners.set(SHARD, first);
  cluster.owners.set(OTHER_SHARD, second);
  const held = heldHandler();
  await startWorker(cluster, { maxConcurrentTasks: 6, handler: held.handler });
  await until(() => polls(first) > 0 && polls(second) > 0, "polls at both nodes");
  queues.add(first, ...Array.from({ length: 9 }, (_, i) => `a${i}`));
  await until(() => ran.length === 6, "all slots with the tasks of one node");
  assert.equal(polls(second), 1, "the other's poll still waits");
  assert.equal(polls(third), 0);
  held.letGo();
  await until(() => ran.length === 9, "the rest");
  held.letGo();
});

test("no node starves: of two that have work each gets its part", async () => {
  const cluster = await startCluster(2);
  const [first, second] = cluster.nodes;
  cluster.move(OTHER_SHARD, second);
  const many = (letter: string) => Array.from({ length: 60 }, (_, i) => `${letter}${i}`);
  queues.add(first, ...many("a"));
  queues.add(second, ...many("b"));
  await startWorker(cluster, { maxConcurrentTasks: 4 });
  await until(() => ran.length >= 60, "half of the tasks");
  const ofSecond = ran.slice(0, 60).filter((id) => id.startsWith("b")).length;
  assert.ok(ofSecond >= 15 && ofSecond <= 45, `${ofSecond} of 60 are the second node's`);
  await until(() => ran.length === 120, "all");
  assert.equal(new Set(ran).size, 120);
  assert.deepEqual(errors, []);
});

test("what waiting polls bring beyond the free slots is given back, and runs later", async () => {
  const cluster = await startCluster(2);
  const [first, second] = cluster.nodes;
  cluster.move(OTHER_SHARD, second);
  const held = heldHandler();
  const worker = await startWorker(cluster, { maxConcurrentTasks: 1, handler: held.handler });
  await until(() => polls(first) > 0 && polls(second) > 0, "polls at both nodes");
  queues.add(first, "a");
  await until(() => ran.length === 1, "the first task");
  queues.add(second, "b");
  // protoTask names the first shard, whoever hands it out.
  await until(() => cluster.calls("returnTasks") > 0, "the return of the second");
  assert.deepEqual(ran, ["a"]);
  assert.equal(worker.queuedTasks, 0);
  held.letGo();
  await until(() => ran.length === 2, "the second task");
  assert.deepEqual(ran, ["a", "b"]);
  held.letGo();
  assert.deepEqual(errors, []);
});

test("a node that stops: its polls and tasks go on elsewhere, and nobody hears an error", async () => {
  const cluster = await startCluster(2);
  const [first, second] = cluster.nodes;
  const held = heldHandler();
  const worker = await startWorker(cluster, {
    handler: held.handler,
    heartbeatIntervalMs: 20,
  });
  await until(() => polls(first) > 0 && first.watchers.size > 0, "a poll, and a watch");
  queues.add(first, "k");
  await until(() => ran.length === 1, "the task");
  cluster.move(SHARD, second);
  cluster.move(OTHER_SHARD, second);
  await cluster.tell();
  queues.wake(first);
  await until(() => second.requests("heartbeat").length > 0, "heartbeats at the new owner");
  cluster.members.delete(first);
  first.stop();
  await cluster.tell();
  held.letGo();
  await until(() => second.requests("reportOutcome").length > 0, "the report");
  queues.add(second, "l");
  await until(() => ran.length === 2, "the next task");
  held.letGo();
  await worker.stop();
  assert.deepEqual(ran, ["k", "l"]);
  assert.equal(cluster.calls("reportOutcome"), 2);
  assert.deepEqual(errors, []);
});

test("a node that dies during a report: its shard's next owner hears it", async () => {
  const cluster = await startCluster(2);
  const [first, second] = cluster.nodes;
  first.handlers.reportOutcome = () => new Promise(() => undefined);
  cluster.move(OTHER_SHARD, second);
  await startWorker(cluster);
  await until(() => polls(first) > 0 && second.watchers.size > 0, "a poll, and a watch");
  queues.add(first, "k");
  await until(() => first.requests("reportOutcome").length > 0, "the report");
  // The process stands still: no connection ends.
  cluster.members.delete(first);
  cluster.move(SHARD, undefined);
  await cluster.tell();
  await until(() => second.requests("reportOutcome").length > 0, "the report at the other node");
  cluster.move(SHARD, second);
  await cluster.tell();
  await until(() => second.requests("reportOutcome").length > 1, "the report at the new owner");
  assert.deepEqual(ran, ["k"]);
  assert.deepEqual(errors, []);
});

test("servers that know no WatchTopology: redirects and readings have to do", async () => {
  const cluster = await startCluster(2);
  const [first, second] = cluster.nodes;
  cluster.nodes.forEach((node) => (node.isWatchable = false));
  const held = heldHandler();
  await startWorker(cluster, {
    handler: held.handler,
    heartbeatIntervalMs: 20,
    pollIntervalMs: 20,
  });
  const watches = () => cluster.calls("watchTopology");
  await until(() => watches() > 0 && polls(first) > 0, "a try to watch, and a poll");
  queues.add(first, "k");
  await until(() => ran.length === 1, "the task");
  cluster.move(SHARD, second);
  await until(() => second.requests("heartbeat").length > 0, "heartbeats that were redirected");
  await until(() => polls(second) > 0, "polls at the node that the redirect named");
  held.letGo();
  await until(() => second.requests("reportOutcome").length > 0, "the report");
  assert.ok(watches() <= 2, "each server was asked once");
  assert.deepEqual(errors, []);
});

test("a watch that breaks is begun again, at another server if need be", async () => {
  const cluster = await startCluster(3);
  const [first, second, third] = cluster.nodes;
  cluster.move(OTHER_SHARD, second);
  await startWorker(cluster);
  await until(() => first.watchers.size > 0 && second.watchers.size > 0, "two watches");
  for (const call of first.watchers) {
    first.watchers.delete(call);
    call.emit("error", grpcError(status.UNAVAILABLE, "the node is shutting down"));
  }
  await until(() => first.watchers.size > 0, "a watch again");
  cluster.move(OTHER_SHARD, third);
  await cluster.tell();
  await until(() => polls(third) > 0, "a poll at the new owner");
  assert.deepEqual(errors, []);
});

test("what is free is shared by the servers that gave something", () => {
  const shares = new PollShares();
  const servers = ["a", "b", "c"];
  const most = { tasks: 100, waitMs: 1000 };
  const of = (server: string, free: number, of = servers) => shares.of(server, of, free, most);
  assert.deepEqual(of("a", 10, ["a"]), { tasks: 10, waitMs: 1000, isFirm: true });
  assert.deepEqual(of("a", 10), { tasks: 1, waitMs: 1000, isFirm: false });
  shares.answered("a", 1);
  const { waitMs, ...ask } = of("a", 10);
  assert.deepEqual(ask, { tasks: 10, isFirm: true });
  assert.ok(waitMs < 1000, "it waits for a moment only");
  assert.equal(of("b", 10).isFirm, false);
  shares.answered("b", 3);
  assert.equal(of("a", 9).tasks, 5);
  assert.equal(shares.of("a", servers, 9, { tasks: 2, waitMs: 0 }).tasks, 2, "no more than asked");
  shares.keepOnly(["b", "c"]);
  assert.equal(of("a", 9).isFirm, false);
  shares.answered("b", 0);
  assert.equal(of("b", 9).isFirm, false);
});

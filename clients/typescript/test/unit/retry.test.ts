// Calls while servers are away, restart, or have not taken their shards yet.
import assert from "node:assert/strict";
import { test } from "node:test";
import { status } from "@grpc/grpc-js";
import { JobStatus as ProtoStatus } from "../../src/gen/silo";
import {
  JobAlreadyExistsError,
  JobStatus,
  SiloDeadlineExceededError,
  SiloGRPCClient,
  SiloUnauthenticatedError,
  SiloUnavailableError,
} from "../../src/index";
import type { SiloGRPCClientOptions } from "../../src/index";
import { clusterInfo, enqueueEcho, FakeServer, grpcError, until } from "../fake-server";
import { closers } from "../support/closers";
import { SlowLink } from "../support/slow-link";

const finished = () => ({ id: "j", status: ProtoStatus.CANCELLED });

async function startServer(handlers = {}, port = 0): Promise<FakeServer> {
  const all = { enqueue: enqueueEcho, getJobResult: finished, ...handlers };
  const server = await FakeServer.start(all, port);
  closers.push(() => server.stop());
  return server;
}

function makeClient(options: SiloGRPCClientOptions): SiloGRPCClient {
  const client = new SiloGRPCClient(options);
  closers.push(() => client.close());
  return client;
}

const JOB = { payload: 1, taskGroup: "g" };

const unavailable = () => {
  throw grpcError(status.UNAVAILABLE, "shard not ready");
};

/** A handler of Enqueue that lets the first tries of each job fail. */
function afterTries(failing: number, then: (request: { id: string }) => unknown) {
  const tries = new Map<string, number>();
  return (request: { id: string }) => {
    const before = tries.get(request.id) ?? 0;
    tries.set(request.id, before + 1);
    return before < failing ? unavailable() : then(request);
  };
}

/** The port of a server that was there and is away now. */
async function portOfAway(): Promise<number> {
  const server = await FakeServer.start();
  server.stop();
  return Number(server.address.split(":")[1]);
}

test("calls last out a server's restart", async () => {
  const first = await startServer();
  const client = makeClient({ servers: first.address });
  const handle = await client.enqueue(JOB);
  first.stop();
  const calls = Array.from({ length: 20 }, () => client.enqueue(JOB));
  const result = handle.awaitResult();
  await new Promise((resolve) => setTimeout(resolve, 300));
  const second = await startServer({}, Number(first.address.split(":")[1]));
  await Promise.all(calls);
  assert.equal((await result).status, JobStatus.Cancelled);
  assert.equal(second.requests("enqueue").length, 20);
});

test("a server that is away when the client begins is waited for", async () => {
  const port = await portOfAway();
  const client = makeClient({ servers: `127.0.0.1:${port}` });
  const call = client.enqueue(JOB);
  await new Promise((resolve) => setTimeout(resolve, 300));
  await startServer({}, port);
  await call;
});

test("a shard without an owner is waited for", async () => {
  const server = await startServer({ getClusterInfo: () => clusterInfo([""]) });
  const client = makeClient({ servers: server.address, shardRouting: { retryDelayMs: 5 } });
  const call = client.enqueue(JOB);
  await until(() => server.requests("getClusterInfo").length > 1, "a second look");
  server.handlers.getClusterInfo = () => clusterInfo([server.address]);
  await call;
});

test("a server that did not tell where the shards are is asked last", async () => {
  const second = await startServer();
  const first = await startServer();
  const both = () => clusterInfo([first.address, second.address]);
  first.handlers.getClusterInfo = both;
  second.handlers.getClusterInfo = both;
  const shardRouting = { topologyRefreshTimeoutMs: 300 };
  const client = makeClient({ servers: first.address, shardRouting });
  await client.refreshTopology();
  first.handlers.getClusterInfo = () => new Promise(() => undefined);
  const asked = () => first.requests("getClusterInfo").length;
  await client.refreshTopology();
  assert.equal(asked(), 2);
  await client.refreshTopology();
  assert.equal(asked(), 2, "not waited for again");
  second.handlers.getClusterInfo = unavailable;
  first.handlers.getClusterInfo = both;
  await client.refreshTopology();
  assert.equal(asked(), 3, "but asked when the others do not know");
});

test("many calls that fail share their looks at the topology", async () => {
  const enqueue = afterTries(3, ({ id }) => ({ id }));
  const server = await startServer({ enqueue });
  const client = makeClient({ servers: server.address, shardRouting: { retryDelayMs: 100 } });
  const started = performance.now();
  const calls = Array.from({ length: 300 }, () => client.enqueue(JOB));
  await Promise.all(calls);
  const looks = server.requests("getClusterInfo").length;
  const most = 2 + Math.ceil((performance.now() - started) / 100);
  assert.ok(looks >= 2 && looks <= most, `${looks} looks, not more than ${most}`);
});

test("one refresh at a time, whoever asks", async () => {
  const server = await startServer({
    getClusterInfo: async () => {
      await new Promise((resolve) => setTimeout(resolve, 20));
      return clusterInfo([server.address]);
    },
  });
  const client = makeClient({ servers: server.address });
  await Promise.all([client.refreshTopology(), client.refreshTopology(), client.enqueue(JOB)]);
  assert.equal(server.requests("getClusterInfo").length, 1);
});

test("tries of calls that failed together are not sent together", async () => {
  const times: number[] = [];
  const enqueue = afterTries(1, ({ id }) => {
    times.push(performance.now());
    return { id };
  });
  const server = await startServer({ enqueue });
  const shardRouting = { retryDelayMs: 400, maxRetries: 1 };
  const client = makeClient({ servers: server.address, shardRouting });
  await Promise.all(Array.from({ length: 40 }, () => client.enqueue(JOB)));
  assert.ok(Math.max(...times) - Math.min(...times) > 50, "the waits differ");
});

test("a call with a deadline is tried until then, whatever the default of retries", async () => {
  const server = await startServer({ enqueue: unavailable, getJob: unavailable });
  const shardRouting = { retryDelayMs: 1 };
  const client = makeClient({
    servers: server.address,
    shardRouting,
    rpcOptions: { timeout: 2500 },
  });
  const started = performance.now();
  await assert.rejects(client.enqueue(JOB), (error) => {
    assert.ok(error instanceof SiloDeadlineExceededError);
    assert.match(error.message, /shard not ready/);
    return true;
  });
  assert.ok(performance.now() - started >= 2490);
  assert.ok(server.requests("enqueue").length > 9, "more tries than without a deadline");
  const other = makeClient({ servers: server.address, shardRouting });
  const limits = { timeoutMs: 2500 };
  await assert.rejects(other.getJob("j", undefined, limits), SiloDeadlineExceededError);
  assert.ok(server.requests("getJob").length > 9);
});

test("a deadline is one for all tries, and ends the wait for the topology", async () => {
  const hung = () => new Promise(() => undefined);
  const server = await startServer({ getClusterInfo: hung });
  const client = makeClient({ servers: server.address });
  const started = performance.now();
  await assert.rejects(client.enqueue(JOB, { timeoutMs: 100 }), SiloDeadlineExceededError);
  assert.ok(performance.now() - started < 5000);
});

test("a deadline ends the wait for a token", async () => {
  const server = await startServer();
  const token = () => new Promise<string>(() => undefined);
  const client = makeClient({ servers: server.address, token });
  await assert.rejects(client.enqueue(JOB, { timeoutMs: 100 }), SiloDeadlineExceededError);
  const shard = { shard: "s", workerId: "w", taskGroup: "g", maxTasks: 1, timeoutMs: 100 };
  await assert.rejects(client.leaseTasks(shard), SiloDeadlineExceededError);
  assert.equal(server.calls.length, 0);
});

test("awaitResult waits out its own time while servers are away", async () => {
  const client = makeClient({ servers: `127.0.0.1:${await portOfAway()}` });
  const started = performance.now();
  await assert.rejects(client.handle("j").awaitResult({ timeoutMs: 400 }), (error) => {
    assert.match((error as Error).message, /Timeout waiting for job j to complete after 400ms/);
    assert.ok((error as Error).cause instanceof SiloDeadlineExceededError);
    return true;
  });
  assert.ok(performance.now() - started >= 390);
});

test("awaitResult goes on when the deadline of single calls is shorter", async () => {
  let polls = 0;
  const server = await startServer({
    getJobResult: () => (++polls < 3 ? new Promise(() => undefined) : finished()),
  });
  const client = makeClient({ servers: server.address, rpcOptions: { timeout: 60 } });
  const result = await client.handle("j").awaitResult({ pollIntervalMs: 1 });
  assert.equal(result.status, JobStatus.Cancelled);
});

test("an abort ends a call in flight and one that waits for its next try", async () => {
  const hung = () => new Promise(() => undefined);
  const server = await startServer({ enqueue: unavailable, leaseTasks: hung });
  const client = makeClient({ servers: server.address, shardRouting: { retryDelayMs: 60_000 } });
  const waiting = new AbortController();
  const enqueue = client.enqueue(JOB, { signal: waiting.signal });
  await until(() => server.requests("enqueue").length === 1, "the first try");
  waiting.abort();
  await assert.rejects(enqueue, { grpcCode: "CANCELLED" });
  const polling = new AbortController();
  const poll = { workerId: "w", maxTasks: 1, taskGroup: "g", signal: polling.signal };
  const lease = client.leaseTasks(poll);
  await until(() => server.requests("leaseTasks").length === 1, "the poll");
  polling.abort();
  await assert.rejects(lease, { grpcCode: "CANCELLED" });
  await assert.rejects(client.leaseTasks(poll), { grpcCode: "CANCELLED" });
  assert.equal(server.requests("leaseTasks").length, 1, "an aborted call is not sent");
});

test("close ends calls that wait for their next try", async () => {
  const server = await startServer({ enqueue: unavailable });
  const client = makeClient({ servers: server.address, shardRouting: { retryDelayMs: 60_000 } });
  const call = client.enqueue(JOB);
  await until(() => server.requests("enqueue").length === 1, "the first try");
  client.close();
  await assert.rejects(call, { code: "SILO_CLIENT_CLOSED" });
});

test("what keeps all servers from telling the topology is what the caller hears", async () => {
  const server = await startServer({
    getClusterInfo: () => {
      throw grpcError(status.UNAUTHENTICATED, "no token");
    },
  });
  const client = makeClient({ servers: server.address });
  await assert.rejects(client.enqueue(JOB), SiloUnauthenticatedError);
  assert.equal(server.requests("getClusterInfo").length, 1, "not asked again");
});

test("servers that stay away: the call's own error, after its retries", async () => {
  const server = await startServer();
  const shardRouting = { retryDelayMs: 1, maxRetries: 2 };
  const client = makeClient({ servers: server.address, shardRouting });
  await client.enqueue(JOB);
  server.stop();
  await assert.rejects(client.enqueue(JOB), SiloUnavailableError);
  const away = makeClient({ servers: `127.0.0.1:${await portOfAway()}`, shardRouting });
  await assert.rejects(away.enqueue(JOB), SiloUnavailableError);
});

test("an enqueue whose answer was lost makes one job, at older servers too", async () => {
  for (const knowsReturnExisting of [true, false]) {
    const jobs = new Set<string>();
    const server = await startServer({
      enqueue: ({ id, returnExisting }: { id: string; returnExisting: boolean }) => {
        const isNew = !jobs.has(id);
        jobs.add(id);
        if (isNew && jobs.size === 1) {
          link.cut();
        } else if (!isNew && !(knowsReturnExisting && returnExisting)) {
          throw grpcError(status.ALREADY_EXISTS, "job already exists");
        }
        return { id };
      },
    });
    const link = await SlowLink.to(server.address);
    closers.push(() => link.close());
    const client = makeClient({
      servers: link.address,
      addressMap: { [server.address]: link.address },
      shardRouting: { retryDelayMs: 5 },
    });
    const { id } = await client.enqueue(JOB);
    assert.deepEqual([...jobs], [id]);
    assert.equal(server.requests("enqueue").length, 2);
  }
});

test("enqueueMany gives ids too, and takes its own jobs for its own", async () => {
  const server = await startServer({
    enqueueMany: ({ jobs }: { jobs: { id: string }[] }) => ({
      results: jobs.map(() => ({ code: status.ALREADY_EXISTS, message: "job already exists" })),
    }),
  });
  const client = makeClient({ servers: server.address });
  const [mine, other] = await client.enqueueMany([JOB, { ...JOB, id: "theirs" }]);
  const [first] = server.requests("enqueueMany")[0].jobs;
  assert.deepEqual([mine.id, first.returnExisting], [first.id, true]);
  assert.ok(first.id.length === 36);
  assert.ok(other.error instanceof JobAlreadyExistsError);
});

// Clients and workers of a real cluster whose nodes restart and die.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { JobStatus, SiloGRPCClient, SiloWorker } from "../../src/index";
import type { JobHandle } from "../../src/index";
import { until } from "../fake-server";
import { ClusterProcess, noCluster } from "../support/cluster-process";
import { unique } from "./live";

const SHARDS = 4;
const skip = noCluster();

let cluster: ClusterProcess;
let client: SiloGRPCClient;
let errors: Error[];

before(async () => {
  if (!skip) {
    cluster = await ClusterProcess.start(2, SHARDS);
    client = new SiloGRPCClient({ servers: cluster.addresses });
  }
});
after(async () => {
  client?.close();
  await cluster?.remove();
});

/** A job whose tenant-less shard is any; jobs that may run again show that by their attempts. */
function enqueue(taskGroup: string, n: number): Promise<JobHandle> {
  const retryPolicy = {
    retryCount: 3,
    initialIntervalMs: 10n,
    maxIntervalMs: 10n,
    backoffFactor: 1,
    randomizeInterval: false,
  };
  return client.enqueue({ payload: { n }, taskGroup, retryPolicy });
}

/** A worker of a group, and what it ran. */
async function startWorker(taskGroup: string, handler: () => Promise<void>) {
  const ran: string[] = [];
  errors = [];
  const told = errors;
  const worker = new SiloWorker({
    client,
    workerId: unique("worker"),
    taskGroup,
    handler: ({ jobId }) => {
      ran.push(jobId);
      return handler();
    },
    heartbeatIntervalMs: 500,
    onError: (error) => told.push(error),
  });
  await worker.start();
  return { worker, ran };
}

async function assertAllRan(handles: JobHandle[]): Promise<number> {
  let attempts = 0;
  for (const handle of handles) {
    const { status } = await handle.awaitResult({ timeoutMs: 60_000 });
    assert.equal(status, JobStatus.Succeeded);
    attempts += (await handle.getJob({ includeAttempts: true })).attempts?.length ?? 0;
  }
  return attempts;
}

test("orderly restarts of one node after the other cost no call and no second run", { skip }, async () => {
  const group = unique("group");
  const { worker, ran } = await startWorker(group, async () => {
    await new Promise((resolve) => setTimeout(resolve, 20));
  });
  const handles: JobHandle[] = [];
  let isOver = false;
  const load = (async () => {
    while (!isOver) {
      handles.push(await enqueue(group, handles.length));
    }
  })();
  for (const node of cluster.nodes) {
    await node.stop();
    await node.start();
    await cluster.awaitSpread();
  }
  isOver = true;
  await load;
  assert.equal(await assertAllRan(handles), handles.length, "one attempt each");
  assert.equal(new Set(ran).size, ran.length);
  assert.deepEqual(errors, []);
  await worker.stop();
});

test("a task goes on over the death of its node, and is reported to the next", { skip }, async () => {
  const group = unique("group");
  let finish = () => {};
  const isOver = new Promise<void>((resolve) => (finish = resolve));
  const { worker, ran } = await startWorker(group, () => isOver);
  const handles = await Promise.all(Array.from({ length: 8 }, (_, i) => enqueue(group, i)));
  await until(() => ran.length === handles.length, "all tasks");
  await cluster.nodes[0].kill();
  const waits = Promise.all(handles.map((handle) => handle.awaitResult({ timeoutMs: 60_000 })));
  await cluster.awaitSpread(1);
  finish();
  await waits;
  assert.equal(await assertAllRan(handles), handles.length, "one attempt each");
  assert.equal(ran.length, handles.length);
  assert.deepEqual(errors, []);
  const late = await enqueue(group, 9);
  await cluster.nodes[0].start();
  await cluster.awaitSpread();
  await assertAllRan([late, await enqueue(group, 10)]);
  await worker.stop();
});

// Workers whose server is killed and comes back: what was finished is finished.
import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";
import { JobStatus, SiloGRPCClient, SiloWorker, TaskLeaseLostError } from "../../src/index";
import type { JobHandle, SiloWorkerOptions } from "../../src/index";
import { ServerProcess } from "../support/server-process";
import { until } from "../fake-server";
import { unique } from "./live";

const JOBS = 60;

let server: ServerProcess;
let client: SiloGRPCClient;
const workers: SiloWorker[] = [];
const clients: SiloGRPCClient[] = [];

function clientWith(maxRetries: number): SiloGRPCClient {
  const made = new SiloGRPCClient({ servers: server.address, shardRouting: { maxRetries } });
  clients.push(made);
  return made;
}

before(async () => {
  server = await ServerProcess.start();
  client = clientWith(8);
});
afterEach(async () => {
  await Promise.all(workers.splice(0).map((worker) => worker.stop()));
});
after(async () => {
  clients.forEach((made) => made.close());
  await server.remove();
});

async function startWorker(options: Partial<SiloWorkerOptions>): Promise<SiloWorker> {
  const worker = new SiloWorker({
    client,
    workerId: unique("worker"),
    taskGroup: "",
    handler: async () => undefined,
    maxConcurrentTasks: JOBS,
    pollIntervalMs: 200,
    onError: () => {},
    ...options,
  });
  workers.push(worker);
  await worker.start();
  return worker;
}

/** Jobs of one group that may run again, so that a second run would show as an attempt. */
function enqueueAll(taskGroup: string): Promise<JobHandle[]> {
  const retryPolicy = {
    retryCount: 3,
    initialIntervalMs: 10n,
    maxIntervalMs: 10n,
    backoffFactor: 1,
    randomizeInterval: false,
  };
  return Promise.all(
    Array.from({ length: JOBS }, (_, i) =>
      client.enqueue({ payload: { i }, taskGroup, retryPolicy }),
    ),
  );
}

async function assertRanOnce(handles: JobHandle[]): Promise<void> {
  for (const handle of handles) {
    const { status } = await handle.awaitResult({ timeoutMs: 60_000 });
    const { attempts = [] } = await handle.getJob({ includeAttempts: true });
    const codes = attempts.map(({ errorCode }) => errorCode).join(" ");
    assert.equal(status, JobStatus.Succeeded);
    assert.equal(attempts.length, 1, codes);
  }
}

for (const [awayMs, maxRetries] of [
  [300, 8],
  [2000, 8],
  [2000, 0], // the worker alone keeps the outcomes
  [12_000, 0], // longer than a lease
]) {
  const name = `away for ${awayMs} ms, with ${maxRetries} retries of each call`;
  test(`${JOBS} jobs that finish while their server is ${name}, ran once`, async () => {
    const taskGroup = unique("group");
    let running = 0;
    let handled = 0;
    let finish: () => void = () => {};
    const gate = new Promise<void>((resolve) => (finish = resolve));
    const handles = await enqueueAll(taskGroup);
    await startWorker({
      taskGroup,
      client: clientWith(maxRetries),
      handler: async ({ payload }) => {
        running++;
        await gate;
        // Some reports are on their way when the server ends, others come when it is gone.
        await new Promise((resolve) => setTimeout(resolve, (payload as { i: number }).i));
        handled++;
        return "done";
      },
    });
    await until(() => running === JOBS, "all jobs to run");
    finish();
    await new Promise((resolve) => setTimeout(resolve, 20));
    await server.kill();
    await new Promise((resolve) => setTimeout(resolve, awayMs));
    await server.start();
    await assertRanOnce(handles);
    assert.equal(handled, JOBS);
  });
}

test("jobs that run on while their server is away keep their leases", async () => {
  const taskGroup = unique("group");
  let running = 0;
  let isBack = false;
  const reasons: unknown[] = [];
  const handles = await enqueueAll(taskGroup);
  await startWorker({
    taskGroup,
    heartbeatIntervalMs: 1000,
    handler: async ({ cancellationSignal }) => {
      running++;
      await until(() => isBack);
      await new Promise((resolve) => setTimeout(resolve, 3000));
      reasons.push(cancellationSignal.reason);
      return "done";
    },
  });
  await until(() => running === JOBS, "all jobs to run");
  await server.kill();
  await new Promise((resolve) => setTimeout(resolve, 2000));
  await server.start();
  isBack = true;
  await assertRanOnce(handles);
  assert.ok(reasons.every((reason) => reason === undefined));
});

test("a worker that is cut off for longer than its lease tells its handlers", async () => {
  const taskGroup = unique("group");
  const reasons: unknown[] = [];
  await startWorker({
    taskGroup,
    heartbeatIntervalMs: 1000,
    handler: async ({ cancellationSignal }) => {
      server.pause();
      await new Promise((resolve) => cancellationSignal.addEventListener("abort", resolve));
      reasons.push(cancellationSignal.reason);
      server.resume();
      return "done";
    },
  });
  const handle = await client.enqueue({ payload: 1, taskGroup });
  await handle.awaitResult({ timeoutMs: 60_000 });
  assert.ok(reasons[0] instanceof TaskLeaseLostError);
});

test("tasks that a worker stopped with go to another at once, as the same attempt", async () => {
  const taskGroup = unique("group");
  const handles = await enqueueAll(taskGroup);
  let finish: () => void = () => {};
  const gate = new Promise<void>((resolve) => (finish = resolve));
  const first = await startWorker({
    taskGroup,
    maxConcurrentTasks: 1,
    prefetchTasks: 19,
    tasksPerPoll: 20,
    handler: async () => gate,
  });
  await until(() => first.queuedTasks === 19, "tasks that wait");
  const stopping = first.stop();
  await startWorker({ taskGroup });
  finish();
  await stopping;
  await assertRanOnce(handles);
});

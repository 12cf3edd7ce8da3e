import assert from "node:assert/strict";
import { after, afterEach, test } from "node:test";
import {
  AttemptStatus,
  GubernatorAlgorithm,
  JobStatus,
  SiloFailedPreconditionError,
  SiloWorker,
  TaskNotFoundError,
} from "../../src/index";
import type { JobLimit, RefreshHandler } from "../../src/index";
import { liveClient, unique } from "./live";

const HOUR_MS = 3_600_000n;

const client = liveClient();
const workers: SiloWorker[] = [];

afterEach(async () => {
  await Promise.all(workers.splice(0).map((worker) => worker.stop()));
});
after(() => client.close());

function poll(taskGroup: string, waitMs = 10_000) {
  return client.leaseTasks({ workerId: "w", maxTasks: 10, taskGroup, waitMs });
}

async function succeed(task: { id: string; shard: string }, result: unknown = null) {
  const { id: taskId, shard } = task;
  await client.reportOutcome({ taskId, shard, outcome: { type: "success", result } });
}

test("limits of each kind come back", async () => {
  const limits: JobLimit[] = [
    { type: "concurrency", key: unique("slot"), maxConcurrency: 7 },
    {
      type: "rateLimit",
      name: unique("rate"),
      uniqueKey: "user-1",
      limit: 10n,
      durationMs: HOUR_MS,
      hits: 2,
      algorithm: GubernatorAlgorithm.LEAKY_BUCKET,
      behavior: 16,
      retryPolicy: {
        initialBackoffMs: 10n,
        maxBackoffMs: 1000n,
        backoffMultiplier: 1.5,
        maxRetries: 3,
      },
    },
    {
      type: "floatingConcurrency",
      key: unique("floating"),
      defaultMaxConcurrency: 3,
      refreshIntervalMs: HOUR_MS,
      metadata: { org: "o" },
    },
  ];
  const taskGroup = unique("group");
  const handle = await client.enqueue({ payload: 1, taskGroup, limits });
  const job = await handle.getJob();
  assert.deepEqual(structuredClone(job.limits), limits);
  const { tasks } = await poll(taskGroup);
  assert.deepEqual(
    tasks[0].limits.map((limit) => limit.limit.oneofKind),
    ["concurrency", "rateLimit", "floatingConcurrency"],
  );
  await succeed(tasks[0]);
});

test("a concurrency limit holds back the second job", async () => {
  const taskGroup = unique("group");
  const limits: JobLimit[] = [{ type: "concurrency", key: unique("slot"), maxConcurrency: 1 }];
  const first = await client.enqueue({ payload: 1, taskGroup, limits });
  const second = await client.enqueue({ payload: 2, taskGroup, limits });
  const [task, ...more] = (await poll(taskGroup)).tasks;
  assert.equal(task.jobId, first.id);
  assert.equal(more.length, 0);
  assert.equal((await poll(taskGroup, 0)).tasks.length, 0);
  await assert.rejects(second.expedite(), /no pending task to expedite/);
  await assert.rejects(
    client.leaseTask({ id: second.id, workerId: "w" }),
    SiloFailedPreconditionError,
  );
  await succeed(task);
  const [next] = (await poll(taskGroup)).tasks;
  assert.equal(next.jobId, second.id);
  await succeed(next);
});

test("a rate limit fails a job that may not try for ever", async () => {
  const taskGroup = unique("group");
  const limit = {
    type: "rateLimit" as const,
    name: unique("rate"),
    uniqueKey: "k",
    limit: 1n,
    durationMs: HOUR_MS,
  };
  await client.enqueue({ payload: 1, taskGroup, limits: [limit] });
  await succeed((await poll(taskGroup)).tasks[0]);
  const retryPolicy = { initialBackoffMs: 20n, maxBackoffMs: 20n, maxRetries: 1 };
  const handle = await client.enqueue({
    payload: 2,
    taskGroup,
    limits: [{ ...limit, retryPolicy }],
  });
  const polling = poll(taskGroup, 2000);
  const result = await handle.awaitResult({ timeoutMs: 10_000 });
  assert.equal(result.status, JobStatus.Failed);
  assert.equal(result.errorCode, "RATE_LIMIT_EXCEEDED");
  assert.equal(typeof result.errorData, "string");
  assert.equal((await polling).tasks.length, 0);
});

test("a floating limit is refreshed by hand", async () => {
  const taskGroup = unique("group");
  const key = unique("floating");
  const limits: JobLimit[] = [
    {
      type: "floatingConcurrency",
      key,
      defaultMaxConcurrency: 1,
      refreshIntervalMs: HOUR_MS,
      metadata: { org: "o" },
    },
  ];
  const handles = [];
  for (let i = 0; i < 3; i++) {
    handles.push(await client.enqueue({ payload: i, taskGroup, limits }));
  }
  const tasks = [];
  const refreshTasks = [];
  while (tasks.length < 1 || refreshTasks.length < 1) {
    const polled = await poll(taskGroup);
    assert.ok(polled.tasks.length + polled.refreshTasks.length > 0, "a task or a refresh task");
    tasks.push(...polled.tasks);
    refreshTasks.push(...polled.refreshTasks);
  }
  assert.equal(tasks.length, 1);
  const [refresh] = refreshTasks;
  assert.equal(refresh.queueKey, key);
  assert.equal(refresh.currentMaxConcurrency, 1);
  assert.equal(refresh.lastRefreshedAtMs, 0n);
  assert.equal(refresh.taskGroup, taskGroup);
  assert.deepEqual({ ...refresh.metadata }, { org: "o" });
  const { id: taskId, shard } = refresh;
  assert.equal((await client.heartbeat("w", taskId, shard)).cancelled, false);
  const wrong = { taskId, shard, outcome: { type: "success" as const, result: 1 } };
  await assert.rejects(client.reportOutcome(wrong), SiloFailedPreconditionError);
  const outcome = { type: "success" as const, newMaxConcurrency: 3 };
  await client.reportRefreshOutcome({ taskId, shard, outcome });
  await assert.rejects(client.reportRefreshOutcome({ taskId, shard, outcome }), TaskNotFoundError);
  while (tasks.length < 3) {
    const polled = await poll(taskGroup);
    assert.ok(polled.tasks.length > 0, "the raised value admits the others");
    tasks.push(...polled.tasks);
  }
  await Promise.all(tasks.map((task) => succeed(task)));
  for (const handle of handles) {
    assert.equal(await handle.getStatus(), JobStatus.Succeeded);
  }
});

async function startWorker(taskGroup: string, refreshHandler: RefreshHandler, onRun: () => void) {
  const worker = new SiloWorker({
    client,
    workerId: unique("worker"),
    taskGroup,
    handler: async () => {
      onRun();
      await new Promise((resolve) => setTimeout(resolve, 20));
      return "done";
    },
    refreshHandler,
    pollIntervalMs: 200,
    onError: () => {},
  });
  workers.push(worker);
  await worker.start();
}

test("a worker refreshes floating limits, again after a failure", async () => {
  const taskGroup = unique("group");
  const limits: JobLimit[] = [
    {
      type: "floatingConcurrency",
      key: unique("floating"),
      defaultMaxConcurrency: 0, // nothing runs until a refresh says so
      refreshIntervalMs: HOUR_MS,
      metadata: { org: "o" },
    },
  ];
  const seen: Array<Record<string, string>> = [];
  let ran = 0;
  await startWorker(
    taskGroup,
    async ({ task, shard, workerId }) => {
      assert.equal(shard, task.shard);
      assert.match(workerId, /^worker-/);
      seen.push({ ...task.metadata });
      assert.equal(ran, 0, "no job runs before");
      if (seen.length === 1) {
        throw new Error("not yet");
      }
      return 2;
    },
    () => ran++,
  );
  const handles = await Promise.all(
    Array.from({ length: 5 }, (_, i) => client.enqueue({ payload: i, taskGroup, limits })),
  );
  for (const handle of handles) {
    assert.equal((await handle.awaitResult({ timeoutMs: 20_000 })).result, "done");
  }
  assert.deepEqual(seen, [{ org: "o" }, { org: "o" }]);
  assert.equal(ran, 5);
});

test("jobs are imported with their history", async () => {
  const taskGroup = unique("group");
  const attempt = (status: AttemptStatus.Succeeded | AttemptStatus.Failed) => ({
    status,
    startedAtMs: 1000n,
    finishedAtMs: 2000n,
    ...(status === AttemptStatus.Failed
      ? { errorCode: "E", errorData: { why: "w" } }
      : { result: { a: 1 } }),
  });
  const retryPolicy = {
    retryCount: 1,
    initialIntervalMs: 0n,
    maxIntervalMs: 0n,
    backoffFactor: 1,
    randomizeInterval: false,
  };
  const ids = Array.from({ length: 4 }, () => unique("import"));
  const job = { payload: { p: 1 }, taskGroup };
  const results = await client.importJobs([
    { ...job, id: ids[0], attempts: [attempt(AttemptStatus.Succeeded)] },
    { ...job, id: ids[1], attempts: [attempt(AttemptStatus.Failed)], retryPolicy },
    { ...job, id: ids[2], attempts: [attempt(AttemptStatus.Failed)] },
    { ...job, id: ids[3], priority: 100 },
  ]);
  assert.deepEqual(
    results.map(({ id, success, status }) => ({ id, success, status })),
    [
      { id: ids[0], success: true, status: JobStatus.Succeeded },
      { id: ids[1], success: true, status: JobStatus.Scheduled },
      { id: ids[2], success: true, status: JobStatus.Failed },
      { id: ids[3], success: false, status: JobStatus.Failed },
    ],
  );
  assert.match(results[3].error ?? "", /priority: expected a whole number from 0 to 99/);
  assert.deepEqual((await client.getJobResult(ids[0])).result, { a: 1 });
  assert.deepEqual(await client.getJobResult(ids[2]), {
    status: JobStatus.Failed,
    errorCode: "E",
    errorData: { why: "w" },
  });
  const [task] = (await poll(taskGroup)).tasks;
  assert.equal(task.jobId, ids[1]);
  assert.equal(task.attemptNumber, 2);
  assert.equal(task.isLastAttempt, true);
  const running = client.importJobs([{ ...job, id: ids[1], attempts: [] }]);
  await assert.rejects(running, /currently running/);
  await succeed(task);
  const imported = await client.getJob(ids[1], undefined, { includeAttempts: true });
  assert.deepEqual(
    imported.attempts?.map(({ status }) => status),
    [AttemptStatus.Failed, AttemptStatus.Succeeded],
  );
});

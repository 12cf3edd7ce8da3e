import assert from "node:assert/strict";
import { after, test } from "node:test";
import {
  InvalidOptionError,
  JobAlreadyExistsError,
  JobNotFoundError,
  JobNotTerminalError,
  JobStatus,
  SiloFailedPreconditionError,
  SiloGRPCClient,
  SiloInvalidArgumentError,
  TaskNotFoundError,
} from "../../src/index";
import { liveClient, unique } from "./live";

const client = liveClient();
after(() => client.close());

async function leaseOne(taskGroup: string, workerId = "w") {
  const { tasks } = await client.leaseTasks({ workerId, maxTasks: 1, taskGroup, waitMs: 10_000 });
  assert.equal(tasks.length, 1, "a due task is leased");
  return tasks[0];
}

async function runToSuccess(taskGroup: string, result: unknown) {
  const task = await leaseOne(taskGroup);
  const { id: taskId, shard } = task;
  await client.reportOutcome({ taskId, shard, outcome: { type: "success", result } });
  return task;
}

test("the topology has a shard and survives refreshes", async () => {
  for (let i = 0; i < 3; i++) {
    await client.refreshTopology();
    const { shards, shardToServer } = client.getTopology();
    assert.ok(shards.length >= 1);
    assert.equal(shardToServer.size, shards.length);
  }
  for (let i = 0; i < 100; i++) {
    const shard = client.getShardForTenant(`tenant-${i}`);
    assert.notEqual(shard, "");
    assert.equal(client.getShardForTenant(`tenant-${i}`), shard);
  }
});

test("enqueue and get bring everything back", async () => {
  const id = unique("job");
  const retryPolicy = {
    retryCount: 3,
    initialIntervalMs: 1000n,
    maxIntervalMs: 30000n,
    randomizeInterval: true,
    backoffFactor: 2.0,
  };
  const handle = await client.enqueue({
    id,
    payload: { to: "user@example.com", list: [1, null, "日本"] },
    taskGroup: unique("group"),
    priority: 7,
    metadata: { a: "b", c: "d" },
    retryPolicy,
  });
  assert.equal(handle.id, id);
  const job = await handle.getJob();
  assert.deepEqual(job.payload, { to: "user@example.com", list: [1, null, "日本"] });
  assert.equal(job.priority, 7);
  assert.deepEqual({ ...job.metadata }, { a: "b", c: "d" });
  assert.deepEqual({ ...job.retryPolicy }, retryPolicy);
  assert.equal(job.status, JobStatus.Scheduled);
  assert.equal(job.result, undefined);
  assert.equal(job.attempts, undefined);
});

test("a 5 MiB payload comes back byte for byte", async () => {
  const blob = Buffer.alloc(5 * 1024 * 1024);
  for (let i = 0; i < blob.length; i++) {
    blob[i] = (i * 31) & 0xff;
  }
  const handle = await client.enqueue({ payload: { blob }, taskGroup: unique("group") });
  const job = await handle.getJob<{ blob: Buffer }>();
  assert.ok(job.payload.blob.equals(blob));
});

test("a job without its payload and results, and its status", async () => {
  const taskGroup = unique("group");
  const handle = await client.enqueue({ payload: Buffer.alloc(1_000_000), taskGroup });
  const poll = { workerId: "w", maxTasks: 1, taskGroup, waitMs: 5000 };
  const [{ id: taskId, shard }] = (await client.leaseTasks(poll)).tasks;
  const result = Buffer.alloc(1_000_000, 1);
  await client.reportOutcome({ taskId, shard, outcome: { type: "success", result } });
  assert.equal(await handle.getStatus(), JobStatus.Succeeded);
  const parts = { includeAttempts: true, omitPayload: true, omitResults: true };
  const light = await handle.getJob(parts);
  assert.deepEqual([light.payload, light.payloadOmitted], [undefined, true]);
  assert.deepEqual([light.result, light.resultOmitted], [undefined, true]);
  assert.equal(light.attempts?.[0].dataOmitted, true);
  const whole = await handle.getJob<Buffer, Buffer>({ includeAttempts: true });
  assert.deepEqual([whole.payload.length, whole.payloadOmitted], [1_000_000, false]);
  assert.ok(whole.result?.equals(result) && whole.resultOmitted === false);
});

test("a job without a start is due at once, whatever this machine's clock says", async (t) => {
  const taskGroup = unique("group");
  t.mock.method(Date, "now", () => Date.UTC(2125, 0, 1));
  const ahead = await client.enqueue({ payload: "ahead", taskGroup });
  t.mock.reset();
  await client.enqueue({ payload: "right", taskGroup });
  const poll = { workerId: "w", maxTasks: 2, taskGroup, waitMs: 5000 };
  const { tasks } = await client.leaseTasks(poll);
  assert.equal(tasks.length, 2, "both are due");
  assert.equal(tasks[0].jobId, ahead.id, "in the order of their arrival");
});

test("lease, heartbeat, report, result", async () => {
  const taskGroup = unique("group");
  const handle = await client.enqueue({ payload: { n: 1 }, taskGroup });
  await assert.rejects(client.getJobResult(handle.id), JobNotTerminalError);
  const task = await leaseOne(taskGroup);
  assert.equal(task.jobId, handle.id);
  assert.equal(task.attemptNumber, 1);
  assert.equal(task.isLastAttempt, true);
  assert.equal(task.leaseMs, 10000n);
  assert.equal(await handle.getStatus(), JobStatus.Running);
  assert.deepEqual(await client.heartbeat("w", task.id, task.shard), {
    cancelled: false,
    cancelledAtMs: undefined,
  });
  await assert.rejects(client.heartbeat("other", task.id, task.shard), (error) => {
    return (
      error instanceof SiloFailedPreconditionError && /lease owner mismatch/.test(error.message)
    );
  });
  const { id: taskId, shard } = task;
  const outcome = { type: "success" as const, result: { sent: true } };
  await client.reportOutcome({ taskId, shard, outcome });
  assert.deepEqual(await handle.awaitResult({ timeoutMs: 10_000 }), {
    status: JobStatus.Succeeded,
    result: { sent: true },
  });
  for (const includeAttempts of [false, true]) {
    const job = await handle.getJob({ includeAttempts });
    assert.deepEqual(job.result, { sent: true });
  }
  await assert.rejects(client.reportOutcome({ taskId, shard, outcome }), (error) => {
    return error instanceof TaskNotFoundError && /lease not found/.test(error.message);
  });
});

test("a failure without retries is final", async () => {
  const taskGroup = unique("group");
  const handle = await client.enqueue({ payload: 1, taskGroup });
  const { id: taskId, shard } = await leaseOne(taskGroup);
  const outcome = { type: "failure" as const, code: "E_TEST", data: { why: "because" } };
  await client.reportOutcome({ taskId, shard, outcome });
  const result = await handle.awaitResult({ timeoutMs: 10_000 });
  assert.deepEqual(result, {
    status: JobStatus.Failed,
    errorCode: "E_TEST",
    errorData: { why: "because" },
  });
  const job = await handle.getJob({ includeAttempts: true });
  assert.equal(job.result, undefined);
  assert.equal(job.attempts?.length, 1);
  assert.equal(job.attempts?.[0].errorCode, "E_TEST");
});

test("a failure with retries is tried again", async () => {
  const taskGroup = unique("group");
  const handle = await client.enqueue({
    payload: 1,
    taskGroup,
    retryPolicy: {
      retryCount: 1,
      initialIntervalMs: 10n,
      maxIntervalMs: 0n,
      backoffFactor: 1,
      randomizeInterval: false,
    },
  });
  const first = await leaseOne(taskGroup);
  assert.equal(first.isLastAttempt, false);
  await client.reportOutcome({
    taskId: first.id,
    shard: first.shard,
    outcome: { type: "failure", code: "E" },
  });
  const second = await runToSuccess(taskGroup, 2);
  assert.equal(second.attemptNumber, 2);
  assert.equal(second.isLastAttempt, true);
  assert.equal((await handle.awaitResult({ timeoutMs: 10_000 })).result, 2);
});

test("a second job with the same id is refused", async () => {
  const job = { id: unique("job"), payload: 1, taskGroup: unique("group") };
  await client.enqueue(job);
  await assert.rejects(client.enqueue(job), JobAlreadyExistsError);
  const again = await client.enqueue({ ...job, returnExisting: true });
  assert.equal(again.id, job.id);
  const other = { ...job, payload: 2, returnExisting: true };
  await assert.rejects(client.enqueue(other), JobAlreadyExistsError);
});

test("bad fields are refused", async () => {
  const job = { payload: 1, taskGroup: unique("group") };
  await assert.rejects(client.enqueue({ ...job, priority: 100 }), InvalidOptionError);
  await assert.rejects(client.enqueue({ ...job, taskGroup: "" }), SiloInvalidArgumentError);
  await assert.rejects(
    client.enqueue({ ...job, metadata: { ["k".repeat(64)]: "v" } }),
    /key too long/,
  );
});

test("a job that is not there", async () => {
  const handle = client.handle(unique("missing"));
  await assert.rejects(handle.getJob(), JobNotFoundError);
  await assert.rejects(handle.getStatus(), JobNotFoundError);
  await assert.rejects(handle.awaitResult(), JobNotFoundError);
});

test("awaitResult waits for the end", async () => {
  const taskGroup = unique("group");
  const handle = await client.enqueue({ payload: 1, taskGroup });
  const waiting = handle.awaitResult({ timeoutMs: 20_000 });
  await runToSuccess(taskGroup, "late");
  assert.equal((await waiting).result, "late");
});

test("a hundred concurrent enqueues", async () => {
  const taskGroup = unique("group");
  const handles = await Promise.all(
    Array.from({ length: 100 }, (_, i) => client.enqueue({ payload: i, taskGroup })),
  );
  assert.equal(new Set(handles.map((handle) => handle.id)).size, 100);
});

test("enqueueMany, in one call or many", async () => {
  const taskGroup = unique("group");
  const id = unique("job");
  const results = await client.enqueueMany([
    { id, payload: 1, taskGroup },
    { id, payload: 2, taskGroup },
    { payload: 3, taskGroup },
  ]);
  const failed = results.filter((result) => result.error !== undefined);
  assert.equal(failed.length, 1);
  assert.ok(failed[0].error instanceof JobAlreadyExistsError);
});

test("deleteJob", async () => {
  const taskGroup = unique("group");
  const handle = await client.enqueue({ payload: 1, taskGroup });
  await assert.rejects(handle.delete(), SiloFailedPreconditionError);
  await runToSuccess(taskGroup, 1);
  await handle.delete();
  await handle.delete();
  await assert.rejects(handle.getJob(), JobNotFoundError);
});

test("cancelJob of a scheduled job", async () => {
  const handle = await client.enqueue({ payload: 1, taskGroup: unique("group") });
  await handle.cancel();
  assert.equal((await handle.awaitResult({ timeoutMs: 10_000 })).status, JobStatus.Cancelled);
  await assert.rejects(handle.cancel(), SiloFailedPreconditionError);
  await assert.rejects(client.cancelJob(unique("missing")), JobNotFoundError);
});

test("restartJob of a failed job", async () => {
  const taskGroup = unique("group");
  const handle = await client.enqueue({ payload: 1, taskGroup });
  await assert.rejects(handle.restart(), /in progress/);
  const { id: taskId, shard } = await leaseOne(taskGroup);
  await client.reportOutcome({ taskId, shard, outcome: { type: "failure", code: "E" } });
  await handle.restart();
  const task = await runToSuccess(taskGroup, 1);
  assert.equal(task.attemptNumber, 2);
  assert.equal(task.relativeAttemptNumber, 1);
  await assert.rejects(handle.restart(), /succeeded/);
});

test("expediteJob of a job an hour away", async () => {
  const taskGroup = unique("group");
  const startAtMs = BigInt(Date.now() + 3_600_000);
  const handle = await client.enqueue({ payload: 1, taskGroup, startAtMs });
  const { tasks } = await client.leaseTasks({ workerId: "w", maxTasks: 1, taskGroup });
  assert.equal(tasks.length, 0);
  await handle.expedite();
  await runToSuccess(taskGroup, 1);
  await assert.rejects(handle.expedite(), /terminal/);
  await assert.rejects(client.expediteJob(unique("missing")), JobNotFoundError);
});

test("leaseTask of one job", async () => {
  const handle = await client.enqueue({ payload: 1, taskGroup: unique("group") });
  const task = await client.leaseTask({ id: handle.id, workerId: "w" });
  assert.equal(task.jobId, handle.id);
  assert.equal(await handle.getStatus(), JobStatus.Running);
  await assert.rejects(
    client.leaseTask({ id: handle.id, workerId: "w" }),
    SiloFailedPreconditionError,
  );
  await assert.rejects(
    client.leaseTask({ id: unique("missing"), workerId: "w" }),
    JobNotFoundError,
  );
  const { id: taskId, shard } = task;
  await client.reportOutcome({ taskId, shard, outcome: { type: "success", result: 1 } });
  assert.equal((await handle.awaitResult({ timeoutMs: 10_000 })).result, 1);
});

test("a dead first bootstrap address is skipped", async () => {
  const [host, port] = (process.env.SILO_ADDR as string).split(/:(?=\d+$)/);
  const other = new SiloGRPCClient({
    servers: [
      { host: "127.0.0.1", port: 1 },
      { host, port: Number(port) },
    ],
    useTls: false,
  });
  try {
    await other.refreshTopology();
    assert.ok(other.getTopology().shards.length >= 1);
  } finally {
    other.close();
  }
});

test("a worker's failure that is final is not retried", async () => {
  const taskGroup = unique("group");
  const handle = await client.enqueue({ payload: 1, taskGroup, retryPolicy: {} });
  const { tasks } = await client.leaseTasks({ workerId: "w", maxTasks: 1, taskGroup, waitMs: 5000n });
  const [{ id: taskId, shard }] = tasks;
  const outcome = { type: "failure" as const, code: "NO_HOPE", retry: false };
  await client.reportOutcome({ taskId, shard, outcome });
  const job = await handle.getJob({ includeAttempts: true });
  assert.equal(job.status, JobStatus.Failed);
  assert.equal(job.attempts?.length, 1);
  assert.equal(job.retryPolicy?.maxIntervalMs, 300_000n);
});

import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, test } from "node:test";
import { status } from "@grpc/grpc-js";
import { bytesOf, decodeBytes, serialize, serialized } from "../../src/wire/codec";
import { AttemptStatus as ProtoAttempt, JobStatus as ProtoStatus } from "../../src/gen/silo";
import {
  AttemptStatus,
  JobAlreadyExistsError,
  JobNotFoundError,
  JobNotTerminalError,
  JobStatus,
  SiloFailedPreconditionError,
  SiloGRPCClient,
  SiloPermissionDeniedError,
  TaskNotFoundError,
} from "../../src/index";
import { enqueueEcho, FakeServer, grpcError, SHARD } from "../fake-server";

let server: FakeServer;
let client: SiloGRPCClient;

before(async () => {
  server = await FakeServer.start();
});
after(() => server.stop());
beforeEach(() => {
  server.calls.length = 0;
  client = new SiloGRPCClient({ servers: server.address });
});
afterEach(() => client.close());

test("enqueue sends the documented defaults", async () => {
  server.handlers.enqueue = enqueueEcho;
  const handle = await client.enqueue({ payload: { a: 1 }, taskGroup: "g" });
  assert.equal(handle.tenant, undefined);
  const [request] = server.requests("enqueue");
  assert.equal(handle.id, request.id);
  assert.match(request.id, /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  assert.equal(request.shard, SHARD);
  assert.equal(request.priority, 50);
  assert.equal(request.startAtMs, 0n);
  assert.equal(request.retryPolicy, undefined);
  assert.equal(request.tenant, undefined);
  assert.equal(request.taskGroup, "g");
  assert.equal(request.returnExisting, true);
  assert.deepEqual(request.limits, []);
  assert.deepEqual(decodeBytes(bytesOf(request.payload), "payload"), { a: 1 });
});

test("this machine's clock says nothing about a job's start", async (t) => {
  t.mock.method(Date, "now", () => Date.UTC(2125, 0, 1));
  server.handlers.enqueue = enqueueEcho;
  server.handlers.enqueueMany = ({ jobs }) => ({ results: jobs.map(() => ({ id: "j" })) });
  server.handlers.importJobs = ({ jobs }) => ({
    results: jobs.map(({ id }: { id: string }) => ({ id, success: true })),
  });
  const job = { payload: 1, taskGroup: "g" };
  await client.enqueue(job);
  await client.enqueueMany([job]);
  await client.importJobs([{ ...job, id: "i" }]);
  const [imported] = server.requests("importJobs")[0].jobs;
  const sent = [server.requests("enqueue")[0], server.requests("enqueueMany")[0].jobs[0], imported];
  assert.deepEqual(
    sent.map((request) => request.startAtMs),
    [0n, 0n, 0n],
  );
  assert.equal(imported.enqueueTimeMs, 0n);
  await client.enqueue({ ...job, startAtMs: 5n });
  assert.equal(server.requests("enqueue")[1].startAtMs, 5n, "a start that was given is sent");
});

test("enqueue sends every field", async () => {
  server.handlers.enqueue = enqueueEcho;
  const retryPolicy = {
    retryCount: 3,
    initialIntervalMs: 1000n,
    maxIntervalMs: 30000n,
    backoffFactor: 2.0,
    randomizeInterval: true,
  };
  const handle = await client.enqueue({
    payload: 1,
    taskGroup: "g",
    id: "j",
    priority: 0,
    startAtMs: 5n,
    retryPolicy,
    tenant: "t",
    metadata: { k: "v" },
    returnExisting: true,
    limits: [
      { type: "concurrency", key: "q", maxConcurrency: 2 },
      { type: "rateLimit", name: "n", uniqueKey: "u", limit: 10n, durationMs: 1000n },
      { type: "floatingConcurrency", key: "f", defaultMaxConcurrency: 1, refreshIntervalMs: 9n },
    ],
  });
  assert.equal(handle.tenant, "t");
  const [request] = server.requests("enqueue");
  assert.equal(request.priority, 0);
  assert.equal(request.startAtMs, 5n);
  assert.equal(request.tenant, "t");
  assert.equal(request.returnExisting, true);
  assert.deepEqual({ ...request.retryPolicy }, retryPolicy);
  assert.deepEqual({ ...request.metadata }, { k: "v" });
  const kinds = request.limits.map((l: { limit: { oneofKind: string } }) => l.limit.oneofKind);
  assert.deepEqual(kinds, ["concurrency", "rateLimit", "floatingConcurrency"]);
  assert.equal(request.limits[1].limit.rateLimit.hits, 1);
});

test("a duplicate id", async () => {
  server.handlers.enqueue = () => {
    throw grpcError(status.ALREADY_EXISTS, "job already exists with id j");
  };
  await assert.rejects(client.enqueue({ payload: 1, taskGroup: "g", id: "j" }), (error) => {
    assert.ok(error instanceof JobAlreadyExistsError);
    assert.equal(error.jobId, "j");
    return true;
  });
});

test("getJob maps all fields", async () => {
  server.handlers.getJob = () => ({
    id: "j",
    priority: 7,
    enqueueTimeMs: 1n,
    payload: serialize({ a: 1 }),
    limits: [
      { limit: { oneofKind: "concurrency", concurrency: { key: "q", maxConcurrency: 2 } } },
      { limit: { oneofKind: undefined } },
      {
        limit: {
          oneofKind: "floatingConcurrency",
          floatingConcurrency: {
            key: "f",
            defaultMaxConcurrency: 1,
            refreshIntervalMs: 2n,
            metadata: {},
          },
        },
      },
    ],
    metadata: { k: "v" },
    status: ProtoStatus.SUCCEEDED,
    statusChangedAtMs: 2n,
    attempts: [
      {
        jobId: "j",
        attemptNumber: 1,
        taskId: "k",
        status: ProtoAttempt.FAILED,
        startedAtMs: 1n,
        finishedAtMs: 2n,
        errorCode: "E",
        errorData: serialized(Buffer.from("plain text")),
      },
    ],
    taskGroup: "g",
    result: serialize([1]),
  });
  const job = await client.getJob("j", undefined, { includeAttempts: true });
  assert.equal(server.requests("getJob")[0].includeAttempts, true);
  assert.equal(job.status, JobStatus.Succeeded);
  assert.deepEqual(job.payload, { a: 1 });
  assert.deepEqual(job.result, [1]);
  assert.deepEqual(job.limits, [
    { type: "concurrency", key: "q", maxConcurrency: 2 },
    {
      type: "floatingConcurrency",
      key: "f",
      defaultMaxConcurrency: 1,
      refreshIntervalMs: 2n,
      metadata: undefined,
    },
  ]);
  assert.equal(job.attempts?.[0].status, AttemptStatus.Failed);
  assert.equal(job.attempts?.[0].errorData, "plain text");
  assert.equal(job.nextAttemptStartsAfterMs, undefined);
});

test("getJob of a job that is not there", async () => {
  server.handlers.getJob = () => {
    throw grpcError(status.NOT_FOUND, "job not found");
  };
  await assert.rejects(client.getJob("j", "t"), JobNotFoundError);
  await assert.rejects(client.getJobStatus("j"), JobNotFoundError);
  assert.equal(server.requests("getJob").length, 2);
});

test("a status is read without payload and results, from older servers too", async () => {
  server.handlers.getJob = () => ({ id: "j", status: ProtoStatus.RUNNING, payloadOmitted: true });
  assert.equal(await client.getJobStatus("j"), JobStatus.Running);
  assert.equal(await client.handle("j").getStatus(), JobStatus.Running);
  server.handlers.getJobResult = () => {
    throw grpcError(status.FAILED_PRECONDITION, "job is not complete");
  };
  await assert.rejects(client.getJobResult("j"), JobNotTerminalError);
  const requests = server.requests("getJob");
  assert.equal(requests.length, 3);
  for (const request of requests) {
    assert.deepEqual([request.omitPayload, request.omitResults], [true, true]);
  }
  server.handlers.getJob = () => ({
    id: "j",
    status: ProtoStatus.SUCCEEDED,
    payload: serialize(1),
    result: serialize(2),
  });
  assert.equal(await client.getJobStatus("j"), JobStatus.Succeeded);
});

test("getJob tells what was left out from what is not there", async () => {
  server.handlers.getJob = (request) => ({
    id: "j",
    status: ProtoStatus.SUCCEEDED,
    payload: request.omitPayload ? undefined : serialize({ a: 1 }),
    payloadOmitted: request.omitPayload,
    resultOmitted: request.omitResults,
    attempts: [
      { jobId: "j", status: ProtoAttempt.SUCCEEDED, dataOmitted: request.omitResults },
    ],
  });
  const parts = { includeAttempts: true, omitPayload: true, omitResults: true };
  const light = await client.getJob("j", undefined, parts);
  assert.deepEqual([light.payload, light.payloadOmitted], [undefined, true]);
  assert.deepEqual([light.result, light.resultOmitted], [undefined, true]);
  assert.equal(light.attempts?.[0].dataOmitted, true);
  const whole = await client.getJob("j");
  assert.deepEqual([whole.payload, whole.payloadOmitted], [{ a: 1 }, false]);
  assert.equal(whole.resultOmitted, false);
});

test("getJobResult by final status", async () => {
  server.handlers.getJobResult = () => ({
    id: "j",
    status: ProtoStatus.SUCCEEDED,
    result: { oneofKind: "successData", successData: serialize({ sent: true }) },
  });
  assert.deepEqual(await client.getJobResult("j"), {
    status: JobStatus.Succeeded,
    result: { sent: true },
  });
  server.handlers.getJobResult = () => ({
    id: "j",
    status: ProtoStatus.FAILED,
    result: { oneofKind: "failure", failure: { errorCode: "E", errorData: serialize({ x: 1 }) } },
  });
  assert.deepEqual(await client.getJobResult("j"), {
    status: JobStatus.Failed,
    errorCode: "E",
    errorData: { x: 1 },
  });
  server.handlers.getJobResult = () => ({
    id: "j",
    status: ProtoStatus.CANCELLED,
    result: { oneofKind: "cancelled", cancelled: { cancelledAtMs: 1n } },
  });
  assert.deepEqual(await client.getJobResult("j"), { status: JobStatus.Cancelled });
});

test("getJobResult of an unfinished job", async () => {
  server.handlers.getJobResult = () => {
    throw grpcError(status.FAILED_PRECONDITION, "job is not complete: status is Running");
  };
  server.handlers.getJob = () => ({ id: "j", status: ProtoStatus.RUNNING });
  await assert.rejects(client.getJobResult("j", undefined, { waitMs: 5 }), (error) => {
    assert.ok(error instanceof JobNotTerminalError);
    assert.equal(error.currentStatus, JobStatus.Running);
    return true;
  });
  assert.equal(server.requests("getJobResult")[0].waitMs, 5);
  server.handlers.getJob = () => {
    throw grpcError(status.INTERNAL, "no");
  };
  await assert.rejects(client.getJobResult("j"), (error) => {
    assert.equal((error as JobNotTerminalError).currentStatus, undefined);
    return error instanceof JobNotTerminalError;
  });
});

test("awaitResult polls until the end", async () => {
  let polls = 0;
  server.handlers.getJob = () => ({ id: "j", status: ProtoStatus.RUNNING });
  server.handlers.getJobResult = () => {
    if (++polls < 3) {
      throw grpcError(status.FAILED_PRECONDITION, "job is not complete");
    }
    return { id: "j", status: ProtoStatus.CANCELLED };
  };
  const result = await client.handle("j").awaitResult({ pollIntervalMs: 1 });
  assert.equal(result.status, JobStatus.Cancelled);
  assert.equal(polls, 3);
  assert.equal(server.requests("getJobResult")[0].waitMs, 20000);
});

test("awaitResult gives up after timeoutMs and asks for no longer wait", async () => {
  server.handlers.getJob = () => ({ id: "j", status: ProtoStatus.RUNNING });
  server.handlers.getJobResult = () => {
    throw grpcError(status.FAILED_PRECONDITION, "job is not complete");
  };
  await assert.rejects(client.handle("j").awaitResult({ pollIntervalMs: 20, timeoutMs: 50 }), {
    message: "Timeout waiting for job j to complete after 50ms",
  });
  for (const request of server.requests("getJobResult")) {
    assert.ok(request.waitMs <= 50);
  }
});

test("handle methods reach their calls with id and tenant", async () => {
  const handle = client.handle("j", "t");
  for (const method of ["cancelJob", "restartJob", "expediteJob", "deleteJob"]) {
    server.handlers[method] = () => ({});
  }
  await handle.cancel();
  await handle.restart();
  await handle.expedite();
  await handle.delete();
  for (const method of ["cancelJob", "restartJob", "expediteJob", "deleteJob"]) {
    const [request] = server.requests(method);
    assert.deepEqual([request.shard, request.id, request.tenant], [SHARD, "j", "t"]);
  }
  server.handlers.cancelJob = () => {
    throw grpcError(status.FAILED_PRECONDITION, "job is already in terminal state");
  };
  await assert.rejects(handle.cancel(), (error) => {
    return error instanceof SiloFailedPreconditionError && /terminal state/.test(error.message);
  });
});

test("reports", async () => {
  server.handlers.reportOutcome = () => ({});
  const report = (outcome: Parameters<SiloGRPCClient["reportOutcome"]>[0]["outcome"]) =>
    client.reportOutcome({ taskId: "k", shard: SHARD, tenant: "t", outcome });
  await report({ type: "success", result: 1 });
  await report({ type: "failure", code: "C" });
  await report({ type: "failure", code: "C", data: Buffer.from("c0", "hex") as never });
  await report({ type: "cancelled" });
  const [success, failure, encoded, cancelled] = server.requests("reportOutcome");
  assert.equal(success.tenantId, "t");
  assert.equal(decodeBytes(bytesOf(success.outcome.success), "x"), 1);
  assert.equal(Buffer.from(bytesOf(failure.outcome.failure.data)!).toString("hex"), "d40000");
  assert.equal(Buffer.from(bytesOf(encoded.outcome.failure.data)!).toString("hex"), "c0");
  assert.equal(cancelled.outcome.oneofKind, "cancelled");
  server.handlers.reportOutcome = () => {
    throw grpcError(status.NOT_FOUND, "lease not found");
  };
  await assert.rejects(report({ type: "cancelled" }), TaskNotFoundError);
});

test("refresh reports and heartbeats", async () => {
  server.handlers.reportRefreshOutcome = () => ({});
  const task = { taskId: "k", shard: SHARD };
  await client.reportRefreshOutcome({
    ...task,
    outcome: { type: "success", newMaxConcurrency: 4 },
  });
  await client.reportRefreshOutcome({
    ...task,
    outcome: { type: "failure", code: "C", message: "m" },
  });
  const [success, failure] = server.requests("reportRefreshOutcome");
  assert.equal(success.outcome.success.newMaxConcurrency, 4);
  assert.equal(failure.outcome.failure.message, "m");
  server.handlers.heartbeat = () => ({ cancelled: true, cancelledAtMs: 9n });
  const answer = await client.heartbeat("w", "k", SHARD, "t");
  assert.deepEqual(answer, { cancelled: true, cancelledAtMs: 9n });
  assert.equal(server.requests("heartbeat")[0].tenantId, "t");
});

test("leaseTask without a task in the answer", async () => {
  server.handlers.leaseTask = () => ({});
  await assert.rejects(client.leaseTask({ id: "j", workerId: "w" }), {
    message: "leaseTask response missing task",
  });
});

test("importJobs makes one call for each tenant and keeps the order", async () => {
  assert.deepEqual(await client.importJobs([]), []);
  assert.equal(server.calls.length, 0);
  server.handlers.importJobs = (request) => ({
    results: request.jobs
      .filter((job: { id: string }) => job.id !== "lost")
      .map((job: { id: string }) => ({ id: job.id, success: true, status: ProtoStatus.FAILED }))
      .reverse(),
  });
  const base = { payload: 1, taskGroup: "g" };
  const results = await client.importJobs([
    { ...base, id: "a", tenant: "t1" },
    { ...base, id: "b", tenant: "t2" },
    {
      ...base,
      id: "c",
      tenant: "t1",
      attempts: [{ status: AttemptStatus.Failed, startedAtMs: 1n, finishedAtMs: 2n }],
    },
    { ...base, id: "lost", tenant: "t2" },
  ]);
  assert.deepEqual(
    results.map((result) => result.id),
    ["a", "b", "c", "lost"],
  );
  assert.deepEqual(results[3], {
    id: "lost",
    success: false,
    error: "No result returned from server for job lost",
    status: JobStatus.Scheduled,
  });
  const requests = server.requests("importJobs");
  assert.equal(requests.length, 2);
  assert.deepEqual(
    requests[0].jobs.map((job: { id: string }) => job.id),
    ["a", "c"],
  );
  assert.equal(requests[0].jobs[1].attempts[0].errorData, undefined);
  assert.equal(requests[0].jobs[0].startAtMs, 0n);
});

test("enqueueMany: one call, each job alone", async () => {
  server.handlers.enqueueMany = (request) => ({
    results: request.jobs.map((job: { id: string }) =>
      job.id === "dup" ? { code: status.ALREADY_EXISTS, message: "dup" } : { id: job.id },
    ),
  });
  const results = await client.enqueueMany([
    { id: "a", payload: 1, taskGroup: "g" },
    { id: "dup", payload: 1, taskGroup: "g" },
  ]);
  assert.equal(results[0].id, "a");
  assert.ok(results[1].error instanceof JobAlreadyExistsError);
  assert.equal(server.requests("enqueueMany").length, 1);
  assert.equal(server.requests("enqueueMany")[0].shard, SHARD);
});

test("enqueueMany falls back on single calls", async () => {
  delete server.handlers.enqueueMany;
  server.handlers.enqueue = enqueueEcho;
  const jobs = Array.from({ length: 100 }, (_, i) => ({ id: `${i}`, payload: i, taskGroup: "g" }));
  const results = await client.enqueueMany(jobs);
  assert.deepEqual(
    results.map((result) => result.id),
    jobs.map((job) => job.id),
  );
  assert.equal(server.requests("enqueue").length, 100);
});

test("query decodes rows", async () => {
  server.handlers.query = () => ({
    columns: [{ name: "n", dataType: "Int64" }],
    rows: [serialize({ n: 3 })],
    rowCount: 1,
  });
  const result = await client.query<{ n: number }>("SELECT 1", undefined, ["x"]);
  assert.deepEqual(result.columns, [{ name: "n", dataType: "Int64" }]);
  assert.deepEqual(result.rows, [{ n: 3 }]);
  assert.equal(result.rowCount, 1);
  assert.equal(server.requests("query")[0].parameters[0].value.stringValue, "x");
});

test("resetShards clears the topology", async () => {
  server.handlers.resetShards = () => ({ shardsReset: 1 });
  await client.refreshTopology();
  await client.resetShards();
  assert.equal(client.getTopology().shards.length, 0);
  server.handlers.resetShards = () => {
    throw grpcError(status.PERMISSION_DENIED, "not in development mode");
  };
  await assert.rejects(client.resetShards(), SiloPermissionDeniedError);
});

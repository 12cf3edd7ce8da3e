import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { RpcError } from "@protobuf-ts/runtime-rpc";
import { mapError } from "../../src/errors/error-mapping";
import * as silo from "../../src/index";

test("codes, names and texts", () => {
  const notTerminal = new silo.JobNotTerminalError("j", "t", silo.JobStatus.Running);
  const list: [Error & { code: string }, string, string][] = [
    [new silo.JobNotFoundError("j"), "SILO_JOB_NOT_FOUND", 'Job "j" not found'],
    [new silo.JobNotFoundError("j", "t"), "SILO_JOB_NOT_FOUND", 'Job "j" not found in tenant "t"'],
    [
      notTerminal,
      "SILO_JOB_NOT_TERMINAL",
      'Job "j" in tenant "t" is not in a terminal state (current status: Running)',
    ],
    [new silo.TaskNotFoundError("k"), "SILO_TASK_NOT_FOUND", 'Task "k" not found'],
    [new silo.TaskNotFoundError("k", "why"), "SILO_TASK_NOT_FOUND", 'Task "k" not found: why'],
    [
      new silo.TaskLeaseLostError("k", "j", new Error("gone")),
      "SILO_TASK_LEASE_LOST",
      'Lease lost for task "k" (job "j"): gone',
    ],
    [
      new silo.DuplicateTaskDeliveryError("k", "j"),
      "SILO_DUPLICATE_TASK_DELIVERY",
      'Task "k" for job "j" delivered while already executing on this worker',
    ],
    [new silo.SiloGrpcError("m", "INTERNAL", "g"), "SILO_GRPC_ERROR", "m"],
    [new silo.SiloDeadlineExceededError("late"), "SILO_DEADLINE_EXCEEDED", "late"],
    [new silo.JobAlreadyExistsError(), "SILO_JOB_ALREADY_EXISTS", "Job already exists"],
    [
      new silo.JobAlreadyExistsError("j", "t"),
      "SILO_JOB_ALREADY_EXISTS",
      'Job "j" already exists in tenant "t"',
    ],
  ];
  for (const [error, code, message] of list) {
    assert.equal(error.code, code);
    assert.equal(error.message, message);
    assert.equal(error.name, error.constructor.name);
    assert.ok(error instanceof Error);
  }
  assert.ok(new silo.JobAlreadyExistsError() instanceof silo.SiloAlreadyExistsError);
  assert.ok(new silo.SiloAlreadyExistsError("x") instanceof silo.SiloGrpcError);
});

test("statuses become classes", () => {
  const classes = {
    NOT_FOUND: silo.SiloNotFoundError,
    ALREADY_EXISTS: silo.SiloAlreadyExistsError,
    INVALID_ARGUMENT: silo.SiloInvalidArgumentError,
    FAILED_PRECONDITION: silo.SiloFailedPreconditionError,
    UNAUTHENTICATED: silo.SiloUnauthenticatedError,
    PERMISSION_DENIED: silo.SiloPermissionDeniedError,
    RESOURCE_EXHAUSTED: silo.SiloResourceExhaustedError,
    UNAVAILABLE: silo.SiloUnavailableError,
    DEADLINE_EXCEEDED: silo.SiloDeadlineExceededError,
    CANCELLED: silo.SiloCancelledError,
    INTERNAL: silo.SiloGrpcError,
    ABORTED: silo.SiloGrpcError,
  };
  for (const [code, type] of Object.entries(classes)) {
    const error = mapError(new RpcError("text", code), "op", {});
    assert.equal(error.constructor, type);
    assert.equal((error as silo.SiloGrpcError).grpcCode, code);
    assert.equal((error as silo.SiloGrpcError).grpcMessage, "text");
  }
});

test("the subject of a call names its errors", () => {
  const notFound = new RpcError("lease not found", "NOT_FOUND");
  const task = mapError(notFound, "op", { taskId: "k", jobId: "j" }) as silo.TaskNotFoundError;
  assert.ok(task instanceof silo.TaskNotFoundError);
  assert.equal(task.grpcMessage, "lease not found");
  assert.ok(mapError(notFound, "op", { jobId: "j" }) instanceof silo.JobNotFoundError);
  const exists = mapError(new RpcError("dup", "ALREADY_EXISTS"), "op", { jobId: "j" });
  assert.ok(exists instanceof silo.JobAlreadyExistsError);
  assert.equal(exists.message, "dup");
});

test("other errors pass, non-errors are wrapped", () => {
  const plain = new TypeError("x");
  assert.equal(mapError(plain, "op", {}), plain);
  const wrapped = mapError("oops", "enqueue", {});
  assert.ok(wrapped instanceof silo.SiloGrpcError);
  assert.equal(wrapped.message, "enqueue failed: oops");
});

test("isConnectivityError", () => {
  const cases: [unknown, boolean][] = [
    [new RpcError("x", "UNAVAILABLE"), true],
    [new RpcError("x", "DEADLINE_EXCEEDED"), true],
    [new RpcError("Received RST_STREAM with code 2", "INTERNAL"), true],
    [new RpcError("x", "INTERNAL"), false],
    [new RpcError("x", "RESOURCE_EXHAUSTED"), false],
    [new RpcError("shard not found", "NOT_FOUND"), false],
    [new Error("UNAVAILABLE"), false],
    [undefined, false],
  ];
  for (const [error, expected] of cases) {
    assert.equal(silo.isConnectivityError(error), expected);
  }
});

/** One error of each class. */
const ONE_OF_EACH: silo.SiloError[] = [
  new silo.DuplicateTaskDeliveryError("k"),
  new silo.InvalidOptionError("servers", "missing"),
  new silo.JobAlreadyExistsError(),
  new silo.JobCancelledError("server", "k", "j"),
  new silo.JobNotFoundError("j"),
  new silo.JobNotTerminalError("j"),
  new silo.PlaintextRefusedError("a:1"),
  new silo.SiloValidationError("payload", []),
  new silo.SiloAlreadyExistsError("m"),
  new silo.SiloCancelledError("m"),
  new silo.SiloClientClosedError(),
  new silo.SiloDeadlineExceededError("m"),
  new silo.SiloFailedPreconditionError("m"),
  new silo.SiloGrpcError("m", "INTERNAL", "m"),
  new silo.SiloInvalidArgumentError("m"),
  new silo.SiloNotFoundError("m"),
  new silo.SiloNotReadyError("m"),
  new silo.SiloPermissionDeniedError("m"),
  new silo.SiloProtocolError("m"),
  new silo.SiloResourceExhaustedError("m"),
  new silo.SiloTlsError("m", "tls-server"),
  new silo.SiloTokenError(new Error("m")),
  new silo.SiloUnauthenticatedError("m"),
  new silo.SiloUnavailableError("m"),
  new silo.SiloUnroutableError("m"),
  new silo.TaskLeaseLostError("k", "j", new Error("m")),
  new silo.TaskNotFoundError("k"),
  new silo.ValueNotDecodableError("m"),
  new silo.ValueNotEncodableError("m", "value"),
];

test("every error class is a SiloError with a code of its own, and the README lists them all", () => {
  const exported = Object.values<unknown>(silo).filter(
    (value) => typeof value === "function" && value.prototype instanceof silo.SiloError,
  );
  const classes = new Set<unknown>(ONE_OF_EACH.map((error) => error.constructor));
  assert.deepEqual(exported.filter((each) => !classes.has(each)), [], "not in the list above");
  for (const error of ONE_OF_EACH) {
    assert.equal(error.name, error.constructor.name);
    assert.ok(error instanceof silo.SiloError);
  }
  const rows = readFileSync("README.md", "utf8").matchAll(/^\| `(SILO_\w+)` \| `(\w+)` \|/gm);
  const listed = [...rows].map(([, code, name]) => `${code} ${name}`).sort();
  const made = ONE_OF_EACH.map(({ code, name }) => `${code} ${name}`).sort();
  assert.deepEqual(listed, made, "the table of codes in README.md");
  assert.equal(new Set(ONE_OF_EACH.map(({ code }) => code)).size, ONE_OF_EACH.length);
});

test("the entry point exports these values and no others", () => {
  const expected =
    "AttemptStatus DuplicateTaskDeliveryError GubernatorAlgorithm GubernatorBehavior " +
    "InvalidOptionError JobAlreadyExistsError JobCancelledError JobHandle JobNotFoundError " +
    "JobNotTerminalError JobStatus PendingCause PlaintextRefusedError SiloAlreadyExistsError " +
    "SiloCancelledError SiloClientClosedError SiloDeadlineExceededError SiloError " +
    "SiloFailedPreconditionError SiloGRPCClient SiloGrpcError SiloInvalidArgumentError " +
    "SiloNotFoundError SiloNotReadyError SiloPermissionDeniedError SiloProtocolError " +
    "SiloResourceExhaustedError SiloTlsError SiloTokenError SiloUnauthenticatedError " +
    "SiloUnavailableError SiloUnroutableError SiloValidationError SiloWorker " +
    "TaskLeaseLostError TaskNotFoundError ValueNotDecodableError ValueNotEncodableError " +
    "WorkerMetrics hashTenant initHasher isConnectivityError shardForTenant";
  assert.equal(Object.keys(silo).sort().join(" "), expected);
});

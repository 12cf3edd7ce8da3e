// Every error that this package throws. The README lists their codes, and a test compares.
import type { StandardSchemaV1 } from "@standard-schema/spec";
import type { JobStatus } from "../base/job-status";

/** What all errors of this package have in common. */
export abstract class SiloError extends Error {
  /** Tells the kinds of errors apart, also across versions and copies of this package. */
  abstract readonly code: string;
  /** The name of its class. */
  abstract override readonly name: string;
  /** The server that answered or could not be reached, `host:port`, if the error has one. */
  declare readonly address?: string;
}

/** Gives an error the cause that its constructor does not take. */
export function withCause<E extends Error>(error: E, cause: unknown): E {
  const property = { value: cause, configurable: true, writable: true };
  return Object.defineProperty(error, "cause", property);
}

function inTenant(tenant: string | undefined): string {
  return tenant === undefined ? "" : ` in tenant "${tenant}"`;
}

/** The tenant has no such job. */
export class JobNotFoundError extends SiloError {
  override readonly name = "JobNotFoundError";
  readonly code = "SILO_JOB_NOT_FOUND";

  constructor(
    /** The job. */
    readonly jobId: string,
    /** Its tenant, undefined if none was given. */
    readonly tenant?: string,
  ) {
    super(`Job "${jobId}" not found${inTenant(tenant)}`);
  }
}

/** The job has not ended, so it has no result. */
export class JobNotTerminalError extends SiloError {
  override readonly name = "JobNotTerminalError";
  readonly code = "SILO_JOB_NOT_TERMINAL";

  constructor(
    /** The job. */
    readonly jobId: string,
    /** Its tenant, undefined if none was given. */
    readonly tenant?: string,
    /** How the job stands, if that could be read. */
    readonly currentStatus?: JobStatus,
  ) {
    const status = currentStatus === undefined ? "" : ` (current status: ${currentStatus})`;
    super(`Job "${jobId}"${inTenant(tenant)} is not in a terminal state${status}`);
  }
}

/** The task is not leased any more: it was reported, or its lease ran out. */
export class TaskNotFoundError extends SiloError {
  override readonly name = "TaskNotFoundError";
  readonly code = "SILO_TASK_NOT_FOUND";

  /**
   * @param mayBeRecorded whether a report was sent more than once in this call, so that the first
   *     time, whose answer was lost, may have recorded it and ended the lease.
   */
  constructor(
    /** The task. */
    readonly taskId: string,
    /** The server's message. */
    readonly grpcMessage?: string,
    readonly mayBeRecorded = false,
  ) {
    super(`Task "${taskId}" not found${grpcMessage ? `: ${grpcMessage}` : ""}`);
  }
}

/** A worker lost the lease of a task: the handler was told to stop, nothing will be reported. */
export class TaskLeaseLostError extends SiloError {
  override readonly name = "TaskLeaseLostError";
  readonly code = "SILO_TASK_LEASE_LOST";
  /** Tells it from `JobCancelledError` where a signal's reason may be either. */
  readonly reason = "lease-lost";
  /** What took the lease away. */
  override readonly cause: Error;

  constructor(
    /** The task. */
    readonly taskId: string,
    /** The job. */
    readonly jobId: string,
    /** What took the lease away. */
    cause: Error,
  ) {
    super(`Lease lost for task "${taskId}" (job "${jobId}"): ${cause.message}`);
    this.cause = cause;
  }
}

/** A handler's job was cancelled: its signal's reason. */
export class JobCancelledError extends SiloError {
  override readonly name = "JobCancelledError";
  readonly code = "SILO_JOB_CANCELLED";

  /** @param reason who cancelled it: somebody, told by the server, or the handler by `cancel()`. */
  constructor(
    readonly reason: "server" | "client",
    /** The task. */
    readonly taskId: string,
    /** The job. */
    readonly jobId: string,
  ) {
    super(`Job "${jobId}" was cancelled${reason === "client" ? " by its handler" : ""}`);
  }
}

/** A server handed a worker a task that this worker already holds; the second copy was dropped. */
export class DuplicateTaskDeliveryError extends SiloError {
  override readonly name = "DuplicateTaskDeliveryError";
  readonly code = "SILO_DUPLICATE_TASK_DELIVERY";

  constructor(
    /** The task. */
    readonly taskId: string,
    /** The job. */
    readonly jobId?: string,
  ) {
    const job = jobId === undefined ? "" : ` for job "${jobId}"`;
    super(`Task "${taskId}"${job} delivered while already executing on this worker`);
  }
}

/** A value has no form on the wire that would come back as the same value. Nothing was sent. */
export class ValueNotEncodableError extends SiloError {
  override readonly name = "ValueNotEncodableError";
  readonly code = "SILO_VALUE_NOT_ENCODABLE";

  /** @param place where in the value, as an expression: `value.items[3]`. */
  constructor(
    message: string,
    readonly place: string,
  ) {
    super(message);
  }
}

/** Bytes are not MessagePack, or not of a kind that may be decoded. */
export class ValueNotDecodableError extends SiloError {
  override readonly name = "ValueNotDecodableError";
  readonly code = "SILO_VALUE_NOT_DECODABLE";
}

function issueText({ message, path = [] }: StandardSchemaV1.Issue): string {
  const keys = path.map((part) => String(typeof part === "object" ? part?.key : part));
  return keys.length === 0 ? message : `${keys.join(".")}: ${message}`;
}

/** Issues that the message of a `SiloValidationError` tells; the error has all of them. */
const ISSUES_TOLD = 5;

/** A payload or a result is not what its schema asks for. */
export class SiloValidationError extends SiloError {
  override readonly name = "SiloValidationError";
  readonly code = "SILO_VALIDATION";

  /** @param issues what the validator found. */
  constructor(
    /** What was checked. */
    readonly subject: "payload" | "result",
    readonly issues: readonly StandardSchemaV1.Issue[],
  ) {
    const told = issues.slice(0, ISSUES_TOLD).map(issueText);
    const more = issues.length > told.length ? ` (and ${issues.length - told.length} more)` : "";
    super(`The ${subject} is not valid: ${told.join("; ")}${more}`);
  }
}

/** An option, of the client or of a call, is missing or cannot be meant. Nothing was sent. */
export class InvalidOptionError extends SiloError {
  override readonly name = "InvalidOptionError";
  readonly code = "SILO_INVALID_OPTION";

  /** @param option its name, for example `tls.caFile`. */
  constructor(
    readonly option: string,
    message: string,
    options?: ErrorOptions,
  ) {
    super(`${option}: ${message}`, options);
  }
}

/** The client was closed: it makes no more calls. */
export class SiloClientClosedError extends SiloError {
  override readonly name = "SiloClientClosedError";
  readonly code = "SILO_CLIENT_CLOSED";

  constructor() {
    super("No server connections available: the client was closed. Make a new SiloGRPCClient.");
  }
}

/** The function that gives the token threw; `cause` is what. */
export class SiloTokenError extends SiloError {
  override readonly name = "SiloTokenError";
  readonly code = "SILO_TOKEN";

  constructor(cause: Error) {
    super(`the token function failed: ${cause.message}`, { cause });
  }
}

/** A server's answer is not one that this version of the package understands. */
export class SiloProtocolError extends SiloError {
  override readonly name = "SiloProtocolError";
  readonly code = "SILO_PROTOCOL";
}

/**
 * A server told of an address that the client must not send its token to: TLS is off only because
 * all `servers` are loopback names, and this address is none.
 */
export class PlaintextRefusedError extends SiloError {
  override readonly name = "PlaintextRefusedError";
  readonly code = "SILO_PLAINTEXT_REFUSED";

  constructor(override readonly address: string) {
    super(
      `A server names "${address}", which is no loopback address. This client speaks plaintext ` +
        "only because all its servers are, so it does not send its token there: set tls to true, or to " +
        "false on a network that you trust.",
    );
  }
}

/**
 * No server told the topology.
 * @internal Calls reject with `SiloUnavailableError`, or with what kept the servers from it.
 */
export class TopologyError extends Error {
  constructor(cause: unknown) {
    const why = cause instanceof Error && cause.message !== "" ? `: ${cause.message}` : "";
    super(`Failed to refresh cluster topology from any server${why}`, { cause });
  }
}

/** The topology as it is known names no shard for a tenant, or is not known yet. */
export class SiloUnroutableError extends SiloError {
  override readonly name = "SiloUnroutableError";
  readonly code = "SILO_UNROUTABLE";
}

/** A function was called before what it needs was there. */
export class SiloNotReadyError extends SiloError {
  override readonly name = "SiloNotReadyError";
  readonly code = "SILO_NOT_READY";
}

/** A server answered with an error status that has no class of its own. */
export class SiloGrpcError extends SiloError {
  override readonly name: string = "SiloGrpcError";
  readonly code: string = "SILO_GRPC_ERROR";

  /**
   * @param grpcCode name of the gRPC status code, for example `INTERNAL`.
   * @param grpcMessage the server's message.
   */
  constructor(
    message: string,
    readonly grpcCode: string,
    readonly grpcMessage: string,
  ) {
    super(message);
  }
}

/** gRPC NOT_FOUND for something that is neither a job nor a task. */
export class SiloNotFoundError extends SiloGrpcError {
  override readonly name = "SiloNotFoundError";
  override readonly code = "SILO_NOT_FOUND";

  constructor(grpcMessage: string) {
    super(grpcMessage, "NOT_FOUND", grpcMessage);
  }
}

/** gRPC ALREADY_EXISTS. */
export class SiloAlreadyExistsError extends SiloGrpcError {
  override readonly name: string = "SiloAlreadyExistsError";
  override readonly code: string = "SILO_ALREADY_EXISTS";

  constructor(grpcMessage: string) {
    super(grpcMessage, "ALREADY_EXISTS", grpcMessage);
  }
}

/** The tenant already has a job with this id. */
export class JobAlreadyExistsError extends SiloAlreadyExistsError {
  override readonly name = "JobAlreadyExistsError";
  override readonly code = "SILO_JOB_ALREADY_EXISTS";

  constructor(
    /** The job. */
    readonly jobId?: string,
    /** Its tenant, undefined if none was given. */
    readonly tenant?: string,
    grpcMessage?: string,
  ) {
    const job = jobId === undefined ? "Job" : `Job "${jobId}"`;
    super(grpcMessage || `${job} already exists${inTenant(tenant)}`);
  }
}

/** gRPC INVALID_ARGUMENT: a field of the request is not acceptable. */
export class SiloInvalidArgumentError extends SiloGrpcError {
  override readonly name = "SiloInvalidArgumentError";
  override readonly code = "SILO_INVALID_ARGUMENT";

  constructor(grpcMessage: string) {
    super(grpcMessage, "INVALID_ARGUMENT", grpcMessage);
  }
}

/** gRPC FAILED_PRECONDITION: the job or shard is not in a state that allows this. */
export class SiloFailedPreconditionError extends SiloGrpcError {
  override readonly name = "SiloFailedPreconditionError";
  override readonly code = "SILO_FAILED_PRECONDITION";

  constructor(grpcMessage: string) {
    super(grpcMessage, "FAILED_PRECONDITION", grpcMessage);
  }
}

/** gRPC UNAUTHENTICATED: the token is missing or wrong. */
export class SiloUnauthenticatedError extends SiloGrpcError {
  override readonly name = "SiloUnauthenticatedError";
  override readonly code = "SILO_UNAUTHENTICATED";

  /** @param advice what may be changed, for the message. */
  constructor(grpcMessage: string, advice?: string) {
    const message = advice === undefined ? grpcMessage : `${grpcMessage}. ${advice}`;
    super(message, "UNAUTHENTICATED", grpcMessage);
  }
}

/** gRPC PERMISSION_DENIED. */
export class SiloPermissionDeniedError extends SiloGrpcError {
  override readonly name = "SiloPermissionDeniedError";
  override readonly code = "SILO_PERMISSION_DENIED";

  constructor(grpcMessage: string) {
    super(grpcMessage, "PERMISSION_DENIED", grpcMessage);
  }
}

/** gRPC RESOURCE_EXHAUSTED: a limit of the server is met. */
export class SiloResourceExhaustedError extends SiloGrpcError {
  override readonly name = "SiloResourceExhaustedError";
  override readonly code = "SILO_RESOURCE_EXHAUSTED";

  constructor(grpcMessage: string) {
    super(grpcMessage, "RESOURCE_EXHAUSTED", grpcMessage);
  }
}

/** gRPC CANCELLED: the call was ended by its signal, which has why; `cause` repeats it. */
export class SiloCancelledError extends SiloGrpcError {
  override readonly name = "SiloCancelledError";
  override readonly code = "SILO_CANCELLED";

  constructor(grpcMessage: string) {
    super(grpcMessage, "CANCELLED", grpcMessage);
  }
}

/**
 * gRPC UNAVAILABLE, after all retries: the server could not be reached, or is not ready. Whether a
 * change was made is not known.
 */
export class SiloUnavailableError extends SiloGrpcError {
  override readonly name: string = "SiloUnavailableError";
  override readonly code: string = "SILO_UNAVAILABLE";

  constructor(grpcMessage: string) {
    super(grpcMessage, "UNAVAILABLE", grpcMessage);
  }
}

/** What keeps a client and a server from speaking TLS with each other. */
export type TlsProblem =
  | "plaintext-server"
  | "tls-server"
  | "unknown-authority"
  | "server-name"
  | "expired"
  | "client-certificate"
  | "handshake";

/**
 * Client and server do not agree on TLS, or on the certificates. No retry would mend that, so none
 * is made.
 */
export class SiloTlsError extends SiloUnavailableError {
  override readonly name = "SiloTlsError";
  override readonly code = "SILO_TLS";

  constructor(
    message: string,
    /** What is wrong with the connection. */
    readonly problem: TlsProblem,
  ) {
    super(message);
  }
}

/** gRPC DEADLINE_EXCEEDED, after all retries. Whether a change was made is not known. */
export class SiloDeadlineExceededError extends SiloGrpcError {
  override readonly name = "SiloDeadlineExceededError";
  override readonly code = "SILO_DEADLINE_EXCEEDED";

  constructor(grpcMessage: string) {
    super(grpcMessage, "DEADLINE_EXCEEDED", grpcMessage);
  }
}

// From gRPC statuses to the package's error classes.
import { RpcError } from "@protobuf-ts/runtime-rpc";
import { messageOf } from "../base/describe";
import {
  JobAlreadyExistsError,
  JobNotFoundError,
  SiloAlreadyExistsError,
  SiloCancelledError,
  SiloDeadlineExceededError,
  SiloError,
  SiloFailedPreconditionError,
  SiloGrpcError,
  SiloInvalidArgumentError,
  SiloNotFoundError,
  SiloPermissionDeniedError,
  SiloResourceExhaustedError,
  SiloTlsError,
  SiloUnauthenticatedError,
  SiloUnavailableError,
  SiloUnroutableError,
  TaskNotFoundError,
  TopologyError,
  withCause,
} from "./errors";

/** Where failed calls had been sent. */
const ADDRESSES = new WeakMap<object, string>();

/** Remembers for what a caller will see of an error which server it came from. */
export function noteAddress(error: unknown, address: string): void {
  if (typeof error === "object" && error !== null && !ADDRESSES.has(error)) {
    ADDRESSES.set(error, address);
  }
}

/** The server that an error came from, if it is known. */
function addressOf(error: unknown): string | undefined {
  return typeof error === "object" && error !== null ? ADDRESSES.get(error) : undefined;
}

/** What a call was about; decides how NOT_FOUND and ALREADY_EXISTS are named. */
export interface CallSubject {
  taskId?: string;
  jobId?: string;
  tenant?: string;
  /** Whether the client has a token, if that is known. */
  hasToken?: boolean;
}

/**
 * Whether an error says that the server could not be reached, or gave up, so that the same call
 * may succeed elsewhere or later: `SiloUnavailableError` but for `SiloTlsError`,
 * `SiloDeadlineExceededError`, or an `RpcError` with UNAVAILABLE, DEADLINE_EXCEEDED, or an INTERNAL
 * that reports a reset stream.
 */
export function isConnectivityError(error: unknown): boolean {
  if (error instanceof SiloTlsError) {
    return false;
  }
  if (error instanceof SiloUnavailableError || error instanceof SiloDeadlineExceededError) {
    return true;
  }
  if (!(error instanceof RpcError)) {
    return false;
  }
  return (
    error.code === "UNAVAILABLE" ||
    error.code === "DEADLINE_EXCEEDED" ||
    (error.code === "INTERNAL" && error.message.includes("RST_STREAM"))
  );
}

/** Whether an error says no more than that the time of a try was over. */
export function isTimeOut(error: unknown): boolean {
  return error instanceof RpcError && error.code === "DEADLINE_EXCEEDED";
}

/** Whether the server does not serve the shard that the call named. */
export function isWrongShardError(error: unknown): error is RpcError {
  return (
    error instanceof RpcError &&
    error.code === "NOT_FOUND" &&
    error.message.includes("shard not found")
  );
}

/**
 * Whether a call may be sent again after this error: the server asked did not have the shard, could
 * not be reached, or gave up, or no server was known to send it to.
 */
export function isRetryable(error: unknown): boolean {
  if (error instanceof TopologyError) {
    return isConnectivityError(error.cause);
  }
  return (
    error instanceof SiloUnroutableError || isWrongShardError(error) || isConnectivityError(error)
  );
}

/** Whether a message was too large: its status means a busy server otherwise. */
export function isTooLarge(error: SiloResourceExhaustedError): boolean {
  return /larger than|too large/i.test(error.grpcMessage);
}

function trailerOf(error: unknown, name: string): string | undefined {
  const value = error instanceof RpcError ? error.meta[name] : undefined;
  const text = Array.isArray(value) ? value[0] : value;
  return text === undefined || text === "" ? undefined : String(text);
}

/**
 * The address of the shard's owner, as it advertises it, if the error names one: a server that does
 * not have the shard does, and one that is giving it up.
 */
export function ownerAddressOf(error: unknown): string | undefined {
  return trailerOf(error, "x-silo-shard-owner-addr");
}

/** After how many milliseconds the call may be sent again, if the server says so. */
export function retryAfterOf(error: unknown): number | undefined {
  const text = trailerOf(error, "x-silo-retry-after-ms") ?? "";
  return /^[1-9]\d{0,8}$/.test(text) ? Number(text) : undefined;
}

function tokenAdvice({ hasToken }: CallSubject): string | undefined {
  if (hasToken === undefined) {
    return undefined;
  }
  return hasToken
    ? "The token has to be what the server's server.auth_token says"
    : "This client has no token: set token, or SILO_TOKEN";
}

/** The error for a gRPC status, given by the name of its code. */
export function errorFromStatus(code: string, message: string, subject: CallSubject): Error {
  switch (code) {
    case "NOT_FOUND":
      if (subject.taskId !== undefined) {
        return new TaskNotFoundError(subject.taskId, message);
      }
      if (subject.jobId !== undefined) {
        return new JobNotFoundError(subject.jobId, subject.tenant);
      }
      return new SiloNotFoundError(message);
    case "ALREADY_EXISTS":
      if (subject.jobId !== undefined) {
        return new JobAlreadyExistsError(subject.jobId, subject.tenant, message);
      }
      return new SiloAlreadyExistsError(message);
    case "INVALID_ARGUMENT":
      return new SiloInvalidArgumentError(message);
    case "FAILED_PRECONDITION":
      return new SiloFailedPreconditionError(message);
    case "UNAUTHENTICATED":
      return new SiloUnauthenticatedError(message, tokenAdvice(subject));
    case "PERMISSION_DENIED":
      return new SiloPermissionDeniedError(message);
    case "RESOURCE_EXHAUSTED":
      return new SiloResourceExhaustedError(message);
    case "UNAVAILABLE":
      return new SiloUnavailableError(message);
    case "CANCELLED":
      return new SiloCancelledError(message);
    case "DEADLINE_EXCEEDED":
      return new SiloDeadlineExceededError(message);
    default:
      return new SiloGrpcError(message, code, message);
  }
}

/**
 * What a caller sees of an error: an `RpcError` becomes one of the package's classes, any other
 * `Error` stays what it is, anything else becomes an `Error`. Servers that cannot be asked for the
 * topology are unavailable, unless all refused to tell it: then why they did is what counts.
 * The `address` is that of the server which the error came from, the `cause` is what was thrown
 * beneath, or the last failure of a call whose time is over.
 * @param operation name of the method, for the text of a thrown non-error.
 */
export function mapError(error: unknown, operation: string, subject: CallSubject): Error {
  if (error instanceof TopologyError) {
    const inner = mapError(error.cause, operation, { hasToken: subject.hasToken });
    if (!isConnectivityError(error.cause)) {
      return inner;
    }
    const mapped = withCause(new SiloUnavailableError(error.message), inner);
    return located(mapped, addressIn(inner));
  }
  if (error instanceof RpcError) {
    const { cause } = error;
    const isRaw = cause instanceof RpcError || cause instanceof TopologyError;
    const inner = isRaw ? mapError(cause, operation, subject) : cause;
    const mapped = errorFromStatus(error.code, error.message, subject);
    return located(withCause(mapped, inner ?? error), addressOf(error) ?? addressIn(inner));
  }
  if (error instanceof Error) {
    return error;
  }
  const message = messageOf(error);
  return new SiloGrpcError(`${operation} failed: ${message}`, "UNKNOWN", message);
}

function addressIn(error: unknown): string | undefined {
  return error instanceof SiloError ? error.address : undefined;
}

function located<E extends Error>(error: E, address: string | undefined): E {
  return address === undefined ? error : Object.assign(error, { address });
}

// The public types of jobs, limits, outcomes and queries.
//
// Lengths of time are milliseconds (`...Ms`). Points in time (`...AtMs`, `enqueueTimeMs`) are
// milliseconds since the Unix epoch, 1970-01-01T00:00:00Z. What callers give may be a `number` or a
// `bigint`; what comes back is a `bigint`.
import type { StandardSchemaV1 } from "@standard-schema/spec";
import { AttemptStatus, JobStatus } from "../base/job-status";
import type { Duration, Instant } from "../checks/numbers";
import type { GubernatorAlgorithm, RetryPolicy, Task as ProtoTask } from "../gen/silo";
import type { JobPending } from "./pending";
import type { RetryPolicyOptions } from "./retry-policy";

export { AttemptStatus, JobStatus };

/** At most `maxConcurrency` jobs of the tenant that name `key` run at once. */
export interface ConcurrencyLimitConfig {
  /** Tells the kinds of limits apart. */
  type: "concurrency";
  /** Queue name within the tenant, at most 4096 bytes. */
  key: string;
  /** Slots, 0 to 4294967295; 0 admits nothing. */
  maxConcurrency: number;
}

/** How a job that meets its rate limit tries again. */
export interface RateLimitRetryPolicyConfig<Int extends number | bigint = number | bigint> {
  /** First wait, in milliseconds. */
  initialBackoffMs: Int;
  /** Longest wait, in milliseconds. */
  maxBackoffMs: Int;
  /** Growth of the wait from check to check; default 2.0. */
  backoffMultiplier?: number;
  /** Checks before the job fails; default 0 = no end. */
  maxRetries?: number;
}

/** An allowance per time window, kept by the rate limiter. */
export interface RateLimitConfig<Int extends number | bigint = number | bigint> {
  /** Tells the kinds of limits apart. */
  type: "rateLimit";
  /** Name of the limit. */
  name: string;
  /** Which instance of it, for example a user. */
  uniqueKey: string;
  /** Allowance in each window. */
  limit: Int;
  /** Length of the window, in milliseconds. */
  durationMs: Int;
  /** What this job takes of the allowance; default 1, which 0 means too. Below 0 it gives back. */
  hits?: number;
  /** Default TOKEN_BUCKET. */
  algorithm?: GubernatorAlgorithm;
  /** Bits of `GubernatorBehavior`; default 0. */
  behavior?: number;
  /** Absent = the server's: 100 ms, 30 s, 2.0, no end. */
  retryPolicy?: RateLimitRetryPolicyConfig<Int>;
}

/** Slots whose number workers adjust with refresh handlers. */
export interface FloatingConcurrencyLimitConfig<Int extends number | bigint = number | bigint> {
  /** Tells the kinds of limits apart. */
  type: "floatingConcurrency";
  /** Queue name within the tenant, at most 4096 bytes. */
  key: string;
  /** Slots at the beginning; used only by the first job that names the key. */
  defaultMaxConcurrency: number;
  /** Age at which the number is refreshed, in milliseconds. */
  refreshIntervalMs: Int;
  /** Handed to the refresh handler; default {}. */
  metadata?: Record<string, string>;
}

/**
 * A condition that a job has to meet before it runs. Jobs that are read have `JobLimit<bigint>`:
 * what is 64 bits wide comes back as a bigint.
 */
export type JobLimit<Int extends number | bigint = number | bigint> =
  | ConcurrencyLimitConfig
  | RateLimitConfig<Int>
  | FloatingConcurrencyLimitConfig<Int>;

/** What ends one call early. */
export interface CallOptions {
  /**
   * How long the call may take in all, in milliseconds; 0 or Infinity = without end. It is sent
   * again until then, unless `maxRetries` says how often. Default: `timeoutMs` of the client.
   */
  timeoutMs?: Duration;
  /** Ends the call when it aborts; what the server did of it is then unknown. */
  signal?: AbortSignal;
}

/** A new job. */
export interface EnqueueJobOptions<Payload = unknown> {
  /** What the worker gets: anything MessagePack can hold. */
  payload: Payload;
  /**
   * Checks the payload before anything is sent: any validator with the Standard Schema interface
   * (Zod, Valibot, ArkType, ...). What is sent is the payload as it was given; a worker with the
   * same schema hands its handler what the validator makes of it.
   */
  payloadSchema?: StandardSchemaV1<Payload, any>;
  /** Which workers may run it: 1 to 64 characters. */
  taskGroup: string;
  /** Job id, unique within the tenant, at most 4096 bytes; default: a new UUID. */
  id?: string;
  /** 0 (most urgent) to 99; default 50. */
  priority?: number;
  /**
   * Earliest start: milliseconds since the Unix epoch, or a `Date`. Default, and 0: now, by the
   * server's clock.
   */
  startAtMs?: Instant;
  /** Default: no retries. What is left out of a policy has its default: `{}` is 3 retries. */
  retryPolicy?: RetryPolicyOptions;
  /** Taken in this order and held together; at most 64. */
  limits?: JobLimit[];
  /** 1 to 64 characters. Required if the servers have tenancy enabled, refused otherwise. */
  tenant?: string;
  /** Labels: at most 16, keys below 64 characters, values below 65535 bytes. */
  metadata?: Record<string, string>;
  /**
   * With an `id`: if the tenant already has this very job (equal but for the start), succeed with
   * its id instead of failing with `JobAlreadyExistsError`, so that a call of unknown outcome can
   * be repeated. Default false. Older servers ignore it.
   */
  returnExisting?: boolean;
}

/** A past attempt of an imported job. */
export interface ImportAttemptOptions {
  /** How it ended; Running is refused. */
  status: AttemptStatus.Succeeded | AttemptStatus.Failed | AttemptStatus.Cancelled;
  /** When it began: milliseconds since the Unix epoch, or a `Date`. */
  startedAtMs: Instant;
  /** When it ended: milliseconds since the Unix epoch, or a `Date`. */
  finishedAtMs: Instant;
  /** For Succeeded. */
  result?: unknown;
  /** For Failed. */
  errorCode?: string;
  /** For Failed. */
  errorData?: unknown;
}

/** A job with its history. */
export interface ImportJobOptions<Payload = unknown>
  extends Omit<EnqueueJobOptions<Payload>, "id" | "returnExisting"> {
  /** Job id, unique within the tenant, at most 4096 bytes. */
  id: string;
  /** When it was enqueued: milliseconds since the Unix epoch, or a `Date`. Default, and 0: now. */
  enqueueTimeMs?: Instant;
  /** Oldest first; default none. */
  attempts?: ImportAttemptOptions[];
}

/** What became of one imported job. */
export interface ImportJobResult {
  /** Job id. */
  id: string;
  /** Whether it was imported. */
  success: boolean;
  /** Why it failed. */
  error?: string;
  /** The job's status after the import. */
  status: JobStatus;
}

/** One run of a job by a worker. */
export interface JobAttempt<Result = unknown> {
  /** Job id. */
  jobId: string;
  /** From 1; never used twice, not even after a restart. */
  attemptNumber: number;
  /** Task id: each attempt has its own. */
  taskId: string;
  /** How it stands. */
  status: AttemptStatus;
  /** When it began: milliseconds since the Unix epoch. */
  startedAtMs?: bigint;
  /** When it ended, if it has: milliseconds since the Unix epoch. */
  finishedAtMs?: bigint;
  /** If it succeeded. */
  result?: Result;
  /** If it failed. */
  errorCode?: string;
  /** If it failed. */
  errorData?: unknown;
  /** Whether it has a result or error data that was left out as asked. */
  dataOmitted?: boolean;
}

/** A job as it stands. */
export interface Job<Payload = unknown, Result = unknown> {
  /** Job id. */
  id: string;
  /** 0 (most urgent) to 99. */
  priority: number;
  /** When it was enqueued, by the server's clock: milliseconds since the Unix epoch. */
  enqueueTimeMs: bigint;
  /** Undefined if it was left out as asked. */
  payload: Payload;
  /** Whether the payload was left out as asked. */
  payloadOmitted?: boolean;
  /** Absent = no retries. */
  retryPolicy?: RetryPolicy;
  /** In the order in which they are taken. */
  limits: JobLimit<bigint>[];
  /** Its labels. */
  metadata: Record<string, string>;
  /** How it stands. */
  status: JobStatus;
  /** When the status last changed: milliseconds since the Unix epoch. */
  statusChangedAtMs: bigint;
  /** Only if asked for, and if there are any. */
  attempts?: JobAttempt<Result>[];
  /** When the next attempt is due, while the job is scheduled: milliseconds since the Unix epoch. */
  nextAttemptStartsAfterMs?: bigint;
  /** Which workers may run it. */
  taskGroup: string;
  /** If the job succeeded. */
  result?: Result;
  /** Whether the job has a result that was left out as asked. */
  resultOmitted?: boolean;
  /** Why it does not run, while it is scheduled. Older servers do not say it. */
  pending?: JobPending;
  /**
   * When a running job was asked to cancel, if it was: milliseconds since the Unix epoch. Older
   * servers do not say it.
   */
  cancelRequestedAtMs?: bigint;
}

/** The end of a job that succeeded. */
export interface SucceededJobResult<Result = unknown> {
  /** Tells the kinds of ends apart. */
  status: JobStatus.Succeeded;
  /** What the handler returned. */
  result: Result;
  /** Never there. */
  errorCode?: undefined;
  /** Never there. */
  errorData?: undefined;
}

/** The end of a job that failed, with no retry left. */
export interface FailedJobResult {
  /** Tells the kinds of ends apart. */
  status: JobStatus.Failed;
  /** The last attempt's error code: the handler's, or one of the package's or the server's own. */
  errorCode: string;
  /** The last attempt's error details. */
  errorData?: unknown;
  /** Never there. */
  result?: undefined;
}

/** The end of a job that was cancelled. */
export interface CancelledJobResult {
  /** Tells the kinds of ends apart. */
  status: JobStatus.Cancelled;
  /** Never there. */
  result?: undefined;
  /** Never there. */
  errorCode?: undefined;
  /** Never there. */
  errorData?: undefined;
}

/** How a job ended; `status` tells which of the three it is. */
export type JobResult<Result = unknown> =
  | SucceededJobResult<Result>
  | FailedJobResult
  | CancelledJobResult;

/** Options of `getJob`. */
export interface GetJobOptions extends CallOptions {
  /** Whether to read the attempts too; default false. */
  includeAttempts?: boolean;
  /** Whether to leave the payload out; default false. Older servers send it all the same. */
  omitPayload?: boolean;
  /**
   * Whether to leave out the result, and what attempts returned or failed with; default false.
   * Older servers send them all the same.
   */
  omitResults?: boolean;
}

/** Options of `getJobResult`. */
export interface GetJobResultOptions<Result = unknown> extends CallOptions {
  /**
   * How long the server waits for the end, in milliseconds, at most 60000; default 0. Older servers
   * ignore it.
   */
  waitMs?: Duration;
  /** Checks the result of a job that succeeded, with the Standard Schema interface. */
  resultSchema?: StandardSchemaV1<any, Result>;
}

/** Options of `JobHandle.awaitResult`. */
export interface AwaitJobOptions<Result = unknown> {
  /** Shortest time between two polls, in milliseconds; default 500. Matters with servers that cannot wait. */
  pollIntervalMs?: Duration;
  /**
   * How long to wait in all, in milliseconds, servers that are away included. Default: for ever; servers that are
   * away are then waited for as by any other call, or for ever too if `rpcOptions` has a `timeout`.
   */
  timeoutMs?: Duration;
  /** Ends the wait when it aborts. */
  signal?: AbortSignal;
  /** Checks the result of a job that succeeded, with the Standard Schema interface. */
  resultSchema?: StandardSchemaV1<any, Result>;
}

/** Options of `leaseTask`. */
export interface LeaseTaskOptions extends CallOptions {
  /** Job id. */
  id: string;
  /** Who leases it, at most 4096 bytes. */
  workerId: string;
  /** The job's tenant. */
  tenant?: string;
}

/** Options of `leaseTasks`. */
export interface LeaseTasksOptions extends CallOptions {
  /** Who leases the tasks, at most 4096 bytes; heartbeats must name the same. */
  workerId: string;
  /** Most tasks to lease. */
  maxTasks: number;
  /** Whose jobs. */
  taskGroup: string;
  /** Restricts the poll to one shard; default: all shards open on the server asked. */
  shard?: string;
  /**
   * How long the server waits for a first task, in milliseconds, at most 60000; default 0. Older
   * servers ignore it.
   */
  waitMs?: Duration;
}

/** A task to give back. */
export interface ReturnedTask {
  /** The task. */
  taskId: string;
  /** The task's tenant. */
  tenant?: string;
}

/** Options of `returnTasks`. */
export interface ReturnTasksOptions {
  /** The shard of all tasks. */
  shard: string;
  /** As in the lease call. */
  workerId: string;
  /** What to give back. */
  tasks: ReturnedTask[];
}

/** What became of one task of `returnTasks`: why it did not go back, if it did not. */
export interface ReturnTasksResult {
  /** Absent: the task was given back. */
  error?: Error;
}

/** A request to find the present maximum of a floating limit. */
export interface RefreshTask {
  /** Task id. */
  id: string;
  /** Which limit. */
  queueKey: string;
  /** The maximum as it is now. */
  currentMaxConcurrency: number;
  /** When it was last found: milliseconds since the Unix epoch; 0n = never. */
  lastRefreshedAtMs: bigint;
  /** As the limit was defined. */
  metadata: Record<string, string>;
  /** How long the lease lasts, from each heartbeat, in milliseconds. */
  leaseMs: bigint;
  /** The task's shard. */
  shard: string;
  /** Whose workers find it. */
  taskGroup: string;
  /** Undefined while tenancy is off. */
  tenant?: string;
}

/** What a poll brought. */
export interface LeaseTasksResult {
  /** As they came over the wire; payloads are still encoded. */
  tasks: ProtoTask[];
  /** Floating limits whose number is to be found. */
  refreshTasks: RefreshTask[];
}

/** The attempt succeeded. */
export interface SuccessOutcome<Result = unknown> {
  /** Tells the kinds of outcomes apart. */
  type: "success";
  /** The job's result: anything MessagePack can hold. */
  result: Result;
}

/** The attempt failed; the job is retried if its policy allows. */
export interface FailureOutcome {
  /** Tells the kinds of outcomes apart. */
  type: "failure";
  /** A short code of the worker's choice. */
  code: string;
  /** Details. */
  data?: Record<string, unknown>;
  /**
   * False: the job fails now, whatever retries its policy has left. Default true. Older servers
   * ignore it.
   */
  retry?: boolean;
}

/** The attempt stopped because of a cancellation; the job becomes Cancelled. */
export interface CancelledOutcome {
  /** Tells the kinds of outcomes apart. */
  type: "cancelled";
}

/** How an attempt ended. */
export type TaskOutcome<Result = unknown> =
  | SuccessOutcome<Result>
  | FailureOutcome
  | CancelledOutcome;

/** Options of `reportOutcome`. */
export interface ReportOutcomeOptions<Result = unknown> {
  /** The task that ended. */
  taskId: string;
  /** The task's shard. */
  shard: string;
  /** How it ended. */
  outcome: TaskOutcome<Result>;
  /** The task's tenant. */
  tenant?: string;
}

/** What became of one outcome of `reportOutcomes`: why it was not recorded, if it was not. */
export interface ReportOutcomesResult {
  /** Absent: the outcome was recorded. */
  error?: Error;
}

/** The refresh found a number. */
export interface RefreshSuccessOutcome {
  /** Tells the kinds of outcomes apart. */
  type: "success";
  /** Slots from now on, 0 to 4294967295. */
  newMaxConcurrency: number;
}

/** The refresh failed; the limit keeps its number. */
export interface RefreshFailureOutcome {
  /** Tells the kinds of outcomes apart. */
  type: "failure";
  /** What kind of failure it was. */
  code: string;
  /** What happened, for people. */
  message: string;
}

/** How a refresh ended. */
export type RefreshOutcome = RefreshSuccessOutcome | RefreshFailureOutcome;

/** Options of `reportRefreshOutcome`. */
export interface ReportRefreshOutcomeOptions {
  /** The refresh task. */
  taskId: string;
  /** The task's shard. */
  shard: string;
  /** What was found. */
  outcome: RefreshOutcome;
  /** The task's tenant. */
  tenant?: string;
}

/** The answer to a heartbeat. */
export interface HeartbeatResult {
  /** Whether the job was cancelled. */
  cancelled: boolean;
  /** When, if it was: milliseconds since the Unix epoch. */
  cancelledAtMs?: bigint;
}

/** Options of `awaitCancellations`. */
export interface AwaitCancellationsOptions extends CallOptions {
  /** As in the lease calls: whose tasks. */
  workerId: string;
  /** Which shard's tasks. */
  shard: string;
  /** Tasks known to be cancelled and not reported yet, at most 10000: not told again. */
  knownTaskIds?: string[];
  /** How long the server waits for a first one, in milliseconds, at most 60000; default 0. */
  waitMs?: Duration;
}

/** A task that should stop. */
export interface CancelledTask {
  /** Task id. */
  taskId: string;
  /** When its job was cancelled: milliseconds since the Unix epoch. */
  cancelledAtMs: bigint;
}

/** What became of one job of `enqueueMany`: its id, or why it was not enqueued. */
export type EnqueueManyResult =
  | {
      /** The job's id. */
      id: string;
      /** Never there. */
      error?: undefined;
    }
  | {
      /** Never there. */
      id?: undefined;
      /** Why it was not enqueued. */
      error: Error;
    };

/** One column of a query's result. */
export interface QueryColumnInfo {
  /** The column's name. */
  name: string;
  /** Arrow's name of the type, for example Utf8. */
  dataType: string;
}

/** The value of `$1`, `$2`, ... in a statement. Integer numbers must be safe integers. */
export type QueryBindParameter = string | number | bigint | boolean | Uint8Array | null;

/** A query's result. */
export interface QueryResult<Row = Record<string, unknown>> {
  /** The columns, in their order. */
  columns: QueryColumnInfo[];
  /** Column name to value. 64-bit columns may hold a bigint or a number. */
  rows: Row[];
  /** How many rows there are. */
  rowCount: number;
}

// The public types of jobs, limits, outcomes and queries. Times whose name ends in `AtMs`, and
// `enqueueTimeMs`, are milliseconds since the Unix epoch; other `Ms` values are durations in
// milliseconds.
import type { GubernatorAlgorithm, RetryPolicy, Task as ProtoTask } from "./gen/silo";
import type { JobPending } from "./pending";

/** Where a job stands. */
export enum JobStatus {
  /** Waiting: for its start, for a retry, for a limit, or for a worker. */
  Scheduled = "Scheduled",
  /** Leased by a worker. */
  Running = "Running",
  /** Ended with a result. */
  Succeeded = "Succeeded",
  /** Ended with an error and no retry left. */
  Failed = "Failed",
  /** Ended because it was cancelled. */
  Cancelled = "Cancelled",
}

/** How one attempt of a job stands. */
export enum AttemptStatus {
  Running = "Running",
  Succeeded = "Succeeded",
  Failed = "Failed",
  Cancelled = "Cancelled",
}

/** At most `maxConcurrency` jobs of the tenant that name `key` run at once. */
export interface ConcurrencyLimitConfig {
  type: "concurrency";
  /** Queue name within the tenant. */
  key: string;
  /** Slots; 0 admits nothing. */
  maxConcurrency: number;
}

/** How a job that meets its rate limit tries again. */
export interface RateLimitRetryPolicyConfig {
  /** First wait. */
  initialBackoffMs: bigint;
  /** Longest wait. */
  maxBackoffMs: bigint;
  /** Growth of the wait; default 2.0. */
  backoffMultiplier?: number;
  /** Checks before the job fails; default 0 = no end. */
  maxRetries?: number;
}

/** An allowance per time window, kept by the rate limiter. */
export interface RateLimitConfig {
  type: "rateLimit";
  /** Name of the limit. */
  name: string;
  /** Which instance of it, for example a user. */
  uniqueKey: string;
  /** Allowance in each window. */
  limit: bigint;
  /** Length of the window. */
  durationMs: bigint;
  /** Cost of this job; default 1, 0 looks without taking. */
  hits?: number;
  /** Default TOKEN_BUCKET. */
  algorithm?: GubernatorAlgorithm;
  /** Bits of `GubernatorBehavior`; default 0. */
  behavior?: number;
  /** Absent = the server's: 100 ms, 30 s, 2.0, no end. */
  retryPolicy?: RateLimitRetryPolicyConfig;
}

/** Slots whose number workers adjust with refresh handlers. */
export interface FloatingConcurrencyLimitConfig {
  type: "floatingConcurrency";
  /** Queue name within the tenant. */
  key: string;
  /** Slots at the beginning; used only by the first job that names the key. */
  defaultMaxConcurrency: number;
  /** Age at which the number is refreshed. */
  refreshIntervalMs: bigint;
  /** Handed to the refresh handler; default {}. */
  metadata?: Record<string, string>;
}

/** A condition that a job has to meet before it runs. */
export type JobLimit = ConcurrencyLimitConfig | RateLimitConfig | FloatingConcurrencyLimitConfig;

/** What ends one call early. */
export interface CallOptions {
  /**
   * How long the call may take in all, in milliseconds; 0 or Infinity = without end. It is sent
   * again until then, unless `maxRetries` says how often. Default: `timeoutMs` of the client.
   */
  timeoutMs?: number;
  /** Ends the call when it aborts; what the server did of it is then unknown. */
  signal?: AbortSignal;
}

/** A new job. */
export interface EnqueueJobOptions {
  /** What the worker gets: anything MessagePack can hold. */
  payload: unknown;
  /** Which workers may run it: 1 to 64 characters. */
  taskGroup: string;
  /** Job id, unique within the tenant, at most 4096 bytes; default: a new UUID. */
  id?: string;
  /** 0 (most urgent) to 99; default 50. */
  priority?: number;
  /** Earliest start; default now, by the server's clock. */
  startAtMs?: bigint;
  /** Default: no retries. */
  retryPolicy?: RetryPolicy;
  /** Taken in this order and held together; at most 64. */
  limits?: JobLimit[];
  /** Required if the servers have tenancy enabled, refused otherwise. */
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
  startedAtMs: bigint;
  finishedAtMs: bigint;
  /** For Succeeded. */
  result?: unknown;
  /** For Failed. */
  errorCode?: string;
  /** For Failed. */
  errorData?: unknown;
}

/** A job with its history. */
export interface ImportJobOptions extends Omit<EnqueueJobOptions, "id" | "returnExisting"> {
  /** Job id, unique within the tenant. */
  id: string;
  /** When it was enqueued; default now. */
  enqueueTimeMs?: bigint;
  /** Oldest first; default none. */
  attempts?: ImportAttemptOptions[];
}

/** What became of one imported job. */
export interface ImportJobResult {
  id: string;
  success: boolean;
  /** Why it failed. */
  error?: string;
  /** The job's status after the import. */
  status: JobStatus;
}

/** One run of a job by a worker. */
export interface JobAttempt<Result = unknown> {
  jobId: string;
  /** From 1; never used twice, not even after a restart. */
  attemptNumber: number;
  taskId: string;
  status: AttemptStatus;
  startedAtMs?: bigint;
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
  id: string;
  priority: number;
  enqueueTimeMs: bigint;
  /** Undefined if it was left out as asked. */
  payload: Payload;
  payloadOmitted?: boolean;
  retryPolicy?: RetryPolicy;
  limits: JobLimit[];
  metadata: Record<string, string>;
  status: JobStatus;
  /** When the status last changed. */
  statusChangedAtMs: bigint;
  /** Only if asked for, and if there are any. */
  attempts?: JobAttempt<Result>[];
  /** When the next attempt is due, while the job is scheduled. */
  nextAttemptStartsAfterMs?: bigint;
  taskGroup: string;
  /** If the job succeeded. */
  result?: Result;
  /** Whether the job has a result that was left out as asked. */
  resultOmitted?: boolean;
  /** Why it does not run, while it is scheduled. Older servers do not say it. */
  pending?: JobPending;
  /** When a running job was asked to cancel, if it was. Older servers do not say it. */
  cancelRequestedAtMs?: bigint;
}

/** How a job ended. */
export interface JobResult<T = unknown> {
  status: JobStatus.Succeeded | JobStatus.Failed | JobStatus.Cancelled;
  /** What the handler returned, if the job succeeded. */
  result?: T;
  /** The last error's code, if the job failed. */
  errorCode?: string;
  /** The last error's details, if the job failed. */
  errorData?: unknown;
}

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
export interface GetJobResultOptions extends CallOptions {
  /** How long the server waits for the end, 0 to 60000; default 0. Older servers ignore it. */
  waitMs?: number;
}

/** Options of `JobHandle.awaitResult`. */
export interface AwaitJobOptions {
  /** Shortest time between two polls; default 500. Matters with servers that cannot wait. */
  pollIntervalMs?: number;
  /**
   * How long to wait in all, servers that are away included. Default: for ever; servers that are
   * away are then waited for as by any other call, or for ever too if `rpcOptions` has a `timeout`.
   */
  timeoutMs?: number;
  /** Ends the wait when it aborts. */
  signal?: AbortSignal;
}

/** Options of `leaseTask`. */
export interface LeaseTaskOptions extends CallOptions {
  /** Job id. */
  id: string;
  /** Who leases it, at most 4096 bytes. */
  workerId: string;
  tenant?: string;
}

/** Options of `leaseTasks`. */
export interface LeaseTasksOptions extends CallOptions {
  /** Who leases the tasks, at most 4096 bytes; heartbeats must name the same. */
  workerId: string;
  /** Most tasks to lease. */
  maxTasks: number;
  taskGroup: string;
  /** Restricts the poll to one shard; default: all shards open on the server asked. */
  shard?: string;
  /** How long the server waits for a first task, 0 to 60000; default 0. Older servers ignore it. */
  waitMs?: number;
}

/** A task to give back. */
export interface ReturnedTask {
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
  tasks: ReturnedTask[];
}

/** What became of one task of `returnTasks`: why it did not go back, if it did not. */
export interface ReturnTasksResult {
  error?: Error;
}

/** A request to find the present maximum of a floating limit. */
export interface RefreshTask {
  /** Task id. */
  id: string;
  /** Which limit. */
  queueKey: string;
  currentMaxConcurrency: number;
  /** 0n = never. */
  lastRefreshedAtMs: bigint;
  /** As the limit was defined. */
  metadata: Record<string, string>;
  /** How long the lease lasts, from each heartbeat. */
  leaseMs: bigint;
  shard: string;
  taskGroup: string;
  tenant?: string;
}

/** What a poll brought. */
export interface LeaseTasksResult {
  /** As they came over the wire; payloads are still encoded. */
  tasks: ProtoTask[];
  refreshTasks: RefreshTask[];
}

/** The attempt succeeded. */
export interface SuccessOutcome<Result = unknown> {
  type: "success";
  result: Result;
}

/** The attempt failed; the job is retried if its policy allows. */
export interface FailureOutcome {
  type: "failure";
  /** A short code of the worker's choice. */
  code: string;
  /** Details. */
  data?: Record<string, unknown>;
}

/** The attempt stopped because of a cancellation; the job becomes Cancelled. */
export interface CancelledOutcome {
  type: "cancelled";
}

/** How an attempt ended. */
export type TaskOutcome<Result = unknown> =
  | SuccessOutcome<Result>
  | FailureOutcome
  | CancelledOutcome;

/** Options of `reportOutcome`. */
export interface ReportOutcomeOptions<Result = unknown> {
  taskId: string;
  /** The task's shard. */
  shard: string;
  outcome: TaskOutcome<Result>;
  /** The task's tenant. */
  tenant?: string;
}

/** What became of one outcome of `reportOutcomes`: why it was not recorded, if it was not. */
export interface ReportOutcomesResult {
  error?: Error;
}

/** The refresh found a number. */
export interface RefreshSuccessOutcome {
  type: "success";
  newMaxConcurrency: number;
}

/** The refresh failed; the limit keeps its number. */
export interface RefreshFailureOutcome {
  type: "failure";
  code: string;
  message: string;
}

/** How a refresh ended. */
export type RefreshOutcome = RefreshSuccessOutcome | RefreshFailureOutcome;

/** Options of `reportRefreshOutcome`. */
export interface ReportRefreshOutcomeOptions {
  taskId: string;
  /** The task's shard. */
  shard: string;
  outcome: RefreshOutcome;
  /** The task's tenant. */
  tenant?: string;
}

/** The answer to a heartbeat. */
export interface HeartbeatResult {
  /** Whether the job was cancelled. */
  cancelled: boolean;
  /** When, if it was. */
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
  /** How long the server waits for a first one, 0 to 60000 milliseconds; default 0. */
  waitMs?: number;
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
  | { id: string; error?: undefined }
  | { id?: undefined; error: Error };

/** One column of a query's result. */
export interface QueryColumnInfo {
  name: string;
  /** Arrow's name of the type, for example Utf8. */
  dataType: string;
}

/** The value of `$1`, `$2`, ... in a statement. Integer numbers must be safe integers. */
export type QueryBindParameter = string | number | bigint | boolean | Uint8Array | null;

/** A query's result. */
export interface QueryResult<Row = Record<string, unknown>> {
  columns: QueryColumnInfo[];
  /** Column name to value. 64-bit columns may hold a bigint or a number. */
  rows: Row[];
  rowCount: number;
}

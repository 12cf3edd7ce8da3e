import type { Meter } from "@opentelemetry/api";
import type { StandardSchemaV1 } from "@standard-schema/spec";
import type { Duration } from "../checks/numbers";
import type { SiloGRPCClient } from "../client/client";
import type { JobCancelledError, TaskLeaseLostError } from "../errors/errors";
import type { Limit } from "../gen/silo";
import type { RefreshTask, TaskOutcome } from "../jobs/types";

/** Why a task's `cancellationSignal` aborted: told by the server, by `cancel()`, or lease lost. */
export type CancellationReason = "server" | "client" | "lease-lost";

/** One attempt of a job, as handlers see it. */
export interface Task<Payload = unknown, Metadata = Record<string, string>> {
  /** Task id. */
  id: string;
  /** Job id: the same for all attempts of a job. */
  jobId: string;
  /** From 1; counts on over restarts. */
  attemptNumber: number;
  /** From 1 after each restart. */
  relativeAttemptNumber: number;
  /** How long the lease lasts from each heartbeat, in milliseconds. */
  leaseMs: bigint;
  /** What the job was enqueued with, as `payloadSchema` makes it, if the worker has one. */
  payload: Payload;
  /** 0 (most urgent) to 99. */
  priority: number;
  /** The task's shard. */
  shard: string;
  /** As the job was enqueued with. */
  taskGroup: string;
  /** Undefined while tenancy is off. */
  tenantId?: string;
  /** Whether a failure of this attempt is final. */
  isLastAttempt: boolean;
  /** The job's labels. */
  metadata: Metadata;
  /** The job's limits. */
  limits: Limit[];
}

/**
 * Why a handler is told to stop: its job was cancelled, or its lease is lost. `reason` is
 * `"server"`, `"client"` or `"lease-lost"`.
 */
export type CancellationError = JobCancelledError | TaskLeaseLostError;

/** A signal whose `reason`, once it has aborted, is one of the package's errors. */
export interface CancellationSignal extends AbortSignal {
  /** Why the handler is told to stop; undefined while it is not. */
  readonly reason: CancellationError;
}

/** A handler's argument: the task's fields, and what steers its execution. */
export interface TaskContext<Payload = unknown, Metadata = Record<string, string>>
  extends Task<Payload, Metadata> {
  /** The same task as one object. */
  task: Task<Payload, Metadata>;
  /**
   * Aborts when the job is cancelled or the lease is lost, not when the worker stops. Its `reason`
   * is a `JobCancelledError`, or a `TaskLeaseLostError`: a lease is lost when the server says so, or
   * when no heartbeat was answered for as long as it lasts.
   */
  cancellationSignal: CancellationSignal;
  /** Aborts `cancellationSignal` and cancels the job; resolves when the server has heard of it. */
  cancel(): Promise<void>;
}

/**
 * Does a task's work. What it returns, or resolves with, is the job's result, unless it is an object whose
 * `type` is `success`, `failure` or `cancelled`: that is the outcome itself. A throw fails the
 * attempt with the code `HANDLER_ERROR` and the error as its data. Once the job is cancelled, a
 * handler that throws or resolves with nothing has stopped: the outcome is `cancelled`.
 */
export type TaskHandler<Payload = unknown, Metadata = Record<string, string>, Result = unknown> = (
  context: TaskContext<Payload, Metadata>,
) => Promise<TaskOutcome<Result> | Result> | TaskOutcome<Result> | Result;

/** A refresh handler's argument. */
export interface RefreshTaskContext {
  /** What is to be found. */
  task: RefreshTask;
  /** The task's shard. */
  shard: string;
  /** The worker's own. */
  workerId: string;
  /** Aborts when the worker stops. */
  signal: AbortSignal;
}

/** Finds the present maximum of a floating limit. A throw leaves it as it is. */
export type RefreshHandler = (context: RefreshTaskContext) => Promise<number> | number;

/** Hears of errors that no caller can. */
export type ErrorListener = (error: Error, context?: { taskId?: string }) => void;

/** Options of `SiloWorker.start`. */
export interface WorkerStartOptions {
  /** Stops the worker when it aborts. */
  signal?: AbortSignal;
}

/** Options of `SiloWorker.stop`. */
export interface WorkerStopOptions {
  /**
   * After which running handlers and unanswered reports are left alone; their leases run out. In
   * milliseconds, any number, Infinity too; default 30000. Polls have two seconds to come back
   * however short it is, and what they bring is given back: close the client only after that.
   */
  timeoutMs?: Duration;
  /** Ends the wait when it aborts, as if the time had passed. */
  signal?: AbortSignal;
}

/** Options of `SiloWorker`. */
export interface SiloWorkerOptions<
  Payload = any,
  Metadata = Record<string, string>,
  Result = unknown,
> {
  /** Made by the caller, who also closes it, after `stop()`. */
  client: SiloGRPCClient;
  /** Name of this worker, at most 4096 bytes. Use another for each process. */
  workerId: string;
  /** Which jobs to run: 1 to 64 characters. */
  taskGroup: string;
  /** Does the work of one task. */
  handler: TaskHandler<Payload, Metadata, Result>;
  /**
   * Checks payloads before the handler, which gets what the validator makes of them: any validator
   * with the Standard Schema interface (Zod, Valibot, ArkType, ...). A payload that does not pass
   * fails the attempt with the code `PAYLOAD_INVALID`, and the job is not retried.
   */
  payloadSchema?: StandardSchemaV1<any, Payload>;
  /**
   * Checks what handlers return; it is reported as it was returned. A result that does not pass
   * fails the attempt with the code `RESULT_INVALID`.
   */
  resultSchema?: StandardSchemaV1<Result, any>;
  /** Needed if jobs of the group have floating limits. */
  refreshHandler?: RefreshHandler;
  /** Has no effect: a worker serves all tenants of its task group. */
  tenant?: string;
  /** Independent poll loops; default 1. There is at least one for each server that has shards. */
  concurrentPollers?: number;
  /** Handlers running at once, at least 1; default 10. */
  maxConcurrentTasks?: number;
  /** Most tasks asked for in one poll; default `maxConcurrentTasks`. */
  tasksPerPoll?: number;
  /**
   * Tasks leased beyond those that can run, to be at hand when a slot becomes free; default 0. No
   * other worker can run them meanwhile.
   */
  prefetchTasks?: number;
  /** Shortest time between two polls that bring nothing, in milliseconds; default 1000. */
  pollIntervalMs?: Duration;
  /**
   * How long a server holds a poll that finds no task, 0 to 60000 milliseconds; default
   * `pollIntervalMs`, at most 60000. A new task reaches a waiting poll at once. `stop()` waits for polls for up to
   * two seconds, then cancels them.
   */
  pollWaitMs?: Duration;
  /**
   * Time between two heartbeats of a task, in milliseconds; default 5000, the lease is 10000. No
   * longer than half of the lease, whatever is set.
   */
  heartbeatIntervalMs?: Duration;
  /**
   * Hears of errors that no caller can; default: `console.error`. Of a server that cannot be reached
   * it hears at the first try, or after 15 s if there are others, and once until a poll is answered
   * again; the worker goes on trying.
   */
  onError?: ErrorListener;
  /** Where the worker's counters go; default: the global provider's meter `silo-worker`. */
  meter?: Meter;
}

import type { SiloGRPCClient } from "../client/client";
import { JobCancelledError, TaskLeaseLostError } from "../errors/errors";
import type { Task as ProtoTask } from "../gen/silo";
import { bytesOf, decodeBytes } from "../wire/codec";
import type {
  CancellationError,
  CancellationReason,
  CancellationSignal,
  Task,
} from "./worker-types";

/** A task with its payload decoded. @throws Error if the payload is not MessagePack. */
export function transformTask<Payload = unknown, Metadata = Record<string, string>>(
  task: ProtoTask,
): Task<Payload, Metadata> {
  return taskWith(task, decodeBytes<Payload>(bytesOf(task.payload), "payload"));
}

/** A task with this in place of its payload. */
export function taskWith<Payload, Metadata = Record<string, string>>(
  task: ProtoTask,
  payload: Payload,
): Task<Payload, Metadata> {
  return {
    id: task.id,
    jobId: task.jobId,
    attemptNumber: task.attemptNumber,
    relativeAttemptNumber: task.relativeAttemptNumber,
    leaseMs: task.leaseMs,
    payload,
    priority: task.priority,
    shard: task.shard,
    taskGroup: task.taskGroup,
    tenantId: task.tenantId,
    isLastAttempt: task.isLastAttempt,
    metadata: task.metadata as Metadata,
    limits: task.limits,
  };
}

/** What one execution of a task has come to: cancelled, lease lapsed or lost, settled. */
export class TaskExecution {
  private readonly controller = new AbortController();
  private reason: CancellationReason | undefined;
  private leaseLost = false;
  private leaseLapsed = false;
  private settled = false;

  constructor(
    readonly task: Task,
    readonly workerId: string,
    private readonly client: Pick<SiloGRPCClient, "cancelJob">,
  ) {}

  /** Aborts on cancellation and when the lease is lost. */
  get signal(): CancellationSignal {
    return this.controller.signal;
  }

  /** Whether the signal has aborted. */
  get isCancelled(): boolean {
    return this.reason !== undefined;
  }

  /** What aborted the signal first. */
  get cancellationReason(): CancellationReason | undefined {
    return this.reason;
  }

  /** Whether a handler that throws, or returns nothing, has stopped because of a cancellation. */
  get shouldReportCancelled(): boolean {
    return !this.leaseLost && (this.reason === "server" || this.reason === "client");
  }

  /** Whether the task is not this worker's any more, so that nothing may be reported. */
  get isLeaseLost(): boolean {
    return this.leaseLost;
  }

  /** Whether the handler has returned or thrown. */
  get isSettled(): boolean {
    return this.settled;
  }

  /** The handler has returned or thrown. */
  markSettled(): void {
    this.settled = true;
  }

  /** A heartbeat said that the job is cancelled. */
  markCancelledByServer(): void {
    this.abort(this.cancelledBy("server"));
  }

  /**
   * Aborts the signal, then cancels the job; errors of that call are swallowed. Does nothing once
   * cancelled or settled.
   */
  async cancelFromClient(): Promise<void> {
    if (this.isCancelled || this.settled) {
      return;
    }
    this.abort(this.cancelledBy("client"));
    try {
      await this.client.cancelJob(this.task.jobId, this.task.tenantId);
    } catch {
      // The handler stops and reports "cancelled" all the same.
    }
  }

  /** The lease is gone. @returns whether this call is the first to say so. */
  markLeaseLost(): boolean {
    if (this.leaseLost) {
      return false;
    }
    this.leaseLost = true;
    const { id, jobId } = this.task;
    this.abort(new TaskLeaseLostError(id, jobId, new Error("the server says so")));
    return true;
  }

  /**
   * The lease is over by our own clock; another worker may have the job. What the handler comes to
   * is reported all the same, for the server to decide.
   * @param error the signal's reason. @returns whether this call is the first to say so.
   */
  markLeaseLapsed(error: TaskLeaseLostError): boolean {
    if (this.leaseLapsed || this.leaseLost) {
      return false;
    }
    this.leaseLapsed = true;
    this.abort(error);
    return true;
  }

  private cancelledBy(reason: "server" | "client"): JobCancelledError {
    return new JobCancelledError(reason, this.task.id, this.task.jobId);
  }

  private abort(error: CancellationError): void {
    if (this.reason === undefined) {
      this.reason = error.reason;
      this.controller.abort(error);
    }
  }
}

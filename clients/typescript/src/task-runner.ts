import { context, SpanStatusCode, trace } from "@opentelemetry/api";
import type { Context, Span } from "@opentelemetry/api";
import { SiloFailedPreconditionError, TaskLeaseLostError, TaskNotFoundError } from "./errors";
import { asError } from "./describe";
import { encodeOutcome, failureOf, HANDLER_ERROR, toOutcome } from "./outcome";
import { HeartbeatTimer } from "./runner";
import type { Runner, RunnerHost } from "./runner";
import { TaskExecution } from "./task-execution";
import type { TaskOutcome } from "./types";
import type { Task, TaskContext, TaskHandler } from "./worker-types";

/** Whether a heartbeat's rejection proves that the lease is gone. */
export function provesLeaseLost(error: unknown): error is Error {
  return (
    (error instanceof TaskNotFoundError &&
      (error.grpcMessage ?? "").includes("lease not found")) ||
    (error instanceof SiloFailedPreconditionError &&
      error.message.includes("lease owner mismatch"))
  );
}

/** One execution of a task, from its delivery to the end of its report. */
export class TaskRunner implements Runner {
  readonly execution: TaskExecution;
  private readonly heartbeat: HeartbeatTimer;
  private readonly span: Span;
  private readonly context: Context;
  private abandoned = false;
  private started = false;

  /** Starts the span and the heartbeats; the handler starts with `run()`. */
  constructor(
    private readonly host: RunnerHost,
    private readonly task: Task,
    private readonly handler: TaskHandler,
  ) {
    this.execution = new TaskExecution(task, host.workerId, host.client);
    this.span = trace.getTracer("silo-worker").startSpan("silo.task.lifecycle", {
      attributes: {
        "silo.task_id": task.id,
        "silo.shard": task.shard,
        "silo.tenant": task.tenantId ?? "",
        "silo.worker_id": host.workerId,
        "silo.job_id": task.jobId,
        "silo.task_group": task.taskGroup,
        "silo.attempt_number": task.attemptNumber,
      },
    });
    this.context = trace.setSpan(context.active(), this.span);
    this.heartbeat = new HeartbeatTimer(host.heartbeatIntervalMs, () =>
      context.with(this.context, () => this.beat()),
    );
  }

  get taskId(): string {
    return this.task.id;
  }

  async run(): Promise<void> {
    this.started = true;
    if (!this.execution.isLeaseLost) {
      const outcome = await this.callHandler();
      this.execution.markSettled();
      this.heartbeat.stop();
      if (!this.execution.isLeaseLost) {
        await this.report(this.execution.shouldReportCancelled ? { type: "cancelled" } : outcome);
      }
    }
    this.host.release(this);
    this.span.end();
  }

  abandon(): void {
    this.abandoned = true;
    this.heartbeat.stop();
    if (!this.started) {
      this.span.end();
    }
  }

  private async callHandler(): Promise<TaskOutcome> {
    const argument: TaskContext = {
      ...this.task,
      task: this.task,
      cancellationSignal: this.execution.signal,
      cancel: () => this.execution.cancelFromClient(),
    };
    try {
      return toOutcome(await context.with(this.context, () => this.handler(argument)));
    } catch (error) {
      return failureOf(error, HANDLER_ERROR);
    }
  }

  private async report(given: TaskOutcome): Promise<void> {
    const { id: taskId, shard, tenantId: tenant } = this.task;
    const { outcome, refusal } = encodeOutcome(given);
    if (refusal !== undefined) {
      this.host.onError(refusal, { taskId });
    }
    try {
      await context.with(this.context, () =>
        this.host.reporter.report({ taskId, shard, tenant, outcome }),
      );
    } catch (thrown) {
      const error = asError(thrown);
      this.span.recordException(error);
      this.span.setStatus({ code: SpanStatusCode.ERROR, message: error.message });
      this.host.onError(error, { taskId });
    }
  }

  private async beat(): Promise<void> {
    if (this.execution.isCancelled) {
      return;
    }
    const { id, shard, tenantId } = this.task;
    try {
      const answer = await this.host.client.heartbeat(this.host.workerId, id, shard, tenantId);
      if (answer.cancelled && !this.execution.isSettled) {
        this.execution.markCancelledByServer();
      }
    } catch (error) {
      // After the handler the report has removed the lease: nothing to say then.
      if (!this.execution.isSettled && !this.abandoned) {
        this.beatFailed(asError(error));
      }
    }
  }

  private beatFailed(error: Error): void {
    const { id: taskId, jobId } = this.task;
    if (!provesLeaseLost(error)) {
      this.host.onError(error, { taskId });
    } else if (this.execution.markLeaseLost()) {
      this.heartbeat.stop();
      this.host.release(this);
      this.host.onError(new TaskLeaseLostError(taskId, jobId, error), { taskId });
    }
  }
}

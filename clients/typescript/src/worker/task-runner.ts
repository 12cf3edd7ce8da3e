import { context, SpanStatusCode, trace } from "@opentelemetry/api";
import type { Context, Span } from "@opentelemetry/api";
import type { StandardSchemaV1 } from "@standard-schema/spec";
import { asError } from "../base/describe";
import { SiloValidationError, TaskLeaseLostError } from "../errors/errors";
import type { TaskOutcome } from "../jobs/types";
import { validated } from "../jobs/validation";
import { outcomeBytes, outcomeToProto } from "../wire/mapping";
import { LeaseKeeper } from "./lease-keeper";
import {
  encodeOutcome,
  failureOf,
  HANDLER_ERROR,
  isOutcome,
  OUTCOME_REFUSED,
  PAYLOAD_DECODE_ERROR,
  PAYLOAD_INVALID,
  RESULT_INVALID,
  toOutcome,
} from "./outcome";
import { Reporting } from "./reporting";
import type { Runner, RunnerHost } from "./runner";
import { TaskExecution } from "./task-execution";
import type { Task, TaskContext, TaskHandler } from "./worker-types";

function spanOf(task: Task, workerId: string): Span {
  return trace.getTracer("silo-worker").startSpan("silo.task.lifecycle", {
    attributes: {
      "silo.task_id": task.id,
      "silo.shard": task.shard,
      "silo.tenant": task.tenantId ?? "",
      "silo.worker_id": workerId,
      "silo.job_id": task.jobId,
      "silo.task_group": task.taskGroup,
      "silo.attempt_number": task.attemptNumber,
    },
  });
}

/** What is done with each task. */
export interface TaskWork {
  handler: TaskHandler;
  payloadSchema?: StandardSchemaV1<any, unknown>;
  resultSchema?: StandardSchemaV1<any, unknown>;
}

/** One execution of a task, from its delivery to the end of its report. */
export class TaskRunner implements Runner {
  readonly execution: TaskExecution;
  reportBytes = 0;
  private readonly keeper: LeaseKeeper;
  private readonly reporting: Reporting;
  private readonly span: Span;
  private readonly context: Context;
  private abandoned = false;
  private started = false;

  /**
   * Starts the span and the heartbeats; the handler starts with `run()`.
   * @param undecodable why the task's payload could not be decoded, if so: the attempt fails.
   */
  constructor(
    private readonly host: RunnerHost,
    private readonly task: Task,
    private readonly work: TaskWork,
    private readonly undecodable?: Error,
  ) {
    this.execution = new TaskExecution(task, host.workerId, host.client);
    this.span = spanOf(task, host.workerId);
    this.context = trace.setSpan(context.active(), this.span);
    this.reporting = new Reporting(() => host.late(this));
    const { id: taskId, shard, tenantId: tenant, leaseMs } = task;
    const { client, workerId, heartbeatIntervalMs } = host;
    const heartbeat: typeof client.heartbeat = (...call) =>
      context.with(this.context, () => client.heartbeat(...call));
    this.keeper = new LeaseKeeper(
      { heartbeat },
      { workerId, taskId, shard, tenant, leaseMs },
      heartbeatIntervalMs,
      {
        cancelled: () => this.cancelled(),
        lost: (error) => this.lost(error),
        lapsed: () => this.lapsed(),
        failed: (error) => this.beatFailed(error),
      },
    );
  }

  get taskId(): string {
    return this.task.id;
  }

  get shard(): string {
    return this.task.shard;
  }

  get tenant(): string | undefined {
    return this.task.tenantId;
  }

  get done(): Promise<void> {
    return this.reporting.done;
  }

  async run(): Promise<void> {
    this.started = true;
    if (this.execution.cancellationReason === "lease-lost") {
      // Another may have it by now, and nothing was begun: there is nothing to report.
      return this.end();
    }
    // A job that was cancelled before its handler began never begins.
    const outcome = this.execution.isCancelled ? undefined : await this.perform();
    this.execution.markSettled();
    if (this.execution.isLeaseLost) {
      this.end();
    } else {
      await this.report(outcome ?? { type: "cancelled" });
    }
  }

  abandon(): void {
    this.abandoned = true;
    this.keeper.stop();
    this.reporting.callOff();
    if (!this.started) {
      this.end();
    }
  }

  /** Calls the handler. Never rejects. @returns undefined if it stopped for a cancellation. */
  private async perform(): Promise<TaskOutcome | undefined> {
    if (this.undecodable !== undefined) {
      this.host.onError(this.undecodable, { taskId: this.taskId });
      return failureOf(this.undecodable, PAYLOAD_DECODE_ERROR);
    }
    const task = await this.checkedTask();
    if (isOutcome(task)) {
      return task;
    }
    const argument: TaskContext = {
      ...task,
      task,
      cancellationSignal: this.execution.signal,
      cancel: () => this.execution.cancelFromClient(),
    };
    try {
      const value = await context.with(this.context, () => this.work.handler(argument));
      const isStopped = value === undefined && this.execution.shouldReportCancelled;
      return isStopped ? undefined : await this.checkedOutcome(toOutcome(value));
    } catch (error) {
      return this.execution.shouldReportCancelled ? undefined : failureOf(error, HANDLER_ERROR);
    }
  }

  /** The task with what the schema makes of its payload, or the failure if it refuses it. */
  private async checkedTask(): Promise<Task | TaskOutcome> {
    const { payloadSchema } = this.work;
    if (payloadSchema === undefined) {
      return this.task;
    }
    try {
      const payload = await validated(payloadSchema, this.task.payload, "payload");
      return { ...this.task, payload };
    } catch (error) {
      this.host.onError(asError(error), { taskId: this.taskId });
      // It would be refused again.
      return failureOf(error, PAYLOAD_INVALID, error instanceof SiloValidationError);
    }
  }

  private async checkedOutcome(outcome: TaskOutcome): Promise<TaskOutcome> {
    const { resultSchema } = this.work;
    if (resultSchema === undefined || outcome.type !== "success") {
      return outcome;
    }
    try {
      await validated(resultSchema, outcome.result, "result");
      return outcome;
    } catch (error) {
      this.host.onError(asError(error), { taskId: this.taskId });
      return failureOf(error, RESULT_INVALID);
    }
  }

  private async report(given: TaskOutcome): Promise<void> {
    const { id: taskId, shard, tenantId: tenant } = this.task;
    let { outcome, refusal } = encodeOutcome(given);
    this.reportBytes = outcomeBytes(outcomeToProto(outcome));
    let isReplaced = outcome.type === "cancelled";
    if (refusal !== undefined) {
      this.host.onError(refusal, { taskId });
    }
    await this.reporting.send({
      send: () =>
        context.with(this.context, () =>
          this.host.reporter.report({ taskId, shard, tenant, outcome }),
        ),
      replace: (error) => {
        if (isReplaced) {
          return false;
        }
        isReplaced = true;
        outcome = failureOf(error, OUTCOME_REFUSED);
        this.host.onError(error, { taskId });
        return true;
      },
      over: (error) => this.reported(error),
    });
  }

  private reported(error: Error | undefined): void {
    if (error !== undefined) {
      this.span.recordException(error);
      this.span.setStatus({ code: SpanStatusCode.ERROR, message: error.message });
      this.host.onError(error, { taskId: this.taskId });
    }
    this.end();
  }

  private end(): void {
    this.keeper.stop();
    this.reporting.finish();
    this.host.release(this);
    this.span.end();
  }

  cancelled(): void {
    if (!this.execution.isSettled) {
      this.execution.markCancelledByServer();
    }
  }

  /** After the handler the report has removed the lease: its own answer says how it ended. */
  private lost(error: Error): void {
    if (this.execution.isSettled) {
      return;
    }
    this.keeper.stop();
    this.host.release(this);
    this.tellLoss(error);
    this.execution.markLeaseLost();
  }

  private lapsed(): void {
    this.reporting.leaseLapsed();
    if (!this.execution.isSettled && !this.abandoned) {
      const { leaseMs } = this.task;
      this.tellLoss(new Error(`no heartbeat was answered for ${leaseMs} ms`));
    }
  }

  /** Tells the handler and the listener, once. */
  private tellLoss(cause: Error): void {
    const error = new TaskLeaseLostError(this.taskId, this.task.jobId, asError(cause));
    if (this.execution.markLeaseLapsed(error)) {
      this.host.onError(error, { taskId: this.taskId });
    }
  }

  private beatFailed(error: Error): void {
    if (!this.execution.isSettled) {
      this.host.onError(error, { taskId: this.taskId });
    }
  }
}

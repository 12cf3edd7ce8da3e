import { messageOf } from "../base/describe";
import { MAX_UINT32 } from "../checks/numbers";
import type { RefreshOutcome, RefreshTask } from "../jobs/types";
import { LeaseKeeper } from "./lease-keeper";
import { OUTCOME_REFUSED } from "./outcome";
import { Reporting } from "./reporting";
import type { Runner, RunnerHost } from "./runner";
import type { RefreshHandler } from "./worker-types";

function isUint32(value: unknown): value is number {
  return Number.isInteger(value) && (value as number) >= 0 && (value as number) <= MAX_UINT32;
}

/** One execution of a refresh task, from its delivery to the end of its report. */
export class RefreshRunner implements Runner {
  readonly reportBytes = 0;
  private readonly keeper: LeaseKeeper;
  private readonly reporting: Reporting;
  private started = false;
  private settled = false;

  /** @param signal aborts when the worker stops. */
  constructor(
    private readonly host: RunnerHost,
    private readonly task: RefreshTask,
    private readonly handler: RefreshHandler,
    private readonly signal: AbortSignal,
  ) {
    const { id: taskId, shard, tenant, leaseMs } = task;
    const { workerId, client } = host;
    const tell = (error: Error) => this.beatFailed(error);
    this.reporting = new Reporting(() => host.late(this));
    this.keeper = new LeaseKeeper(
      client,
      { workerId, taskId, shard, tenant, leaseMs },
      host.heartbeatIntervalMs,
      { cancelled: () => {}, lost: tell, failed: tell, lapsed: () => this.reporting.leaseLapsed() },
    );
  }

  get taskId(): string {
    return this.task.id;
  }

  get shard(): string {
    return this.task.shard;
  }

  get tenant(): string | undefined {
    return this.task.tenant;
  }

  get done(): Promise<void> {
    return this.reporting.done;
  }

  async run(): Promise<void> {
    const { id: taskId, shard, tenant } = this.task;
    this.started = true;
    let outcome = await this.callHandler();
    let isReplaced = false;
    this.settled = true;
    await this.reporting.send({
      send: () => this.host.client.reportRefreshOutcome({ taskId, shard, tenant, outcome }),
      replace: (error) => {
        if (isReplaced) {
          return false;
        }
        isReplaced = true;
        outcome = { type: "failure", code: OUTCOME_REFUSED, message: error.message };
        this.host.onError(error, { taskId });
        return true;
      },
      over: (error) => this.end(error),
    });
  }

  abandon(): void {
    this.settled = true;
    this.keeper.stop();
    this.reporting.callOff();
    if (!this.started) {
      this.end(undefined);
    }
  }

  private end(error: Error | undefined): void {
    if (error !== undefined) {
      this.host.onError(error, { taskId: this.taskId });
    }
    this.keeper.stop();
    this.reporting.finish();
    this.host.release(this);
  }

  private async callHandler(): Promise<RefreshOutcome> {
    const { task, signal } = this;
    try {
      const newMaxConcurrency = await this.handler({
        task,
        shard: task.shard,
        workerId: this.host.workerId,
        signal,
      });
      if (!isUint32(newMaxConcurrency)) {
        throw new RangeError(
          `the refresh handler has to return a whole number from 0 to ${MAX_UINT32}, ` +
            `not ${messageOf(newMaxConcurrency)}`,
        );
      }
      return { type: "success", newMaxConcurrency };
    } catch (error) {
      return { type: "failure", code: "REFRESH_HANDLER_ERROR", message: messageOf(error) };
    }
  }

  private beatFailed(error: Error): void {
    if (!this.settled) {
      this.host.onError(error, { taskId: this.taskId });
    }
  }
}

import { asError, messageOf } from "./describe";
import { HeartbeatTimer } from "./runner";
import type { Runner, RunnerHost } from "./runner";
import type { RefreshOutcome, RefreshTask } from "./types";
import type { RefreshHandler } from "./worker-types";

const MAX_UINT32 = 0xffffffff;

function isUint32(value: unknown): value is number {
  return Number.isInteger(value) && (value as number) >= 0 && (value as number) <= MAX_UINT32;
}

/** One execution of a refresh task, from its delivery to the end of its report. */
export class RefreshRunner implements Runner {
  private readonly heartbeat: HeartbeatTimer;
  private settled = false;

  /** @param signal aborts when the worker stops. */
  constructor(
    private readonly host: RunnerHost,
    private readonly task: RefreshTask,
    private readonly handler: RefreshHandler,
    private readonly signal: AbortSignal,
  ) {
    this.heartbeat = new HeartbeatTimer(host.heartbeatIntervalMs, () => this.beat());
  }

  get taskId(): string {
    return this.task.id;
  }

  async run(): Promise<void> {
    const { id: taskId, shard, tenant } = this.task;
    const outcome = await this.callHandler();
    this.settled = true;
    this.heartbeat.stop();
    try {
      await this.host.client.reportRefreshOutcome({ taskId, shard, tenant, outcome });
    } catch (error) {
      this.host.onError(asError(error), { taskId });
    }
    this.host.release(this);
  }

  abandon(): void {
    this.settled = true;
    this.heartbeat.stop();
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

  private async beat(): Promise<void> {
    const { id: taskId, shard, tenant } = this.task;
    try {
      await this.host.client.heartbeat(this.host.workerId, taskId, shard, tenant);
    } catch (error) {
      if (!this.settled) {
        this.host.onError(asError(error), { taskId });
      }
    }
  }
}

// Keeps the lease of one task, from its delivery to the answer to its report: heartbeats go out,
// and a clock of our own tells when none was answered for too long.
import { asError } from "../base/describe";
import { timerPeriod } from "../base/sleep";
import type { SiloGRPCClient } from "../client/client";
import { SiloFailedPreconditionError, TaskNotFoundError } from "../errors/errors";
import { LeaseClock } from "./lease-clock";

/** The lease of one task. */
export interface Lease {
  workerId: string;
  taskId: string;
  shard: string;
  tenant: string | undefined;
  leaseMs: bigint;
}

/** What heartbeats bring. */
export interface LeaseListener {
  /** The job was cancelled. Told by every heartbeat from then on. */
  cancelled(): void;
  /** The server says that the lease is another's, or nobody's. */
  lost(error: Error): void;
  /** No heartbeat was answered for as long as the lease lasts. */
  lapsed(): void;
  /** A heartbeat failed, which by itself means nothing. */
  failed(error: Error): void;
}

/** Whether an error proves that the lease is gone. */
export function provesLeaseLost(error: unknown): error is Error {
  return (
    (error instanceof TaskNotFoundError &&
      (error.grpcMessage ?? "").includes("lease not found")) ||
    (error instanceof SiloFailedPreconditionError &&
      error.message.includes("lease owner mismatch"))
  );
}

export class LeaseKeeper {
  private readonly clock: LeaseClock;
  private readonly timer: NodeJS.Timeout;
  private readonly leaseMs: number;
  private stopped = false;

  /** Begins at once; the first heartbeat leaves after one interval. */
  constructor(
    private readonly client: Pick<SiloGRPCClient, "heartbeat">,
    private readonly lease: Lease,
    intervalMs: number,
    private readonly listener: LeaseListener,
  ) {
    this.leaseMs = Number(lease.leaseMs);
    this.clock = new LeaseClock(this.leaseMs, () => listener.lapsed());
    // Two in each term, however long the interval was meant to be.
    const period = this.leaseMs > 0 ? Math.min(intervalMs, this.leaseMs / 2) : intervalMs;
    this.timer = setInterval(() => void this.beat(), timerPeriod(period));
  }

  /** Whether by our own clock the lease is over. */
  get hasLapsed(): boolean {
    return this.clock.hasLapsed;
  }

  stop(): void {
    this.stopped = true;
    clearInterval(this.timer);
    this.clock.stop();
  }

  /** Never rejects. Beats may overlap: one that hangs must not keep the next from being sent. */
  private async beat(): Promise<void> {
    const { workerId, taskId, shard, tenant } = this.lease;
    const sentAt = performance.now();
    // An answer that comes later than the lease lasts renews nothing.
    const timeoutMs = this.leaseMs > 0 ? this.leaseMs : undefined;
    try {
      const { cancelled } = await this.client.heartbeat(workerId, taskId, shard, tenant, {
        timeoutMs,
      });
      this.clock.renewed(sentAt);
      if (cancelled && !this.stopped) {
        this.listener.cancelled();
      }
    } catch (thrown) {
      const error = asError(thrown);
      if (this.stopped) {
        return;
      }
      if (provesLeaseLost(error)) {
        this.listener.lost(error);
      } else {
        this.listener.failed(error);
      }
    }
  }
}

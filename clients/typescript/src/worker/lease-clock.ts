// When a lease has lapsed, told by this process's own monotonic clock. A worker that is cut off
// from its server hears nothing of its leases; it has to know by itself when another may have
// them. Time during which the process was stopped, or its event loop was blocked, counts.
import { after } from "../base/sleep";

export class LeaseClock {
  private endsAt: number;
  private lapsed = false;
  private callOff: () => void = () => {};
  private stopped = false;

  /**
   * Begins now.
   * @param leaseMs how long the lease lasts; 0 or less = not known, it never lapses.
   * @param onLapse called once, when it lapses first.
   */
  constructor(
    private readonly leaseMs: number,
    private readonly onLapse: () => void,
  ) {
    this.endsAt = performance.now() + (leaseMs > 0 ? leaseMs : Infinity);
    this.arm();
  }

  /** Whether the lease is over unless the server gave it another term. */
  get hasLapsed(): boolean {
    return performance.now() >= this.endsAt;
  }

  /** The server renewed the lease in answer to a call sent at a time of `performance.now()`. */
  renewed(sentAt: number): void {
    this.endsAt = Math.max(this.endsAt, sentAt + this.leaseMs);
  }

  stop(): void {
    this.stopped = true;
    this.callOff();
  }

  private arm(): void {
    this.callOff = after(this.endsAt - performance.now(), () => this.due());
  }

  /** After a stall an answer that renews the lease may be there, not read yet: wait for it. */
  private due(): void {
    setImmediate(() => setImmediate(() => this.check()));
  }

  private check(): void {
    if (this.stopped || this.lapsed) {
      return;
    }
    if (!this.hasLapsed) {
      return this.arm();
    }
    this.lapsed = true;
    this.onLapse();
  }
}

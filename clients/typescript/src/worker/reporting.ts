// The end of an execution: its report on its way, and whether that still holds the task's slot.
import { asError } from "../base/describe";
import { deliver } from "./delivery";
import type { Sending } from "./delivery";

/** What is sent, and who hears that it is over. */
export interface Report extends Sending {
  /** With the reason if it was not recorded. */
  over(error: Error | undefined): void;
}

/**
 * Sends the report of one task until it is recorded, its lease is gone, or it is called off. The
 * task's slot is held for as long as the lease lasts by our own clock: with its server away for
 * good a report could hold it for ever. A report that is still on its way then is late; the server
 * may have given the lease a new term meanwhile, so it is sent on.
 */
export class Reporting {
  /** Resolves when the execution has nothing left to do. */
  readonly done: Promise<void>;
  /** Called when the execution has nothing left to do. */
  finish: () => void = () => {};
  private freeSlot: () => void = () => {};
  private readonly slotFree: Promise<void>;
  private readonly calledOff = new AbortController();
  private isSending = false;
  private hasLapsed = false;

  /** @param onLate called when the report is late. */
  constructor(private readonly onLate: () => void) {
    this.done = new Promise((resolve) => (this.finish = resolve));
    this.slotFree = new Promise((resolve) => (this.freeSlot = resolve));
  }

  /** Resolves when the slot is free. Never rejects. */
  async send(report: Report): Promise<void> {
    this.isSending = true;
    void this.deliver(report);
    if (this.hasLapsed) {
      this.becomeLate();
    }
    await this.slotFree;
  }

  /** The lease is over by our own clock. */
  leaseLapsed(): void {
    this.hasLapsed = true;
    if (this.isSending) {
      this.becomeLate();
    }
  }

  /** Sends no more often than once from now on. */
  callOff(): void {
    this.calledOff.abort();
  }

  private becomeLate(): void {
    this.onLate();
    this.freeSlot();
  }

  private async deliver(report: Report): Promise<void> {
    let failure: Error | undefined;
    try {
      await deliver(report, this.calledOff.signal);
    } catch (error) {
      failure = asError(error);
    }
    this.isSending = false;
    report.over(failure);
    this.freeSlot();
  }
}

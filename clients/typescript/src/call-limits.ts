// How long one call may go on, over all its tries and the waits between them.
import { setTimeout as timer } from "node:timers/promises";
import { RpcError } from "@protobuf-ts/runtime-rpc";
import type { RpcOptions } from "@protobuf-ts/runtime-rpc";
import type { CallOptions } from "./types";

/** Longest time a timer of Node's can wait, in milliseconds. */
const TIMER_MAX_MS = 2 ** 31 - 1;

function millisecondsOf(timeout: RpcOptions["timeout"]): number {
  return timeout instanceof Date ? timeout.getTime() - Date.now() : (timeout ?? Infinity);
}

/**
 * The deadline and the abort signals of one call. Its tries get what is left of the time; waits
 * between them end with it, and when the client is closed. To be released when the call is over.
 */
export class CallLimits {
  /** In the time of `performance.now()`; Infinity = none. */
  private readonly deadline: number;
  private readonly signals: AbortSignal[];
  /** Aborts tries and waits when the caller's signals do; its listeners go with it. */
  private readonly controller = new AbortController();
  private readonly abort = () => this.controller.abort();

  /**
   * @param given the caller's options of the first try.
   * @param closing aborts when the client is closed: no try begins after that, but one in flight
   *     goes on.
   */
  constructor(
    given: RpcOptions,
    options: CallOptions,
    private readonly closing: AbortSignal,
  ) {
    const timeout = Math.min(millisecondsOf(given.timeout), options.timeoutMs ?? Infinity);
    this.deadline = performance.now() + timeout;
    this.signals = [given.abort, options.signal].filter((signal) => signal !== undefined);
    for (const signal of this.signals) {
      signal.addEventListener("abort", this.abort);
    }
    if (this.signals.some((signal) => signal.aborted)) {
      this.abort();
    }
  }

  get hasDeadline(): boolean {
    return this.deadline !== Infinity;
  }

  private get leftMs(): number {
    return this.deadline - performance.now();
  }

  /** Options of a try, cut to what is left of the call. */
  applyTo(options: RpcOptions): RpcOptions {
    const timeout = this.hasDeadline ? Math.max(0, this.leftMs) : undefined;
    const abort = this.signals.length > 0 ? this.controller.signal : undefined;
    return { ...options, timeout, abort };
  }

  /**
   * Does nothing while the call may go on.
   * @param last why its last try failed, for the message.
   * @throws RpcError DEADLINE_EXCEEDED or CANCELLED, Error if the client is closed.
   */
  check(last?: unknown): void {
    if (this.controller.signal.aborted) {
      throw new RpcError("the caller ended the call", "CANCELLED");
    }
    if (this.closing.aborted) {
      throw new Error("No server connections available");
    }
    if (this.leftMs <= 0) {
      const why = last instanceof Error ? `; the last try failed: ${last.message}` : "";
      throw new RpcError(`the call's time is over${why}`, "DEADLINE_EXCEEDED");
    }
  }

  /** Waits, but no longer than the call may go on. Check afterwards whether it may. */
  async wait(milliseconds: number): Promise<void> {
    await this.until((signal) =>
      timer(Math.min(milliseconds, TIMER_MAX_MS), undefined, { signal }),
    );
  }

  /**
   * Waits for work that others wait for too, and which goes on without this call.
   * @throws what the work throws, unless the call is over first.
   */
  async join(work: Promise<unknown>): Promise<void> {
    await this.until((signal) => {
      const over = new Promise<void>((resolve) => {
        signal.addEventListener("abort", () => resolve());
      });
      return Promise.race([work, over]);
    });
  }

  /** Runs `work` with a signal that aborts as soon as the call is over. */
  private async until(work: (signal: AbortSignal) => Promise<unknown>): Promise<void> {
    const over = new AbortController();
    const end = () => over.abort();
    const left = Math.min(TIMER_MAX_MS, Math.max(0, this.leftMs));
    const alarm = this.hasDeadline ? setTimeout(end, left) : undefined;
    this.controller.signal.addEventListener("abort", end);
    this.closing.addEventListener("abort", end);
    if (this.controller.signal.aborted || this.closing.aborted) {
      end();
    }
    try {
      await work(over.signal);
    } catch (error) {
      if (!over.signal.aborted) {
        throw error;
      }
    } finally {
      clearTimeout(alarm);
      this.controller.signal.removeEventListener("abort", end);
      this.closing.removeEventListener("abort", end);
    }
  }

  /** Lets go of the caller's signals. */
  release(): void {
    for (const signal of this.signals) {
      signal.removeEventListener("abort", this.abort);
    }
  }
}

// How long one call may go on, over all its tries and the waits between them.
import { RpcError } from "@protobuf-ts/runtime-rpc";
import type { RpcOptions } from "@protobuf-ts/runtime-rpc";
import { messageOf } from "../base/describe";
import type { Duration } from "../checks/numbers";
import { sleep, TIMER_MAX_MS } from "../base/sleep";
import { isTimeOut } from "../errors/error-mapping";
import { InvalidOptionError, SiloClientClosedError, withCause } from "../errors/errors";
import type { CallOptions } from "../jobs/types";

/** @throws InvalidOptionError */
function millisecondsOf(timeout: NonNullable<RpcOptions["timeout"]>): number {
  const left = timeout instanceof Date ? timeout.getTime() - Date.now() : timeout;
  if (typeof left !== "number" || Number.isNaN(left)) {
    const expected = "expected milliseconds, or a valid Date";
    throw new InvalidOptionError("rpcOptions.timeout", `${expected}, not ${messageOf(timeout)}`);
  }
  return left;
}

/**
 * A `timeoutMs` as it is meant: 0 = without end.
 * @throws InvalidOptionError
 */
export function timeLimit(timeoutMs: Duration): number {
  if (!(typeof timeoutMs === "number" || typeof timeoutMs === "bigint") || !(timeoutMs >= 0)) {
    throw new InvalidOptionError(
      "timeoutMs",
      `expected milliseconds, 0 or Infinity = without end, not ${messageOf(timeoutMs)}`,
    );
  }
  return Number(timeoutMs) || Infinity;
}

/**
 * Options for the single calls of a call that makes several: each gets what is left of the time
 * that was given for all. Without such a time each has the client's.
 * @throws InvalidOptionError
 */
export function restOf({ timeoutMs, signal }: CallOptions): () => CallOptions {
  if (timeoutMs === undefined) {
    return () => ({ signal });
  }
  const deadline = performance.now() + timeLimit(timeoutMs);
  // 0 would mean no limit.
  return () => ({ timeoutMs: Math.max(Number.MIN_VALUE, deadline - performance.now()), signal });
}

/** What a call was given ends it first; the default only where it was given nothing. */
function timeoutOf(
  given: RpcOptions["timeout"],
  ofCall: Duration | undefined,
  otherwise: number,
): { timeout: number; isGiven: boolean } {
  if (given === undefined && ofCall === undefined) {
    return { timeout: otherwise, isGiven: false };
  }
  const timeout = Math.min(
    given === undefined ? Infinity : millisecondsOf(given),
    ofCall === undefined ? Infinity : timeLimit(ofCall),
  );
  return { timeout, isGiven: timeout !== Infinity };
}

/**
 * The deadline and the abort signals of one call. Its tries get what is left of the time; waits
 * between them end with it, and when the client is closed. To be released when the call is over.
 */
export class CallLimits {
  /** Why the last try failed, for the message if the time is over. */
  lastFailure: unknown;
  /** Finds why there was no answer, where no try says it. */
  suspect: () => Error | undefined = () => undefined;
  /** Whether the caller gave a deadline, so that the call is tried until then. */
  readonly isDeadlineGiven: boolean;
  private readonly timeoutMs: number;
  /** What `check()` threw last because the time was over. */
  private timeOver: unknown;
  /** In the time of `performance.now()`; Infinity = none. */
  private readonly deadline: number;
  private readonly signals: AbortSignal[];
  /**
   * Aborts tries and waits when the caller's signals do; its listeners go with it. Undefined
   * without signals: most calls have none.
   */
  private readonly controller: AbortController | undefined;
  private readonly abort = () => this.controller?.abort();

  /**
   * @param given the caller's options of the first try.
   * @param closing aborts when the client is closed: no try begins after that, but one in flight
   *     goes on.
   * @param otherwise milliseconds for a call without a deadline of its own.
   * @throws InvalidOptionError
   */
  constructor(
    given: RpcOptions,
    options: CallOptions,
    private readonly closing: AbortSignal,
    otherwise = Infinity,
  ) {
    const { timeout, isGiven } = timeoutOf(given.timeout, options.timeoutMs, otherwise);
    this.isDeadlineGiven = isGiven;
    this.timeoutMs = Math.round(timeout);
    this.deadline = performance.now() + timeout;
    this.signals = [given.abort, options.signal].filter((signal) => signal !== undefined);
    if (!this.signals.every((signal) => typeof signal?.addEventListener === "function")) {
      throw new InvalidOptionError("signal", "expected an AbortSignal");
    }
    this.controller = this.signals.length > 0 ? new AbortController() : undefined;
    for (const signal of this.signals) {
      signal.addEventListener("abort", this.abort);
    }
    if (this.signals.some((signal) => signal.aborted)) {
      this.abort();
    }
  }

  /** Whether the caller's signals have ended the call. */
  get isAborted(): boolean {
    return this.signals.some((signal) => signal.aborted);
  }

  /** Why the caller's signal ended the call, if it did. */
  get abortReason(): unknown {
    return this.signals.find((signal) => signal.aborted)?.reason;
  }

  private get hasDeadline(): boolean {
    return this.deadline !== Infinity;
  }

  private get leftMs(): number {
    return this.deadline - performance.now();
  }

  /** Options of a try, cut to what is left of the call. */
  applyTo(options: RpcOptions): RpcOptions {
    if (this.controller === undefined && !this.hasDeadline) {
      return options;
    }
    // A try whose own time is over before the call's is followed by another.
    const left = Math.min(TIMER_MAX_MS, Math.max(0, this.leftMs));
    const timeout = this.hasDeadline ? left : undefined;
    return { ...options, timeout, abort: this.controller?.signal };
  }

  /**
   * Does nothing while the call may go on.
   * @throws RpcError DEADLINE_EXCEEDED or CANCELLED, SiloClientClosedError
   */
  check(): void {
    if (this.controller?.signal.aborted) {
      throw new RpcError("the call was ended by its signal", "CANCELLED");
    }
    if (this.closing.aborted) {
      throw new SiloClientClosedError();
    }
    if (this.leftMs <= 0) {
      this.timeOver = this.timeOverError();
      throw this.timeOver;
    }
  }

  /** Whether an error is what `check()` threw because the time was over. */
  hasThrown(error: unknown): boolean {
    return this.timeOver !== undefined && error === this.timeOver;
  }

  private timeOverError(): Error {
    const { lastFailure: last } = this;
    const saysWhy = last instanceof Error && !isTimeOut(last);
    const why = saysWhy ? last : this.suspect();
    const limit = this.isDeadlineGiven
      ? `its timeoutMs of ${this.timeoutMs}`
      : `${Math.round(this.timeoutMs / 1000)} s, the default for it without a timeoutMs`;
    const tail = why === undefined ? "" : `; the last try failed: ${why.message}`;
    const message = `the call did not end within ${limit}${tail}`;
    return withCause(new RpcError(message, "DEADLINE_EXCEEDED"), why ?? last);
  }

  /**
   * Waits, but no longer than the call may go on. Check afterwards whether it may.
   * @param listen is given what ends the wait early, and returns what calls that off.
   */
  async wait(milliseconds: number, listen?: (wake: () => void) => () => void): Promise<void> {
    await this.until(async (signal) => {
      const over = new AbortController();
      const wake = () => over.abort();
      const callOff = listen?.(wake);
      signal.addEventListener("abort", wake);
      if (signal.aborted) {
        wake();
      }
      await sleep(milliseconds, over.signal);
      callOff?.();
    });
  }

  /**
   * Waits for work that knows nothing of this call, and goes on without it.
   * @throws what the work throws, or what `check()` throws if the call is over first.
   */
  async join<T>(work: Promise<T>): Promise<T> {
    for (;;) {
      let done: { value: T } | undefined;
      await this.until(async (signal) => {
        const over = new Promise<undefined>((resolve) => {
          signal.addEventListener("abort", () => resolve(undefined));
          if (signal.aborted) {
            resolve(undefined);
          }
        });
        done = await Promise.race([work.then((value) => ({ value })), over]);
      });
      if (done !== undefined) {
        return done.value;
      }
      this.check();
    }
  }

  /** Runs `work` with a signal that aborts as soon as the call is over. */
  private async until(work: (signal: AbortSignal) => Promise<unknown>): Promise<void> {
    const over = new AbortController();
    const end = () => over.abort();
    const left = Math.min(TIMER_MAX_MS, Math.max(0, this.leftMs));
    const alarm = this.hasDeadline ? setTimeout(end, left) : undefined;
    this.controller?.signal.addEventListener("abort", end);
    this.closing.addEventListener("abort", end);
    if (this.controller?.signal.aborted || this.closing.aborted) {
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
      this.controller?.signal.removeEventListener("abort", end);
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

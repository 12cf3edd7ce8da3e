// Timers of any length: Node's own fire at once when they are set for more than 2^31-1 ms.
// Waits that vary at random.

/** Longest time a timer of Node's can wait, in milliseconds. */
export const TIMER_MAX_MS = 2 ** 31 - 1;

/**
 * Calls `act` after `ms` milliseconds of any number; never after Infinity.
 * @returns what calls it off.
 */
export function after(ms: number, act: () => void): () => void {
  let timer: NodeJS.Timeout | undefined;
  const due = performance.now() + ms;
  const arm = () => {
    const left = due - performance.now();
    timer = left > TIMER_MAX_MS ? setTimeout(arm, TIMER_MAX_MS) : setTimeout(act, left);
  };
  arm();
  return () => clearTimeout(timer);
}

/** A period that `setInterval` keeps: it would take a longer one for 1 ms. */
export function timerPeriod(ms: number): number {
  return Math.min(TIMER_MAX_MS, ms);
}

/** `ms`, shortened at random by up to half: calls that failed together do not come together. */
export function jittered(ms: number): number {
  return ms * (0.5 + Math.random() / 2);
}

/** `ms`, made longer at random by up to a quarter: for a wait that was asked for. */
export function jitteredUp(ms: number): number {
  return ms * (1 + Math.random() / 4);
}

/**
 * Resolves after `ms` milliseconds, or as soon as the signal aborts; a number below 1 still yields
 * to other work.
 */
export function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const end = () => {
      callOff();
      signal?.removeEventListener("abort", end);
      resolve();
    };
    const callOff = after(ms, end);
    signal?.addEventListener("abort", end);
    if (signal?.aborted) {
      end();
    }
  });
}

/**
 * Waits for work, but no longer than `ms` milliseconds, nor beyond the signal's abort.
 * @throws what the work throws.
 */
export async function within(
  work: Promise<unknown>,
  ms: number,
  signal?: AbortSignal,
): Promise<void> {
  const over = new AbortController();
  const end = () => over.abort();
  signal?.addEventListener("abort", end, { signal: over.signal });
  await Promise.race([work, sleep(signal?.aborted ? 0 : ms, over.signal)]).finally(end);
}

/**
 * Resolves after `ms` milliseconds, or as soon as the signal aborts; a number below 1 still yields
 * to other work.
 */
export function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const end = () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", end);
      resolve();
    };
    const timer = setTimeout(end, ms);
    signal?.addEventListener("abort", end);
    if (signal?.aborted) {
      end();
    }
  });
}

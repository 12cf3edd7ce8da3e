/** Resolves after `ms` milliseconds; a number below 1 still yields to other work. */
export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

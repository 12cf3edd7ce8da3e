// What callers say of retries, completed by defaults.
import { durationMs, finiteNumber, MAX_UINT32, wholeNumber } from "../checks/numbers";
import type { Duration } from "../checks/numbers";
import { InvalidOptionError } from "../errors/errors";
import type { RetryPolicy } from "../gen/silo";

/** When a failed job runs again. What is left out has the default named here. */
export interface RetryPolicyOptions {
  /** Retries after the first attempt, 0 to 4294967295; default 3. */
  retryCount?: number;
  /** Wait before the first retry, in milliseconds; default 1000. */
  initialIntervalMs?: Duration;
  /**
   * Longest wait, in milliseconds; 0 = no bound. Default 300000 (5 minutes), or
   * `initialIntervalMs` if that is longer.
   */
  maxIntervalMs?: Duration;
  /** Growth of the wait from retry to retry, at least 0; 0 means 2. Default 2. */
  backoffFactor?: number;
  /**
   * Whether each wait is made longer at random, by up to as much again, so that jobs which fail
   * together do not come back together. Default true.
   */
  randomizeInterval?: boolean;
}

const MEMBERS: ReadonlySet<string> = new Set<keyof RetryPolicyOptions>([
  "retryCount",
  "initialIntervalMs",
  "maxIntervalMs",
  "backoffFactor",
  "randomizeInterval",
]);

const INITIAL_INTERVAL_MS = 1000n;
const MAX_INTERVAL_MS = 300_000n;

/** A policy for the wire. @throws InvalidOptionError */
export function retryPolicyToProto(given: RetryPolicyOptions): RetryPolicy {
  const place = "retryPolicy";
  if (typeof given !== "object" || given === null) {
    throw new InvalidOptionError(place, "expected an object; {} is a policy of defaults");
  }
  const unknown = Object.keys(given).find((member) => !MEMBERS.has(member));
  if (unknown !== undefined) {
    const known = [...MEMBERS].join(", ");
    throw new InvalidOptionError(`${place}.${unknown}`, `unknown; a retry policy has ${known}`);
  }
  const { retryCount = 3, backoffFactor = 2, randomizeInterval = true } = given;
  const { initialIntervalMs = INITIAL_INTERVAL_MS, maxIntervalMs } = given;
  const initial = durationMs(initialIntervalMs, `${place}.initialIntervalMs`);
  return {
    retryCount: wholeNumber(retryCount, `${place}.retryCount`, 0, MAX_UINT32),
    initialIntervalMs: initial,
    maxIntervalMs:
      maxIntervalMs !== undefined
        ? durationMs(maxIntervalMs, `${place}.maxIntervalMs`)
        : initial > MAX_INTERVAL_MS
          ? initial
          : MAX_INTERVAL_MS,
    backoffFactor: finiteNumber(backoffFactor, `${place}.backoffFactor`),
    randomizeInterval,
  };
}

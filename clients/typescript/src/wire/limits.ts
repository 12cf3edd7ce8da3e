// Limits of jobs, from callers to the wire and back.
import { messageOf } from "../base/describe";
import {
  durationMs,
  finiteNumber,
  MAX_INT32,
  MAX_UINT32,
  MIN_INT32,
  wholeInt64,
  wholeNumber,
} from "../checks/numbers";
import { checkLabels, checkTextMember } from "../checks/texts";
import { InvalidOptionError } from "../errors/errors";
import { GubernatorAlgorithm } from "../gen/silo";
import type { GubernatorRateLimit, Limit } from "../gen/silo";
import type { JobLimit, RateLimitConfig } from "../jobs/types";

function rateLimitToProto(limit: RateLimitConfig, place: string): GubernatorRateLimit {
  checkTextMember(limit.name, `${place}.name`);
  checkTextMember(limit.uniqueKey, `${place}.uniqueKey`);
  const policy = limit.retryPolicy;
  const inPolicy = `${place}.retryPolicy`;
  return {
    name: limit.name,
    uniqueKey: limit.uniqueKey,
    limit: wholeInt64(limit.limit, `${place}.limit`),
    durationMs: durationMs(limit.durationMs, `${place}.durationMs`),
    hits: wholeNumber(limit.hits ?? 1, `${place}.hits`, MIN_INT32, MAX_INT32),
    algorithm: wholeNumber(
      limit.algorithm ?? GubernatorAlgorithm.TOKEN_BUCKET,
      `${place}.algorithm`,
      MIN_INT32,
      MAX_INT32,
    ),
    behavior: wholeNumber(limit.behavior ?? 0, `${place}.behavior`, MIN_INT32, MAX_INT32),
    retryPolicy: policy && {
      initialBackoffMs: durationMs(policy.initialBackoffMs, `${inPolicy}.initialBackoffMs`),
      maxBackoffMs: durationMs(policy.maxBackoffMs, `${inPolicy}.maxBackoffMs`),
      backoffMultiplier: finiteNumber(
        policy.backoffMultiplier ?? 2.0,
        `${inPolicy}.backoffMultiplier`,
      ),
      maxRetries: wholeNumber(policy.maxRetries ?? 0, `${inPolicy}.maxRetries`, 0, MAX_UINT32),
    },
  };
}

/**
 * A limit for the wire.
 * @param place of the limit in the caller's options.
 * @throws InvalidOptionError
 */
export function limitToProto(limit: JobLimit, place: string): Limit {
  if (typeof limit !== "object" || limit === null) {
    throw new InvalidOptionError(place, `expected a limit, not ${messageOf(limit)}`);
  }
  switch (limit.type) {
    case "concurrency": {
      const { key } = limit;
      checkTextMember(key, `${place}.key`);
      const most = `${place}.maxConcurrency`;
      const maxConcurrency = wholeNumber(limit.maxConcurrency, most, 0, MAX_UINT32);
      return { limit: { oneofKind: "concurrency", concurrency: { key, maxConcurrency } } };
    }
    case "rateLimit":
      return { limit: { oneofKind: "rateLimit", rateLimit: rateLimitToProto(limit, place) } };
    case "floatingConcurrency": {
      const { key, defaultMaxConcurrency: most } = limit;
      const metadata = limit.metadata ?? {};
      checkTextMember(key, `${place}.key`);
      checkLabels(metadata, `${place}.metadata`);
      return {
        limit: {
          oneofKind: "floatingConcurrency",
          floatingConcurrency: {
            key,
            defaultMaxConcurrency: wholeNumber(most, `${place}.defaultMaxConcurrency`, 0, MAX_UINT32),
            refreshIntervalMs: durationMs(limit.refreshIntervalMs, `${place}.refreshIntervalMs`),
            metadata,
          },
        },
      };
    }
    default:
      throw new InvalidOptionError(
        place,
        `Unknown limit type: ${String((limit as { type: unknown }).type)}`,
      );
  }
}

/** The limits of a job for the wire. @throws InvalidOptionError */
export function limitsToProto(limits: readonly JobLimit[] = []): Limit[] {
  if (!Array.isArray(limits)) {
    throw new InvalidOptionError("limits", `expected a list of limits, not ${messageOf(limits)}`);
  }
  return limits.map((limit, i) => limitToProto(limit, `limits[${i}]`));
}

/** A limit from the wire; undefined for a kind this package does not know. */
export function limitFromProto({ limit }: Limit): JobLimit<bigint> | undefined {
  switch (limit.oneofKind) {
    case "concurrency":
      return { type: "concurrency", ...limit.concurrency };
    case "rateLimit":
      return { type: "rateLimit", ...limit.rateLimit };
    case "floatingConcurrency": {
      const { metadata, ...rest } = limit.floatingConcurrency;
      const isEmpty = Object.keys(metadata).length === 0;
      return { type: "floatingConcurrency", ...rest, metadata: isEmpty ? undefined : metadata };
    }
    default:
      return undefined;
  }
}

/** The limits of a job from the wire, but for kinds this package does not know. */
export function limitsFromProto(limits: readonly Limit[]): JobLimit<bigint>[] {
  return limits.map(limitFromProto).filter((limit) => limit !== undefined);
}

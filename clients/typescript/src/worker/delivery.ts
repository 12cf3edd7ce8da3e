// Brings the outcome of one attempt to the server, however often that takes.
//
// A finished job must not run again because its server was away for a moment: an outcome is kept
// and sent again, with growing waits, until the server has recorded it or says that the lease is
// gone. One that the server does not accept is replaced once by a failure that says so.
import { asError } from "../base/describe";
import { jittered, sleep } from "../base/sleep";
import { isTooLarge } from "../errors/error-mapping";
import {
  SiloGrpcError,
  SiloInvalidArgumentError,
  SiloResourceExhaustedError,
  TaskNotFoundError,
} from "../errors/errors";
import { provesLeaseLost } from "./lease-keeper";

/** Waits between two tries, in milliseconds: the first, doubled each time up to the longest. */
export interface Waits {
  firstMs: number;
  longestMs: number;
}

const WAITS: Waits = { firstMs: 100, longestMs: 5000 };

/** Tries of what fails in a way that may be the outcome's own fault: more than ten seconds. */
const SUSPECT_TRIES = 10;

/** What a failed report means: the lease is gone, the outcome is at fault, or neither is known. */
export type Verdict = "gone" | "refused" | "suspect" | "again";

const AGAIN: ReadonlySet<string> = new Set([
  "UNAVAILABLE",
  "DEADLINE_EXCEEDED",
  "CANCELLED",
  "ABORTED",
  "UNAUTHENTICATED",
  "PERMISSION_DENIED",
]);

/** What the failure of a report means. */
export function verdictOf(error: unknown): Verdict {
  if (provesLeaseLost(error)) {
    return "gone";
  }
  if (error instanceof TaskNotFoundError) {
    return (error.grpcMessage ?? "").includes("shard not found") ? "again" : "gone";
  }
  if (error instanceof SiloInvalidArgumentError) {
    return "refused";
  }
  if (error instanceof SiloResourceExhaustedError) {
    return isTooLarge(error) ? "refused" : "again";
  }
  if (!(error instanceof SiloGrpcError)) {
    // Nothing that a server said: a token that could not be had, for example.
    return "again";
  }
  if (error.grpcCode === "OUT_OF_RANGE" || error.grpcMessage.includes("serialization failure")) {
    return "refused";
  }
  return AGAIN.has(error.grpcCode) ? "again" : "suspect";
}

/** How one outcome is sent. */
export interface Sending {
  /** Sends it once. Rejects with why it was not recorded, as far as is known. */
  send(): Promise<void>;
  /** Puts a failure in place of an outcome that was refused. @returns whether there is one. */
  replace(refusal: Error): boolean;
}

/**
 * Sends until the outcome is recorded.
 * @param signal aborts when nobody wants it sent again.
 * @param waits shortened at random by up to half.
 * @throws why it was not recorded: the lease is gone, it was refused, or `signal` aborted.
 */
export async function deliver(
  sending: Sending,
  signal: AbortSignal,
  { firstMs, longestMs }: Waits = WAITS,
): Promise<void> {
  let wait = firstMs;
  let suspicions = 0;
  let mayBeRecorded = false;
  for (;;) {
    try {
      return await sending.send();
    } catch (thrown) {
      const error = asError(thrown);
      let verdict = verdictOf(error);
      if (verdict === "gone" && (mayBeRecorded || isOwnRecord(error))) {
        // An earlier try, whose answer was lost, has ended the lease.
        return;
      }
      if (verdict === "suspect" && ++suspicions >= SUSPECT_TRIES) {
        verdict = "refused";
      }
      if (verdict === "refused") {
        suspicions = 0;
        wait = firstMs;
        if (!sending.replace(error)) {
          throw error;
        }
      } else if (verdict === "gone" || signal.aborted) {
        throw error;
      } else {
        mayBeRecorded = true;
        await sleep(jittered(wait), signal);
        wait = Math.min(wait * 2, longestMs);
      }
    }
  }
}

/** Whether the report was sent twice in one call, so that it may have met its own record. */
function isOwnRecord(error: Error): boolean {
  return error instanceof TaskNotFoundError && error.mayBeRecorded;
}

// Outcomes on their way: sent again, replaced, or given up.
import assert from "node:assert/strict";
import { test } from "node:test";
import { deliver as deliverAtPace, verdictOf } from "../../src/worker/delivery";
import type { Sending } from "../../src/worker/delivery";
import {
  SiloFailedPreconditionError,
  SiloGrpcError,
  SiloInvalidArgumentError,
  SiloPermissionDeniedError,
  SiloResourceExhaustedError,
  SiloUnauthenticatedError,
  SiloUnavailableError,
  TaskNotFoundError,
} from "../../src/index";

function deliver(sending: Sending, signal: AbortSignal): Promise<void> {
  return deliverAtPace(sending, signal, { firstMs: 1, longestMs: 8 });
}

const GONE = new TaskNotFoundError("k", "lease not found");
const AWAY = new SiloUnavailableError("away");

/** Sends that end with these errors in turn, then with success. */
function sending(...errors: Error[]) {
  const left = [...errors];
  return {
    sends: 0,
    replaced: [] as Error[],
    async send() {
      this.sends++;
      const error = left.shift();
      if (error !== undefined) {
        throw error;
      }
    },
    replace(error: Error) {
      this.replaced.push(error);
      return this.replaced.length === 1;
    },
  };
}

function forEver(): AbortSignal {
  return new AbortController().signal;
}

test("what each failure means", () => {
  const verdicts: [Error, string][] = [
    [GONE, "gone"],
    [new TaskNotFoundError("k"), "gone"],
    [new TaskNotFoundError("k", "shard not found"), "again"],
    [new SiloFailedPreconditionError("lease owner mismatch"), "gone"],
    [new SiloFailedPreconditionError("tenant is not within shard x range y"), "suspect"],
    [new SiloInvalidArgumentError("bad"), "refused"],
    [new SiloGrpcError("", "OUT_OF_RANGE", "length too large"), "refused"],
    [new SiloResourceExhaustedError("Received message larger than max"), "refused"],
    [new SiloResourceExhaustedError("too many calls in flight"), "again"],
    [new SiloGrpcError("", "INTERNAL", "Request message serialization failure: x"), "refused"],
    [new SiloGrpcError("", "INTERNAL", "broken"), "suspect"],
    [AWAY, "again"],
    [new SiloUnauthenticatedError("token expired"), "again"],
    [new SiloPermissionDeniedError("no"), "again"],
    [new Error("no token"), "again"],
  ];
  for (const [error, verdict] of verdicts) {
    assert.equal(verdictOf(error), verdict, error.message);
  }
});

test("a server that is away is tried until it is back", async () => {
  const report = sending(AWAY, AWAY, new SiloUnauthenticatedError("expired"), AWAY);
  await deliver(report, forEver());
  assert.equal(report.sends, 5);
  assert.equal(report.replaced.length, 0);
});

test("a lease that is gone ends it", async () => {
  const report = sending(GONE);
  await assert.rejects(deliver(report, forEver()), GONE);
  assert.equal(report.sends, 1);
});

test("a lease that an earlier try of unknown end has ended is its record", async () => {
  await deliver(sending(AWAY, GONE), forEver());
  await deliver(sending(new TaskNotFoundError("k", "lease not found", true)), forEver());
});

test("a refused outcome is replaced once", async () => {
  const refusal = new SiloInvalidArgumentError("bad");
  const once = sending(refusal);
  await deliver(once, forEver());
  assert.deepEqual([once.sends, once.replaced], [2, [refusal]]);
  const twice = sending(refusal, refusal);
  await assert.rejects(deliver(twice, forEver()), refusal);
  assert.equal(twice.sends, 2);
});

test("an outcome that fails again and again is taken for refused", async () => {
  const broken = new SiloGrpcError("", "INTERNAL", "broken");
  const report = sending(...Array<Error>(10).fill(broken));
  await deliver(report, forEver());
  assert.deepEqual([report.sends, report.replaced], [11, [broken]]);
});

test("once called off it is sent no more than once", async () => {
  const controller = new AbortController();
  const report = sending(...Array<Error>(100).fill(AWAY));
  const over = assert.rejects(deliver(report, controller.signal), AWAY);
  await new Promise((resolve) => setTimeout(resolve, 20));
  const { sends } = report;
  controller.abort();
  await over;
  assert.ok(report.sends <= sends + 1);
});

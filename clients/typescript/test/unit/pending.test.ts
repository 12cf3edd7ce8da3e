// Why a job does not run: what the server's message becomes.
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  GetJobResponse,
  JobPending as ProtoPending,
  PendingCause as ProtoCause,
} from "../../src/gen/silo";
import { jobFromProto } from "../../src/wire/mapping";
import { PendingCause, pendingFromProto } from "../../src/jobs/pending";

test("every cause of the protocol has a name of its own", () => {
  const numbers = Object.values(ProtoCause).filter((value): value is number => typeof value === "number");
  const names = numbers
    .filter((cause) => cause !== ProtoCause.UNSPECIFIED)
    .map((cause) => pendingFromProto(ProtoPending.create({ cause }))?.cause);
  assert.equal(new Set(names).size, numbers.length - 1);
  assert.ok(!names.includes(PendingCause.Other));
  assert.equal(pendingFromProto(ProtoPending.create({ cause: 999 as ProtoCause }))?.cause, PendingCause.Other);
});

test("what does not belong to the cause is undefined, not zero", () => {
  const rate = pendingFromProto(
    ProtoPending.create({ cause: ProtoCause.RATE_LIMIT, text: "It stands.", limitKey: "r", untilMs: 5n, ahead: 0 }),
  );
  assert.equal(rate?.text, "It stands.");
  assert.equal(rate?.limitKey, "r");
  assert.equal(rate?.rateLimitUniqueKey, "");
  assert.equal(rate?.untilMs, 5n);
  assert.equal(rate?.ahead, 0);
  assert.equal(rate?.maxConcurrency, undefined);
  assert.equal(rate?.slotsTaken, undefined);
  assert.equal(rate?.taskGroup, undefined);
  const slot = pendingFromProto(
    ProtoPending.create({ limitKey: "q", maxConcurrency: 0, holderJobIds: ["a"], inLine: 2n }),
  );
  assert.equal(slot?.maxConcurrency, 0);
  assert.equal(slot?.slotsTaken, 0);
  assert.equal(slot?.rateLimitUniqueKey, undefined);
  assert.deepEqual(slot?.holderJobIds, ["a"]);
  assert.equal(slot?.ahead, undefined);
  assert.equal(slot?.inLine, 2n);
});

test("a job carries it, and when it was asked to cancel", () => {
  const waiting = GetJobResponse.create({
    payloadOmitted: true,
    pending: { cause: ProtoCause.NO_WORKER, taskGroup: "g", pollsSeenFromMs: 7n },
  });
  assert.equal(jobFromProto(waiting).pending?.taskGroup, "g");
  assert.equal(jobFromProto(waiting).pending?.pollsSeenFromMs, 7n);
  assert.equal(jobFromProto(waiting).pending?.lastPolledAtMs, undefined);
  const running = GetJobResponse.create({ payloadOmitted: true, cancelRequestedAtMs: 9n });
  assert.equal(jobFromProto(running).pending, undefined);
  assert.equal(jobFromProto(running).cancelRequestedAtMs, 9n);
});

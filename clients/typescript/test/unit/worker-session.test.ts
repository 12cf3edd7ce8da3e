// Reports that outlive their leases are kept within bounds.
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Runner } from "../../src/worker/runner";
import { CancellationWatch } from "../../src/worker/cancellation-watch";
import { WorkerSession } from "../../src/worker/worker-session";

class FakeRunner implements Runner {
  readonly shard = "shard";
  readonly tenant = undefined;
  readonly done = Promise.resolve();
  abandons = 0;

  constructor(
    readonly taskId: string,
    readonly reportBytes = 0,
  ) {}

  async run(): Promise<void> {}

  abandon(): void {
    this.abandons++;
  }
}

function lateOf(session: WorkerSession, runners: FakeRunner[]): number[] {
  runners.forEach((runner) => session.late(runner));
  return runners.flatMap(({ abandons }, i) => (abandons > 0 ? [i] : []));
}

function newSession(): WorkerSession {
  return new WorkerSession(
    { slots: 1, prefetch: 0 },
    async (runners) => runners,
    new CancellationWatch({}, "w"),
  );
}

test("of more than 1,000 late reports the oldest are given up", async () => {
  const session = newSession();
  const runners = Array.from({ length: 1003 }, (_, i) => new FakeRunner(`k${i}`));
  assert.deepEqual(lateOf(session, runners), [0, 1, 2]);
  session.release(runners[10]);
  assert.deepEqual(lateOf(session, [new FakeRunner("one more")]), []);
  assert.deepEqual(lateOf(session, [new FakeRunner("too many")]), []);
  assert.equal(runners[3].abandons, 1);
  await session.stop({ timeoutMs: 0 });
  assert.ok(runners.every(({ abandons }, i) => abandons > 0 || i === 10));
});

test("of more than 256 MiB of late reports the oldest are given up", async () => {
  const session = newSession();
  const mebibytes = (count: number) => new FakeRunner(`m${count}`, count * 1024 * 1024);
  const runners = [mebibytes(100), mebibytes(100), mebibytes(56), mebibytes(1), mebibytes(99)];
  assert.deepEqual(lateOf(session, runners), [0]);
  assert.deepEqual(lateOf(session, [mebibytes(0)]), []);
  await session.stop({ timeoutMs: 0 });
});

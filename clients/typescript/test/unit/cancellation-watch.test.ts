import assert from "node:assert/strict";
import { afterEach, mock, test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { CancellationWatch } from "../../src/worker/cancellation-watch";
import type { WatchClient, WatchedTask } from "../../src/worker/cancellation-watch";
import { SiloGrpcError } from "../../src/errors/errors";
import type { AwaitCancellationsOptions, CancelledTask } from "../../src/jobs/types";

/** A call that waits, until the test answers it. */
interface Parked {
  options: AwaitCancellationsOptions;
  answer(...taskIds: string[]): void;
  fail(error: Error): void;
}

class FakeServer implements WatchClient {
  readonly calls: Parked[] = [];

  awaitCancellations(options: AwaitCancellationsOptions): Promise<CancelledTask[]> {
    return new Promise((resolve, reject) => {
      options.signal?.addEventListener("abort", () => reject(new Error("aborted")));
      this.calls.push({
        options,
        answer: (...taskIds) => resolve(taskIds.map((taskId) => ({ taskId, cancelledAtMs: 1n }))),
        fail: reject,
      });
    });
  }

  /** The call of this number, as soon as it is made. */
  async call(number: number): Promise<Parked> {
    while (this.calls.length <= number) {
      await pause(5);
    }
    return this.calls[number];
  }
}

function fakeTask(taskId: string, shard = "s1") {
  return { taskId, shard, cancelled: mock.fn(() => {}) } satisfies WatchedTask;
}

let watch: CancellationWatch;
afterEach(() => watch.end());

test("a task that is held for a while is watched, and told", async () => {
  const server = new FakeServer();
  watch = new CancellationWatch(server, "w");
  const [a, b, other] = [fakeTask("a"), fakeTask("b"), fakeTask("c", "s2")];
  [a, b, other].forEach((task) => watch.add(task));
  const first = await server.call(0);
  assert.equal(first.options.workerId, "w");
  assert.deepEqual(first.options.knownTaskIds, []);
  assert.ok((first.options.waitMs ?? 0) >= 10_000, "one call serves for long");
  const second = await server.call(1);
  assert.deepEqual([first.options.shard, second.options.shard], ["s1", "s2"]);
  first.answer("a");
  const again = await server.call(2);
  assert.equal(a.cancelled.mock.callCount(), 1);
  assert.equal(b.cancelled.mock.callCount(), 0);
  assert.equal(again.options.shard, "s1");
  assert.deepEqual(again.options.knownTaskIds, ["a"], "what is known is not told again");
  watch.end();
  assert.ok(again.options.signal?.aborted && second.options.signal?.aborted);
});

test("tasks that are over soon cost no call", async () => {
  const server = new FakeServer();
  watch = new CancellationWatch(server, "w");
  for (let i = 0; i < 30; i++) {
    const task = fakeTask(`k${i}`);
    watch.add(task);
    await pause(10);
    watch.remove(task);
  }
  // The timer has looked by now: this task is the first that it finds.
  watch.add(fakeTask("long"));
  await server.call(0);
  assert.equal(server.calls.length, 1);
});

test("a task that is told before it is delivered is cancelled when it comes", async () => {
  const server = new FakeServer();
  watch = new CancellationWatch(server, "w");
  watch.add(fakeTask("a"));
  (await server.call(0)).answer("late");
  assert.deepEqual((await server.call(1)).options.knownTaskIds, ["late"]);
  const late = fakeTask("late");
  watch.add(late);
  assert.equal(late.cancelled.mock.callCount(), 1);
});

test("a call that fails is made again, and one that nobody knows is not for long", async () => {
  const server = new FakeServer();
  watch = new CancellationWatch(server, "w");
  const task = fakeTask("a");
  watch.add(task);
  (await server.call(0)).fail(new Error("away"));
  (await server.call(1)).fail(new SiloGrpcError("no such method", "UNIMPLEMENTED", ""));
  await pause(300);
  watch.add(fakeTask("b"));
  await pause(600);
  assert.equal(server.calls.length, 2);
  assert.equal(task.cancelled.mock.callCount(), 0);
});

test("a client without the call is not asked", async () => {
  watch = new CancellationWatch({}, "w");
  watch.add(fakeTask("a"));
  await pause(300);
});

import assert from "node:assert/strict";
import { test } from "node:test";
import { LeaseClock } from "../../src/worker/lease-clock";
import { until } from "../fake-server";

/** Keeps the event loop busy. */
function block(ms: number): void {
  const end = performance.now() + ms;
  while (performance.now() < end) {
    // Nothing else runs.
  }
}

test("a lease lapses when it was not renewed for its length, once", async () => {
  let lapses = 0;
  const started = performance.now();
  const clock = new LeaseClock(60, () => lapses++);
  assert.equal(clock.hasLapsed, false);
  clock.renewed(started + 40);
  await until(() => lapses > 0);
  assert.ok(performance.now() - started >= 99);
  assert.equal(clock.hasLapsed, true);
  clock.renewed(performance.now());
  assert.equal(clock.hasLapsed, false, "the server may give it a new term");
  await new Promise((resolve) => setTimeout(resolve, 100));
  assert.equal(lapses, 1);
  clock.stop();
});

test("an answer that a blocked event loop has not read yet still renews", async () => {
  let lapses = 0;
  const clock = new LeaseClock(100, () => lapses++);
  const sentAt = performance.now() + 50;
  // Comes in the same turn in which the timer is found to be overdue.
  setTimeout(() => setImmediate(() => clock.renewed(sentAt)), 60);
  block(110);
  await new Promise((resolve) => setImmediate(() => setImmediate(() => setImmediate(resolve))));
  assert.equal(lapses, 0);
  await until(() => lapses === 1);
});

test("a stall counts", async () => {
  let lapses = 0;
  const clock = new LeaseClock(50, () => lapses++);
  block(80);
  assert.equal(clock.hasLapsed, true);
  await until(() => lapses === 1);
});

test("a lease of unknown length does not lapse, a stopped clock tells nothing", async () => {
  let lapses = 0;
  const unknown = new LeaseClock(0, () => lapses++);
  const stopped = new LeaseClock(10, () => lapses++);
  stopped.stop();
  await new Promise((resolve) => setTimeout(resolve, 40));
  assert.equal(lapses, 0);
  assert.equal(unknown.hasLapsed, false);
  unknown.stop();
});

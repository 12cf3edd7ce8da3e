import assert from "node:assert/strict";
import { mock, test } from "node:test";
import { after, sleep, timerPeriod } from "../../src/base/sleep";

const DAY_MS = 86_400_000;

test("long timers wait as told", () => {
  let now = 0;
  mock.method(performance, "now", () => now);
  mock.timers.enable({ apis: ["setTimeout"] });
  try {
    const pass = (ms: number) => {
      for (let left = ms; left > 0; left -= DAY_MS) {
        now += Math.min(DAY_MS, left);
        mock.timers.tick(Math.min(DAY_MS, left));
      }
    };
    let days30 = 0;
    let never = 0;
    let calledOff = 0;
    after(30 * DAY_MS, () => days30++);
    after(Infinity, () => never++);
    after(60 * DAY_MS, () => calledOff++)();
    pass(29 * DAY_MS);
    assert.equal(days30, 0);
    pass(DAY_MS);
    assert.equal(days30, 1);
    pass(70 * DAY_MS);
    assert.deepEqual([days30, never, calledOff], [1, 0, 0]);
  } finally {
    mock.timers.reset();
    mock.restoreAll();
  }
});

test("a sleep ends early when its signal aborts", async () => {
  const controller = new AbortController();
  const sleeping = sleep(Infinity, controller.signal);
  controller.abort();
  await sleeping;
  await sleep(Infinity, controller.signal);
  await sleep(0);
});

test("periods fit Node's timers", () => {
  assert.equal(timerPeriod(5), 5);
  assert.equal(timerPeriod(30 * DAY_MS), 2 ** 31 - 1);
});

import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { TaskNotFoundError } from "../../src/index";
import type { ReportOutcomeOptions, ReportOutcomesResult } from "../../src/index";
import { OutcomeReporter } from "../../src/worker/outcome-reporter";
import { OTHER_SHARD, SHARD, until } from "../fake-server";

/** A call of the reporter, answered by the test. */
interface Call {
  method: "reportOutcome" | "reportOutcomes";
  ids: string[];
  answer: (results?: ReportOutcomesResult[]) => void;
  fail: (error: Error) => void;
}

let calls: Call[];
let reporter: OutcomeReporter;

const client = {
  reportOutcome: (options: ReportOutcomeOptions<any>) =>
    new Promise<void>((resolve, reject) => {
      const ids = [options.taskId];
      calls.push({ method: "reportOutcome", ids, answer: () => resolve(), fail: reject });
    }),
  reportOutcomes: (list: ReportOutcomeOptions[]) =>
    new Promise<ReportOutcomesResult[]>((resolve, reject) => {
      const ids = list.map(({ taskId }) => taskId);
      const answer = (results = list.map(() => ({}))) => resolve(results);
      calls.push({ method: "reportOutcomes", ids, answer, fail: reject });
    }),
};

beforeEach(() => {
  calls = [];
  reporter = new OutcomeReporter(client);
});

function report(taskId: string, shard = SHARD): Promise<void> {
  return reporter.report({ taskId, shard, outcome: { type: "cancelled" } });
}

function reportAll(ids: string[]): Promise<PromiseSettledResult<void>[]> {
  return Promise.allSettled(ids.map((id) => report(id)));
}

/** The turn of the event loop after this one. */
function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

test("a lone outcome leaves with the next turn, as a plain report", async () => {
  for (const id of ["a", "b"]) {
    const done = report(id);
    await nextTurn();
    const call = calls.at(-1);
    assert.deepEqual([call?.method, call?.ids], ["reportOutcome", [id]]);
    call?.answer();
    await done;
  }
  assert.equal(calls.length, 2);
});

test("what finishes during a call rides the next one together, in order", async () => {
  const first = report("first");
  await nextTurn();
  const ids = Array.from({ length: 100 }, (_, i) => `k${i}`);
  const rest = reportAll(ids);
  calls[0].answer();
  await first;
  await until(() => calls.length === 2);
  assert.deepEqual([calls[1].method, calls[1].ids], ["reportOutcomes", ids]);
  calls[1].answer();
  assert.ok((await rest).every(({ status }) => status === "fulfilled"));
  assert.equal(calls.length, 2);
});

test("outcomes of one turn leave together", async () => {
  const all = reportAll(["a", "b", "c"]);
  await nextTurn();
  assert.deepEqual(calls.map(({ ids }) => ids), [["a", "b", "c"]]);
  calls[0].answer();
  await all;
});

test("a call that hangs holds up the next one for some milliseconds only", async () => {
  const first = report("first");
  await nextTurn();
  const rest = reportAll(["a", "b"]);
  assert.equal(calls.length, 1, "not at once");
  await until(() => calls.length === 2);
  assert.deepEqual(calls[1].ids, ["a", "b"]);
  calls[1].answer();
  await rest;
  calls[0].answer();
  await first;
});

test("a full call leaves at once", async () => {
  const first = report("first");
  await nextTurn();
  const ids = Array.from({ length: 257 }, (_, i) => `k${i}`);
  const rest = reportAll(ids);
  assert.deepEqual(calls[1].ids, ids.slice(0, 256));
  calls[0].answer();
  calls[1].answer();
  await first;
  await until(() => calls.length === 3);
  assert.deepEqual([calls[2].method, calls[2].ids], ["reportOutcome", ["k256"]]);
  calls[2].answer();
  assert.ok((await rest).every(({ status }) => status === "fulfilled"));
});

test("each outcome gets its own error, and that of a call which failed whole", async () => {
  const all = reportAll(["a", "b", "c"]);
  await nextTurn();
  const lost = new TaskNotFoundError("b", "lease not found");
  calls[0].answer([{}, { error: lost }, {}]);
  const [a, b, c] = await all;
  assert.deepEqual([a.status, c.status], ["fulfilled", "fulfilled"]);
  assert.equal((b as PromiseRejectedResult).reason, lost);
  const more = reportAll(["d", "e"]);
  await until(() => calls.length === 2);
  calls[1].fail(new Error("broken"));
  for (const result of await more) {
    assert.match((result as PromiseRejectedResult).reason.message, /broken/);
  }
  const last = report("f");
  await until(() => calls.length === 3);
  calls[2].fail(lost);
  await assert.rejects(last, lost);
});

test("a call to one shard does not hold up another's", async () => {
  const first = report("a");
  await nextTurn();
  const second = report("b", OTHER_SHARD);
  await nextTurn();
  assert.deepEqual(calls.map(({ ids }) => ids), [["a"], ["b"]]);
  calls[1].answer();
  await second;
  calls[0].answer();
  await first;
});

test("a client that knows only single reports will do", async () => {
  reporter = new OutcomeReporter({ reportOutcome: client.reportOutcome });
  const all = reportAll(["a", "b"]);
  await nextTurn();
  assert.deepEqual(calls.map(({ method, ids }) => [method, ...ids]), [
    ["reportOutcome", "a"],
    ["reportOutcome", "b"],
  ]);
  calls[0].answer();
  calls[1].fail(new Error("broken"));
  assert.deepEqual((await all).map(({ status }) => status), ["fulfilled", "rejected"]);
});

import assert from "node:assert/strict";
import { after, test } from "node:test";
import { JobStatus, SiloWorker, TaskNotFoundError } from "../../src/index";
import { liveClient, unique } from "./live";

const client = liveClient();
after(() => client.close());

async function enqueue(taskGroup: string, count: number): Promise<string[]> {
  const jobs = Array.from({ length: count }, (_, i) => ({ payload: i, taskGroup }));
  return (await client.enqueueMany(jobs)).map(({ id, error }) => {
    assert.equal(error, undefined);
    return String(id);
  });
}

test("reportOutcomes: each outcome is recorded or refused alone", async () => {
  const taskGroup = unique("group");
  await enqueue(taskGroup, 3);
  const poll = { workerId: "w", maxTasks: 3, taskGroup, waitMs: 5000 };
  const { tasks } = await client.leaseTasks(poll);
  assert.equal(tasks.length, 3);
  const [first, second, third] = tasks.map(({ id: taskId, shard }) => ({ taskId, shard }));
  const results = await client.reportOutcomes([
    { ...first, outcome: { type: "success", result: "done" } },
    { ...second, taskId: "00000000-0000-7000-8000-000000000000", outcome: { type: "cancelled" } },
    { ...second, outcome: { type: "failure", code: "E_MINE", data: { a: 1 } } },
    { ...third, outcome: { type: "success", result: 3 } },
    { ...third, outcome: { type: "cancelled" } },
  ]);
  assert.deepEqual([results[0], results[2], results[3]], [{}, {}, {}]);
  assert.ok(results[1].error instanceof TaskNotFoundError);
  assert.ok(results[4].error instanceof TaskNotFoundError);
  assert.equal(results[4].error.taskId, third.taskId);
  const [success, failure, other] = await Promise.all(
    tasks.map(({ jobId }) => client.getJobResult(jobId)),
  );
  assert.deepEqual(success, { status: JobStatus.Succeeded, result: "done" });
  assert.deepEqual([failure.status, failure.errorCode], [JobStatus.Failed, "E_MINE"]);
  assert.deepEqual(other, { status: JobStatus.Succeeded, result: 3 });
});

test("a busy worker reports each of its outcomes", async () => {
  const taskGroup = unique("group");
  const ids = await enqueue(taskGroup, 1000);
  const errors: Error[] = [];
  const worker = new SiloWorker({
    client,
    workerId: unique("worker"),
    taskGroup,
    maxConcurrentTasks: 100,
    handler: async (task) => task.payload * 2,
    onError: (error) => errors.push(error),
  });
  await worker.start();
  try {
    const results = await Promise.all(
      ids.map((id) => client.handle(id).awaitResult({ timeoutMs: 60_000 })),
    );
    assert.deepEqual(
      results.map(({ result }) => result),
      ids.map((_, i) => i * 2),
    );
    assert.deepEqual(errors, []);
  } finally {
    await worker.stop();
  }
});

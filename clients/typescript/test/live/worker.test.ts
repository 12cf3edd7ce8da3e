import assert from "node:assert/strict";
import { after, afterEach, test } from "node:test";
import { JobStatus, SiloWorker } from "../../src/index";
import type { TaskHandler } from "../../src/index";
import { liveClient, unique } from "./live";

const client = liveClient();
const workers: SiloWorker[] = [];

afterEach(async () => {
  await Promise.all(workers.splice(0).map((worker) => worker.stop()));
});
after(() => client.close());

async function startWorker(
  taskGroup: string,
  handler: TaskHandler<any>,
  options: { maxConcurrentTasks?: number; concurrentPollers?: number } = {},
): Promise<SiloWorker> {
  const worker = new SiloWorker({
    client,
    workerId: unique("worker"),
    taskGroup,
    handler,
    pollIntervalMs: 200,
    heartbeatIntervalMs: 200,
    ...options,
  });
  workers.push(worker);
  await worker.start();
  return worker;
}

function enqueueAll(taskGroup: string, count: number) {
  return Promise.all(
    Array.from({ length: count }, (_, i) => client.enqueue({ payload: { i }, taskGroup })),
  );
}

test("one task, its value is the result", async () => {
  const taskGroup = unique("group");
  await startWorker(taskGroup, async (task) => ({ doubled: task.payload.i * 2 }));
  const handle = await client.enqueue({ payload: { i: 21 }, taskGroup });
  assert.deepEqual(await handle.awaitResult({ timeoutMs: 15_000 }), {
    status: JobStatus.Succeeded,
    result: { doubled: 42 },
  });
});

for (const [slots, pollers] of [
  [1, 1],
  [5, 1],
  [5, 3],
]) {
  test(`${slots} slots and ${pollers} pollers never run more than ${slots}`, async () => {
    const taskGroup = unique("group");
    let running = 0;
    let most = 0;
    const handles = await enqueueAll(taskGroup, 12);
    await startWorker(
      taskGroup,
      async () => {
        most = Math.max(most, ++running);
        await new Promise((resolve) => setTimeout(resolve, 30));
        running--;
      },
      { maxConcurrentTasks: slots, concurrentPollers: pollers },
    );
    const results = await Promise.all(
      handles.map((handle) => handle.awaitResult({ timeoutMs: 20_000 })),
    );
    assert.ok(results.every((result) => result.status === JobStatus.Succeeded));
    assert.ok(most <= slots, `${most} ran at once`);
    assert.ok(slots === 1 || most > 1, "handlers overlap");
  });
}

test("failures and throws end their jobs, and the worker goes on", async () => {
  const taskGroup = unique("group");
  await startWorker(taskGroup, async ({ payload }) => {
    switch (payload.i) {
      case 0:
        return { type: "failure", code: "E_MINE", data: { a: 1 } };
      case 1:
        throw new Error("thrown");
      default:
        return "ok";
    }
  });
  const handles = await enqueueAll(taskGroup, 3);
  const [failure, thrown, ok] = await Promise.all(
    handles.map((handle) => handle.awaitResult<string>({ timeoutMs: 15_000 })),
  );
  assert.deepEqual([failure.status, failure.errorCode], [JobStatus.Failed, "E_MINE"]);
  assert.deepEqual(failure.errorData, { a: 1 });
  assert.equal(thrown.errorCode, "HANDLER_ERROR");
  assert.equal((thrown.errorData as { message: string }).message, "thrown");
  assert.equal(ok.result, "ok");
});

test("stop waits for a running task; the worker can be started again", async () => {
  const taskGroup = unique("group");
  let started: () => void = () => {};
  const running = new Promise<void>((resolve) => (started = resolve));
  const worker = await startWorker(taskGroup, async () => {
    started();
    await new Promise((resolve) => setTimeout(resolve, 200));
    return "done";
  });
  const first = await client.enqueue({ payload: {}, taskGroup });
  await running;
  await worker.stop();
  assert.equal((await client.getJobResult(first.id)).result, "done");
  const second = await client.enqueue({ payload: {}, taskGroup });
  await worker.start();
  assert.equal((await second.awaitResult({ timeoutMs: 15_000 })).result, "done");
});

test("task groups are apart", async () => {
  const groups = [unique("group"), unique("group")];
  for (const group of groups) {
    await startWorker(group, async (task) => ({ ranBy: group, of: task.taskGroup }));
  }
  for (const group of groups) {
    const handle = await client.enqueue({ payload: {}, taskGroup: group });
    const { result } = await handle.awaitResult({ timeoutMs: 15_000 });
    assert.deepEqual(result, { ranBy: group, of: group });
  }
});

test("heartbeats keep a task longer than its lease", async () => {
  const taskGroup = unique("group");
  await startWorker(taskGroup, async (task) => {
    await new Promise((resolve) => setTimeout(resolve, 12_000));
    return task.attemptNumber;
  });
  const handle = await client.enqueue({ payload: {}, taskGroup });
  assert.deepEqual(await handle.awaitResult({ timeoutMs: 30_000 }), {
    status: JobStatus.Succeeded,
    result: 1,
  });
});

test("a running job is cancelled by the server, and by its handler", async () => {
  const taskGroup = unique("group");
  await startWorker(taskGroup, async ({ payload, cancel, cancellationSignal }) => {
    if (payload.i === 0) {
      await cancel();
      return;
    }
    await new Promise((resolve) => cancellationSignal.addEventListener("abort", resolve));
  });
  const [byHandler, byServer] = await enqueueAll(taskGroup, 2);
  while ((await byServer.getStatus()) !== JobStatus.Running) {
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  await byServer.cancel();
  for (const handle of [byHandler, byServer]) {
    const { status } = await handle.awaitResult({ timeoutMs: 15_000 });
    assert.equal(status, JobStatus.Cancelled);
  }
});

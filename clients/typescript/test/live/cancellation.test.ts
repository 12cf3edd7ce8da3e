import assert from "node:assert/strict";
import { after, test } from "node:test";
import { JobStatus, SiloWorker } from "../../src/index";
import { liveClient, unique } from "./live";

const client = liveClient();
after(() => client.close());

/** How late a handler may hear of a cancellation, in milliseconds. */
const HEARD_WITHIN_MS = 1000;

test("a running handler hears of a cancellation within a second", async () => {
  const taskGroup = unique("group");
  const begun = new Map<string, () => void>();
  const heard = new Map<string, number>();
  const worker = new SiloWorker({
    client,
    workerId: unique("worker"),
    taskGroup,
    handler: async ({ jobId, cancellationSignal }) => {
      begun.get(jobId)?.();
      if (!cancellationSignal.aborted) {
        await new Promise((resolve) => cancellationSignal.addEventListener("abort", resolve));
      }
      heard.set(jobId, performance.now());
    },
  });
  await worker.start();
  try {
    const handles = Array.from({ length: 8 }, () => client.handle(unique("job")));
    const running = handles.map(({ id }) => new Promise<void>((begin) => begun.set(id, begin)));
    await Promise.all(handles.map(({ id }) => client.enqueue({ id, payload: 1, taskGroup })));
    await Promise.all(running);
    for (const handle of handles) {
      // The heartbeats of 5 s would need longer for most of them.
      await handle.cancel();
      const cancelled = performance.now();
      assert.equal(
        (await handle.awaitResult({ timeoutMs: 15_000 })).status,
        JobStatus.Cancelled,
      );
      const late = (heard.get(handle.id) ?? Infinity) - cancelled;
      assert.ok(late < HEARD_WITHIN_MS, `heard after ${late} ms`);
    }
  } finally {
    await worker.stop();
  }
});

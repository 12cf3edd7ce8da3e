// Calls while their server is killed and comes back.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { JobStatus, SiloGRPCClient } from "../../src/index";
import { ServerProcess } from "../support/server-process";
import { unique } from "./live";

/** Calls that are on their way, or begin, while the server is away. */
const CALLS = 300;

let server: ServerProcess;
let client: SiloGRPCClient;

before(async () => {
  server = await ServerProcess.start();
  client = new SiloGRPCClient({ servers: server.address });
});
after(async () => {
  client.close();
  await server.remove();
});

/** The jobs of a group, all of which are due; their tasks are leased by this. */
async function waiting(taskGroup: string): Promise<string[]> {
  const jobs: string[] = [];
  for (;;) {
    const poll = { workerId: "w", maxTasks: 100, taskGroup, waitMs: 1000 };
    const { tasks } = await client.leaseTasks(poll);
    if (tasks.length === 0) {
      return jobs.sort();
    }
    jobs.push(...tasks.map(({ jobId }) => jobId));
  }
}

for (const awayMs of [300, 2000]) {
  test(`calls last out a server that is away for ${awayMs} ms, and enqueue once`, async () => {
    const taskGroup = unique("away");
    const cancelled = await client.enqueue({ payload: 0, taskGroup: unique("cancelled") });
    const result = cancelled.awaitResult();
    const calls = Array.from({ length: CALLS }, async (_, i) => {
      await new Promise((resolve) => setTimeout(resolve, i));
      return client.enqueue({ payload: i, taskGroup }, { timeoutMs: 120_000 });
    });
    await new Promise((resolve) => setTimeout(resolve, CALLS / 3));
    await server.kill();
    await new Promise((resolve) => setTimeout(resolve, awayMs));
    await server.start();
    const ids = new Set((await Promise.all(calls)).map(({ id }) => id));
    assert.equal(ids.size, CALLS);
    await cancelled.cancel();
    assert.equal((await result).status, JobStatus.Cancelled);
    assert.deepEqual(await waiting(taskGroup), [...ids].sort(), "each job once, and no other");
  });
}

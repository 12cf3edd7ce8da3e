// A worker's process that was stopped and goes on: its leases may be another's by then.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { join } from "node:path";
import { test } from "node:test";
import { batches, FakeServer, protoTask, until } from "../fake-server";

test("time in which the process was stopped counts for its leases", async () => {
  let isStopped = false;
  const server = await FakeServer.start({
    leaseTasks: batches([protoTask("k", 1, { leaseMs: 6000n })]),
    heartbeat: () => (isStopped ? new Promise(() => {}) : {}),
  });
  const script = join(__dirname, "../support/suspended-worker.js");
  const child = spawn(process.execPath, [script, server.address], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  let said = "";
  child.stdout.on("data", (chunk) => (said += chunk));
  try {
    await until(() => said.includes("running"), "the handler");
    await until(() => server.requests("heartbeat").length >= 2, "heartbeats");
    isStopped = true;
    child.kill("SIGSTOP");
    await new Promise((resolve) => setTimeout(resolve, 7000));
    assert.equal(said, "running\n");
    const resumed = performance.now();
    child.kill("SIGCONT");
    await until(() => said.includes("TaskLeaseLostError"), "the signal");
    assert.ok(performance.now() - resumed < 5000, "at once, and not a lease later");
  } finally {
    child.kill("SIGKILL");
    server.stop();
  }
});

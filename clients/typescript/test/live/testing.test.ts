// The test kit against the real program, at SILO_BIN.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, test } from "node:test";
import { JobStatus, SiloGRPCClient, SiloWorker } from "../../src/index";
import { startTestServer, TestServerError, TestTimeoutError } from "../../src/testing";
import type { TestServer } from "../../src/testing";

const HOUR_MS = 3_600_000;
const twoRetries = {
  retryCount: 2,
  initialIntervalMs: BigInt(HOUR_MS),
  maxIntervalMs: BigInt(HOUR_MS),
  backoffFactor: 1,
  randomizeInterval: false,
};

const backoff = { initialBackoffMs: BigInt(HOUR_MS), maxBackoffMs: BigInt(HOUR_MS) };

let server: TestServer;

before(async () => {
  server = await startTestServer();
});
afterEach(() => server.reset());
after(() => server?.stop());

const inAnHour = () => BigInt(Date.now() + HOUR_MS);
const statuses = (jobs: { status: JobStatus }[]) => jobs.map((job) => job.status);

test("all due jobs of the group are run, and those they enqueue", async () => {
  await server.client.enqueue({ taskGroup: "parents", payload: { children: 3 } });
  await server.client.enqueue({ taskGroup: "others", payload: {} });
  await server.client.enqueue({ taskGroup: "parents", payload: {}, startAtMs: inAnHour() });
  const jobs = await server.runUntilIdle({
    taskGroup: "parents",
    handler: async ({ payload }) => {
      for (let i = 0; i < (payload.children ?? 0); i += 1) {
        await server.client.enqueue({ taskGroup: "parents", payload: {} });
      }
      return { done: true };
    },
  });
  const { Scheduled, Succeeded } = JobStatus;
  assert.deepEqual(statuses(jobs), [Succeeded, Scheduled, Succeeded, Succeeded, Succeeded]);
  assert.deepEqual(jobs[0].result, { done: true });
  assert.deepEqual(statuses(await server.jobs({ taskGroup: "others" })), [Scheduled]);
});

test("retries are run at once on demand, and jobs with a start only if all are", async () => {
  let calls = 0;
  const options = {
    taskGroup: "flaky",
    handler: async () => {
      calls += 1;
      throw new Error("no");
    },
  };
  await server.client.enqueue({ taskGroup: "flaky", payload: {}, retryPolicy: twoRetries });
  await server.client.enqueue({ taskGroup: "flaky", payload: {}, startAtMs: inAnHour() });

  assert.deepEqual(statuses(await server.runUntilIdle(options)), ["Scheduled", "Scheduled"]);
  assert.equal(calls, 1);
  const [retried, later] = await server.runUntilIdle({ ...options, fastForward: "retries" });
  assert.equal(calls, 3);
  assert.equal(retried.status, JobStatus.Failed);
  assert.equal(retried.attempts?.length, 3);
  assert.equal(later.status, JobStatus.Scheduled);
  const all = await server.runUntilIdle({ ...options, fastForward: "all" });
  assert.deepEqual(statuses(all), ["Failed", "Failed"]);
});

test("jobs become due by group, tenant and distance", async () => {
  const startAtMs = inAnHour();
  await server.client.enqueue({ taskGroup: "a", payload: {}, startAtMs });
  await server.client.enqueue({ taskGroup: "b", payload: {}, startAtMs });
  assert.equal(await server.expedite({ withinMs: HOUR_MS / 2 }), 0);
  assert.equal(await server.expedite({ tenant: "t" }), 0);
  assert.equal(await server.expedite({ taskGroup: "a", withinMs: 2 * HOUR_MS }), 1);
  assert.equal(await server.expedite(), 1);
  assert.equal(await server.expedite(), 0);
});

test("a job that a rate limit holds does not keep its group busy", async () => {
  const durationMs = BigInt(HOUR_MS);
  const limit = { type: "rateLimit" as const, name: "n", uniqueKey: "k", limit: 1n, durationMs };
  for (const retryPolicy of [undefined, { ...backoff, maxRetries: 3 }]) {
    await server.client.enqueue({
      taskGroup: "limited",
      payload: {},
      limits: [{ ...limit, retryPolicy }],
    });
    await server.client.enqueue({
      taskGroup: "limited",
      payload: {},
      limits: [{ ...limit, retryPolicy }],
    });
    for (const fastForward of [undefined, "all" as const]) {
      const options = { taskGroup: "limited", handler: async () => 1, fastForward };
      const jobs = await server.runUntilIdle(options);
      assert.deepEqual(statuses(jobs), ["Succeeded", "Scheduled"]);
    }
    await server.reset();
  }
});

test("a client and a worker of the test's own", async () => {
  const client = new SiloGRPCClient(server.clientOptions);
  const plain = new SiloGRPCClient({ servers: server.address, useTls: false });
  try {
    const handler = async ({ payload }: { payload: number }) => payload + 1;
    const worker = new SiloWorker({ client, workerId: "w", taskGroup: "own", handler });
    await client.enqueue({ taskGroup: "own", payload: 1 });
    // The test kit has not heard of this one.
    await plain.enqueue({ taskGroup: "own", payload: 2 });
    const jobs = await server.runUntilIdle({ worker, taskGroup: "own" });
    assert.deepEqual(jobs.map((job) => job.result).sort(), [2, 3]);
  } finally {
    client.close();
    plain.close();
  }
});

test("a job that nothing ends is named when the time is over", async () => {
  const limits = [{ type: "concurrency" as const, key: "closed", maxConcurrency: 0 }];
  const { id } = await server.client.enqueue({ taskGroup: "stuck", payload: {}, limits });
  const run = server.runUntilIdle({ taskGroup: "stuck", handler: async () => 1, timeoutMs: 200 });
  await assert.rejects(run, (error: unknown) => {
    assert.ok(error instanceof TestTimeoutError);
    assert.match(
      error.message,
      new RegExp(`not idle after 200 ms\\n  job ${id} of stuck: Scheduled`),
    );
    assert.deepEqual(
      error.jobs.map((job) => job.id),
      [id],
    );
    return true;
  });
});

test("a status is waited for, and not in vain", async () => {
  const handle = await server.client.enqueue({ taskGroup: "g", payload: {} });
  const waiting = server.waitForStatus(handle, "Succeeded");
  await server.runUntilIdle({ taskGroup: "g", handler: async () => "ok" });
  assert.equal((await waiting).result, "ok");
  await assert.rejects(
    server.waitForStatus(handle.id, "Running"),
    /does not become Running any more/,
  );
});

test("after a reset there are neither jobs nor what limits have counted", async () => {
  const limits = [
    {
      type: "rateLimit" as const,
      name: "n",
      uniqueKey: "k",
      limit: 1n,
      durationMs: BigInt(HOUR_MS),
    },
  ];
  for (let round = 0; round < 2; round += 1) {
    await server.client.enqueue({ id: "same", taskGroup: "g", payload: {}, limits });
    const jobs = await server.runUntilIdle({ taskGroup: "g", handler: async () => "ok" });
    assert.deepEqual(statuses(jobs), ["Succeeded"]);
    await server.reset();
    assert.deepEqual(await server.jobs(), []);
  }
});

test("tenancy, a token, and the end of a scope", async () => {
  const config = { tenancy: { enabled: true }, server: { auth_token: 'se"cret' } };
  let address: string;
  {
    await using private_ = await startTestServer({ config });
    address = private_.address;
    for (const tenant of ["a", "b"]) {
      await private_.client.enqueue({ id: "1", tenant, taskGroup: "g", payload: tenant });
    }
    await private_.runUntilIdle({ taskGroup: "g", handler: async (task) => task.payload });
    const [job, ...others] = await private_.jobs({ tenant: "b", status: JobStatus.Succeeded });
    assert.deepEqual([job.tenant, job.result, others], ["b", "b", []]);
  }
  assert.equal(await accepts(address), false);
});

test("what keeps a server from starting is in the error", async () => {
  const missing = startTestServer({ program: "/nowhere/silo" });
  await assert.rejects(missing, /no program at \/nowhere\/silo, which the option program names/);
  const config = { server: { no_such_key: 1 } };
  await assert.rejects(startTestServer({ config }), (error: unknown) => {
    assert.ok(error instanceof TestServerError);
    assert.match(error.message, /The server ended \(status \d+\).*no_such_key/s);
    return true;
  });
});

test("a program that leaves others behind is not waited for longer than it may take", async () => {
  const directory = mkdtempSync(join(tmpdir(), "silo-kit-"));
  const program = join(directory, "wrapper");
  writeFileSync(program, "#!/bin/sh\necho $$; sleep 30\n", { mode: 0o755 });
  const began = performance.now();
  await assert.rejects(startTestServer({ program, startTimeoutMs: 500 }), /is not serving yet/);
  assert.ok(performance.now() - began < 25_000, "it waited for what was left behind");
  rmSync(directory, { recursive: true });
});

function accepts(address: string): Promise<boolean> {
  const [host, port] = address.split(":");
  return new Promise((resolve) => {
    const socket = connect(Number(port), host, () => {
      socket.destroy();
      resolve(true);
    });
    socket.on("error", () => resolve(false));
  });
}

const bounded = { timeout: 60_000 };
test(
  "the server ends with a process that is killed, and does not keep one alive",
  bounded,
  async () => {
    const kit = join(__dirname, "..", "..", "src", "testing");
    for (const rest of ["setInterval(() => {}, 1000);", "server.client.close();"]) {
      const script = `require(${JSON.stringify(kit)}).startTestServer().then((server) => {
      console.log(server.address);
      ${rest}
    });`;
      const child = spawn(process.execPath, ["-e", script], {
        stdio: ["ignore", "pipe", "inherit"],
      });
      const ended = once(child, "exit");
      const address = String((await once(child.stdout, "data"))[0]).trim();
      if (rest.startsWith("setInterval")) {
        assert.equal(await accepts(address), true);
        child.kill("SIGKILL");
      }
      await ended;
      while (await accepts(address)) {
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    }
  },
);

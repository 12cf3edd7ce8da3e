// A client far away: what it says takes seconds to get through.
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { JobStatus, SiloGRPCClient, SiloWorker } from "../../src/index";
import type { SiloGRPCClientOptions } from "../../src/index";
import { SlowLink } from "../support/slow-link";
import { liveClient, unique } from "./live";

const near = liveClient();
const closers: (() => void)[] = [() => near.close()];
after(() => closers.forEach((close) => close()));

/** A client whose every byte to the server under test passes the link. */
async function behind(link: SlowLink, options: Partial<SiloGRPCClientOptions> = {}) {
  await near.refreshTopology();
  const advertised = [...near.getTopology().shardToServer.values()];
  const client = new SiloGRPCClient({
    servers: link.address,
    useTls: false,
    addressMap: Object.fromEntries(advertised.map((address) => [address, link.address])),
    ...options,
  });
  closers.push(() => client.close());
  return client;
}

async function slowLink(bytesPerSecond: number): Promise<SlowLink> {
  const link = await SlowLink.to(String(process.env.SILO_ADDR), { up: bytesPerSecond });
  closers.push(() => link.close());
  return link;
}

test("a large job gets over a slow link, and small calls pass it on the way", async () => {
  const client = await behind(await slowLink(3_000_000), { shardRouting: { maxRetries: 0 } });
  const taskGroup = unique("slow");
  await client.refreshTopology();
  let done = false;
  const jobs = Array.from({ length: 4 }, () => {
    const job = { payload: Buffer.alloc(10_000_000), taskGroup };
    return client.enqueue(job);
  });
  const all = Promise.all(jobs).finally(() => (done = true));
  const waits: number[] = [];
  while (!done) {
    const started = performance.now();
    await client.enqueue({ payload: 1, taskGroup });
    waits.push(performance.now() - started);
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
  await all;
  assert.ok(waits.length > 3, "small calls were answered while the large ones were on their way");
  assert.ok(Math.max(...waits) < 4000, `the slowest took ${Math.max(...waits)} ms`);
});

test("pings that wait behind what was sent before do not end the connection", async () => {
  const client = await behind(await slowLink(400_000), {
    shardRouting: { maxRetries: 0 },
    // A ping soon after the start, behind some seconds of small calls.
    grpcClientOptions: { "grpc.keepalive_time_ms": 200 },
  });
  const taskGroup = unique("slow");
  await client.refreshTopology();
  const payload = Buffer.alloc(30_000);
  const calls = Array.from({ length: 60 }, () => client.enqueue({ payload, taskGroup }));
  await Promise.all(calls);
});

test("a result that takes longer than a lease to get through is recorded once", async () => {
  const client = await behind(await slowLink(1_000_000));
  const taskGroup = unique("slow");
  const retryPolicy = {
    retryCount: 1,
    initialIntervalMs: 10n,
    maxIntervalMs: 10n,
    backoffFactor: 1,
    randomizeInterval: false,
  };
  let runs = 0;
  const worker = new SiloWorker({
    client,
    workerId: unique("worker"),
    taskGroup,
    onError: () => {},
    handler: async () => {
      runs++;
      return Buffer.alloc(15_000_000);
    },
  });
  await worker.start();
  try {
    const handle = await near.enqueue({ payload: 1, taskGroup, retryPolicy });
    const { status } = await handle.awaitResult({ timeoutMs: 120_000 });
    const { attempts } = await near.getJob(handle.id, undefined, {
      includeAttempts: true,
      omitResults: true,
    });
    assert.deepEqual([status, attempts?.length, runs], [JobStatus.Succeeded, 1, 1]);
  } finally {
    await worker.stop();
  }
});

// How soon a client finds a server again that was away. The time that passes is the test's own.
import assert from "node:assert/strict";
import { test } from "node:test";
import { SiloGRPCClient } from "../../src/index";
import { enqueueEcho, FakeServer } from "../fake-server";
import { SlowLink } from "../support/slow-link";

/** Longest wait between two tries to connect, in milliseconds. */
const MOST_MS = 5000;

/** Lets sockets work until a condition holds; takes no timer, as those stand still. */
async function untilWithoutTimers(condition: () => boolean, what: string): Promise<void> {
  const deadline = performance.now() + 10_000;
  while (!condition()) {
    assert.ok(performance.now() < deadline, `gave up waiting for ${what}`);
    await new Promise((resolve) => setImmediate(resolve));
  }
}

for (const payload of [1, Buffer.alloc(100_000)]) {
  test(`a connection that never answers is replaced: ${typeof payload}`, async (t) => {
    const server = await FakeServer.start({ enqueue: enqueueEcho });
    const link = await SlowLink.to(server.address);
    t.mock.timers.enable({ apis: ["setTimeout"] });
    const client = new SiloGRPCClient({
      servers: server.address,
      addressMap: { [server.address]: link.address },
      shardRouting: { topologyRefreshIntervalMs: 0 },
    });
    link.pause();
    const call = client.enqueue({ payload, taskGroup: "g" });
    await untilWithoutTimers(() => link.accepted === 1, "the connection");
    let isOver = false;
    void call.catch(() => undefined).finally(() => (isOver = true));
    for (let turns = 0; !isOver; turns++) {
      assert.ok(turns < 10_000, "gave up waiting for another connection");
      if (link.accepted > 1) {
        link.resume();
      }
      t.mock.timers.tick(10);
      await new Promise((resolve) => setImmediate(resolve));
    }
    await call;
    t.mock.timers.reset();
    client.close();
    link.close();
    server.stop();
  });
}

test("a server is looked for every few seconds, however long it has been away", async (t) => {
  const server = await FakeServer.start();
  const link = await SlowLink.to(server.address);
  link.refuse(true);
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const client = new SiloGRPCClient({
    servers: link.address,
    addressMap: { [server.address]: link.address },
    shardRouting: { maxRetries: 0, topologyRefreshIntervalMs: 0 },
  });
  const look = () => client.refreshTopology().catch(() => undefined);
  let looks = look();
  for (let tries = 1; tries <= 15; tries++) {
    await untilWithoutTimers(() => link.accepted >= tries, `try ${tries} to connect`);
    await looks;
    t.mock.timers.tick(MOST_MS);
    looks = look();
  }
  link.refuse(false);
  t.mock.timers.tick(MOST_MS);
  const isFound = () => client.getTopology().shards.length === 1;
  void (async () => {
    while (!isFound()) {
      await look();
      await new Promise((resolve) => setImmediate(resolve));
    }
  })();
  await untilWithoutTimers(isFound, "the server that is back");
  t.mock.timers.reset();
  client.close();
  link.close();
  server.stop();
});

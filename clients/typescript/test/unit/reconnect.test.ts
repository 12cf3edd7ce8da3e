// How soon a client finds a server again that was away. The time that passes is the test's own.
import assert from "node:assert/strict";
import { test } from "node:test";
import { SiloGRPCClient } from "../../src/index";
import { FakeServer } from "../fake-server";
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

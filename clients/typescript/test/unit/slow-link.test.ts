import assert from "node:assert/strict";
import { test } from "node:test";
import { SiloGRPCClient } from "../../src/index";
import { enqueueEcho, FakeServer, until } from "../fake-server";
import { closers } from "../support/closers";
import { SlowLink } from "../support/slow-link";

/** A client whose every call passes the link. */
async function behindLink(link: { up?: number; down?: number } = {}) {
  const server = await FakeServer.start({ enqueue: enqueueEcho });
  closers.push(() => server.stop());
  const slow = await SlowLink.to(server.address, link);
  closers.push(() => slow.close());
  const client = new SiloGRPCClient({
    servers: slow.address,
    addressMap: { [server.address]: slow.address },
  });
  closers.push(() => client.close());
  return { server, slow, client };
}

test("a link passes calls, at the rate it is given", async () => {
  const { server, slow, client } = await behindLink();
  await client.enqueue({ payload: 1, taskGroup: "g" });
  slow.setRates({ up: 1_000_000 });
  const started = performance.now();
  await client.enqueue({ payload: Buffer.alloc(500_000), taskGroup: "g" });
  assert.ok(performance.now() - started > 400, "half a megabyte takes about half a second");
  assert.equal(server.requests("enqueue").length, 2);
});

test("large requests have a connection of their own, made when it is needed", async () => {
  const { slow, client } = await behindLink();
  const small = { payload: Buffer.alloc(60_000), taskGroup: "g" };
  await client.enqueue(small);
  assert.equal(slow.accepted, 1);
  const large = { payload: Buffer.alloc(70_000), taskGroup: "g" };
  await Promise.all([client.enqueue(large), client.enqueue(large), client.enqueue(small)]);
  assert.equal(slow.accepted, 2);
  slow.setRates({ up: 1_000_000 });
  let isUp = false;
  const upload = client
    .enqueue({ payload: Buffer.alloc(1_500_000), taskGroup: "g" })
    .then(() => (isUp = true));
  await new Promise((resolve) => setTimeout(resolve, 200));
  await client.enqueue({ payload: 1, taskGroup: "g" });
  assert.ok(!isUp, "a small request passes a large one that is on its way");
  await upload;
});

test("a paused link holds what is sent until it goes on", async () => {
  const { server, slow, client } = await behindLink();
  await client.enqueue({ payload: 1, taskGroup: "g" });
  slow.pause();
  const held = client.enqueue({ payload: 2, taskGroup: "g" });
  await new Promise((resolve) => setTimeout(resolve, 50));
  assert.equal(server.requests("enqueue").length, 1);
  slow.resume();
  await held;
});

test("a cut link loses its connections and takes new ones", async () => {
  const { slow, client } = await behindLink();
  await client.enqueue({ payload: 1, taskGroup: "g" });
  slow.cut();
  await until(() => slow.connections === 0, "the connection's end");
  await client.enqueue({ payload: 1, taskGroup: "g" });
  assert.ok(slow.accepted >= 2);
});

// TLS is a property of the client: no address that a server tells changes it.
import assert from "node:assert/strict";
import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { test } from "node:test";
import { status } from "@grpc/grpc-js";
import { Connection } from "../../src/connection/connection";
import { DialRules } from "../../src/connection/dial-rules";
import { SiloGRPCClient } from "../../src/index";
import type { SiloGRPCClientOptions } from "../../src/index";
import { clusterInfo, enqueueEcho, FakeServer, grpcError, SHARD } from "../fake-server";
import { closers } from "../support/closers";

const JOB = { payload: 1, taskGroup: "g" };

/** Every address of this machine reaches a fake server; this one is not of the loopback names. */
const REMOTE = "0.0.0.0";

function remote(server: FakeServer): string {
  return server.address.replace("127.0.0.1", REMOTE);
}

async function startServer(handlers = {}): Promise<FakeServer> {
  const server = await FakeServer.start({ enqueue: enqueueEcho, ...handlers });
  closers.push(() => server.stop());
  return server;
}

function makeClient(options: SiloGRPCClientOptions): SiloGRPCClient {
  const client = new SiloGRPCClient({ ...options, shardRouting: { retryDelayMs: 1 } });
  closers.push(() => client.close());
  return client;
}

/** A server on loopback that sends its callers to another, by redirect or by topology. */
async function sendTo(address: () => string, how: "redirect" | "topology"): Promise<FakeServer> {
  if (how === "topology") {
    return startServer({ getClusterInfo: () => clusterInfo([address()]) });
  }
  return startServer({
    enqueue: () => {
      throw grpcError(status.NOT_FOUND, "shard not found", {
        "x-silo-shard-owner-addr": address(),
      });
    },
  });
}

for (const how of ["redirect", "topology"] as const) {
  test(`a token does not leave loopback in plaintext: ${how}`, async () => {
    const other = await startServer();
    const first = await sendTo(() => remote(other), how);
    const client = makeClient({ servers: first.address, token: "secret" });
    await assert.rejects(client.enqueue(JOB), { code: "SILO_PLAINTEXT_REFUSED" });
    assert.equal(other.calls.length, 0);
    if (how === "topology") {
      await assert.rejects(client.refreshTopology(), { code: "SILO_PLAINTEXT_REFUSED" });
      assert.equal(client.getTopology().shards.length, 0);
    }
  });

  test(`plaintext that was asked for, or carries no token, goes anywhere: ${how}`, async () => {
    const other = await startServer();
    const first = await sendTo(() => remote(other), how);
    await makeClient({ servers: first.address, token: "secret", useTls: false }).enqueue(JOB);
    await makeClient({ servers: first.address }).enqueue(JOB);
    const addressMap = { [remote(other)]: other.address };
    await makeClient({ servers: first.address, token: "secret", addressMap }).enqueue(JOB);
    assert.equal(other.requests("enqueue").length, 3);
  });
}

test("a loopback address that a server tells does not turn TLS off", async () => {
  const heard: Buffer[] = [];
  const plain = createServer((socket) => {
    socket.on("error", () => undefined);
    socket.on("data", (chunk) => {
      heard.push(chunk);
      socket.destroy();
    });
  });
  await new Promise<void>((resolve) => plain.listen(0, "127.0.0.1", resolve));
  closers.push(() => plain.close());
  const address = `127.0.0.1:${(plain.address() as AddressInfo).port}`;
  const connection = new Connection({
    servers: "silo.invalid:50051",
    token: "secret",
    shardRouting: { maxRetries: 0 },
  });
  closers.push(() => connection.close());
  connection.pool.ensure(address);
  connection.topology.record(SHARD, address);
  const call = connection.shardCall(SHARD, { operation: "heartbeat" }, (stub, rpc) =>
    stub.heartbeat({ shard: SHARD, workerId: "w", taskId: "t" }, rpc).response,
  );
  await assert.rejects(call);
  assert.ok(heard.length > 0);
  assert.ok(heard.every((chunk) => chunk[0] === 0x16), "all it hears are TLS handshakes");
});

test("what decides on TLS", () => {
  const decide = (options: SiloGRPCClientOptions) => new DialRules(options).useTls;
  assert.equal(decide({ servers: ["localhost:1", "127.0.0.1:2"] }), false);
  assert.equal(decide({ servers: ["localhost:1", "silo.example:2"] }), true);
  assert.equal(decide({ servers: "localhost:1", useTls: true }), true);
  assert.equal(decide({ servers: "silo.example:2", useTls: false }), false);
  const mapped = { servers: "localhost:1", addressMap: { a: "silo.example:2" }, token: "t" };
  assert.throws(() => new DialRules(mapped).dialled("a"), /set tls to true/);
});

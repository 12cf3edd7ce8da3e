// What a client says of a server that it cannot reach, and how often it looks.
import assert from "node:assert/strict";
import { createServer as createHttpServer } from "node:http";
import { createServer } from "node:net";
import type { AddressInfo, Server, Socket } from "node:net";
import { test } from "node:test";
import { diagnose } from "../../src/connection/diagnosis";
import { SiloGRPCClient, SiloTlsError, SiloUnavailableError } from "../../src/index";
import type { SiloGRPCClientOptions } from "../../src/index";
import { FakeServer } from "../fake-server";
import { closers } from "../support/closers";

const JOB = { payload: 1, taskGroup: "g" };

async function listen(server: Server): Promise<string> {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  closers.push(() => server.close());
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** A port where nobody listens. */
async function freeAddress(): Promise<string> {
  const server = createServer();
  const address = await listen(server);
  server.close();
  return address;
}

/** The error of the first call of a client that tries once. */
async function firstError(options: SiloGRPCClientOptions): Promise<SiloUnavailableError> {
  const client = new SiloGRPCClient({ shardRouting: { maxRetries: 0 }, ...options });
  closers.push(() => client.close());
  return client.enqueue(JOB).then(
    () => assert.fail("the call succeeded"),
    (error) => {
      assert.ok(error instanceof SiloUnavailableError);
      return error;
    },
  );
}

/** The system's own error at the end of the causes. */
function rootOf(error: unknown): NodeJS.ErrnoException {
  const { cause } = error as Error;
  return cause === undefined ? (error as Error) : rootOf(cause);
}

test("nobody listens", async () => {
  const servers = await freeAddress();
  const error = await firstError({ servers });
  assert.deepEqual([error.code, error.address], ["SILO_UNAVAILABLE", servers]);
  assert.match(error.message, /nothing listens at .* Is the server running/);
  assert.equal(rootOf(error).code, "ECONNREFUSED");
});

test("the name does not resolve", async () => {
  // No name service is asked for a label of 64 characters.
  const servers = `${"x".repeat(64)}.invalid:50051`;
  const error = await firstError({ servers, tls: false });
  assert.equal(error.address, servers);
  assert.match(error.message, /x\.invalid" of .* does not resolve .* Check servers/);
  assert.match(String(rootOf(error).code), /ENOTFOUND|EAI_AGAIN/);
});

test("the server speaks plaintext: no second try", async () => {
  const server = await FakeServer.start();
  closers.push(() => server.stop());
  const error = await firstError({ servers: server.address, tls: true, shardRouting: {} });
  assert.ok(error instanceof SiloTlsError);
  assert.deepEqual([error.problem, error.address], ["plaintext-server", server.address]);
});

test("another protocol", async () => {
  const servers = await listen(createHttpServer());
  const error = await firstError({ servers });
  assert.match(error.message, /speaks HTTP\/1 and no gRPC/);
});

test("a server that takes connections and says nothing", async () => {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => sockets.add(socket));
  closers.push(() => sockets.forEach((socket) => socket.destroy()));
  const address = (await listen(server)).replace("127.0.0.1", "localhost");
  const found = await diagnose(address, undefined);
  assert.match(String(found?.message), /^no answer from localhost:\d+ within 2000 ms/);
});

test("a server that can be reached, or no address: nothing to say", async () => {
  const server = await FakeServer.start();
  closers.push(() => server.stop());
  assert.equal(await diagnose(server.address, undefined), undefined);
  assert.equal(await diagnose("unix:/tmp/silo.sock", undefined), undefined);
  assert.equal(await diagnose("127.0.0.1:99999", undefined), undefined);
});

for (const tls of [false, true]) {
  test(`a server that hangs up may be back: no verdict, ${tls ? "with" : "without"} TLS`, async () => {
    const server = createServer((socket) => {
      socket.on("error", () => undefined);
      socket.once("data", () => socket.destroy());
    });
    const error = await firstError({ servers: await listen(server), tls });
    assert.ok(!(error instanceof SiloTlsError), error.message);
  });
}

test("calls that fail together look once", async () => {
  let connections = 0;
  const server = createServer((socket) => {
    connections++;
    socket.on("error", () => undefined);
    socket.end("HTTP/1.1 400 Bad Request\r\n\r\n");
  });
  const servers = await listen(server);
  const client = new SiloGRPCClient({ servers, shardRouting: { maxRetries: 0 } });
  closers.push(() => client.close());
  const call = () =>
    client.leaseTasks({ workerId: "w", maxTasks: 1, taskGroup: "g" }).catch(() => undefined);
  await Promise.all(Array.from({ length: 100 }, call));
  assert.ok(connections <= 5, `${connections} connections`);
});

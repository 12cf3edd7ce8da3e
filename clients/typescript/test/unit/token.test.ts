// Tokens that a function gives, and what happens when a server refuses one.
import assert from "node:assert/strict";
import { test } from "node:test";
import { status } from "@grpc/grpc-js";
import {
  InvalidOptionError,
  SiloGRPCClient,
  SiloTokenError,
  SiloUnauthenticatedError,
} from "../../src/index";
import type { SiloGRPCClientOptions, TokenRequest } from "../../src/index";
import { enqueueEcho, FakeServer, grpcError } from "../fake-server";
import { closers } from "../support/closers";

const JOB = { payload: 1, taskGroup: "g" };

/** A server that takes one token; its Enqueue answers with the others. */
async function startServer(good: () => string) {
  const server = await FakeServer.start();
  closers.push(() => server.stop());
  const { getClusterInfo } = server.handlers;
  const check =
    (then: (request: any, metadata: any) => unknown) => (request: any, metadata: any) => {
      if (metadata.get("authorization")[0] !== `Bearer ${good()}`) {
        throw grpcError(status.UNAUTHENTICATED, "bad token");
      }
      return then(request, metadata);
    };
  server.handlers.getClusterInfo = check(getClusterInfo);
  server.handlers.enqueue = check(enqueueEcho);
  return server;
}

function makeClient(options: SiloGRPCClientOptions): SiloGRPCClient {
  const client = new SiloGRPCClient(options);
  closers.push(() => client.close());
  return client;
}

/** A token function that counts: it gives t1, t2, ... */
function counting() {
  const requests: TokenRequest[] = [];
  const token = async (request: TokenRequest) => {
    requests.push(request);
    await new Promise((resolve) => setTimeout(resolve, 5));
    return `t${requests.length}`;
  };
  return { requests, token };
}

test("a token is kept until a server refuses it, and then asked for once by all", async () => {
  let good = "t1";
  const server = await startServer(() => good);
  const { requests, token } = counting();
  const client = makeClient({ servers: server.address, token, cacheToken: true });
  await Promise.all(Array.from({ length: 10 }, () => client.enqueue(JOB)));
  assert.deepEqual(requests, [{}]);
  good = "t2";
  await Promise.all(Array.from({ length: 10 }, () => client.enqueue(JOB)));
  assert.deepEqual(requests, [{}, { refused: "t1" }]);
  await client.enqueue(JOB);
  assert.equal(requests.length, 2);
});

test("without a cache the function is asked before each call, and again after a refusal", async () => {
  let good = "t1";
  const server = await startServer(() => good);
  const { requests, token } = counting();
  const client = makeClient({ servers: server.address, token });
  await client.refreshTopology();
  good = "t3";
  await client.enqueue(JOB);
  assert.deepEqual(requests, [{}, {}, { refused: "t2" }]);
});

test("a token that stays refused ends the call after one more try", async () => {
  const server = await startServer(() => "good");
  const other = makeClient({ servers: server.address, token: counting().token });
  await assert.rejects(other.enqueue(JOB), SiloUnauthenticatedError);
  assert.equal(server.calls.length, 2, "another token was tried once");
  const same = makeClient({ servers: server.address, token: () => "bad" });
  await assert.rejects(same.enqueue(JOB), { address: server.address });
  assert.equal(server.calls.length, 3, "the same token was not sent again");
  const fixed = makeClient({ servers: server.address, token: "bad" });
  await assert.rejects(fixed.enqueue(JOB), SiloUnauthenticatedError);
  assert.equal(server.calls.length, 4);
});

test("a token function that never answers does not keep a client from its topology for ever", async () => {
  const server = await startServer(() => "good");
  let asked = 0;
  const token = () => (++asked > 1 ? "good" : new Promise<string>(() => undefined));
  const shardRouting = { topologyRefreshTimeoutMs: 50, retryDelayMs: 1 };
  await makeClient({ servers: server.address, token, shardRouting }).enqueue(JOB);
});

test("what a token function throws is the cause of a SiloTokenError", async () => {
  const server = await startServer(() => "good");
  const cause = new Error("the vault is sealed");
  const token = () => Promise.reject(cause);
  const failing = makeClient({ servers: server.address, token, cacheToken: true });
  await assert.rejects(failing.enqueue(JOB), (error) => {
    assert.ok(error instanceof SiloTokenError);
    assert.equal(error.cause, cause);
    assert.match(error.message, /the vault is sealed/);
    return true;
  });
  const odd = makeClient({ servers: server.address, token: (() => 5) as never });
  await assert.rejects(odd.enqueue(JOB), /gave a number and no string/);
  assert.equal(server.calls.length, 0);
});

test("a token that no header may have is refused, and not told", async () => {
  for (const token of ["secret\n", "s\u00e9cret", "secret\0"]) {
    assert.throws(
      () => new SiloGRPCClient({ servers: "localhost:1", token }),
      (error: Error) => error instanceof InvalidOptionError && !error.message.includes("cret"),
    );
    const client = makeClient({ servers: "localhost:1", token: () => token });
    await assert.rejects(
      client.enqueue(JOB),
      (error: Error) => error instanceof SiloTokenError && !error.message.includes("cret"),
    );
  }
});

test("a token function that hung once is asked again", async (t) => {
  const server = await startServer(() => "t2");
  let asked = 0;
  const token = () => (++asked === 1 ? new Promise<string>(() => undefined) : "t2");
  const client = makeClient({ servers: server.address, token, cacheToken: true });
  await assert.rejects(client.enqueue(JOB, { timeoutMs: 50 }), { code: "SILO_DEADLINE_EXCEEDED" });
  await assert.rejects(client.enqueue(JOB, { timeoutMs: 50 }), { code: "SILO_DEADLINE_EXCEEDED" });
  assert.equal(asked, 1);
  const later = performance.now() + 11_000;
  t.mock.method(performance, "now", () => later);
  await client.enqueue(JOB);
  assert.equal(asked, 2);
});

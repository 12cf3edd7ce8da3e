// Thrown values in words: always encodable, never large, never thrown again.
import assert from "node:assert/strict";
import { test } from "node:test";
import { encodeBytes } from "../../src/client/client";
import { asError, describe, messageOf } from "../../src/base/describe";

function revoked(): object {
  const { proxy, revoke } = Proxy.revocable(new Error("x"), {});
  revoke();
  return proxy;
}

class Throwing extends Error {
  override get message(): string {
    throw new Error("message");
  }
  override get stack(): string {
    throw new Error("stack");
  }
}

const STRANGE: unknown[] = [
  undefined,
  null,
  0,
  "text\ud800",
  Symbol("s"),
  2n ** 70n,
  () => 1,
  revoked(),
  new Throwing(),
  Object.create(null),
  new Proxy({}, { ownKeys: () => { throw new Error("keys"); } }),
  { toString: () => { throw new Error("toString"); } },
  Object.assign(new Error("big"), { body: Buffer.alloc(1024 * 1024) }),
  Object.assign(new Error("m"), { map: new Map([[1, 2]]), set: new Set(), re: /a/ }),
  new Date(NaN),
  new Error("x".repeat(10_000_000)),
  Object.fromEntries(Array.from({ length: 70_000 }, (_, i) => [`k${i}`, i])),
  Array.from({ length: 100_000 }, () => "x".repeat(100)),
  JSON.parse('{"__proto__": {"a": 1}}'),
];

test("whatever is thrown can be told, within bounds", () => {
  for (const value of STRANGE) {
    assert.ok(encodeBytes(describe(value)).length < 300 * 1024);
    assert.equal(typeof messageOf(value), "string");
    const error = asError(value);
    assert.equal(typeof error.message, "string");
    assert.ok(String(error.stack).length > 0);
  }
});

test("errors keep their words and their properties", () => {
  const error = Object.assign(new TypeError("bad"), { code: "E_X", detail: { n: [1, null] } });
  Object.assign(error, { self: error, body: Buffer.alloc(7), run: () => 1 });
  const { stack, ...rest } = describe(error) as Record<string, unknown>;
  assert.match(String(stack), /bad/);
  assert.deepEqual(rest, {
    name: "TypeError",
    message: "bad",
    code: "E_X",
    detail: { n: [1, null] },
    self: "[Circular]",
    body: "[Buffer] of 7 bytes",
  });
  assert.equal(asError(error), error);
  assert.equal(asError("text").message, "text");
});

test("a graph with many ways is looked at once", () => {
  let graph: object = {};
  for (let i = 0; i < 60; i++) {
    graph = { a: graph, b: graph };
  }
  assert.ok(encodeBytes(describe(graph)).length < 300 * 1024);
});

import assert from "node:assert/strict";
import { test } from "node:test";
import { decodeBytes, encodeBytes, tolerantDecodeAttemptBytes } from "../../src/client/client";

function hex(value: unknown): string {
  return Buffer.from(encodeBytes(value)).toString("hex");
}

test("the bytes peers see", () => {
  assert.equal(hex({ a: 1 }), "de0001a16101");
  assert.equal(hex(undefined), "d40000");
  assert.equal(hex(null), "c0");
  assert.equal(hex(5n), "d30000000000000005");
  assert.equal(hex(2n ** 64n - 1n), "cfffffffffffffffff");
  assert.equal(hex(2 ** 40), "cb4270000000000000");
  assert.equal(hex(Buffer.from("ab")), "c4026162");
  assert.throws(() => encodeBytes(2n ** 64n), { code: "SILO_VALUE_NOT_ENCODABLE" });
});

test("values come back", () => {
  const date = new Date(1_700_000_000_123);
  const value = { text: "日本", list: [1, -2, 3.5, true, null], nested: { when: date }, big: 7n };
  assert.deepEqual(decodeBytes(encodeBytes(value), "v"), value);
  assert.equal(decodeBytes(encodeBytes(undefined), "v"), undefined);
  assert.deepEqual(decodeBytes(Buffer.from("81a16101", "hex"), "v"), { a: 1 });
  assert.equal(decodeBytes(Buffer.from("cf0000000000000001", "hex"), "v"), 1n);
});

test("5 MiB of bytes stay about 5 MiB", () => {
  const blob = Buffer.alloc(5 * 1024 * 1024, 7);
  const encoded = encodeBytes({ blob });
  assert.ok(encoded.length < blob.length + 64);
  assert.deepEqual(decodeBytes<{ blob: Buffer }>(encoded, "v").blob, blob);
});

test("strict decoding refuses nothing, rubbish and trailing bytes", () => {
  const message = "No bytes to decode for field payload";
  assert.throws(() => decodeBytes(undefined, "payload"), { message });
  assert.throws(() => decodeBytes(new Uint8Array(), "payload"), { message });
  assert.throws(() => decodeBytes(Buffer.from("9201", "hex"), "payload"));
  assert.throws(() => decodeBytes(Buffer.from("0102", "hex"), "payload"));
});

test("tolerant decoding gives the text instead", () => {
  assert.equal(tolerantDecodeAttemptBytes(undefined, "x"), undefined);
  assert.equal(tolerantDecodeAttemptBytes(new Uint8Array(), "x"), undefined);
  assert.equal(tolerantDecodeAttemptBytes(Buffer.from("lease expired"), "x"), "lease expired");
  assert.deepEqual(tolerantDecodeAttemptBytes(encodeBytes([1]), "x"), [1]);
});

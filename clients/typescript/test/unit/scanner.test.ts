// Bytes that announce more than they hold, and other bytes no decoder should be given.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Packr, pack } from "msgpackr";
import { decodeBytes, encodeBytes } from "../../src/client/client";
import { ValueNotDecodableError } from "../../src/index";
import { checkDecodable } from "../../src/wire/scanner";

function bytes(hex: string): Buffer {
  return Buffer.from(hex.replaceAll(" ", ""), "hex");
}

function assertRefused(given: Uint8Array, words: RegExp): void {
  assert.throws(() => decodeBytes(given, "payload"), (error: Error) => {
    assert.ok(error instanceof ValueNotDecodableError, String(error));
    assert.match(error.message, words);
    return true;
  });
}

test("announced arrays, maps and bytes have to be there", () => {
  for (const header of ["dc ffff", "dd ffffffff", "de ffff", "df ffffffff", "9f", "8f"]) {
    assertRefused(bytes(header), /values announced and 0 bytes left/);
  }
  const sized = ["c4 05", "c5 0005", "c6 ffffffff", "d9 05", "da 0005", "db ffffffff", "a5"];
  for (const header of sized) {
    assertRefused(bytes(`${header} 00`), /bytes announced and 1 left/);
  }
  for (const cut of ["", "cd 00", "cb 00000000", "d3", "d4", "d4 00", "c7 0c ff", "92 01"]) {
    if (cut !== "") {
      assertRefused(bytes(cut), /announced/);
    }
  }
});

test("a small payload cannot take much memory", () => {
  const before = process.memoryUsage().rss;
  // Each level announces as many values as the decoder would make room for before it finds out.
  const nested = Buffer.concat([...Array(20).fill(bytes("dd 07ffffff")), bytes("c0")]);
  assertRefused(nested, /announced/);
  // Here each level's announcement fits what is left, and only all of them together do not.
  const header = bytes("dd 00030d40");
  const many = Buffer.concat([...Array(900).fill(header), Buffer.alloc(200_000)]);
  assertRefused(many, /announced/);
  assert.ok(process.memoryUsage().rss - before < 100 * 1024 * 1024);
});

test("levels are bounded", () => {
  const deep = (levels: number) => Buffer.concat([Buffer.alloc(levels, 0x91), bytes("c0")]);
  assert.ok(Array.isArray(decodeBytes(deep(1000), "payload")));
  assertRefused(deep(1001), /levels/);
  assertRefused(deep(1_000_000), /levels/);
});

test("values are bounded", () => {
  const count = 16 * 1024 * 1024;
  const list = Buffer.alloc(count + 5);
  list[0] = 0xdd;
  list.writeUInt32BE(count, 1);
  assertRefused(list, /more than 16777216 values/);
});

/** An array of `count` times the same bytes. */
function listOf(count: number, item: Buffer): Buffer {
  const header = bytes("dd 00000000");
  header.writeUInt32BE(count, 1);
  return Buffer.concat([header, Buffer.alloc(count * item.length, item)]);
}

test("what takes many times its bytes in memory counts as many values", () => {
  const kinds: [string, number][] = [
    ["80", 8], // an object takes some 64 bytes, for one on the wire
    ["90", 4],
    ["c4 00", 8],
    ["d6 ff 00000000", 6],
    ["a0", 2],
    ["d3 0000000000000000", 2],
  ];
  for (const [item, weight] of kinds) {
    const most = 16 * 1024 * 1024 / weight;
    assert.doesNotThrow(() => checkDecodable(listOf(Math.floor(most) - 8, bytes(item))), item);
    assertRefused(listOf(Math.ceil(most) + 8, bytes(item)), /more than 16777216 values/);
  }
});

test("what is written can be read, up to the bound", () => {
  const list = Array.from({ length: 2 * 1024 * 1024 - 8 }, () => ({}));
  assert.doesNotThrow(() => checkDecodable(encodeBytes(list)));
  const more = [...list, ...list.slice(0, 16)];
  assert.throws(() => encodeBytes(more), /more than 16777216 values, reached at value\[\d+\]/);
});

test("what msgpackr adds to MessagePack is not read", () => {
  assertRefused(bytes("c1"), /c1/);
  const record = new Packr({ useRecords: true }).pack({ a: 1 });
  const regExp = new Packr({ moreTypes: true }).pack(/(a+)+$/);
  const cloned = new Packr({ structuredClone: true, moreTypes: true }).pack(new Set([1]));
  for (const given of [record, regExp, cloned]) {
    assertRefused(given, /extension/);
  }
  assertRefused(bytes("81 a9 5f5f70726f746f5f5f 80"), /__proto__/);
  assert.deepEqual(decodeBytes(bytes("81 a1 61 a9 5f5f70726f746f5f5f"), "x"), { a: "__proto__" });
  assertRefused(bytes("81 90 01"), /Invalid property type/);
});

test("random bytes and broken values end in a value or in the error", () => {
  let state = 1;
  const random = (n: number) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * n);
  };
  const whole = pack({ list: [1, "two", { three: 3.5 }, Buffer.from("x")], at: new Date(1) });
  let refused = 0;
  for (let i = 0; i < 20_000; i++) {
    const given = i % 2 === 0 ? Buffer.from(whole) : Buffer.alloc(1 + random(40));
    for (let n = i % 2 === 0 ? 1 + random(3) : given.length; n > 0; n--) {
      given[random(given.length)] = random(256);
    }
    try {
      decodeBytes(given, "payload");
    } catch (error) {
      assert.ok(error instanceof ValueNotDecodableError, `${given.toString("hex")}: ${error}`);
      refused++;
    }
  }
  assert.ok(refused > 1000);
});

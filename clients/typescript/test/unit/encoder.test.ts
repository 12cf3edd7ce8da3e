// What a value becomes on its way through bytes, or why it does not go.
import assert from "node:assert/strict";
import { test } from "node:test";
import { inspect } from "node:util";
import { pack } from "msgpackr";
import { decodeBytes, encodeBytes } from "../../src/client/client";
import { ValueNotEncodableError } from "../../src/index";

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("hex");
}

function roundTrip(value: unknown): any {
  return decodeBytes(encodeBytes(value), "value");
}

/** Pseudo-random numbers below `n`, the same in every run. */
function randomOf(seed: number): (n: number) => number {
  let state = seed;
  return (n) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * n);
  };
}

const LEAVES: unknown[] = [
  null,
  undefined,
  true,
  false,
  ...[0, 1, 31, 127, 128, 255, 256, 65535, 65536, 2 ** 31, 2 ** 32 - 1, 2 ** 32, 2 ** 53],
  ...[-1, -32, -33, -128, -129, -32768, -32769, -(2 ** 31), -(2 ** 31) - 1, 0.5, NaN, -Infinity],
  ...[0n, -1n, 2n ** 63n - 1n, -(2n ** 63n), 2n ** 63n, 2n ** 64n - 1n],
  ...["", "a", "é", "日本", "😀", "x".repeat(31), "x".repeat(32), "é".repeat(20)],
  ...["é".repeat(39), "x".repeat(39), "x".repeat(40), "é".repeat(128), "x".repeat(65536)],
  ...[Buffer.alloc(0), Buffer.from("ab"), Buffer.alloc(256, 1), Buffer.alloc(65536, 2)],
  ...[new Date(0), new Date(1500), new Date(-1), new Date(2 ** 42 + 1)],
];

function randomValue(random: (n: number) => number, levels: number): unknown {
  const kind = random(levels > 0 ? 4 : 2);
  if (kind < 2) {
    return LEAVES[random(LEAVES.length)];
  }
  const parts = Array.from({ length: random(20) }, () => randomValue(random, levels - 1));
  return kind === 2 ? parts : Object.fromEntries(parts.map((part, i) => [`key${i}`, part]));
}

test("the bytes are those that msgpackr writes", () => {
  for (const leaf of LEAVES) {
    assert.equal(hex(encodeBytes(leaf)), hex(pack(leaf)), inspect(leaf).slice(0, 80));
  }
  assert.equal(hex(encodeBytes(new Date(NaN))), hex(pack(new Date(NaN))));
  assert.ok(Number.isNaN(roundTrip(new Date(NaN)).getTime()));
  for (let seed = 0; seed < 500; seed++) {
    const value = randomValue(randomOf(seed), 4);
    assert.equal(hex(encodeBytes(value)), hex(pack(value)), `seed ${seed}`);
    assert.deepStrictEqual(roundTrip(value), value, `seed ${seed}`);
  }
});

test("what msgpackr changes without a word is kept", () => {
  assert.ok(Object.is(roundTrip(-0), -0));
  assert.ok(Object.is(roundTrip([{ a: -0 }])[0].a, -0));
  const wide = Object.fromEntries(Array.from({ length: 70_000 }, (_, i) => [`k${i}`, i]));
  assert.deepEqual(roundTrip(wide), wide);
  assert.deepEqual(roundTrip(Array.from({ length: 70_000 }, (_, i) => i)).length, 70_000);
});

test("what comes back in another form, as documented", () => {
  class Point {
    #secret = 1;
    constructor(readonly x: number) {}
    get double(): number {
      return this.x * 2 * this.#secret;
    }
  }
  assert.deepEqual(roundTrip(new Point(3)), { x: 3 });
  assert.deepEqual(roundTrip(Object.assign(Object.create(null), { a: 1 })), { a: 1 });
  assert.deepEqual(roundTrip({ at: new URL("http://h/p") }), { at: "http://h/p" });
  assert.deepEqual(roundTrip({ toJSON: () => [1] }), [1]);
  assert.deepEqual(roundTrip(new Uint8Array([1, 2]).buffer), Buffer.from([1, 2]));
  const sparse: unknown[] = [1];
  sparse[2] = 3;
  assert.deepEqual(roundTrip(sparse), [1, undefined, 3]);
  const error = Object.assign(new TypeError("bad"), { code: "E", extra: 1 });
  const { stack, ...rest } = roundTrip([error])[0];
  assert.deepEqual(rest, { name: "TypeError", message: "bad", code: "E", extra: 1 });
  assert.match(stack, /bad/);
});

function revoked(): object {
  const { proxy, revoke } = Proxy.revocable({}, {});
  revoke();
  return proxy;
}

function cycle(): object {
  const value: Record<string, unknown> = {};
  value.self = { value };
  return value;
}

const REFUSED: [string, () => unknown, RegExp][] = [
  ["a symbol", () => Symbol("s"), /a symbol/],
  ["a function", () => () => 1, /a function/],
  ["a bigint beyond 64 bits", () => 2n ** 64n, /64 bits/],
  ["a negative bigint beyond 64 bits", () => -(2n ** 63n) - 1n, /64 bits/],
  ["a lone high surrogate", () => "a\ud800b", /lone surrogate/],
  ["a lone low surrogate in a long string", () => "x".repeat(100) + "\udc00", /lone surrogate/],
  ["a lone surrogate in a key", () => ({ "\ud800": 1 }), /lone surrogate/],
  ["a Map", () => new Map([[1, 2]]), /a Map/],
  ["a Set", () => new Set([1]), /a Set/],
  ["a RegExp", () => /a/, /a RegExp/],
  ["a Promise", () => Promise.resolve(1), /await/],
  ["a typed array", () => new Float64Array(2), /typed array/],
  ["a DataView", () => new DataView(new ArrayBuffer(1)), /typed array/],
  ["a boxed number", () => Object(1), /a Number/],
  ["the key __proto__", () => JSON.parse('{"__proto__": 1}'), /__proto__/],
  ["a cycle", cycle, /cycle/],
  ["an endless toJSON", () => ({ toJSON: () => ({ toJSON: () => cycle() }) }), /cycle/],
  ["a throwing getter", () => ({ get bad() { throw new Error("no way"); } }), /no way/],
  ["a getter that throws nothing", () => ({ get bad() { throw undefined; } }), /cannot read/],
  ["a throwing toJSON", () => ({ toJSON() { throw new Error("no way"); } }), /no way/],
  ["a revoked proxy", revoked, /revoked/],
  ["an array without end", () => new Array(2 ** 32 - 1), /more than/],
];

for (const [name, make, words] of REFUSED) {
  test(`${name} is refused, with its place`, () => {
    assert.throws(() => encodeBytes(make()), (error: Error) => {
      assert.ok(error instanceof ValueNotEncodableError);
      assert.match(error.message, words);
      return true;
    });
    assert.throws(
      () => encodeBytes({ list: [0, { "a b": make() }] }),
      (error: ValueNotEncodableError) => error.place.startsWith('value.list[1]["a b"]'),
    );
    // Nothing is left behind that the next value would meet.
    assert.deepEqual(roundTrip({ a: [1] }), { a: [1] });
  });
}

test("too many bytes are refused before they are held twice", () => {
  const blob = Buffer.alloc(50 * 1024 * 1024);
  assert.throws(() => encodeBytes([blob, blob, blob]), /more than 132120576 bytes/);
});

test("a getter may encode a value of its own", () => {
  const value = { a: "x".repeat(50), get b() { return hex(encodeBytes({ c: [1, 2, 3] })); }, d: 1 };
  assert.deepEqual(roundTrip(value), { ...value });
});

test("bytes that lie about their length are written as they are", () => {
  class Longer extends Uint8Array {
    override get length(): number {
      return 1000;
    }
  }
  assert.equal(hex(encodeBytes(new Longer(3))), "c403000000");
  const short = Object.defineProperty(Buffer.from("abc"), "length", { value: 1 });
  assert.equal(hex(encodeBytes(short)), "c403616263");
});

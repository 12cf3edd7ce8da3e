// MessagePack out of JavaScript values, without silent changes: a value is either written so that
// it comes back as it was, or as the comment of `encodeValue` says, or refused with its place.
//
// The wire form is that of msgpackr's `pack`, which readers of this package have always met: plain
// objects have a map16 header (map32 beyond 65,535 keys), `undefined` is the extension d4 00 00, a
// bigint is 64 bits wide, a date is the timestamp extension. msgpackr itself cannot be used to
// write: it turns -0 into 0 and a Map, a Set or a RegExp into something else without a word, and a
// getter that encodes a value of its own while it runs corrupts the bytes around it.
import { types } from "node:util";
import { describe, messageOf } from "../base/describe";
import { isWellFormed } from "../base/well-formed";
import { ValueNotEncodableError } from "../errors/errors";

/** Levels of arrays and objects inside each other, in a value to write or to read. */
export const MAX_DEPTH = 1000;

/** Values in a value, itself and keys included, to write or to read, each as `COUNTS` says. */
export const MAX_VALUES = 16 * 1024 * 1024;

/**
 * As how many values one counts: by the memory it takes once it is decoded, about 16 bytes for
 * each. Those that are not named count as one. A byte on the wire is a whole object in memory, so
 * a small payload could end a process otherwise.
 */
export const COUNTS = { object: 8, array: 4, bytes: 8, date: 6, text: 2, wide: 2 };

/** Bytes of an encoded value: a message of 128 MiB holds it with all that goes along. */
export const MAX_BYTES = 126 * 1024 * 1024;

const FIRST_BYTES = 1024;
const MAP16_KEYS = 0xffff;
/** Strings shorter than this are cheaper to write here than by a call of the runtime. */
const SHORT_STRING = 40;

/** The length of bytes, whatever they say of it themselves: what is written beyond is not theirs. */
const lengthOf = Object.getOwnPropertyDescriptor(
  Object.getPrototypeOf(Uint8Array.prototype),
  "length",
)?.get as () => number;

/** What a value is that has no form, and what could be done; undefined if it has one. */
function refusalOf(value: object): string | undefined {
  if (types.isMap(value)) {
    return "a Map (Object.fromEntries makes an object of it)";
  }
  if (types.isSet(value)) {
    return "a Set (Array.from makes an array of it)";
  }
  if (types.isPromise(value)) {
    return "a Promise (await it first)";
  }
  if (ArrayBuffer.isView(value)) {
    return "a typed array that is no Uint8Array (Array.from makes an array of it)";
  }
  if (
    types.isRegExp(value) ||
    types.isWeakMap(value) ||
    types.isWeakSet(value) ||
    types.isSharedArrayBuffer(value) ||
    types.isBoxedPrimitive(value)
  ) {
    return `a ${Object.prototype.toString.call(value).slice("[object ".length, -1)}`;
  }
  return undefined;
}

/** One value on its way into bytes. */
class Writer {
  private bytes = Buffer.allocUnsafe(FIRST_BYTES);
  private length = 0;
  private values = 0;
  private depth = 0;
  /** The key or index that is being written, for each level. */
  private readonly path: (string | number)[] = [];

  /** @throws whatever the value's getters, `toJSON` and traps throw, besides refusals. */
  write(value: unknown): Uint8Array {
    this.value(value);
    const written = this.bytes.subarray(0, this.length);
    // A buffer that is mostly empty would keep its memory for as long as the message lives.
    return this.length < this.bytes.length / 2 ? Buffer.from(written) : written;
  }

  /** Where writing stands, as an expression: `value.items[3]`. */
  get place(): string {
    const steps = this.path.slice(0, Math.min(this.depth, 20)).map((step) => {
      if (typeof step === "number") {
        return `[${step}]`;
      }
      const isName = /^[A-Za-z_$][\w$]{0,99}$/.test(step);
      return isName ? `.${step}` : `[${JSON.stringify(step.slice(0, 100))}]`;
    });
    return `value${steps.join("")}${this.depth > steps.length ? "..." : ""}`;
  }

  refuse(what: string): never {
    throw new ValueNotEncodableError(`cannot encode ${what} at ${this.place}`, this.place);
  }

  /** Makes room for `count` bytes. */
  private reserve(count: number): void {
    const needed = this.length + count;
    if (needed <= this.bytes.length) {
      return;
    }
    if (needed > MAX_BYTES) {
      this.refuse(`more than ${MAX_BYTES} bytes, reached`);
    }
    const grown = Buffer.allocUnsafe(Math.min(MAX_BYTES, Math.max(needed, this.bytes.length * 2)));
    this.bytes.copy(grown, 0, 0, this.length);
    this.bytes = grown;
  }

  private byte(byte: number): void {
    this.bytes[this.length++] = byte;
  }

  private uint16(value: number): void {
    this.length = this.bytes.writeUInt16BE(value, this.length);
  }

  private uint32(value: number): void {
    this.length = this.bytes.writeUInt32BE(value, this.length);
  }

  private value(value: unknown): void {
    if (++this.values > MAX_VALUES) {
      this.refuse(`more than ${MAX_VALUES} values, reached`);
    }
    this.reserve(16);
    switch (typeof value) {
      case "string":
        return this.string(value);
      case "number":
        return this.number(value);
      case "boolean":
        return this.byte(value ? 0xc3 : 0xc2);
      case "object":
        return value === null ? this.byte(0xc0) : this.nested(value);
      case "undefined":
        this.byte(0xd4);
        return this.uint16(0);
      case "bigint":
        return this.bigint(value);
      default:
        return this.refuse(`a ${typeof value}`);
    }
  }

  private number(value: number): void {
    if (Object.is(value, -0) || (value >> 0 !== value && value >>> 0 !== value)) {
      this.byte(0xcb);
      this.length = this.bytes.writeDoubleBE(value, this.length);
    } else if (value >= 0) {
      this.positive(value);
    } else if (value >= -0x20) {
      this.byte(0x100 + value);
    } else if (value >= -0x80) {
      this.byte(0xd0);
      this.byte(0x100 + value);
    } else if (value >= -0x8000) {
      this.byte(0xd1);
      this.length = this.bytes.writeInt16BE(value, this.length);
    } else {
      this.byte(0xd2);
      this.length = this.bytes.writeInt32BE(value, this.length);
    }
  }

  private positive(value: number): void {
    if (value < 0x80) {
      this.byte(value);
    } else {
      this.sized(value, 0xcc);
    }
  }

  /** A size, or any unsigned number, of 1, 2 or 4 bytes, behind the token of its width. */
  private sized(value: number, token8: number): void {
    if (value < 0x100) {
      this.byte(token8);
      this.byte(value);
    } else if (value < 0x10000) {
      this.byte(token8 + 1);
      this.uint16(value);
    } else {
      this.byte(token8 + 2);
      this.uint32(value);
    }
  }

  private bigint(value: bigint): void {
    this.values += COUNTS.wide - 1;
    if (value === BigInt.asIntN(64, value)) {
      this.byte(0xd3);
      this.length = this.bytes.writeBigInt64BE(value, this.length);
    } else if (value === BigInt.asUintN(64, value)) {
      this.byte(0xcf);
      this.length = this.bytes.writeBigUInt64BE(value, this.length);
    } else {
      this.refuse("a bigint beyond 64 bits");
    }
  }

  private string(text: string): void {
    this.values += COUNTS.text - 1;
    if (text.length < SHORT_STRING) {
      return this.shortString(text);
    }
    this.checkText(text);
    const size = Buffer.byteLength(text);
    this.reserve(size + 5);
    this.sized(size, 0xd9);
    this.length += this.bytes.write(text, this.length, size, "utf8");
  }

  private shortString(text: string): void {
    this.reserve(text.length * 3 + 2);
    // ASCII, unless one of the characters turns out to need more.
    const header = text.length < 0x20 ? 1 : 2;
    for (let i = 0; i < text.length; i++) {
      const code = text.charCodeAt(i);
      if (code >= 0x80) {
        return this.shortText(text);
      }
      this.bytes[this.length + header + i] = code;
    }
    this.stringHeader(text.length);
    this.length += text.length;
  }

  private checkText(text: string): void {
    if (!isWellFormed(text)) {
      this.refuse("a string with a lone surrogate");
    }
  }

  private shortText(text: string): void {
    this.checkText(text);
    const size = Buffer.byteLength(text);
    this.stringHeader(size);
    this.length += this.bytes.write(text, this.length, size, "utf8");
  }

  private stringHeader(size: number): void {
    if (size < 0x20) {
      this.byte(0xa0 | size);
    } else {
      this.sized(size, 0xd9);
    }
  }

  private nested(value: object): void {
    if (Array.isArray(value)) {
      return this.array(value);
    }
    const prototype: unknown = Object.getPrototypeOf(value);
    if (prototype !== Object.prototype && prototype !== null && this.special(value)) {
      return;
    }
    const { toJSON } = value as { toJSON?: unknown };
    const json: unknown = typeof toJSON === "function" ? toJSON.call(value, "") : value;
    if (json === value) {
      return this.properties(value);
    }
    this.enter();
    this.path[this.depth - 1] = "toJSON()";
    this.value(json);
    this.depth--;
  }

  private enter(): void {
    if (this.depth >= MAX_DEPTH) {
      this.refuse(`more than ${MAX_DEPTH} levels, or a cycle,`);
    }
    this.depth++;
  }

  private array(list: readonly unknown[]): void {
    const size = list.length;
    this.values += COUNTS.array - 1;
    this.enter();
    if (size < 0x10) {
      this.byte(0x90 | size);
    } else if (size < 0x10000) {
      this.byte(0xdc);
      this.uint16(size);
    } else {
      this.byte(0xdd);
      this.uint32(size);
    }
    for (let i = 0; i < size; i++) {
      this.path[this.depth - 1] = i;
      this.value(list[i]);
    }
    this.depth--;
  }

  private properties(value: object): void {
    const keys = Object.keys(value);
    this.values += COUNTS.object - 1;
    this.enter();
    if (keys.length <= MAP16_KEYS) {
      this.byte(0xde);
      this.uint16(keys.length);
    } else {
      this.byte(0xdf);
      this.uint32(keys.length);
    }
    for (const key of keys) {
      this.path[this.depth - 1] = key;
      if (key === "__proto__") {
        this.refuse("the key __proto__, which readers would take for the prototype,");
      }
      this.value(key);
      this.value((value as Record<string, unknown>)[key]);
    }
    this.depth--;
  }

  /** @returns whether the object has a form of its own and is written. */
  private special(value: object): boolean {
    if (types.isDate(value)) {
      this.date(value);
    } else if (types.isUint8Array(value)) {
      this.binary(value);
    } else if (types.isArrayBuffer(value)) {
      this.binary(new Uint8Array(value));
    } else if (types.isNativeError(value) || value instanceof Error) {
      this.value(describe(value));
    } else {
      const refusal = refusalOf(value);
      if (refusal !== undefined) {
        this.refuse(refusal);
      }
      return false;
    }
    return true;
  }

  private binary(bytes: Uint8Array): void {
    const size = lengthOf.call(bytes);
    this.values += COUNTS.bytes - 1;
    this.reserve(size + 5);
    this.sized(size, 0xc4);
    this.bytes.set(bytes, this.length);
    this.length += size;
  }

  private date(date: Date): void {
    this.values += COUNTS.date - 1;
    const time = date.getTime();
    if (Number.isNaN(time)) {
      this.byte(0xd4);
      return this.uint16(0xffff);
    }
    const seconds = Math.floor(time / 1000);
    const nanoseconds = (time - seconds * 1000) * 1_000_000;
    if (seconds >= 0 && seconds <= 0xffffffff) {
      this.byte(nanoseconds === 0 ? 0xd6 : 0xd7);
      this.byte(0xff);
      if (nanoseconds !== 0) {
        this.uint32(nanoseconds * 4);
      }
      return this.uint32(seconds);
    }
    this.byte(0xc7);
    this.byte(12);
    this.byte(0xff);
    this.uint32(nanoseconds);
    this.length = this.bytes.writeBigInt64BE(BigInt(seconds), this.length);
  }
}

/**
 * Encodes a value. What does not come back as it was:
 *   * objects of classes come back as plain objects of their own enumerable properties with string
 *     keys, those with a method `toJSON` as what it returns;
 *   * errors come back as plain objects of name, message, stack, code and own properties, cut;
 *   * buffers, Uint8Arrays and ArrayBuffers all come back as Buffers, holes of arrays as undefined.
 *
 * @throws ValueNotEncodableError for functions, symbols, bigints beyond 64 bits, strings with lone
 *     surrogates, Maps, Sets, RegExps, Promises, other typed arrays, boxed primitives, the key
 *     `__proto__`, cycles, values that throw while they are read, and what exceeds MAX_DEPTH,
 *     MAX_VALUES or MAX_BYTES.
 */
export function encodeValue(value: unknown): Uint8Array {
  const writer = new Writer();
  try {
    return writer.write(value);
  } catch (error) {
    if (error instanceof ValueNotEncodableError) {
      throw error;
    }
    const what = `cannot read the value to encode at ${writer.place}: ${messageOf(error)}`;
    throw new ValueNotEncodableError(what, writer.place);
  }
}

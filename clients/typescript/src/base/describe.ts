// Thrown values in words: whatever a handler throws becomes a small value that can be encoded.
//
// Nothing here throws, whatever getters, proxies and prototypes do, and nothing grows with what it
// looks at: an error may carry a socket, a megabyte of bytes or itself.
import { types } from "node:util";
import { toWellFormed } from "./well-formed";

/** Characters of one string. */
const MAX_TEXT = 16 * 1024;

/** Characters of all strings together, keys included. */
const MAX_TEXTS = 64 * 1024;

/** Values looked at. */
const MAX_VALUES = 1000;

/** Levels of arrays and objects inside each other. */
const MAX_LEVELS = 10;

/** What errors have beside their own enumerable properties. */
const ERROR_PROPERTIES = ["name", "message", "stack", "code"];

const UNREADABLE = "[unreadable]";

/** A string cut to a number of characters, without lone surrogates. */
export function cutText(text: string, most: number): string {
  const cut = text.length > most ? `${text.slice(0, most)}... (${text.length} characters)` : text;
  return toWellFormed(cut);
}

/** What `read` returns, or `otherwise` if it throws. */
function attempt<T>(read: () => T, otherwise: T): T {
  try {
    return read();
  } catch {
    return otherwise;
  }
}

/** The name of an object's class in brackets. */
function classOf(value: object): string {
  const name = attempt<unknown>(() => value.constructor.name, undefined);
  return `[${typeof name === "string" && name !== "" ? cutText(name, 100) : "object"}]`;
}

/** One description; its parts share what it may hold. */
class Description {
  private values = 0;
  private texts = 0;
  private readonly open: object[] = [];

  of(value: unknown): unknown {
    this.values++;
    switch (typeof value) {
      case "string":
        return this.text(value);
      case "bigint":
        return BigInt.asIntN(64, value) === value ? value : "[bigint beyond 64 bits]";
      case "symbol":
        return this.text(String(value));
      case "function":
        return "[Function]";
      case "object":
        return value === null ? null : attempt(() => this.ofObject(value), UNREADABLE);
      default:
        return value;
    }
  }

  private text(text: string): string {
    const cut = cutText(text, Math.min(MAX_TEXT, Math.max(0, MAX_TEXTS - this.texts)));
    this.texts += cut.length;
    return cut;
  }

  private get isFull(): boolean {
    return this.values >= MAX_VALUES || this.texts >= MAX_TEXTS;
  }

  private ofObject(value: object): unknown {
    if (types.isDate(value)) {
      return new Date(value.getTime());
    }
    if (types.isAnyArrayBuffer(value) || ArrayBuffer.isView(value)) {
      return `${classOf(value)} of ${value.byteLength} bytes`;
    }
    if (types.isMap(value) || types.isSet(value)) {
      return `${classOf(value)} of ${value.size}`;
    }
    if (this.open.includes(value)) {
      return "[Circular]";
    }
    if (this.open.length >= MAX_LEVELS) {
      return classOf(value);
    }
    this.open.push(value);
    const result = Array.isArray(value) ? this.ofArray(value) : this.ofProperties(value);
    this.open.pop();
    return result;
  }

  private ofArray(list: readonly unknown[]): unknown[] {
    const result: unknown[] = [];
    const length = attempt(() => list.length, 0);
    for (let i = 0; i < length; i++) {
      if (this.isFull) {
        result.push(`... (${length} in all)`);
        break;
      }
      result.push(this.of(attempt<unknown>(() => list[i], UNREADABLE)));
    }
    return result;
  }

  private ofProperties(value: object): Record<string, unknown> {
    const result: Record<string, unknown> = {};
    const read = (key: string): unknown =>
      attempt(() => (value as Record<string, unknown>)[key], UNREADABLE);
    // The words of an error come first: they have to fit.
    for (const key of ERROR_PROPERTIES) {
      const text = read(key);
      if (typeof text === "string") {
        result[key] = this.of(text);
      }
    }
    for (const key of attempt(() => Object.keys(value), [])) {
      if (this.isFull) {
        result["..."] = "more properties";
        break;
      }
      const property = Object.hasOwn(result, key) ? undefined : read(key);
      if (property !== undefined && typeof property !== "function" && key !== "__proto__") {
        result[this.text(key)] = this.of(property);
      }
    }
    return result;
  }
}

/**
 * A value in a form that can always be encoded, within some 64 KiB. Of an object: name, message,
 * stack and code if they are strings, and its own enumerable properties, recursively. Functions
 * are left out; bytes, Maps and Sets are named; long strings and large objects are cut.
 */
export function describe(value: unknown): unknown {
  return new Description().of(value);
}

/** The message of a thrown value, or its text. */
export function messageOf(thrown: unknown): string {
  const message = attempt<unknown>(() => (thrown as { message?: unknown }).message, undefined);
  const text = typeof message === "string" ? message : attempt(() => String(thrown), UNREADABLE);
  return cutText(text, MAX_TEXT);
}

/** Any thrown value as an Error whose message and stack can be read. */
export function asError(value: unknown): Error {
  const isSound = attempt(
    () => value instanceof Error && typeof value.message === "string" && value.stack !== null,
    false,
  );
  return isSound ? (value as Error) : new Error(messageOf(value));
}

// Payloads, results, error data and query rows are MessagePack inside SerializedBytes.
//
// What peers can see: plain objects have a map16 header, `undefined` is the extension d4 00 00, a
// bigint is always 64 bits wide, and 64-bit integers decode to bigint whatever their value.
import { unpack } from "msgpackr";
import { messageOf } from "../base/describe";
import { ValueNotDecodableError } from "../errors/errors";
import type { SerializedBytes } from "../gen/silo";
import { encodeValue } from "./encoder";
import { checkDecodable } from "./scanner";

/**
 * Encodes a value as MessagePack; see `encodeValue` for what is kept and what is refused.
 * @throws ValueNotEncodableError
 */
export function encodeBytes(value: unknown): Uint8Array {
  return encodeValue(value);
}

/**
 * Decodes MessagePack strictly: for job payloads, task payloads and query rows.
 * @param field what the bytes are, for the error text.
 * @throws ValueNotDecodableError if there are no bytes, if they are not exactly one MessagePack
 *     value, or one that no decoder should be given (see `checkDecodable`).
 */
export function decodeBytes<T = unknown>(bytes: Uint8Array | undefined, field: string): T {
  if (bytes === undefined || bytes.length === 0) {
    throw new ValueNotDecodableError(`No bytes to decode for field ${field}`);
  }
  checkDecodable(bytes);
  try {
    return unpack(bytes) as T;
  } catch (error) {
    throw new ValueNotDecodableError(`not decodable MessagePack: ${messageOf(error)}`);
  }
}

/**
 * Decodes MessagePack of attempts and results, where the server itself may have stored plain text:
 * nothing gives `undefined`, undecodable bytes give their UTF-8 text, so that one bad blob does not
 * fail a whole call.
 */
export function tolerantDecodeAttemptBytes<T = unknown>(
  bytes: Uint8Array | undefined,
  field: string,
): T | undefined {
  if (bytes === undefined || bytes.length === 0) {
    return undefined;
  }
  try {
    return decodeBytes<T>(bytes, field);
  } catch {
    return Buffer.from(bytes).toString("utf8") as T;
  }
}

/** A value that has been encoded already; `serialize` takes its bytes as they are. */
export class EncodedValue {
  constructor(readonly bytes: Uint8Array) {}
}

/** Wraps already encoded bytes for the wire. */
export function serialized(bytes: Uint8Array): SerializedBytes {
  return { encoding: { oneofKind: "msgpack", msgpack: bytes } };
}

/** Encodes a value and wraps it for the wire. @throws ValueNotEncodableError */
export function serialize(value: unknown): SerializedBytes {
  return serialized(value instanceof EncodedValue ? value.bytes : encodeBytes(value));
}

/** The bytes inside, or undefined if there are none. */
export function bytesOf(value: SerializedBytes | undefined): Uint8Array | undefined {
  return value?.encoding.oneofKind === "msgpack" ? value.encoding.msgpack : undefined;
}

// Strings that UTF-8 can hold. A lone surrogate, half of a character, has no UTF-8 form: encoders
// put another character in its place, so that two different ids would become one.

import { ValueNotEncodableError } from "../errors/errors";

const LONE_SURROGATE = /\p{Surrogate}/u;

/** Whether a string has no lone surrogate. */
export function isWellFormed(text: string): boolean {
  return !LONE_SURROGATE.test(text);
}

/** The string with each lone surrogate replaced by U+FFFD. */
export function toWellFormed(text: string): string {
  return isWellFormed(text) ? text : text.replace(/\p{Surrogate}/gu, "\ufffd");
}

/** @throws ValueNotEncodableError if a text, if it is one, has a lone surrogate. */
export function checkText(text: string | undefined, place: string): void {
  if (typeof text === "string" && !isWellFormed(text)) {
    throw new ValueNotEncodableError(`cannot encode a lone surrogate at ${place}`, place);
  }
}

const utf8 = new TextEncoder();

/** The encoder of all texts of messages: what reaches the wire is what the caller wrote. */
export const wellFormedEncoder = {
  encode(text?: string): Uint8Array {
    checkText(text, "a field of the request");
    return utf8.encode(text);
  },
};

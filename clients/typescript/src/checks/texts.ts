// Texts that callers give, checked before they go anywhere. An encoder puts another character in
// the place of what UTF-8 cannot hold, so that two different ids would become one.
import { isWellFormed } from "../base/well-formed";
import { ValueNotEncodableError } from "../errors/errors";

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

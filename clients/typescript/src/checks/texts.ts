// Texts that callers give, checked before they go anywhere. An encoder puts another character in
// the place of what UTF-8 cannot hold, so that two different ids would become one.
import { messageOf } from "../base/describe";
import { isWellFormed } from "../base/well-formed";
import { InvalidOptionError, ValueNotEncodableError } from "../errors/errors";

/** @throws ValueNotEncodableError if a text, if it is one, has a lone surrogate. */
export function checkText(text: string | undefined, place: string): void {
  if (typeof text === "string" && !isWellFormed(text)) {
    throw new ValueNotEncodableError(`cannot encode a lone surrogate at ${place}`, place);
  }
}

/**
 * Refuses what is no text, which JavaScript would make one of; undefined and null count as absent.
 * @throws InvalidOptionError, ValueNotEncodableError
 */
export function checkTextMember(value: unknown, member: string): void {
  if (value === undefined || value === null) {
    return;
  }
  if (typeof value !== "string") {
    throw new InvalidOptionError(member, `expected a text, not ${messageOf(value)}`);
  }
  checkText(value, member);
}

/**
 * An object whose members are all texts.
 * @throws InvalidOptionError, ValueNotEncodableError for one that would be stored as another, or
 *     read as none, as readers take a label named __proto__ for the prototype.
 */
export function checkLabels(labels: unknown, member: string): void {
  if (labels === undefined || labels === null) {
    return;
  }
  if (typeof labels !== "object") {
    throw new InvalidOptionError(member, `expected an object of texts, not ${messageOf(labels)}`);
  }
  for (const [key, value] of Object.entries(labels)) {
    checkText(key, member);
    if (key === "__proto__") {
      throw new ValueNotEncodableError(`cannot encode the key __proto__ at ${member}`, member);
    }
    if (typeof value !== "string") {
      throw new InvalidOptionError(`${member}.${key}`, `expected a text, not ${messageOf(value)}`);
    }
    checkText(value, `${member}.${key}`);
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

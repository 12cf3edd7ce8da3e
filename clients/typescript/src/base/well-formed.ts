// Strings that UTF-8 can hold. A lone surrogate, half of a character, has no UTF-8 form.

const LONE_SURROGATE = /\p{Surrogate}/u;

/** Whether a string has no lone surrogate. */
export function isWellFormed(text: string): boolean {
  return !LONE_SURROGATE.test(text);
}

/** The string with each lone surrogate replaced by U+FFFD. */
export function toWellFormed(text: string): string {
  return isWellFormed(text) ? text : text.replace(/\p{Surrogate}/gu, "\ufffd");
}

// Numbers that callers give, checked before they go anywhere: the message names the member.
import { messageOf } from "../base/describe";
import { InvalidOptionError } from "../errors/errors";

/** A length of time in milliseconds; a whole number, as `number` or `bigint`. */
export type Duration = number | bigint;

/** A point in time: milliseconds since the Unix epoch (1970-01-01T00:00:00Z), or a `Date`. */
export type Instant = number | bigint | Date;

export const MIN_INT32 = -(2 ** 31);
export const MAX_INT32 = 2 ** 31 - 1;
export const MAX_UINT32 = 2 ** 32 - 1;

const MIN_INT64 = -(2n ** 63n);
const MAX_INT64 = 2n ** 63n - 1n;

function told(value: unknown): string {
  return typeof value === "string" ? JSON.stringify(value) : messageOf(value);
}

function refuse(member: string, expected: string, value: unknown): never {
  throw new InvalidOptionError(member, `expected ${expected}, not ${told(value)}`);
}

function int64Of(value: unknown): bigint | undefined {
  return typeof value === "bigint" || Number.isSafeInteger(value)
    ? BigInt(value as number | bigint)
    : undefined;
}

/** A whole number of at least 0 in 64 bits. @param unit of it, for the message. */
export function wholeInt64(value: number | bigint, member: string, unit = ""): bigint {
  const whole = int64Of(value);
  if (whole === undefined || whole < 0n || whole > MAX_INT64) {
    refuse(member, `a whole number${unit} from 0 to ${MAX_INT64}, as number or bigint`, value);
  }
  return whole;
}

/** A length of time for the wire. @throws InvalidOptionError */
export function durationMs(value: Duration, member: string): bigint {
  return wholeInt64(value, member, " of milliseconds");
}

/** A setting of milliseconds, Infinity too. @throws InvalidOptionError */
export function milliseconds(value: Duration, member: string): number {
  const isNumber = typeof value === "number" || typeof value === "bigint";
  return isNumber && value >= 0 ? Number(value) : refuse(member, "milliseconds, at least 0", value);
}

/** A point in time for the wire. @throws InvalidOptionError */
export function instantMs(value: Instant, member: string): bigint {
  const whole = int64Of(value instanceof Date ? value.getTime() : value);
  if (whole === undefined || whole < MIN_INT64 || whole > MAX_INT64) {
    const expected = "whole milliseconds since 1970 as number or bigint, or a valid Date";
    refuse(member, expected, value);
  }
  return whole;
}

/** A whole number in a range. @throws InvalidOptionError */
export function wholeNumber(
  value: number | bigint,
  member: string,
  least: number,
  most: number,
): number {
  const whole = int64Of(value);
  if (whole === undefined || whole < least || whole > most) {
    const range = most === Number.MAX_SAFE_INTEGER ? `of at least ${least}` : `from ${least} to ${most}`;
    refuse(member, `a whole number ${range}`, value);
  }
  return Number(whole);
}

/** A number that is neither negative nor infinite. @throws InvalidOptionError */
export function finiteNumber(value: number, member: string): number {
  if (typeof value !== "number" || !Number.isFinite(value) || value < 0) {
    refuse(member, "a finite number of at least 0", value);
  }
  return value;
}

// From what a handler returned or threw to an outcome that can be sent, whatever it was.
import { asError, cutText, describe } from "../base/describe";
import type { TaskOutcome } from "../jobs/types";
import { EncodedValue, encodeBytes } from "../wire/codec";
import { MAX_BYTES } from "../wire/encoder";

/** Code of an attempt whose handler threw. */
export const HANDLER_ERROR = "HANDLER_ERROR";

/** Code of an attempt whose result has no form on the wire. */
export const RESULT_NOT_ENCODABLE = "RESULT_NOT_ENCODABLE";

/** Code of an attempt whose payload cannot be decoded. */
export const PAYLOAD_DECODE_ERROR = "PAYLOAD_DECODE_ERROR";

/** Code of an attempt whose payload is not what the worker's schema asks for. */
export const PAYLOAD_INVALID = "PAYLOAD_INVALID";

/** Code of an attempt whose result is not what the worker's schema asks for. */
export const RESULT_INVALID = "RESULT_INVALID";

/** Code of an attempt whose outcome the server did not accept. */
export const OUTCOME_REFUSED = "OUTCOME_REFUSED";

/** Characters of a failure's code. */
const MAX_CODE = 256;

const OUTCOME_TYPES: ReadonlySet<unknown> = new Set(["success", "failure", "cancelled"]);

/** Whether a value is an outcome itself. */
export function isOutcome(value: unknown): value is TaskOutcome {
  return (
    typeof value === "object" &&
    value !== null &&
    OUTCOME_TYPES.has((value as { type?: unknown }).type)
  );
}

/** What a handler resolved with, as an outcome; anything that is none is a success with it. */
export function toOutcome(value: unknown): TaskOutcome {
  return isOutcome(value) ? value : { type: "success", result: value };
}

/** A failure with any data: nothing it carries can keep it from being sent. */
function failure(code: unknown, data: unknown, retry: boolean): TaskOutcome {
  const text = typeof code === "string" && code !== "" ? code : HANDLER_ERROR;
  return {
    type: "failure",
    code: cutText(text, MAX_CODE),
    data: encodedData(data) as unknown as Record<string, unknown>,
    retry,
  };
}

function encodedData(data: unknown): EncodedValue {
  try {
    if (data instanceof EncodedValue) {
      return data;
    }
    // Bytes are taken as encoded already.
    if (data instanceof Uint8Array && data.length <= MAX_BYTES) {
      return new EncodedValue(data);
    }
    return new EncodedValue(encodeBytes(data));
  } catch {
    return new EncodedValue(encodeBytes(describe(data)));
  }
}

/**
 * The failure that stands for a thrown value: its words, cut to size.
 * @param isFinal whether no retry can help.
 */
export function failureOf(thrown: unknown, code: string, isFinal = false): TaskOutcome {
  return failure(code, describe(thrown), !isFinal);
}

/** An outcome whose values are encoded. */
export interface EncodedOutcome {
  outcome: TaskOutcome;
  /** Why the handler's result could not be encoded, if so: the outcome is a failure instead. */
  refusal?: Error;
}

/** Encodes what an outcome carries, so that its report cannot fail for that. Never throws. */
export function encodeOutcome(outcome: TaskOutcome): EncodedOutcome {
  try {
    switch (outcome.type) {
      case "success": {
        const result = new EncodedValue(encodeBytes(outcome.result));
        return { outcome: { type: "success", result } };
      }
      case "failure":
        return { outcome: failure(outcome.code, outcome.data, outcome.retry !== false) };
      default:
        return { outcome: { type: "cancelled" } };
    }
  } catch (thrown) {
    // The result, or an outcome whose own properties throw.
    const refusal = asError(thrown);
    return { outcome: failureOf(refusal, RESULT_NOT_ENCODABLE), refusal };
  }
}

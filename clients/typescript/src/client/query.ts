import { ValueNotEncodableError } from "../errors/errors";
import type { QueryParameter, QueryResponse } from "../gen/silo";
import type { QueryBindParameter, QueryResult } from "../jobs/types";
import { bytesOf, decodeBytes } from "../wire/codec";

function notBindable(message: string): ValueNotEncodableError {
  return new ValueNotEncodableError(message, "parameters");
}

/**
 * The value of a placeholder for the wire.
 * @throws ValueNotEncodableError for a number that is not finite, an integer that is not safe, or another type.
 */
export function queryParameter(value: QueryBindParameter): QueryParameter {
  if (value === null) {
    return { value: { oneofKind: "nullValue", nullValue: {} } };
  }
  switch (typeof value) {
    case "boolean":
      return { value: { oneofKind: "boolValue", boolValue: value } };
    case "bigint":
      return { value: { oneofKind: "int64Value", int64Value: value } };
    case "string":
      return { value: { oneofKind: "stringValue", stringValue: value } };
    case "number":
      return numberParameter(value);
    default:
      if (value instanceof Uint8Array) {
        return { value: { oneofKind: "bytesValue", bytesValue: value } };
      }
      throw notBindable(`unsupported query bind parameter type: ${typeof value}`);
  }
}

function numberParameter(value: number): QueryParameter {
  if (!Number.isFinite(value)) {
    throw notBindable("query bind parameter numbers must be finite");
  }
  if (!Number.isInteger(value)) {
    return { value: { oneofKind: "float64Value", float64Value: value } };
  }
  if (!Number.isSafeInteger(value)) {
    throw notBindable(
      "query bind integer parameters must be safe integers; use bigint for larger values",
    );
  }
  return { value: { oneofKind: "int64Value", int64Value: BigInt(value) } };
}

/** A query's result from the wire. @throws Error if a row cannot be decoded. */
export function queryResult<Row>(response: QueryResponse): QueryResult<Row> {
  return {
    columns: response.columns.map(({ name, dataType }) => ({ name, dataType })),
    rows: response.rows.map((row, i) => decodeBytes<Row>(bytesOf(row), `row[${i}]`)),
    rowCount: response.rowCount,
  };
}

// A validator with the Standard Schema interface, as any library would make it.
import type { StandardSchemaV1 } from "@standard-schema/spec";

/** Takes an object with a number `n`, and makes `{ n, doubled }` of it. */
export const numbered: StandardSchemaV1<{ n: number }, { n: number; doubled: number }> = {
  "~standard": {
    version: 1,
    vendor: "test",
    validate: (value) => {
      const n: unknown = (value as { n?: unknown } | null)?.n;
      return typeof n === "number"
        ? { value: { n, doubled: 2 * n } }
        : { issues: [{ message: "expected a number", path: ["n"] }, { message: "no good" }] };
    },
  },
};

// The examples of the documentation that can be run, against the real program, at SILO_BIN.
import { join } from "node:path";
import { test } from "node:test";
import { ROOT, run } from "../support/packed";

for (const file of ["README.md", "../../docs/guides/testing-your-jobs.md"]) {
  test(`the examples of ${file} run`, () => {
    run(process.execPath, [join(ROOT, "scripts", "run-snippets.mjs"), join(ROOT, file)], ROOT);
  });
}

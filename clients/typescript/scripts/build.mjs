// Builds dist: CommonJS by tsc, and for each entry point an ES module that hands on the names of
// the CommonJS one. There is one copy of every class in a process, whichever way a program and its
// libraries load the package, so `instanceof` holds between them.
//
// Usage: build.mjs [--if-needed]
//
// With the option nothing is done when dist is newer than what it is made from.
import { execFileSync } from "node:child_process";
import { copyFileSync, existsSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const require = createRequire(import.meta.url);

/** The entry points of package.json, as paths in dist without their ending. */
const ENTRIES = ["index", "testing/index"];

/** What dist is made from. */
const INPUTS = ["src", "scripts", "package.json", "tsconfig.json", "tsconfig.build.json"];

/** The time of the last change of a file, or of anything below a directory. */
function newest(path) {
  const stat = statSync(path);
  const below = stat.isDirectory() ? readdirSync(path).map((name) => newest(join(path, name))) : [];
  return Math.max(stat.mtimeMs, ...below);
}

/** The file written last. */
const STAMP = join(root, "dist", `${ENTRIES.at(-1)}.d.mts`);

function current() {
  return (
    existsSync(STAMP) &&
    INPUTS.every((input) => newest(join(root, input)) <= statSync(STAMP).mtimeMs)
  );
}

function compile() {
  rmSync(join(root, "dist"), { recursive: true, force: true });
  const tsc = require.resolve("typescript/bin/tsc");
  execFileSync(process.execPath, [tsc, "-p", join(root, "tsconfig.build.json")], {
    stdio: "inherit",
  });
}

function wrap(entry) {
  const path = join(root, "dist", entry);
  const names = Object.keys(require(`${path}.js`)).sort();
  const list = names.map((name) => `  ${name},\n`).join("");
  writeFileSync(
    `${path}.mjs`,
    `import implementation from "./index.js";\nexport const {\n${list}} = implementation;\n`,
  );
  writeFileSync(`${path}.d.mts`, `export * from "./index.js";\n`);
}

/** npm packs no file from outside the package. */
function copyLicence() {
  const licence = join(root, "..", "..", "LICENSE");
  if (existsSync(licence)) {
    copyFileSync(licence, join(root, "LICENSE"));
  }
}

if (!process.argv.includes("--if-needed") || !current()) {
  compile();
  copyLicence();
  ENTRIES.forEach(wrap);
}

// The storeys of the package: a folder uses those below it, and no files use one another in a
// circle, be it for a type alone.
import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { test } from "node:test";
import ts from "typescript";

const SRC = join(__dirname, "..", "..", "..", "src");

/** From the top, as index.ts describes them; "." is index.ts itself. */
const STOREYS = [
  ".",
  "testing",
  "worker",
  "client",
  "connection",
  "wire",
  "jobs",
  "checks",
  "errors",
  "base",
  "gen",
];

type Uses = ReadonlyMap<string, readonly string[]>;

/** The file of the package that an import leads to. */
function target(from: string, name: string): string {
  const path = join(dirname(from), name);
  const found = [`${path}.ts`, join(path, "index.ts")].find((file) => existsSync(join(SRC, file)));
  assert.ok(found !== undefined, `${from} imports ${name}, which is no file of the package`);
  return found;
}

/** Which files each file of the package imports, types and what it exports again included. */
function readUses(): Uses {
  const files = readdirSync(SRC, { recursive: true, encoding: "utf8" });
  return new Map(
    files
      .filter((file) => file.endsWith(".ts"))
      .map((file) => {
        const { importedFiles } = ts.preProcessFile(readFileSync(join(SRC, file), "utf8"));
        const own = importedFiles.map(({ fileName }) => fileName);
        return [file, own.filter((name) => name.startsWith(".")).map((name) => target(file, name))];
      }),
  );
}

/** The first circle there is, as the files along it; undefined if there is none. */
function circleIn(uses: Uses): string[] | undefined {
  const isDone = new Set<string>();
  const path: string[] = [];
  const visit = (file: string): string[] | undefined => {
    if (path.includes(file)) {
      return [...path.slice(path.indexOf(file)), file];
    }
    if (isDone.has(file)) {
      return undefined;
    }
    path.push(file);
    for (const used of uses.get(file) ?? []) {
      const circle = visit(used);
      if (circle !== undefined) {
        return circle;
      }
    }
    path.pop();
    isDone.add(file);
    return undefined;
  };
  for (const file of uses.keys()) {
    const circle = visit(file);
    if (circle !== undefined) {
      return circle;
    }
  }
  return undefined;
}

/** Imports of a folder that does not stand below. */
function upwards(uses: Uses): string[] {
  return [...uses].flatMap(([file, used]) =>
    used
      .filter((other) => dirname(other) !== dirname(file))
      .filter((other) => STOREYS.indexOf(dirname(other)) <= STOREYS.indexOf(dirname(file)))
      .map((other) => `${file} uses ${other}`),
  );
}

test("no files use one another in a circle", () => {
  const uses = readUses();
  assert.ok([...uses.values()].flat().length > 100, "the imports are found");
  assert.equal(circleIn(uses)?.join(" -> "), undefined);
});

test("a folder uses only those below it", () => {
  const uses = readUses();
  const folders = new Set([...uses.keys()].map(dirname));
  assert.deepEqual([...folders].sort(), [...STOREYS].sort(), "every folder has its storey");
  assert.deepEqual(upwards(uses), []);
});

test("a circle and an import upwards are found", () => {
  const circle = new Map([
    ["client/a.ts", ["client/b.ts"]],
    ["client/b.ts", ["base/c.ts", "client/d.ts"]],
    ["client/d.ts", ["client/b.ts"]],
    ["base/c.ts", []],
  ]);
  assert.deepEqual(circleIn(circle), ["client/b.ts", "client/d.ts", "client/b.ts"]);
  assert.deepEqual(upwards(circle), []);
  assert.deepEqual(upwards(new Map([["base/c.ts", ["client/a.ts"]]])), [
    "base/c.ts uses client/a.ts",
  ]);
});

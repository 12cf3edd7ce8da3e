// What is published: its files, and that it can be loaded and compiled against in every way that
// npm's users do.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { builtinModules } from "node:module";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { PackedPackage, ROOT, run } from "../support/packed";
import type { Pack } from "../support/packed";

/** The tarball's bounds, in bytes: about twice what it has. */
const MAX_PACKED = 600_000;
const MAX_UNPACKED = 4_500_000;

let packed: PackedPackage;

before(() => {
  packed = PackedPackage.make();
});
after(() => packed?.remove());

const node = (...args: string[]) => run(process.execPath, args, packed.directory);

test("the tarball has the build, its sources and the licence, and no test", () => {
  const paths = packed.pack.files.map((file) => file.path);
  for (const path of [
    "LICENSE",
    "README.md",
    "package.json",
    "dist/index.mjs",
    "src/gen/silo.ts",
  ]) {
    assert.ok(paths.includes(path), `${path} is missing`);
  }
  const known = /^(dist|src)\/|^(LICENSE|README\.md|package\.json|scripts\/prepare\.mjs)$/;
  const other = paths.filter((path) => !known.test(path));
  assert.deepEqual(other, []);
  assert.deepEqual(
    paths.filter((path) => /\btest\b|\.test\.|fake/.test(path)),
    [],
  );
  assert.ok(packed.pack.size < MAX_PACKED, `packed: ${packed.pack.size}`);
  assert.ok(packed.pack.unpackedSize < MAX_UNPACKED, `unpacked: ${packed.pack.unpackedSize}`);
});

test("what the build imports is among the dependencies", () => {
  const { home } = packed;
  const { dependencies } = JSON.parse(readFileSync(join(home, "package.json"), "utf8")) as {
    dependencies: Record<string, string>;
  };
  const built = packed.pack.files
    .map((file) => file.path)
    .filter((path) => /^dist.*[jt]s$/.test(path));
  const imported = built.flatMap((path) => {
    const text = readFileSync(join(home, path), "utf8").replace(/^\s*(\/\/|\*).*$/gm, "");
    return [...text.matchAll(/(?:from|require\(|import\() ?"([^."][^"]*)"/g)].map(
      (match) => match[1],
    );
  });
  const packages = new Set(imported.map((name) => /^(@[^/]+\/)?[^/]+/.exec(name)?.[0] ?? name));
  const known = ["@silo-ai/client", ...builtinModules, ...Object.keys(dependencies)];
  assert.ok(packages.has("@grpc/grpc-js"));
  assert.deepEqual(
    [...packages].filter((name) => !known.includes(name.replace(/^node:/, ""))),
    [],
  );
});

test("import and require give the same classes", () => {
  const path = packed.write(
    "both.mjs",
    `import { createRequire } from "node:module";
     import * as imported from "@silo-ai/client";
     const required = createRequire(import.meta.url)("@silo-ai/client");
     const names = Object.keys(required).sort();
     if (names.join() !== Object.keys(imported).sort().join()) throw new Error(names.join());
     for (const name of names) if (imported[name] !== required[name]) throw new Error(name);
     const error = new required.JobNotFoundError("j");
     if (!(error instanceof imported.JobNotFoundError)) throw new Error("not an instance");
     const kit = await import("@silo-ai/client/testing");
     const why = await kit.startTestServer({ program: "/nowhere" }).catch((error) => error);
     if (!(why instanceof imported.SiloError)) throw new Error("the test kit has errors of its own");
     console.log(names.length);`,
  );
  assert.ok(Number(node(path)) > 20);
});

test("strict ES and CommonJS modules compile against the types, with the libraries checked", () => {
  const paths = ["program.mts", "program.cts"].map((file) =>
    packed.write(
      file,
      `import { JobNotFoundError, SiloGRPCClient, SiloWorker } from "@silo-ai/client";
       import type { SiloWorkerOptions } from "@silo-ai/client";
       import { startTestServer, type TestServer } from "@silo-ai/client/testing";
       export const server: Promise<TestServer & AsyncDisposable> = startTestServer();
       export const worker = (options: SiloWorkerOptions): SiloWorker => new SiloWorker(options);
       export const isMissing = (error: unknown): boolean => error instanceof JobNotFoundError;
       export const client = (servers: string): SiloGRPCClient => new SiloGRPCClient({ servers });
       // @ts-expect-error servers is a text
       client(1);`,
    ),
  );
  const tsc = require.resolve("typescript/bin/tsc");
  const options = [
    "--noEmit",
    "--strict",
    "--target",
    "es2022",
    "--module",
    "nodenext",
    "--types",
    "node",
  ];
  node(tsc, ...options, ...paths);
});

// The tool needs Node.js 20, the package does not.
const modern = Number(process.versions.node.split(".")[0]) >= 20;
test("arethetypeswrong finds nothing", { skip: modern ? false : "attw needs Node.js 20" }, () => {
  const attw = join(ROOT, "node_modules", "@arethetypeswrong", "cli", "dist", "index.js");
  assert.match(node(attw, packed.tarball), /No problems found/);
});

test("what was unpacked can be packed again", () => {
  const [again] = JSON.parse(run("npm", ["pack", "--json", "--dry-run"], packed.home)) as Pack[];
  assert.deepEqual(again.files, packed.pack.files);
});

test("npm publish would accept it", () => {
  // Without a registry: one that does not answer is not asked for what it has.
  const offline = ["--registry=http://127.0.0.1:1", "--fetch-retries=0"];
  const options = ["--dry-run", "--json", ...offline];
  const said = run("npm", ["publish", ...options, packed.tarball], packed.directory);
  assert.match(said, /"name": "@silo-ai\/client"/);
});

test("the bindings are what protoc makes of the proto file", (t) => {
  try {
    execFileSync(process.env.PROTOC ?? "protoc", ["--version"], { stdio: "ignore" });
  } catch {
    assert.ok(!process.env.CI, "protoc is needed: Debian's protobuf-compiler");
    t.skip("there is no protoc");
    return;
  }
  const fresh = join(packed.directory, "gen");
  run(process.execPath, [join(ROOT, "scripts", "generate.mjs"), fresh], ROOT);
  for (const file of ["silo.ts", "silo.client.ts"]) {
    assert.ok(
      readFileSync(join(fresh, file)).equals(readFileSync(join(ROOT, "src", "gen", file))),
      `src/gen/${file} is not of this silo.proto: run npm run generate in clients/typescript and commit it`,
    );
  }
});

test("every export and each of its members has a comment, and the API's pages can be made", () => {
  const typedoc = join(ROOT, "node_modules", "typedoc", "bin", "typedoc");
  run(process.execPath, [typedoc, "--emit", "none"], ROOT);
});

/** The public members of a class, but for its fields, as its declaration has them. */
function membersOf(file: string): string[] {
  const text = readFileSync(join(packed.home, "dist", `${file}.d.ts`), "utf8");
  const isPublic = text.replace(/\/\*\*(?:(?!\*\/)[^])*@internal(?:(?!\*\/)[^])*\*\/\n.*\n/g, "");
  const members = isPublic.matchAll(/^ {4}(?!private|constructor|readonly)(?:get )?(\w+)[<(]/gm);
  return [...members].map((match) => match[1]);
}

test("the README names all of the API", () => {
  const text = readFileSync(join(packed.home, "README.md"), "utf8");
  const script = `const kit = require("@silo-ai/client/testing");
    console.log(JSON.stringify(Object.keys({ ...require("@silo-ai/client"), ...kit })));`;
  const names = JSON.parse(node("-e", script)) as string[];
  names.push(...["client/client", "client/handle", "worker/worker", "testing/server"].flatMap(membersOf));
  assert.ok(names.includes("awaitResult") && names.includes("enqueueMany"));
  const missing = names.filter((name) => !new RegExp(`\\b${name}\\b`).test(text));
  assert.deepEqual(missing, []);
});

test("the README's examples compile", () => {
  run(process.execPath, [join(ROOT, "scripts", "check-snippets.mjs")], ROOT);
});

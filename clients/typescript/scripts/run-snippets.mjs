// Runs the TypeScript blocks of Markdown files that say they can be run, against a server of the
// test kit, whose program is found as the kit finds it.
//
// Usage: run-snippets.mjs FILE.md ...
//
// A block with `<!-- snippet: run -->` on the line before it has run when its body has: it must not
// throw, and a test in it must pass. It gets real things under the names of snippet-globals.mts: a
// client, a job that waits in the group `emails` as `handle`, and so on. What it leaves behind is
// gone before the next. The last line is "N passed, N failed"; the status is 1 if a block failed or
// none was found.
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { SiloGRPCClient } from "@silo-ai/client";
import { startTestServer } from "@silo-ai/client/testing";
import ts from "typescript";
import { readBlocks, toModule } from "./snippets.mjs";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");

/** How long one block may take, in milliseconds. */
const BLOCK_MS = 30_000;

/** JavaScript of a block, as a module whose function `snippet` is its body. */
function compile(block) {
  const { target, module } = { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ESNext };
  return ts.transpileModule(toModule(block).text, { compilerOptions: { target, module } })
    .outputText;
}

async function globalsFor(server) {
  // Its own: a block may close it.
  const client = new SiloGRPCClient(server.clientOptions);
  const payload = { to: "user@example.com", subject: "Welcome!" };
  const handle = await client.enqueue({ payload, taskGroup: "emails" });
  return {
    server,
    client,
    payload,
    handle,
    id: handle.id,
    workerId: "snippet-worker",
    job: { payload, taskGroup: "emails" },
    handler: async () => ({ sent: true }),
    sendEmail: async () => undefined,
    fetchAllowance: async () => 10,
  };
}

function inTime(promise) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`not done after ${BLOCK_MS} ms`)), BLOCK_MS);
    promise.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}

async function run(block, path, server) {
  writeFileSync(path, compile(block));
  const globals = await globalsFor(server);
  Object.assign(globalThis, globals);
  try {
    const { snippet } = await import(pathToFileURL(path).href);
    await inTime(snippet());
  } finally {
    globals.client.close();
  }
}

mkdirSync(join(root, "build"), { recursive: true });
// Inside the package its own name leads to what package.json exports.
const directory = mkdtempSync(join(root, "build", "snippets-"));
process.on("exit", () => rmSync(directory, { recursive: true, force: true }));
const blocks = process.argv
  .slice(2)
  .flatMap((file) => readBlocks(resolve(file), readFileSync(file, "utf8")))
  .filter((block) => block.run);
const server = await startTestServer();
let failed = 0;
for (const [i, block] of blocks.entries()) {
  const place = `${relative(process.cwd(), block.file)}:${block.line}`;
  try {
    await run(block, join(directory, `${i}.mjs`), server);
    console.log(`ok ${place}`);
  } catch (error) {
    failed += 1;
    console.log(`not ok ${place}:`, error);
  }
  await server.reset();
}
await server.stop();
console.log(`${blocks.length - failed} passed, ${failed} failed`);
process.exitCode ||= failed > 0 || blocks.length === 0 ? 1 : 0;

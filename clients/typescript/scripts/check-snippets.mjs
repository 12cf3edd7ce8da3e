// Compiles the TypeScript blocks of Markdown files against this package as it is built in dist.
//
// Usage: check-snippets.mjs [FILE.md ...]     without files: the package's README
//
// Every block that begins with ```typescript or ```ts is compiled alone, as the body of an async
// function, so `await` and `return` may stand in it. What the package exports need not be imported,
// and the names of snippet-globals.mts need not be declared. A comment on the line before a block
// changes that:
//
//   <!-- snippet: continues -->       follows the block before it, and sees what that declared
//   <!-- snippet: skip, REASON -->    is not compiled
//   <!-- snippet: run -->             is compiled, and run by run-snippets.mjs
//
// Prints each error as file:line: text, the line being that of the Markdown file. The last line is
// "N passed, N failed", counting blocks; the status is 1 if a block failed or none was found.
import { readFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import ts from "typescript";
import { readBlocks, toModule } from "./snippets.mjs";

const scripts = dirname(fileURLToPath(import.meta.url));
const root = join(scripts, "..");
const globals = join(scripts, "snippet-globals.mts");

const options = {
  target: ts.ScriptTarget.ES2022,
  lib: ["lib.es2022.d.ts", "lib.esnext.disposable.d.ts"],
  module: ts.ModuleKind.NodeNext,
  moduleResolution: ts.ModuleResolutionKind.NodeNext,
  types: ["node"],
  strict: true,
  skipLibCheck: true,
  noEmit: true,
};

/** A host that has `modules`, a map from paths to texts, beside the files on disk. */
function hostWith(modules) {
  const host = ts.createCompilerHost(options);
  const { fileExists, readFile, getSourceFile } = host;
  host.getCurrentDirectory = () => root;
  host.fileExists = (path) => modules.has(path) || fileExists.call(host, path);
  host.readFile = (path) => modules.get(path) ?? readFile.call(host, path);
  host.getSourceFile = (path, version, ...rest) =>
    modules.has(path)
      ? ts.createSourceFile(path, modules.get(path), version, true)
      : getSourceFile.call(host, path, version, ...rest);
  return host;
}

/** The errors of all blocks, as pairs of the block and what is printed. */
function compile(blocks) {
  // Inside the package its own name leads to what package.json exports.
  const byPath = new Map(
    blocks.map((block, i) => [join(root, "build", `snippet-${i}.mts`), block]),
  );
  const mapped = new Map([...byPath].map(([path, block]) => [path, toModule(block)]));
  const host = hostWith(new Map([...mapped].map(([path, module]) => [path, module.text])));
  const program = ts.createProgram([globals, ...byPath.keys()], options, host);
  return ts.getPreEmitDiagnostics(program).map((diagnostic) => {
    const text = ts.flattenDiagnosticMessageText(diagnostic.messageText, "\n");
    const block = byPath.get(diagnostic.file?.fileName);
    if (block === undefined) {
      throw new Error(`${diagnostic.file?.fileName ?? "the compiler"}: ${text}`);
    }
    const { line } = diagnostic.file.getLineAndCharacterOfPosition(diagnostic.start);
    const place = mapped.get(diagnostic.file.fileName).lines[line] ?? block.line;
    return { block, text: `${relative(process.cwd(), block.file)}:${place}: ${text}` };
  });
}

const files = process.argv.length > 2 ? process.argv.slice(2) : [join(root, "README.md")];
const blocks = files.flatMap((file) => readBlocks(resolve(file), readFileSync(file, "utf8")));
const compiled = blocks.filter((block) => !block.skip);
const errors = compile(compiled);
errors.forEach(({ text }) => console.log(text));
const failed = new Set(errors.map(({ block }) => block)).size;
console.log(`${compiled.length - failed} passed, ${failed} failed`);
process.exitCode = failed > 0 || compiled.length === 0 ? 1 : 0;

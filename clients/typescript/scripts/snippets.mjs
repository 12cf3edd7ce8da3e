// The TypeScript blocks of a Markdown file, and each as a module that can be compiled.
// check-snippets.mjs says what may stand in them.
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import ts from "typescript";

const dist = join(dirname(fileURLToPath(import.meta.url)), "..", "dist");

/** Where the names that need no import come from: module and names. */
const packageNames = [
  exportsOf("@silo-ai/client", "index.d.ts"),
  exportsOf("@silo-ai/client/testing", "testing/index.d.ts"),
];

/** What a declaration file of dist names in lists of exports. */
function exportsOf(module, file) {
  const text = readFileSync(join(dist, file), "utf8");
  const lists = [...text.matchAll(/export (?:type )?\{([^}]*)\}/g)].map((match) => match[1]);
  const names = lists
    .join(",")
    .split(",")
    .map((name) => name.trim().replace(/^type\s+|^.* as /, ""));
  return { module, names: names.filter((name) => name !== "") };
}

/**
 * The TypeScript blocks of a Markdown text, in order. Each has the file, the line of its first line
 * of code, counted from 1, the code's lines, whether it is skipped, whether it can be run, and
 * `before`, the block it continues.
 */
export function readBlocks(file, text) {
  const blocks = [];
  const lines = text.split("\n");
  for (let i = 0; i < lines.length; i += 1) {
    const open = /^(\s*)(`{3,})(\w*)/.exec(lines[i]);
    if (open === null) {
      continue;
    }
    const begin = i + 1;
    for (i += 1; i < lines.length && lines[i].trim() !== open[2]; i += 1);
    if (open[3] !== "typescript" && open[3] !== "ts") {
      continue;
    }
    const said = /<!-- snippet: (.*) -->/.exec(lines[begin - 2] ?? "")?.[1].split(", ") ?? [];
    blocks.push({
      file,
      line: begin + 1,
      code: lines.slice(begin, i),
      skip: said.includes("skip"),
      run: said.includes("run"),
      before: said.includes("continues") ? blocks.at(-1) : undefined,
    });
  }
  return blocks;
}

/**
 * The code's lines without its imports, which keep their room, and the imports: [text, line in the
 * file].
 */
function withoutImports(block) {
  const text = block.code.join("\n");
  const source = ts.createSourceFile("snippet.mts", text, ts.ScriptTarget.ES2022, true);
  const imports = source.statements.filter(ts.isImportDeclaration);
  let rest = text;
  for (const statement of imports) {
    const [from, to] = [statement.getStart(), statement.end];
    rest = rest.slice(0, from) + rest.slice(from, to).replace(/[^\n]/g, " ") + rest.slice(to);
  }
  return {
    lines: rest.split("\n"),
    imports: imports.map((statement) => [
      statement.getText().replaceAll("\n", " "),
      block.line + source.getLineAndCharacterOfPosition(statement.getStart()).line,
    ]),
  };
}

/** Imports of what the package exports and the code uses without having imported it. */
function missingImports(code, imports) {
  const has = (text, name) => new RegExp(`(?<![\\w.])${name}(?!\\w)`).test(text);
  const said = imports.map(([text]) => text).join("\n");
  return packageNames.flatMap(({ module, names }) => {
    const missing = [...new Set(names)].filter((name) => has(code, name) && !has(said, name));
    return missing.length === 0 ? [] : [`import { ${missing.join(", ")} } from "${module}";`];
  });
}

/** The block as a module: its text, and for each line of it the line of the Markdown file. */
export function toModule(block) {
  const chain = [];
  for (let part = block; part !== undefined; part = part.before) {
    chain.unshift({ ...withoutImports(part), line: part.line });
  }
  const imports = chain.flatMap((part) => part.imports);
  const body = chain.flatMap((part) => part.lines.map((text, i) => [text, part.line + i]));
  const added = missingImports(body.map(([text]) => text).join("\n"), imports);
  const rows = [
    ...imports,
    ...added.map((text) => [text, block.line]),
    ["export async function snippet() {", block.line],
    ...body,
    ["}", block.line + block.code.length],
  ];
  return { text: rows.map(([text]) => text).join("\n"), lines: rows.map(([, line]) => line) };
}

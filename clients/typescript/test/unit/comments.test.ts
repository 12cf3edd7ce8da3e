// What editors show: every member of every exported type says what it is, and its unit.
import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import ts from "typescript";

const ROOT = join(__dirname, "..", "..", "..");

/** Members that say what they are by their type: a word that tells a union's parts apart. */
const TELLS_ITSELF: ReadonlySet<string> = new Set(["type", "Limit.limit"]);

function commentOf(symbol: ts.Symbol, checker: ts.TypeChecker): string {
  return ts.displayPartsToString(symbol.getDocumentationComment(checker));
}

function isPlain(place: string, symbol: ts.Symbol, checker: ts.TypeChecker): boolean {
  const isAbsent = (checker.getTypeOfSymbol(symbol).flags & ts.TypeFlags.Undefined) !== 0;
  return isAbsent || TELLS_ITSELF.has(symbol.name) || TELLS_ITSELF.has(place);
}

/** The members of exported interfaces and object types that are written in this package. */
function* members(program: ts.Program): Generator<{ place: string; symbol: ts.Symbol }> {
  const checker = program.getTypeChecker();
  const entry = program.getSourceFile(join(ROOT, "src", "index.ts"));
  const module = entry && checker.getSymbolAtLocation(entry);
  assert.ok(module !== undefined);
  for (const exported of checker.getExportsOfModule(module)) {
    const named =
      exported.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(exported) : exported;
    for (const declaration of named.declarations ?? []) {
      const isOurs = declaration.getSourceFile().fileName.startsWith(join(ROOT, "src"));
      if (!ts.isInterfaceDeclaration(declaration) || !isOurs) {
        continue;
      }
      for (const member of declaration.members) {
        const symbol = member.name && checker.getSymbolAtLocation(member.name);
        if (symbol !== undefined) {
          yield { place: `${named.name}.${symbol.name}`, symbol };
        }
      }
    }
  }
}

test("every member of every exported type says what it is, and times their unit", () => {
  const program = ts.createProgram([join(ROOT, "src", "index.ts")], {
    target: ts.ScriptTarget.ES2022,
    module: ts.ModuleKind.CommonJS,
    types: ["node"],
    typeRoots: [join(ROOT, "node_modules", "@types")],
    noEmit: true,
  });
  const checker = program.getTypeChecker();
  const silent: string[] = [];
  const without: string[] = [];
  let seen = 0;
  for (const { place, symbol } of members(program)) {
    seen++;
    const comment = commentOf(symbol, checker);
    if (/Ms$/.test(symbol.name) && !/milliseconds/i.test(comment)) {
      without.push(place);
    } else if (/(AtMs|TimeMs|AfterMs)$/.test(symbol.name) && !/Unix epoch|Date/.test(comment)) {
      without.push(place);
    } else if (comment === "" && !isPlain(place, symbol, checker)) {
      silent.push(place);
    }
  }
  assert.ok(seen > 150, `only ${seen} members found`);
  assert.deepEqual(without, [], "times whose comment names no unit, or no epoch");
  assert.deepEqual(silent, [], "members without a comment");
});

// Where the server's program is.
import { accessSync, constants, statSync } from "node:fs";
import { delimiter, join, resolve } from "node:path";
import { TestServerError } from "./errors";

function isProgram(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}

/**
 * The path of the program: as given, else that of the variable SILO_BIN, else `silo` in the PATH.
 * @throws TestServerError if there is none; it says where was looked and what can be done.
 */
export function findProgram(given: string | undefined, env = process.env): string {
  const named = given ?? env.SILO_BIN;
  if (named !== undefined && named !== "") {
    const path = resolve(named);
    if (!isProgram(path)) {
      const source =
        given === undefined ? "the variable SILO_BIN names" : "the option program names";
      throw new TestServerError(`There is no program at ${path}, which ${source}`);
    }
    return path;
  }
  const directories = (env.PATH ?? "").split(delimiter).filter((directory) => directory !== "");
  const found = directories.map((directory) => join(directory, "silo")).find(isProgram);
  if (found === undefined) {
    throw new TestServerError(
      "The program silo is not in the PATH: install it, or name it by the option program " +
        "of startTestServer or by the variable SILO_BIN",
    );
  }
  return found;
}

// The package as npm packs it, unpacked where a program that depends on it would have it.
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** The package's directory. The tests run from build/test. */
export const ROOT = join(__dirname, "..", "..", "..");

/** Runs a program; its output. @throws Error with all it printed if it fails. */
export function run(command: string, args: string[], cwd: string, env = process.env): string {
  const done = spawnSync(command, args, { cwd, env, encoding: "utf8" });
  if (done.status !== 0) {
    throw done.error ?? new Error(`${command} ${args.join(" ")}:\n${done.stdout}${done.stderr}`);
  }
  return done.stdout;
}

/**
 * The environment of a machine that has a shell, node and npm, and nothing else: no protoc above
 * all.
 */
function bareEnvironment(directory: string): NodeJS.ProcessEnv {
  const bin = join(directory, "bin");
  mkdirSync(bin);
  symlinkSync(process.execPath, join(bin, "node"));
  for (const program of ["sh", "npm"]) {
    symlinkSync(run("sh", ["-c", `command -v ${program}`], directory).trim(), join(bin, program));
  }
  return { HOME: process.env.HOME, PATH: bin };
}

/** What `npm pack --json` says of the tarball. */
export interface Pack {
  filename: string;
  size: number;
  unpackedSize: number;
  files: { path: string; size: number }[];
}

export class PackedPackage {
  private constructor(
    /**
     * Below the package's own node_modules, so that its dependencies are found without a registry.
     */
    readonly directory: string,
    readonly pack: Pack,
  ) {}

  /** Packs the package, from its sources, on a machine without protoc. */
  static make(): PackedPackage {
    mkdirSync(join(ROOT, "build"), { recursive: true });
    const directory = mkdtempSync(join(ROOT, "build", "packed-"));
    const env = bareEnvironment(directory);
    const output = run("npm", ["pack", "--json", "--pack-destination", directory], ROOT, env);
    const [pack] = JSON.parse(output.slice(output.indexOf("[\n"))) as Pack[];
    const home = join(directory, "node_modules", "@silo-ai", "client");
    mkdirSync(home, { recursive: true });
    run(
      "tar",
      ["-xzf", join(directory, pack.filename), "-C", home, "--strip-components=1"],
      directory,
    );
    return new PackedPackage(directory, pack);
  }

  /** Where the package is unpacked. */
  get home(): string {
    return join(this.directory, "node_modules", "@silo-ai", "client");
  }

  /** The tarball's path. */
  get tarball(): string {
    return join(this.directory, this.pack.filename);
  }

  /** Writes a file of the program that uses the package; its path. */
  write(name: string, text: string): string {
    const path = join(this.directory, name);
    writeFileSync(path, text);
    return path;
  }

  remove(): void {
    rmSync(this.directory, { recursive: true, force: true });
  }
}

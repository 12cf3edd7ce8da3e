// Generates the bindings of the package silo.v1, src/gen, with protoc and protobuf-ts. They are
// committed, so that only who changes proto/silo/v1/silo.proto needs protoc: from the PATH, or from
// the environment variable PROTOC.
//
// Usage: generate.mjs [DIRECTORY]     where to write; without it src/gen
import { execFileSync } from "node:child_process";
import { mkdirSync, rmSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const output = resolve(process.argv[2] ?? join(root, "src", "gen"));
const protoDirectory = join(root, "..", "..", "proto", "silo", "v1");

rmSync(output, { recursive: true, force: true });
mkdirSync(output, { recursive: true });
execFileSync(
  process.env.PROTOC ?? "protoc",
  [
    `--plugin=protoc-gen-ts=${join(root, "node_modules", ".bin", "protoc-gen-ts")}`,
    `--proto_path=${protoDirectory}`,
    `--ts_out=${output}`,
    "--ts_opt=long_type_bigint,generate_dependencies,ts_nocheck",
    "silo.proto",
  ],
  { stdio: "inherit" },
);

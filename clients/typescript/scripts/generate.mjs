// Generates src/gen/silo.ts, the bindings of the package silo.v1, with protoc and protobuf-ts.
// protoc comes from the PATH, or from the environment variable PROTOC.
import { execFileSync } from "node:child_process";
import { mkdirSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const output = join(root, "src", "gen");
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

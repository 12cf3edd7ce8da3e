// Runs quickstart.ts against the server at localhost:50051 until its job has ended, and shows what
// happens. quickstart.ts is a worker, which by its nature runs until it is told to stop: it is
// started as a program of its own, and stopped with SIGTERM once the job's result is there.
import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { JobStatus, SiloGRPCClient } from "@silo-ai/client";

/** Longest time for each step, in milliseconds. */
const STEP_TIMEOUT_MS = 30_000;

function within<T>(step: string, promise: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise<never>((_, reject) => {
    const message = `${step}: nothing within ${STEP_TIMEOUT_MS / 1000} s`;
    timer = setTimeout(() => reject(new Error(message)), STEP_TIMEOUT_MS);
  });
  return Promise.race([promise, timeout]).finally(() => clearTimeout(timer));
}

/** Shows the program's output; resolves with the id of the job it enqueues. */
function jobIdFrom(program: ChildProcess): Promise<string> {
  return new Promise((resolve, reject) => {
    program.once("error", reject);
    program.once("exit", (code, signal) => {
      reject(new Error(`quickstart.ts ended early (${code ?? signal})`));
    });
    if (program.stdout === null) {
      reject(new Error("quickstart.ts has no output"));
      return;
    }
    createInterface({ input: program.stdout }).on("line", (line) => {
      console.log(`  quickstart.ts: ${line}`);
      const match = /^Enqueued job: (\S+)$/.exec(line);
      if (match) {
        resolve(match[1]);
      }
    });
  });
}

async function stop(program: ChildProcess): Promise<void> {
  if (program.exitCode !== null || program.signalCode !== null || program.pid === undefined) {
    return;
  }
  const ended = new Promise<void>((resolve) => program.once("exit", () => resolve()));
  program.kill("SIGTERM");
  await within("stopping quickstart.ts", ended);
}

async function main(): Promise<void> {
  const client = new SiloGRPCClient({ servers: ["localhost:50051"] });
  const path = fileURLToPath(new URL("quickstart.js", import.meta.url));
  console.log("1. Starting quickstart.ts: it enqueues a job and runs the worker for it.");
  const program = spawn(process.execPath, [path], { stdio: ["ignore", "pipe", "inherit"] });
  try {
    const id = await within("enqueuing", jobIdFrom(program));
    console.log(`2. Job ${id} is durable. Waiting for its result.`);
    const handle = client.handle(id);
    const { status, result, errorCode, errorData } = await handle.awaitResult({
      timeoutMs: STEP_TIMEOUT_MS,
    });
    console.log(`3. Status: ${status}`);
    if (status !== JobStatus.Succeeded) {
      throw new Error(`the job ended with ${errorCode}: ${JSON.stringify(errorData)}`);
    }
    console.log(`4. Result: ${JSON.stringify(result)}`);
  } finally {
    await stop(program);
    client.close();
  }
  console.log("5. Worker stopped. Done.");
}

main().catch((error: unknown) => {
  console.error("Quick Start failed:", error instanceof Error ? error.message : error);
  process.exitCode = 1;
});

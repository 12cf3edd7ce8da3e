// The options of a worker, checked when it is made: what is wrong is named, with what was expected.
import { messageOf } from "../base/describe";
import { wholeNumber } from "../base/numbers";
import { InvalidOptionError } from "../errors/errors";
import type { SiloWorkerOptions } from "./worker-types";

/** Longest time a server holds a poll, in milliseconds. */
const MAX_POLL_WAIT_MS = 60_000;

const MAX_WORKER_ID_BYTES = 4096;
const MAX_GROUP_CHARACTERS = 64;

/** What is not a name of these is a mistake. */
const OPTIONS: Record<keyof Required<SiloWorkerOptions>, true> = {
  client: true,
  workerId: true,
  taskGroup: true,
  handler: true,
  payloadSchema: true,
  resultSchema: true,
  refreshHandler: true,
  tenant: true,
  concurrentPollers: true,
  maxConcurrentTasks: true,
  tasksPerPoll: true,
  prefetchTasks: true,
  pollIntervalMs: true,
  pollWaitMs: true,
  heartbeatIntervalMs: true,
  onError: true,
  meter: true,
};

/** The numbers of a worker, with their defaults. */
export interface WorkerNumbers {
  concurrentPollers: number;
  maxConcurrentTasks: number;
  tasksPerPoll: number;
  prefetchTasks: number;
  pollIntervalMs: number;
  pollWaitMs: number;
  heartbeatIntervalMs: number;
}

function told(value: unknown): string {
  return typeof value === "string" ? JSON.stringify(value) : messageOf(value);
}

/** Letters to insert, remove or change until `a` is `b`. */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const change = a[i - 1] === b[j - 1] ? 0 : 1;
      next.push(Math.min(next[j - 1] + 1, row[j] + 1, row[j - 1] + change));
    }
    row = next;
  }
  return row[b.length];
}

function checkNames(options: object): void {
  for (const [name, value] of Object.entries(options)) {
    if (name in OPTIONS || value === undefined) {
      continue;
    }
    const lower = name.toLowerCase();
    const [nearest] = Object.keys(OPTIONS)
      .map((known) => ({ known, far: distance(lower, known.toLowerCase()) }))
      .sort((a, b) => a.far - b.far);
    const hint =
      nearest.far <= 4
        ? `did you mean ${nearest.known}?`
        : `a worker has ${Object.keys(OPTIONS).join(", ")}`;
    throw new InvalidOptionError(name, `unknown option; ${hint}`);
  }
}

function checkText(name: string, value: unknown, expected: string, fits: (text: string) => boolean) {
  if (typeof value !== "string" || !fits(value)) {
    throw new InvalidOptionError(name, `expected ${expected}, not ${told(value)}`);
  }
}

function checkFunction(name: string, value: unknown, isRequired: boolean): void {
  if (typeof value !== "function" && (isRequired || value !== undefined)) {
    throw new InvalidOptionError(name, `expected a function, not ${told(value)}`);
  }
}

function checkSchema(name: string, value: unknown): void {
  const standard = (value as { "~standard"?: { validate?: unknown } } | undefined)?.["~standard"];
  if (value !== undefined && typeof standard?.validate !== "function") {
    const expected = "a validator with the Standard Schema interface";
    throw new InvalidOptionError(name, `expected ${expected}, not ${told(value)}`);
  }
}

/** @throws InvalidOptionError for what is missing, unknown, or cannot be meant. */
export function checkWorkerOptions(options: SiloWorkerOptions<any, any, any>): WorkerNumbers {
  checkNames(options);
  if (typeof options.client?.leaseTasks !== "function") {
    const value = told(options.client);
    throw new InvalidOptionError("client", `expected a SiloGRPCClient, not ${value}`);
  }
  checkText("workerId", options.workerId, "a name of 1 to 4096 bytes", (text) => {
    return text !== "" && Buffer.byteLength(text) <= MAX_WORKER_ID_BYTES;
  });
  checkText("taskGroup", options.taskGroup, "a name of 1 to 64 characters", (text) => {
    return text !== "" && [...text].length <= MAX_GROUP_CHARACTERS;
  });
  checkFunction("handler", options.handler, true);
  checkFunction("refreshHandler", options.refreshHandler, false);
  checkFunction("onError", options.onError, false);
  checkSchema("payloadSchema", options.payloadSchema);
  checkSchema("resultSchema", options.resultSchema);
  return numbersOf(options);
}

function numbersOf(options: SiloWorkerOptions<any, any, any>): WorkerNumbers {
  const most = Number.MAX_SAFE_INTEGER;
  const count = (name: keyof WorkerNumbers, otherwise: number, least: number, max = most) =>
    wholeNumber(options[name] ?? otherwise, name, least, max);
  const maxConcurrentTasks = count("maxConcurrentTasks", 10, 1);
  const pollIntervalMs = count("pollIntervalMs", 1000, 0);
  const pollWaitMs = Math.min(pollIntervalMs, MAX_POLL_WAIT_MS);
  return {
    maxConcurrentTasks,
    pollIntervalMs,
    concurrentPollers: count("concurrentPollers", 1, 1),
    tasksPerPoll: count("tasksPerPoll", maxConcurrentTasks, 1),
    prefetchTasks: count("prefetchTasks", 0, 0),
    pollWaitMs: count("pollWaitMs", pollWaitMs, 0, MAX_POLL_WAIT_MS),
    heartbeatIntervalMs: count("heartbeatIntervalMs", 5000, 1),
  };
}

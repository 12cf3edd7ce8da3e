// The options of a worker, checked when it is made: what is wrong is named, with what was expected.
import { messageOf } from "../base/describe";
import { checkNames } from "../checks/known-names";
import type { KnownNames } from "../checks/known-names";
import { wholeNumber } from "../checks/numbers";
import { InvalidOptionError } from "../errors/errors";
import type { SiloWorkerOptions } from "./worker-types";

/** Longest time a server holds a poll, in milliseconds. */
const MAX_POLL_WAIT_MS = 60_000;

const MAX_WORKER_ID_BYTES = 4096;
const MAX_GROUP_CHARACTERS = 64;

/** What is not a name of these is a mistake. */
const OPTIONS: KnownNames<SiloWorkerOptions> = {
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
  checkNames<SiloWorkerOptions>(options, OPTIONS, "a worker");
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

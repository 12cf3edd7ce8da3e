// Workers of the TypeScript client in a soak: real handlers, a log in the form of load.py's, and orderly stops now and then.
// Usage: node worker.cjs ADDRESS,... GROUP NAME LOGS PHASE_FILE
"use strict";
const fs = require("node:fs");
const path = require("node:path");

const root = process.env.SILO_ROOT || path.join(__dirname, "..", "..");
const { SiloGRPCClient, SiloWorker } = require(path.join(root, "clients", "typescript"));
const { bytesOf, serialize } = require(path.join(root, "clients", "typescript", "dist", "wire", "codec.js"));

const [addresses, group, name, logs, phaseFile] = process.argv.slice(2);
const STOP = 2;
const SLOTS = 32;
const STOP_EVERY_MS = [8_000, 25_000];
const STOP_PATIENCE_MS = 60_000;

const log = fs.createWriteStream(path.join(logs, `${name}.jsonl`));
const write = (event) => log.write(`${JSON.stringify(event)}\n`);

/** The machine's monotonic clock, which all clients of the soak share, in seconds. */
const now = () => Number(process.hrtime.bigint()) / 1e9;
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const between = (low, high) => low + Math.random() * (high - low);

const CRC_TABLE = Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) {
    crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1;
  }
  return crc >>> 0;
});

function crc32(bytes) {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc = (crc >>> 8) ^ CRC_TABLE[(crc ^ byte) & 0xff];
  }
  return (crc ^ 0xffffffff) >>> 0;
}

/** The gRPC status that an error of the client stands for; UNKNOWN leaves the outcome open. */
function codeOf(error) {
  if (error === undefined) {
    return "OK";
  }
  const known = {
    TaskNotFoundError: "NOT_FOUND",
    JobNotFoundError: "NOT_FOUND",
    SiloNotFoundError: "NOT_FOUND",
    SiloUnavailableError: "UNAVAILABLE",
    SiloDeadlineExceededError: "DEADLINE_EXCEEDED",
    SiloResourceExhaustedError: "RESOURCE_EXHAUSTED",
  };
  return known[error.name] ?? known[error.constructor.name] ?? "UNKNOWN";
}

/** What logs call a job or a queue of a tenant. */
const named = (tenant, name) => (tenant ? `${tenant}/${name}` : name);

function limitText({ limit }, tenant) {
  switch (limit.oneofKind) {
    case "concurrency":
      return ["c", named(tenant, limit.concurrency.key), Number(limit.concurrency.maxConcurrency)];
    case "floatingConcurrency":
      return [
        "f",
        named(tenant, limit.floatingConcurrency.key),
        Number(limit.floatingConcurrency.defaultMaxConcurrency),
      ];
    default:
      return ["r", named(tenant, limit.rateLimit.name), Number(limit.rateLimit.limit)];
  }
}

/** Task id -> job id. */
const jobs = new Map();

function leasedText(task) {
  const job = named(task.tenantId, task.jobId);
  jobs.set(task.id, job);
  const bytes = task.payload?.encoding.oneofKind === "msgpack" ? task.payload.encoding.msgpack : new Uint8Array();
  return {
    task: task.id,
    job,
    attempt: task.attemptNumber,
    last: task.isLastAttempt,
    sum: crc32(bytes),
    limits: task.limits.map((limit) => limitText(limit, task.tenantId)),
  };
}

function outcomeText({ taskId, outcome }, code) {
  const value = outcome.type === "success" ? outcome.result : (outcome.data ?? null);
  const bytes = value instanceof Uint8Array ? value : bytesOf(serialize(value));
  const error = outcome.type === "failure" ? outcome.code : null;
  return { task: taskId, job: jobs.get(taskId), kind: outcome.type, error, sum: crc32(bytes), code };
}

/** A log that cannot be written ends the soak: the worker would take the error for the call's. */
function said(write) {
  try {
    write();
  } catch (error) {
    broken(error);
  }
}

function broken(error) {
  write({ op: "broken", at: [now(), now()], text: String(error?.stack ?? error) });
  log.end(() => process.exit(1));
}

/** The client, with a log of what the worker asks of it and of what it is told. */
class LoggedClient extends SiloGRPCClient {
  async timed(call, say) {
    const sent = now();
    try {
      const result = await call();
      said(() => say([sent, now()], "OK", result));
      return result;
    } catch (error) {
      said(() => say([sent, now()], codeOf(error)));
      throw error;
    }
  }

  leaseTasks(...args) {
    return this.timed(
      () => super.leaseTasks(...args),
      (at, code, result) => {
        if (code !== "OK" || result.tasks.length > 0) {
          write({ op: "lease", at, code, tasks: (result?.tasks ?? []).map(leasedText) });
        }
      },
    );
  }

  heartbeat(...args) {
    const task = args.find((arg) => jobs.has(arg)) ?? args[0]?.taskId;
    return this.timed(
      () => super.heartbeat(...args),
      (at, code) => write({ op: "heartbeat", at, code, task }),
    );
  }

  reportOutcome(options, ...rest) {
    return this.timed(
      () => super.reportOutcome(options, ...rest),
      (at, code) => write({ op: "report", at, items: [outcomeText(options, code)] }),
    );
  }

  reportOutcomes(list, ...rest) {
    return this.timed(
      () => super.reportOutcomes(list, ...rest),
      (at, code, results) => {
        const items = list.map((options, i) => outcomeText(options, results ? codeOf(results[i].error) : code));
        write({ op: "report", at, items });
      },
    );
  }

  reportRefreshOutcome(options, ...rest) {
    const value = options.outcome.type === "success" ? options.outcome.newMaxConcurrency : null;
    return this.timed(
      () => super.reportRefreshOutcome(options, ...rest),
      (at, code) => write({ op: "refresh", at, code, key: refreshKeys.get(options.taskId), value }),
    );
  }

  returnTasks(options, ...rest) {
    return this.timed(
      () => super.returnTasks(options, ...rest),
      (at, code, results) => {
        const items = options.tasks
          .map(({ taskId }, i) => ({ task: taskId, job: jobs.get(taskId), code: results ? codeOf(results[i].error) : code }))
          .filter(({ job }) => job !== undefined); // not refreshes
        write({ op: "return", at, items });
      },
    );
  }
}

/** Refresh task id -> queue. */
const refreshKeys = new Map();

async function handler({ task, cancellationSignal }) {
  const begin = now();
  try {
    return await work(task, cancellationSignal);
  } finally {
    write({ op: "run", at: [begin, now()], task: task.id, job: jobs.get(task.id) });
  }
}

async function work(task, signal) {
  const dice = Math.random();
  const rare = task.limits.length > 0 ? 0.2 : 1;
  let ms = between(0, 5);
  if (dice < 0.001 * rare) {
    ms = between(10_500, 14_000); // longer than a lease, kept by heartbeats
  } else if (Math.random() < 0.1) {
    ms = between(50, 400);
  }
  const until = performance.now() + ms;
  while (!signal.aborted && performance.now() < until) {
    await sleep(Math.min(100, until - performance.now()));
  }
  if (phase() === 0 && Math.random() < 0.12) {
    return { type: "failure", code: `E${Math.floor(Math.random() * 10)}`, data: task.id };
  }
  return { type: "success", result: task.id };
}

function phase() {
  return Number(fs.readFileSync(phaseFile, "utf8"));
}

async function main() {
  const client = new LoggedClient({ servers: addresses.split(","), useTls: false });
  const worker = new SiloWorker({
    client,
    workerId: name,
    taskGroup: group,
    maxConcurrentTasks: SLOTS,
    handler,
    pollIntervalMs: 250,
    heartbeatIntervalMs: 3000,
    refreshHandler: async ({ task }) => {
      refreshKeys.set(task.id, named(task.tenant, task.queueKey));
      return 1 + Math.floor(Math.random() * 8);
    },
    onError: () => {}, // the audit finds what matters
  });
  await worker.start();
  let stopAt = performance.now() + between(...STOP_EVERY_MS);
  while (phase() !== STOP) {
    await sleep(100);
    if (performance.now() >= stopAt) {
      await worker.stop(STOP_PATIENCE_MS);
      await worker.start();
      stopAt = performance.now() + between(...STOP_EVERY_MS);
    }
  }
  await worker.stop(STOP_PATIENCE_MS);
  client.close();
  await new Promise((resolve) => log.end(resolve));
}

main().catch(broken);

// bench/peers/bullmq.mjs - closed loops over the life of a job in BullMQ, through its own client.
//
//   single  each client goes round queue.add, worker.getNextJob, job.moveToCompleted, waiting for each
//   bulk    producers call queue.addBulk and a running Worker with a concurrency of its own takes and completes;
//           at most clients x bulk jobs are under way
//
// Speaks as load.c does: prints "ready", starts at a line on standard input, prints one line of JSON, ends with
// standard input. The clients are spread over --processes children; CPU and latencies are of all of them. The first second of
// each run is not counted: V8 compiles in it.
import { fork } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { parseArgs } from "node:util";

import { Queue, Worker } from "bullmq";

const QUEUE = "bench";
const WARM_MS = 1000;
const LINGER_MS = 30000; // the last jobs must be done by then
const KEEP_NOTHING = { removeOnComplete: true };
const DATA = { to: "user@example.com", subject: "Welcome!", template: "once" };

const now = () => Number(process.hrtime.bigint()) / 1e3;

function quantile(sorted, q) {
  return sorted.length === 0 ? 0 : Math.round(sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))]);
}

// --- a child ---

class Load {
  constructor(options) {
    this.options = options;
    const connection = { host: "127.0.0.1", port: options.port, maxRetriesPerRequest: null };
    this.queue = new Queue(QUEUE, { connection });
    this.worker = options.bulk > 1
      ? new Worker(QUEUE, async () => true, { connection, autorun: false, concurrency: options.concurrency })
      : new Worker(QUEUE, null, { connection, skipStalledCheck: true });
    this.worker.on("error", fail);
    this.queue.on("error", fail);
    this.latencies = { enqueue: [], reserve: [], complete: [] };
    this.added = 0;
    this.completed = 0;
    this.inTime = 0;
  }

  async ready() {
    await this.queue.waitUntilReady();
    await this.worker.waitUntilReady();
  }

  async timed(what, call) {
    const start = now();
    const result = await call();
    const end = now();
    if (start >= this.start && end <= this.end) {
      this.latencies[what].push(end - start);
    }
    return result;
  }

  done(time) {
    this.completed++;
    if (time >= this.start && time <= this.end) {
      this.inTime++;
    }
  }

  async singleClient(token) {
    while (now() < this.end) {
      await this.timed("enqueue", () => this.queue.add("job", DATA, KEEP_NOTHING));
      this.added++;
      let job;
      while (!job) {
        job = await this.timed("reserve", () => this.worker.getNextJob(token, { block: false }));
      }
      await this.timed("complete", () => job.moveToCompleted(true, token, false));
      this.done(now());
    }
  }

  async bulkClient() {
    const { bulk, clients } = this.options;
    const jobs = Array.from({ length: bulk }, () => ({ name: "job", data: DATA, opts: KEEP_NOTHING }));
    while (now() < this.end) {
      while (this.added - this.completed > (clients - 1) * bulk && now() < this.end) {
        await new Promise((wake) => this.waiting.push(wake));
      }
      this.added += bulk;
      await this.timed("enqueue", () => this.queue.addBulk(jobs));
    }
  }

  startWorker() {
    this.waiting = [];
    this.worker.on("completed", () => {
      this.done(now());
      if (this.waiting.length !== 0 && this.added - this.completed <= (this.options.clients - 1) * this.options.bulk) {
        this.waiting.shift()();
      }
    });
    this.worker.run().catch(fail);
  }

  async run() {
    this.start = now() + WARM_MS * 1e3;
    this.end = this.start + this.options.seconds * 1e6;
    if (this.options.bulk > 1) {
      this.startWorker();
      setTimeout(() => this.waiting.splice(0).forEach((wake) => wake()), WARM_MS + this.options.seconds * 1e3 + 1);
    }
    const clients = Array.from({ length: this.options.clients }, (_, i) =>
      this.options.bulk > 1 ? this.bulkClient() : this.singleClient(`${process.pid}-${i}`));
    await Promise.all(clients);
    return this.left();
  }

  // Jobs the server still has when there was time to do all.
  async left() {
    const deadline = now() + LINGER_MS * 1e3;
    for (;;) {
      const counts = await this.queue.getJobCounts();
      const left = Object.values(counts).reduce((sum, n) => sum + n, 0);
      if (left === 0 || now() > deadline) {
        return left;
      }
      await new Promise((wake) => setTimeout(wake, 5));
    }
  }
}

function fail(error) {
  console.error("load:", error);
  process.exit(1);
}

async function child() {
  process.on("disconnect", () => process.exit(1)); // the parent is gone
  const [options] = await once(process, "message");
  const load = new Load(options);
  await load.ready();
  process.send({ ready: true });
  await once(process, "message");
  const before = process.cpuUsage();
  const left = await load.run();
  const { user, system } = process.cpuUsage(before);
  process.send({
    jobs: load.inTime, total: load.completed, cpuSeconds: (user + system) / 1e6, left, latencies: load.latencies,
  });
  await once(process, "message");
  process.exit(0);
}

// --- the parent ---

function startChild(options) {
  const it = fork(process.argv[1], { serialization: "advanced" });
  it.on("exit", (code) => code !== 0 && fail(`a child ended with status ${code}`));
  it.send(options);
  return it;
}

async function answers(children) {
  return (await Promise.all(children.map((it) => once(it, "message")))).map(([message]) => message);
}

function merge(parts, seconds) {
  const sum = (name) => parts.reduce((total, part) => total + part[name], 0);
  const figures = { jobs: sum("jobs"), seconds, total: sum("total"), cpu_s: sum("cpuSeconds"), left: sum("left") };
  for (const what of ["enqueue", "reserve", "complete"]) {
    const all = Float64Array.from(parts.flatMap((part) => part.latencies[what])).sort();
    if (all.length !== 0) {
      figures[`${what}_us`] = { p50: quantile(all, 0.5), p99: quantile(all, 0.99) };
    }
  }
  return figures;
}

async function parent() {
  const number = { type: "string" };
  const { values } = parseArgs({
    options: {
      port: number, clients: { ...number, default: "64" }, bulk: { ...number, default: "1" },
      seconds: { ...number, default: "10" }, concurrency: { ...number, default: "100" },
      processes: { ...number, default: "1" },
    },
  });
  const options = Object.fromEntries(Object.entries(values).map(([name, value]) => [name, Number(value)]));
  const processes = Math.min(options.processes, options.clients);
  const children = [];
  for (let i = 0; i < processes; i++) {
    const clients = Math.floor((options.clients + i) / processes);
    children.push(startChild({ ...options, clients }));
  }
  const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
  await answers(children);
  console.log("ready");
  await lines.next();
  children.forEach((it) => it.send("go"));
  console.log(JSON.stringify(merge(await answers(children), options.seconds)));
  await lines.next();
  children.forEach((it) => it.send("end"));
}

(process.send ? child() : parent()).catch(fail);

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { sleep } from "../base/sleep";
import { SiloGRPCClient } from "../client/client";
import type { JobHandle } from "../client/handle";
import type { SiloGRPCClientOptions } from "../connection/options";
import { SiloFailedPreconditionError } from "../errors/errors";
import { JobStatus } from "../jobs/types";
import { TestServerError, TestTimeoutError } from "./errors";
import { GuardedProcess } from "./guarded-process";
import { HealthClient } from "./health";
import { JobLog } from "./job-log";
import type { JobFilter, TestJob } from "./job-log";
import { findProgram } from "./program";
import { runUntilIdle } from "./run-until-idle";
import type { RunUntilIdleOptions, RunWorkerOptions } from "./run-until-idle";
import { mergeSettings, toToml } from "./toml";
import type { Settings } from "./toml";

/** Time between two looks at what is waited for, in milliseconds. */
const LOOK_MS = 10;

/** What the server prints last is shown when it does not start, in characters. */
const SHOWN_OUTPUT = 4000;

/**
 * A private server in memory: on a port that is free, quick to stop, with data that can be wiped.
 */
const DEFAULTS: Settings = {
  server: { grpc_addr: "127.0.0.1:0", dev_mode: true, shutdown_timeout_ms: 5000 },
  database: { backend: "memory", path: "silo-test-%shard%" },
};

/** The address is read from the log. */
const LOGGING: Settings = { logging: { format: "json", level: "info" } };

/** Options of `startTestServer`. */
export interface TestServerOptions {
  /**
   * Path of the server's program. Default: that of the variable SILO_BIN, else `silo` in the PATH.
   */
  program?: string;
  /**
   * Settings of the server, as tables: `{ tenancy: { enabled: true } }`. They go before those of
   * the test kit; `logging` is its own, and it reaches the server without TLS.
   */
  config?: Settings;
  /** How long the server may take until it serves, in milliseconds; default 30000. */
  startTimeoutMs?: number;
}

/** Options of `TestServer.waitForStatus`. */
export interface WaitForStatusOptions {
  /** The tenant of a job that is named by its id. */
  tenant?: string;
  /** How long to wait, in milliseconds; default 10000. */
  timeoutMs?: number;
}

/** Which jobs `TestServer.expedite` makes due. */
export interface ExpediteFilter extends Omit<JobFilter, "status"> {
  /** Only those that would be due within so many milliseconds; default: whenever. */
  withinMs?: number;
}

/** The address that the server's log names; undefined while it does not. */
function addressIn(log: string): string | undefined {
  for (const line of log.split("\n")) {
    if (line.includes('"event":"listening"')) {
      return (JSON.parse(line) as { grpc?: string }).grpc;
    }
  }
  return undefined;
}

function startProcess(program: string, settings: Settings): [GuardedProcess, string] {
  const directory = mkdtempSync(join(tmpdir(), "silo-test-"));
  const file = join(directory, "silo.toml");
  writeFileSync(file, toToml(settings));
  const { SILO_LOG: _, RUST_LOG: __, NOTIFY_SOCKET: ___, ...env } = process.env;
  return [new GuardedProcess(program, ["--config", file], env), directory];
}

/** Resolves with the address when it is known and the server serves. */
async function serving(server: GuardedProcess, deadline: number): Promise<string> {
  let health: HealthClient | undefined;
  try {
    for (;;) {
      const address = addressIn(server.output);
      if (address !== undefined) {
        health ??= new HealthClient(address);
        if (await health.isServing()) {
          return address;
        }
      }
      if (server.status !== undefined || performance.now() > deadline) {
        const ended =
          server.status === undefined ? "is not serving yet" : `ended (${server.status})`;
        throw new TestServerError(
          `The server ${ended}. It said:\n${server.output.slice(-SHOWN_OUTPUT)}`,
        );
      }
      await sleep(LOOK_MS);
    }
  } finally {
    health?.close();
  }
}

/**
 * Starts a server of its own for a test, with its data in memory, and resolves when it serves. It
 * stops with `stop()`, at the end of an `await using` scope, and at the latest with this process,
 * even when that is killed.
 * @throws TestServerError if there is no program, or the server does not start; with what it said.
 */
export async function startTestServer(options: TestServerOptions = {}): Promise<TestServer> {
  const settings = mergeSettings(mergeSettings(DEFAULTS, options.config ?? {}), LOGGING);
  const { auth_token: token, tls_cert: tls } = settings.server as Settings;
  if (tls !== undefined) {
    throw new TestServerError(
      "The test kit reaches its server without TLS: leave out server.tls_cert",
    );
  }
  const deadline = performance.now() + (options.startTimeoutMs ?? 30_000);
  const [server, directory] = startProcess(findProgram(options.program), settings);
  try {
    const address = await serving(server, deadline);
    return new TestServer(server, address, typeof token === "string" ? token : undefined);
  } catch (error) {
    await server.stop();
    throw error;
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

/**
 * A server for tests, and what tests want to know and do of its jobs.
 *
 * It knows the jobs that were enqueued, imported or leased with `client` or with clients made from
 * `clientOptions`; those of other clients are there, but not listed.
 */
export class TestServer {
  private readonly log = new JobLog();
  /** A client of the server, closed when it stops. */
  readonly client: SiloGRPCClient;
  /** For clients of your own: `new SiloGRPCClient({ ...server.clientOptions, ... })`. */
  readonly clientOptions: SiloGRPCClientOptions;

  /** @internal Made by `startTestServer`. */
  constructor(
    private readonly server: GuardedProcess,
    /** The server's address, `host:port`, without TLS. */
    readonly address: string,
    token: string | undefined,
  ) {
    this.clientOptions = {
      servers: address,
      useTls: false,
      // None, whatever the environment has.
      token: token ?? "",
      rpcOptions: { interceptors: [this.log.interceptor] },
    };
    this.client = new SiloGRPCClient(this.clientOptions);
  }

  /** What the server has logged, a JSON object in each line; the last million characters. */
  get output(): string {
    return this.server.output;
  }

  /** Closes `client`, stops the server and resolves when it has ended. May be called again. */
  async stop(): Promise<void> {
    this.client.close();
    await this.server.stop();
  }

  /** `stop()`, for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  /**
   * Deletes all jobs and limits, so that the next test finds an empty server. No worker may run.
   */
  async reset(): Promise<void> {
    await this.client.resetShards();
    this.log.clear();
  }

  /**
   * The jobs that fit the filter, with their attempts, in the order in which they were enqueued.
   */
  async jobs(filter: JobFilter = {}): Promise<TestJob[]> {
    const jobs: TestJob[] = [];
    for await (const job of this.log.read(this.client, filter)) {
      jobs.push(job);
    }
    return jobs;
  }

  /**
   * Resolves with the job when it has the status.
   * @throws TestTimeoutError if it has it not in time, or ended with another.
   */
  async waitForStatus(
    job: JobHandle | string,
    status: JobStatus | `${JobStatus}`,
    options: WaitForStatusOptions = {},
  ): Promise<TestJob> {
    const { id, tenant } = typeof job === "string" ? { id: job, tenant: options.tenant } : job;
    const { timeoutMs = 10_000 } = options;
    const deadline = performance.now() + timeoutMs;
    for (;;) {
      const found = await this.client.getJob(id, tenant, { includeAttempts: true });
      if (found.status === status) {
        return { ...found, tenant };
      }
      const isWaiting = found.status === JobStatus.Scheduled || found.status === JobStatus.Running;
      if (!isWaiting || performance.now() > deadline) {
        const why = isWaiting ? `after ${timeoutMs} ms` : "any more";
        throw new TestTimeoutError(`Job ${id} does not become ${status} ${why}`, [found]);
      }
      await sleep(LOOK_MS);
    }
  }

  /**
   * Makes jobs due now that wait for their start or a retry: no test has to wait for a time. The
   * clock stays as it is, and so do limits: a job that a rate limit holds stays held.
   * @returns how many became due.
   */
  async expedite({ withinMs = Infinity, ...filter }: ExpediteFilter = {}): Promise<number> {
    const now = Date.now();
    let count = 0;
    for await (const job of this.log.read(this.client, {
      ...filter,
      status: JobStatus.Scheduled,
    })) {
      const wait = Number(job.nextAttemptStartsAfterMs ?? 0n) - now;
      if (wait > 0 && wait <= withinMs && (await this.expediteJob(job))) {
        count += 1;
      }
    }
    return count;
  }

  /** Whether the job waited for a time until now. */
  private async expediteJob({ id, tenant }: TestJob): Promise<boolean> {
    try {
      await this.client.expediteJob(id, tenant);
      return true;
    } catch (error) {
      // It became due, was cancelled, or waits in a line.
      if (error instanceof SiloFailedPreconditionError) {
        return false;
      }
      throw error;
    }
  }

  /**
   * Runs a worker until its task group is idle: each job has ended, or waits for a time. With
   * `fastForward` jobs that wait for a retry, or for their start too, are run as well. Takes the options of a
   * worker, or a worker of your own.
   * @returns the group's jobs, as they stand then.
   * @throws TestTimeoutError if the group is not idle in time; it names jobs that keep it busy.
   */
  runUntilIdle<Payload = any, Metadata = Record<string, string>, Result = unknown>(
    options: RunUntilIdleOptions<Payload, Metadata, Result> | RunWorkerOptions,
  ): Promise<TestJob[]> {
    return runUntilIdle(
      {
        client: this.client,
        jobs: (filter) => this.log.read(this.client, filter),
        expedite: (job) => this.expediteJob(job),
      },
      options,
    );
  }
}

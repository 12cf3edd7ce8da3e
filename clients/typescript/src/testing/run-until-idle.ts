import { randomUUID } from "node:crypto";
import { sleep } from "../base/sleep";
import type { SiloGRPCClient } from "../client/client";
import { PendingCause } from "../jobs/pending";
import { JobStatus } from "../jobs/types";
import { SiloWorker } from "../worker/worker";
import type { SiloWorkerOptions } from "../worker/worker-types";
import { TestTimeoutError } from "./errors";
import type { JobFilter, TestJob } from "./job-log";

/** Time between two looks at the jobs, in milliseconds. */
const LOOK_MS = 10;

/** How long the worker's polls wait, in milliseconds: a stop waits for them. */
const POLL_MS = 20;

/** When a run ends, and what is made due meanwhile. */
export interface IdleOptions {
  /** The group whose jobs are run. */
  taskGroup: string;
  /**
   * Makes jobs due that wait: for a retry, or for any time. Default: they are left waiting, and the
   * group is idle with them.
   */
  fastForward?: "retries" | "all";
  /** How long the group may take, in milliseconds; default 10000. */
  timeoutMs?: number;
}

/** Options of `TestServer.runUntilIdle`: those of the worker that runs, and when it ends. */
export type RunUntilIdleOptions<
  Payload = any,
  Metadata = Record<string, string>,
  Result = unknown,
> = Omit<SiloWorkerOptions<Payload, Metadata, Result>, "client" | "workerId"> &
  IdleOptions & {
    /** Default: a name of its own. */
    workerId?: string;
  };

/** Options of `TestServer.runUntilIdle` with a worker of your own, which must not run yet. */
export interface RunWorkerOptions extends IdleOptions {
  /** It is started, and stopped when its group is idle. */
  worker: Pick<SiloWorker, "start" | "stop">;
}

/** What a run needs of the server. */
export interface IdleHost {
  client: SiloGRPCClient;
  jobs: (filter: JobFilter) => AsyncIterable<TestJob>;
  /** Makes the job due; whether it waited for a time. */
  expedite: (job: TestJob) => Promise<boolean>;
}

/** Whether a rate limit is in the job's way: no wish makes it pass earlier. */
function isLimited({ pending }: TestJob): boolean {
  const cause = pending?.cause;
  return cause === PendingCause.RateLimit || cause === PendingCause.RateLimitRefused;
}

/** Whether the job does nothing before its time. */
function isWaiting(job: TestJob): boolean {
  const until = isLimited(job) ? job.pending?.untilMs : job.nextAttemptStartsAfterMs;
  return job.status === JobStatus.Scheduled && (until ?? 0n) > Date.now();
}

/** Whether the job runs, or will without any help. A job in a line counts. */
function isBusy(job: TestJob): boolean {
  return (
    job.status === JobStatus.Running || (job.status === JobStatus.Scheduled && !isWaiting(job))
  );
}

/** Whether the job is one whose time is to come now. */
function isHurried(job: TestJob, { fastForward }: IdleOptions): boolean {
  const isMeant =
    fastForward === "all" || (fastForward === "retries" && (job.attempts?.length ?? 0) > 0);
  return isMeant && isWaiting(job) && !isLimited(job);
}

/** A job that keeps the group busy, if there is one. */
async function busyJob(host: IdleHost, options: IdleOptions): Promise<TestJob | undefined> {
  for await (const job of host.jobs({ taskGroup: options.taskGroup })) {
    if (isBusy(job) || (isHurried(job, options) && (await host.expedite(job)))) {
      return job;
    }
  }
  return undefined;
}

/** The group's jobs as they stand. */
async function jobsOf(host: IdleHost, taskGroup: string): Promise<TestJob[]> {
  const jobs: TestJob[] = [];
  for await (const job of host.jobs({ taskGroup })) {
    jobs.push(job);
  }
  return jobs;
}

/** Resolves when no job is busy. @throws TestTimeoutError */
async function untilQuiet(host: IdleHost, options: IdleOptions, deadline: number): Promise<void> {
  while ((await busyJob(host, options)) !== undefined) {
    if (performance.now() > deadline) {
      const { taskGroup, timeoutMs } = options;
      const busy = (await jobsOf(host, taskGroup)).filter(isBusy);
      throw new TestTimeoutError(`Group ${taskGroup} is not idle after ${timeoutMs} ms`, busy);
    }
    await sleep(LOOK_MS);
  }
}

/**
 * Whether a worker would get a job, which is given back: there may be jobs that no client of the
 * test kit stored.
 */
async function hasMore({ client }: IdleHost, taskGroup: string): Promise<boolean> {
  const workerId = `until-idle-${randomUUID()}`;
  const { tasks, refreshTasks } = await client.leaseTasks({ workerId, taskGroup, maxTasks: 1 });
  const leased = [
    ...tasks.map(({ id, tenantId: tenant, shard }) => ({ id, tenant, shard })),
    ...refreshTasks,
  ];
  for (const { id: taskId, tenant, shard } of leased) {
    await client.returnTasks({ workerId, shard, tasks: [{ taskId, tenant }] });
  }
  return tasks.length > 0;
}

/** Options with any types of payload, metadata and result. */
type AnyOptions = RunUntilIdleOptions<any, any, any> | RunWorkerOptions;

function workerOf(client: SiloGRPCClient, options: AnyOptions): RunWorkerOptions["worker"] {
  if ("worker" in options) {
    return options.worker;
  }
  const { fastForward: _, timeoutMs: __, ...worker } = options;
  return new SiloWorker({
    workerId: `until-idle-${randomUUID()}`,
    pollIntervalMs: POLL_MS,
    ...worker,
    client,
  });
}

/** See `TestServer.runUntilIdle`. */
export async function runUntilIdle(host: IdleHost, options: AnyOptions): Promise<TestJob[]> {
  const { taskGroup, timeoutMs = 10_000 } = options;
  const deadline = performance.now() + timeoutMs;
  const worker = workerOf(host.client, options);
  do {
    await worker.start();
    try {
      await untilQuiet(host, { ...options, timeoutMs }, deadline);
    } finally {
      await worker.stop(Math.max(0, deadline - performance.now()));
    }
  } while (await hasMore(host, taskGroup));
  return jobsOf(host, taskGroup);
}

// The server lists no jobs, so the test kit's clients remember which jobs they stored and leased.
import type { MethodInfo, RpcInterceptor, UnaryCall } from "@protobuf-ts/runtime-rpc";
import type { SiloGRPCClient } from "../client/client";
import { JobNotFoundError } from "../errors/errors";
import type {
  EnqueueManyRequest,
  EnqueueRequest,
  ImportJobsRequest,
  LeaseTaskResponse,
  LeaseTasksResponse,
  Task,
} from "../gen/silo";
import type { Job, JobStatus } from "../jobs/types";

/** Jobs read at a time. */
const READS = 16;

/** A job as it stands, with its attempts and its tenant. */
export interface TestJob extends Job<any, any> {
  /** Undefined while tenancy is off. */
  tenant?: string;
}

/** Which jobs are meant: those that fit all that is given. */
export interface JobFilter {
  /** Jobs of this group. */
  taskGroup?: string;
  /** Jobs of this tenant. */
  tenant?: string;
  /** Jobs that stand like this. */
  status?: JobStatus | `${JobStatus}`;
}

interface Entry {
  id: string;
  tenant: string | undefined;
  taskGroup: string;
}

/** Ids are unique within a tenant; neither part can hold a NUL. */
const keyOf = (id: string, tenant: string | undefined) => `${tenant ?? ""}\0${id}`;

export class JobLog {
  private readonly entries = new Map<string, Entry>();

  /** Hears of the jobs of one client's calls: `rpcOptions: { interceptors: [log.interceptor] }`. */
  readonly interceptor: RpcInterceptor = {
    interceptUnary: (next, method, input, options): UnaryCall => {
      this.hearRequest(method, input);
      const call = next(method, input, options);
      call.response.then(
        (answer) => this.hearAnswer(method, answer),
        () => undefined,
      );
      return call;
    },
  };

  /** A job may have been stored although its call fails, so what was sent counts. */
  private hearRequest({ name }: MethodInfo, input: object): void {
    if (name === "Enqueue") {
      this.add(input as EnqueueRequest);
    } else if (name === "EnqueueMany" || name === "ImportJobs") {
      (input as EnqueueManyRequest | ImportJobsRequest).jobs.forEach((job) => this.add(job));
    }
  }

  private hearAnswer({ name }: MethodInfo, answer: object): void {
    if (name === "LeaseTasks") {
      (answer as LeaseTasksResponse).tasks.forEach((task) => this.addTask(task));
    } else if (name === "LeaseTask") {
      const { task } = answer as LeaseTaskResponse;
      if (task !== undefined) {
        this.addTask(task);
      }
    }
  }

  private add({ id, tenant, taskGroup }: { id: string; tenant?: string; taskGroup: string }): void {
    const key = keyOf(id, tenant);
    if (!this.entries.has(key)) {
      this.entries.set(key, { id, tenant, taskGroup });
    }
  }

  private addTask({ jobId, tenantId, taskGroup }: Task): void {
    this.add({ id: jobId, tenant: tenantId, taskGroup });
  }

  /** Forgets all jobs. */
  clear(): void {
    this.entries.clear();
  }

  /**
   * The jobs that fit, in the order in which they were first heard of, those of which it hears
   * meanwhile too. Those that are gone are left out.
   */
  async *read(client: SiloGRPCClient, filter: JobFilter = {}): AsyncGenerator<TestJob> {
    const { taskGroup, tenant, status } = filter;
    const reads: Promise<TestJob | undefined>[] = [];
    const fits = (job: TestJob | undefined): job is TestJob =>
      job !== undefined && (status === undefined || job.status === status);
    for (const entry of this.entries.values()) {
      const isMeant =
        (taskGroup === undefined || entry.taskGroup === taskGroup) &&
        (tenant === undefined || entry.tenant === tenant);
      if (isMeant && reads.push(readJob(client, entry)) === READS) {
        yield* (await Promise.all(reads.splice(0))).filter(fits);
      }
    }
    yield* (await Promise.all(reads)).filter(fits);
  }
}

/** The job with its attempts; undefined if there is none. */
async function readJob(
  client: SiloGRPCClient,
  { id, tenant }: Entry,
): Promise<TestJob | undefined> {
  try {
    const job = await client.getJob(id, tenant, { includeAttempts: true });
    return { ...job, tenant };
  } catch (error) {
    if (error instanceof JobNotFoundError) {
      return undefined;
    }
    throw error;
  }
}

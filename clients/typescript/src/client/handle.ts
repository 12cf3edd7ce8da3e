import { durationMs } from "../checks/numbers";
import { sleep } from "../base/sleep";
import { timeLimit } from "../connection/call-limits";
import { JobNotTerminalError, SiloDeadlineExceededError, withCause } from "../errors/errors";
import type {
  AwaitJobOptions,
  CallOptions,
  GetJobOptions,
  GetJobResultOptions,
  Job,
  JobResult,
  JobStatus,
} from "../jobs/types";

/** Longest time the server is asked to wait for a job's end in one call, in milliseconds. */
const RESULT_WAIT_MS = 20_000;

/** Time for the answer of a server that waited to the last moment, in milliseconds. */
const ANSWER_MS = 500;

/** The calls that a handle makes; `SiloGRPCClient` says of each what it does. */
export interface JobCalls {
  getJob<Payload, Result>(
    id: string,
    tenant?: string,
    options?: GetJobOptions,
  ): Promise<Job<Payload, Result>>;
  getJobStatus(id: string, tenant?: string, call?: CallOptions): Promise<JobStatus>;
  getJobResult<T>(
    id: string,
    tenant?: string,
    options?: GetJobResultOptions<T>,
  ): Promise<JobResult<T>>;
  cancelJob(id: string, tenant?: string, call?: CallOptions): Promise<void>;
  restartJob(id: string, tenant?: string, call?: CallOptions): Promise<void>;
  expediteJob(id: string, tenant?: string, call?: CallOptions): Promise<void>;
  deleteJob(id: string, tenant?: string, call?: CallOptions): Promise<void>;
}

/** One job of a tenant. Making a handle asks nothing of the server. */
export class JobHandle {
  /** @internal Made by `SiloGRPCClient.enqueue` and `SiloGRPCClient.handle`. */
  constructor(
    private readonly client: JobCalls,
    /** Job id. */
    readonly id: string,
    /** The job's tenant, undefined if none was given. */
    readonly tenant: string | undefined,
  ) {}

  /** Reads the job. @throws JobNotFoundError */
  getJob<Payload = unknown, Result = unknown>(
    options?: GetJobOptions,
  ): Promise<Job<Payload, Result>> {
    return this.client.getJob<Payload, Result>(this.id, this.tenant, options);
  }

  /** Reads the job's status. @throws JobNotFoundError */
  getStatus(call?: CallOptions): Promise<JobStatus> {
    return this.client.getJobStatus(this.id, this.tenant, call);
  }

  /**
   * Cancels the job: at once if it is scheduled, else its worker is told.
   * @throws JobNotFoundError
   * @throws SiloFailedPreconditionError if it is cancelled or finished already.
   */
  cancel(call?: CallOptions): Promise<void> {
    return this.client.cancelJob(this.id, this.tenant, call);
  }

  /**
   * Runs a failed or cancelled job again.
   * @throws JobNotFoundError
   * @throws SiloFailedPreconditionError if it succeeded or is in progress.
   */
  restart(call?: CallOptions): Promise<void> {
    return this.client.restartJob(this.id, this.tenant, call);
  }

  /**
   * Makes a job that waits for its start or its retry due now.
   * @throws JobNotFoundError
   * @throws SiloFailedPreconditionError if it does not wait for a time.
   */
  expedite(call?: CallOptions): Promise<void> {
    return this.client.expediteJob(this.id, this.tenant, call);
  }

  /**
   * Deletes a finished job. Deleting an unknown job succeeds.
   * @throws SiloFailedPreconditionError if it is scheduled or running.
   */
  delete(call?: CallOptions): Promise<void> {
    return this.client.deleteJob(this.id, this.tenant, call);
  }

  /**
   * Waits for the job's end. A failed or cancelled job resolves too: `status` says which.
   *
   * The server is asked to wait, so the answer comes as the job ends; servers that cannot wait are
   * asked again every `pollIntervalMs`.
   * @throws JobNotFoundError
   * @throws SiloValidationError if the result is not what `resultSchema` asks for.
   * @throws SiloDeadlineExceededError when `timeoutMs` has passed; its `cause` is what the last try met.
   */
  async awaitResult<T = unknown>(options: AwaitJobOptions<T> = {}): Promise<JobResult<T>> {
    const { timeoutMs = 0, signal, resultSchema } = options;
    const pollIntervalMs = Number(durationMs(options.pollIntervalMs ?? 500, "pollIntervalMs"));
    const deadline = performance.now() + timeLimit(timeoutMs);
    for (;;) {
      const started = performance.now();
      const left = Math.max(0, deadline - started);
      const waitMs = Math.ceil(Math.min(RESULT_WAIT_MS, left));
      let cause: unknown;
      try {
        const limits = { waitMs, timeoutMs: left + ANSWER_MS, signal, resultSchema };
        return await this.client.getJobResult<T>(this.id, this.tenant, limits);
      } catch (error) {
        // A deadline of the call's own may be shorter than this wait.
        if (
          !(error instanceof JobNotTerminalError || error instanceof SiloDeadlineExceededError)
        ) {
          throw error;
        }
        cause = error;
      }
      const now = performance.now();
      if (now >= deadline) {
        const message = `Timeout waiting for job ${this.id} to complete after ${timeoutMs}ms`;
        throw withCause(new SiloDeadlineExceededError(message), cause);
      }
      // A server that waited has spent the interval already.
      await sleep(Math.max(0, Math.min(started + pollIntervalMs, deadline) - now), signal);
    }
  }
}

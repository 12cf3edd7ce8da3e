import { status as grpcStatus } from "@grpc/grpc-js";
import { RpcError } from "@protobuf-ts/runtime-rpc";
import { asError } from "../base/describe";
import { MAX_UINT32, wholeNumber } from "../checks/numbers";
import { restOf } from "../connection/call-limits";
import { Connection } from "../connection/connection";
import type { Invoke } from "../connection/connection";
import { checkClientOptions } from "../connection/options";
import type { SiloGRPCClientOptions } from "../connection/options";
import type { ShardInfoWithRange } from "../connection/topology";
import { errorFromStatus, isRetryable } from "../errors/error-mapping";
import {
  JobNotTerminalError,
  SiloAlreadyExistsError,
  SiloFailedPreconditionError,
  SiloProtocolError,
  TaskNotFoundError,
} from "../errors/errors";
import type { SiloUnavailableError } from "../errors/errors";
import type {
  EnqueueManyResult as EnqueueManyAnswer,
  EnqueueRequest,
  ImportJobRequest,
  ImportJobResult as ProtoImportJobResult,
  LeaseTasksResponse,
  Task as ProtoTask,
} from "../gen/silo";
import type {
  AwaitCancellationsOptions,
  CallOptions,
  CancelledTask,
  EnqueueJobOptions,
  EnqueueManyResult,
  GetJobOptions,
  GetJobResultOptions,
  HeartbeatResult,
  ImportJobOptions,
  ImportJobResult,
  Job,
  JobResult,
  JobStatus,
  LeaseTaskOptions,
  LeaseTasksOptions,
  LeaseTasksResult,
  QueryBindParameter,
  QueryResult,
  ReportOutcomeOptions,
  ReportOutcomesResult,
  ReportRefreshOutcomeOptions,
  ReturnTasksOptions,
  ReturnTasksResult,
} from "../jobs/types";
import { checkedResult, checkJobNames, checkPayload, refusedPayloads } from "../jobs/validation";
import { bytesOf } from "../wire/codec";
import {
  enqueueRequest,
  isFinal,
  jobFromProto,
  outcomeBytes,
  outcomeToProto,
  refreshTaskFromProto,
  resultFromProto,
} from "../wire/mapping";
import { jobStatusFromProto } from "../wire/statuses";
import { inCalls, mapLimited, MissingMethods, SINGLE_CALLS } from "./bulk";
import { BulkReports } from "./bulk-reports";
import { JobHandle } from "./handle";
import { groupByTenant, importBytes, importRequests, importResults, sortedOut } from "./import";
import type { TenantGroup } from "./import";
import { newJobId } from "./job-id";
import { queryParameter, queryResult } from "./query";

// Helpers that belong to this module for the rest of the package and its tests; index.ts keeps them in.
export { sleep } from "../base/sleep";
export type { LeaseTaskOptions } from "../jobs/types";
export { decodeBytes, encodeBytes, tolerantDecodeAttemptBytes } from "../wire/codec";

/** Jobs sent in one EnqueueMany call. */
const ENQUEUE_MANY_JOBS = 1000;

/** Whether the caller left the job's id to others. */
function lacksId(job: EnqueueJobOptions): boolean {
  return job.id === undefined || job.id === "";
}

/**
 * The message that enqueues a job. A job without an id gets one here and not at the server: sent
 * again after a call of unknown outcome, it is the same job and not a second one.
 */
function repeatableRequest(job: EnqueueJobOptions): EnqueueRequest {
  checkJobNames(job);
  return enqueueRequest(
    lacksId(job) ? { ...job, id: newJobId(), returnExisting: true } : job,
    "",
  );
}

/** One job of `enqueueMany`: its message, and its place in the caller's list. */
interface EnqueueItem {
  job: EnqueueJobOptions;
  request: EnqueueRequest;
  place: number;
}

/** The jobs of one tenant, each made when it is needed. One that cannot be made has failed. */
function* enqueueItems(
  { items, places }: TenantGroup<EnqueueJobOptions>,
  refused: ReadonlyMap<number, Error>,
  results: EnqueueManyResult[],
): Generator<EnqueueItem> {
  for (const [i, job] of items.entries()) {
    const place = places[i];
    const error = refused.get(place);
    if (error !== undefined) {
      results[place] = { error };
      continue;
    }
    let request: EnqueueRequest;
    try {
      request = repeatableRequest(job);
    } catch (error) {
      results[place] = { error: asError(error) };
      continue;
    }
    yield { job, request, place };
  }
}

/**
 * What an answer says of a job.
 * @returns undefined if it has to be sent again: its shard moved while the call was under way.
 */
function enqueued(
  { job, request }: EnqueueItem,
  answer: EnqueueManyAnswer | undefined,
): EnqueueManyResult | undefined {
  if (answer === undefined) {
    return { error: new SiloProtocolError(`No result returned from server for job ${request.id}`) };
  }
  if (answer.code === 0) {
    return { id: answer.id };
  }
  const code = grpcStatus[answer.code] ?? "UNKNOWN";
  if (isRetryable(new RpcError(answer.message, code))) {
    return undefined;
  }
  const error = errorFromStatus(code, answer.message, { jobId: job.id, tenant: job.tenant });
  const isOurs = lacksId(job) && error instanceof SiloAlreadyExistsError;
  return isOurs ? { id: request.id } : { error };
}

/** Bytes of a job on the wire, roughly. */
function enqueueBytes({ payload, metadata }: EnqueueRequest): number {
  const labels = Object.entries(metadata).map(([key, value]) => key.length + value.length);
  return labels.reduce((sum, bytes) => sum + bytes, 256 + (bytesOf(payload)?.length ?? 0));
}

function sumOf<T>(items: readonly T[], bytesOfOne: (item: T) => number): number {
  return items.reduce((sum, item) => sum + bytesOfOne(item), 0);
}

/**
 * A client of a Silo cluster.
 *
 * Calls that name a tenant (or none, while tenancy is off) go to the server of the tenant's shard.
 * A call that meets the wrong server, or none, is sent again until its deadline, or for its number
 * of retries (see `ShardRoutingConfig`). `timeoutMs` and `signal` of each call end it. The first
 * try may have taken effect too. An enqueue makes one job all the same; other changes, and an
 * enqueue with an `id` and no `returnExisting`, may then be refused because they were made already.
 *
 * Every method rejects with a `SiloError`, after `close()` too: `JobNotFoundError` if the tenant
 * has no such job, `SiloUnavailableError` and `SiloDeadlineExceededError` after all retries,
 * `SiloUnauthenticatedError` without a good token, `SiloInvalidArgumentError` for a bad field, or
 * what its own comment says.
 */
export class SiloGRPCClient {
  private readonly connection: Connection;
  private readonly missing = new MissingMethods();
  private readonly bulkReports: BulkReports;

  /**
   * Makes channels that connect when first used; nothing is sent.
   * @throws InvalidOptionError for options that cannot be meant, or files that cannot be read.
   */
  constructor(options: SiloGRPCClientOptions = {}) {
    checkClientOptions(options);
    this.connection = new Connection(options);
    this.bulkReports = new BulkReports(this.connection, this.missing, (outcome, call) =>
      this.reportOutcome(outcome, call),
    );
  }

  /** Closes all channels without waiting for calls in flight. May be called again. */
  close(): void {
    this.connection.close();
  }

  /**
   * Reads anew which server owns which shard.
   * @throws SiloUnavailableError if no known server answers.
   */
  refreshTopology(call: CallOptions = {}): Promise<void> {
    return this.connection.refreshTopology(call);
  }

  /** Copies of what is known of the shards; empty before the first tenant's call. */
  getTopology(): {
    /** The server's address for each shard id. */
    shardToServer: Map<string, string>;
    /** The shards in the order of their ranges. */
    shards: ShardInfoWithRange[];
  } {
    return this.connection.topology.snapshot();
  }

  /**
   * The id of a tenant's shard.
   * @throws SiloUnroutableError before the topology is known, or if it has a gap there.
   */
  getShardForTenant(tenant: string): string {
    return this.connection.shardOfTenant(tenant);
  }

  /** @internal Aborts when the client is closed. */
  get closed(): AbortSignal {
    return this.connection.closed;
  }

  /** @internal Addresses of the servers that `leaseTasks` can ask. */
  get servers(): string[] {
    return this.connection.servers;
  }

  /**
   * @internal Keeps the topology up to date until let go.
   * @param listener hears of each change.
   */
  followTopology(listener: () => void): () => void {
    const callOff = this.connection.topology.changes.listen(listener);
    const letGo = this.connection.followTopology();
    return () => {
      callOff();
      letGo();
    };
  }

  /** A handle on a job, existing or not. Nothing is sent. */
  handle(id: string, tenant?: string): JobHandle {
    return new JobHandle(this, id, tenant);
  }

  /**
   * Stores a job. When this resolves the job is durable.
   * @throws JobAlreadyExistsError if the tenant has a job with this `id` (see `returnExisting`).
   * @throws InvalidOptionError, SiloValidationError for what cannot be meant; nothing was sent.
   */
  async enqueue<Payload = unknown>(
    options: EnqueueJobOptions<Payload>,
    call: CallOptions = {},
  ): Promise<JobHandle> {
    const { tenant, payloadSchema } = options;
    let left = call;
    if (payloadSchema !== undefined) {
      const rest = restOf(call);
      await this.validate("enqueue", call, () => checkPayload(options));
      left = rest();
    }
    // Made once, so that a retry sends the same job.
    const request = repeatableRequest(options);
    return this.handle(await this.store(options, request, left), tenant);
  }

  /** @returns the job's id. */
  private async store(
    job: EnqueueJobOptions<any>,
    request: EnqueueRequest,
    call: CallOptions,
  ): Promise<string> {
    const { id: jobId, tenant } = job;
    try {
      const { id } = await this.connection.tenantCall(
        tenant,
        { ...call, operation: "enqueue", jobId, tenant, requestBytes: enqueueBytes(request) },
        (stub, rpc, shard) => stub.enqueue({ ...request, shard }, rpc).response,
      );
      return id;
    } catch (error) {
      // An older server does not know returnExisting: an id made here is there because an earlier
      // try was heard.
      if (lacksId(job) && error instanceof SiloAlreadyExistsError) {
        return request.id;
      }
      throw error;
    }
  }

  /**
   * Stores many jobs with few calls. Each job succeeds or fails alone; results come in the order
   * of the jobs. Falls back on single calls where the server knows no better.
   * @throws only if a whole call fails after its retries, for example because no server can be
   *     reached; which jobs were stored is then unknown, so give them ids and `returnExisting` to
   *     repeat it safely.
   */
  async enqueueMany(
    jobs: EnqueueJobOptions[],
    call: CallOptions = {},
  ): Promise<EnqueueManyResult[]> {
    const rest = restOf(call);
    const results = new Array<EnqueueManyResult>(jobs.length);
    const refused = await this.refusedPayloads("enqueueMany", rest(), jobs);
    for (const group of groupByTenant(jobs)) {
      const sizeOf = ({ request }: EnqueueItem) => enqueueBytes(request);
      for (const part of inCalls(enqueueItems(group, refused, results), ENQUEUE_MANY_JOBS, sizeOf)) {
        (await this.enqueuePart(group.tenant, part, rest())).forEach((answer, i) => {
          results[part[i].place] = answer;
        });
      }
    }
    return results;
  }

  /** Lets the caller's validator take no longer than the call that it belongs to. */
  private validate<T>(operation: string, call: CallOptions, work: () => Promise<T>): Promise<T> {
    return this.connection.localWork({ ...call, operation }, "its validator has not answered", work);
  }

  /** Why the payloads of jobs are refused, by their places in the list. */
  private refusedPayloads(
    operation: string,
    call: CallOptions,
    jobs: readonly EnqueueJobOptions[],
  ): Promise<Map<number, Error>> {
    return jobs.some(({ payloadSchema }) => payloadSchema !== undefined)
      ? this.validate(operation, call, () => refusedPayloads(jobs))
      : Promise.resolve(new Map());
  }

  private async enqueuePart(
    tenant: string | undefined,
    items: EnqueueItem[],
    call: CallOptions,
  ): Promise<EnqueueManyResult[]> {
    const requests = items.map(({ request }) => request);
    const answers = await this.connection.tenantCall(
      tenant,
      { ...call, operation: "enqueueMany", tenant, requestBytes: sumOf(requests, enqueueBytes) },
      (stub, rpc, shard, address) =>
        this.missing.attempt(
          address,
          "enqueueMany",
          async () => (await stub.enqueueMany({ shard, jobs: requests }, rpc).response).results,
        ),
    );
    if (answers === undefined) {
      return mapLimited(items, SINGLE_CALLS, (item) => this.storeAlone(item, call));
    }
    const results = items.map((item, i) => enqueued(item, answers.at(i)));
    const open = [...results.keys()].filter((i) => results[i] === undefined);
    await mapLimited(open, SINGLE_CALLS, async (i) => {
      results[i] = await this.storeAlone(items[i], call);
    });
    return results as EnqueueManyResult[];
  }

  private async storeAlone(
    { job, request }: EnqueueItem,
    call: CallOptions,
  ): Promise<EnqueueManyResult> {
    try {
      return { id: await this.store(job, request, call) };
    } catch (error) {
      return { error: error as Error };
    }
  }

  /**
   * Stores jobs with their history, one call for each tenant, one after another. Each job succeeds
   * or fails alone; results come in the order of the jobs. When a call had to be sent again, jobs
   * that the first try stored come back as not imported: there is no new attempt in them.
   * @throws if a tenant's call fails; the tenants before it have been imported.
   */
  async importJobs(
    jobs: ImportJobOptions[],
    call: CallOptions = {},
  ): Promise<ImportJobResult[]> {
    const rest = restOf(call);
    const results = new Array<ImportJobResult>(jobs.length);
    const refused = await this.refusedPayloads("importJobs", rest(), jobs);
    for (const { tenant, items, places } of groupByTenant(jobs)) {
      const made = importRequests(items).map((request, i) => refused.get(places[i]) ?? request);
      const requests = made.filter(
        (request): request is ImportJobRequest => !(request instanceof Error),
      );
      const answers = requests.length === 0 ? [] : await this.importPart(tenant, requests, rest());
      importResults(items, made, answers).forEach((result, i) => {
        results[places[i]] = result;
      });
    }
    return results;
  }

  private async importPart(
    tenant: string | undefined,
    requests: ImportJobRequest[],
    call: CallOptions,
  ): Promise<ProtoImportJobResult[]> {
    const results: ProtoImportJobResult[] = [];
    let left = requests;
    await this.connection.tenantCall(
      tenant,
      { ...call, operation: "importJobs", requestBytes: sumOf(requests, importBytes) },
      async (stub, rpc, shard) => {
        const jobs = left.map((job) => ({ ...job, shard }));
        const answer = await stub.importJobs({ jobs }, rpc).response;
        const { settled, again, error } = sortedOut(answer.results, left);
        results.push(...settled);
        left = again;
        if (error !== undefined) {
          throw error;
        }
      },
    );
    return results;
  }

  /**
   * Reads a job. An answer holds at most 128 MiB: a job whose payload and results are more than
   * that together is read with `omitPayload` or `omitResults`.
   * @throws JobNotFoundError
   * @throws Error if the payload is not MessagePack.
   */
  async getJob<Payload = unknown, Result = unknown>(
    id: string,
    tenant?: string,
    options: GetJobOptions = {},
  ): Promise<Job<Payload, Result>> {
    const { includeAttempts = false, omitPayload = false, omitResults = false } = options;
    const { timeoutMs, signal } = options;
    const request = { id, tenant, includeAttempts, omitPayload, omitResults };
    const response = await this.connection.tenantCall(
      tenant,
      { operation: "getJob", jobId: id, tenant, timeoutMs, signal },
      (stub, rpc, shard) => stub.getJob({ ...request, shard }, rpc).response,
    );
    return jobFromProto<Payload, Result>(response);
  }

  /** Reads a job's status, without its payload and result. @throws JobNotFoundError */
  async getJobStatus(id: string, tenant?: string, call: CallOptions = {}): Promise<JobStatus> {
    const parts = { includeAttempts: false, omitPayload: true, omitResults: true };
    const response = await this.connection.tenantCall(
      tenant,
      { ...call, operation: "getJobStatus", jobId: id, tenant },
      (stub, rpc, shard) => stub.getJob({ shard, id, tenant, ...parts }, rpc).response,
    );
    return jobStatusFromProto(response.status);
  }

  /**
   * Reads how a job ended.
   * @throws JobNotFoundError
   * @throws JobNotTerminalError if it has not ended, not even after `waitMs`.
   * @throws SiloValidationError if the result is not what `resultSchema` asks for.
   */
  async getJobResult<T = unknown>(
    id: string,
    tenant?: string,
    options: GetJobResultOptions<T> = {},
  ): Promise<JobResult<T>> {
    const { timeoutMs, signal, resultSchema } = options;
    const waitMs = wholeNumber(options.waitMs ?? 0, "waitMs", 0, MAX_UINT32);
    const rest = restOf({ timeoutMs, signal });
    try {
      const response = await this.connection.tenantCall(
        tenant,
        { ...rest(), operation: "getJobResult", jobId: id, tenant, waitMs },
        (stub, rpc, shard) => stub.getJobResult({ shard, id, tenant, waitMs }, rpc).response,
      );
      const ended = resultFromProto<T>(response, id, tenant);
      return resultSchema === undefined
        ? ended
        : await this.validate("getJobResult", rest(), () => checkedResult(ended, resultSchema));
    } catch (error) {
      if (!(error instanceof SiloFailedPreconditionError)) {
        throw error;
      }
      const status = await this.getJobStatus(id, tenant, rest()).catch(() => undefined);
      throw new JobNotTerminalError(id, tenant, status);
    }
  }

  /**
   * Deletes a finished job. Deleting an unknown job succeeds.
   * @throws SiloFailedPreconditionError if it is scheduled or running.
   */
  async deleteJob(id: string, tenant?: string, call: CallOptions = {}): Promise<void> {
    await this.connection.tenantCall(
      tenant,
      { ...call, operation: "deleteJob", jobId: id, tenant },
      (stub, rpc, shard) => stub.deleteJob({ shard, id, tenant }, rpc).response,
    );
  }

  /**
   * Cancels a job: at once if it is scheduled, else its worker is told and its handler's
   * `cancellationSignal` aborts.
   * @throws JobNotFoundError
   * @throws SiloFailedPreconditionError if it is cancelled or finished already.
   */
  async cancelJob(id: string, tenant?: string, call: CallOptions = {}): Promise<void> {
    await this.connection.tenantCall(
      tenant,
      { ...call, operation: "cancelJob", jobId: id, tenant },
      (stub, rpc, shard) => stub.cancelJob({ shard, id, tenant }, rpc).response,
    );
  }

  /**
   * Runs a failed or cancelled job again with its full number of retries.
   * @throws JobNotFoundError
   * @throws SiloFailedPreconditionError if it succeeded or is in progress.
   */
  async restartJob(id: string, tenant?: string, call: CallOptions = {}): Promise<void> {
    await this.connection.tenantCall(
      tenant,
      { ...call, operation: "restartJob", jobId: id, tenant },
      (stub, rpc, shard) => stub.restartJob({ shard, id, tenant }, rpc).response,
    );
  }

  /**
   * Makes a job that waits for its start or its retry due now.
   * @throws JobNotFoundError
   * @throws SiloFailedPreconditionError if it does not wait for a time.
   */
  async expediteJob(id: string, tenant?: string, call: CallOptions = {}): Promise<void> {
    await this.connection.tenantCall(
      tenant,
      { ...call, operation: "expediteJob", jobId: id, tenant },
      (stub, rpc, shard) => stub.expediteJob({ shard, id, tenant }, rpc).response,
    );
  }

  /**
   * Leases the task of one job, whatever its start. For tests.
   * @returns the task as it came over the wire.
   * @throws JobNotFoundError
   * @throws SiloFailedPreconditionError if it is running or finished.
   */
  async leaseTask(options: LeaseTaskOptions): Promise<ProtoTask> {
    const { id, workerId, tenant, timeoutMs, signal } = options;
    const { task } = await this.connection.tenantCall(
      tenant,
      { operation: "leaseTask", jobId: id, tenant, timeoutMs, signal },
      (stub, rpc, shard) => stub.leaseTask({ shard, id, tenant, workerId }, rpc).response,
    );
    if (task === undefined) {
      throw new SiloProtocolError("leaseTask response missing task");
    }
    return task;
  }

  /**
   * Leases due tasks of a task group from one server. Each must be reported, or kept by
   * heartbeats, before its lease ends. `SiloWorker` does all that.
   * @param server which known server to ask: its address, or a number, modulo how many there are;
   *     default: each in turn.
   * @param onUnreachable hears of each try that found no connection, while others follow.
   */
  async leaseTasks(
    options: LeaseTasksOptions,
    server?: number | string,
    onUnreachable?: (error: SiloUnavailableError) => void,
  ): Promise<LeaseTasksResult> {
    const { shard, workerId, taskGroup, timeoutMs, signal } = options;
    const maxTasks = wholeNumber(options.maxTasks, "maxTasks", 0, MAX_UINT32);
    const waitMs = wholeNumber(options.waitMs ?? 0, "waitMs", 0, MAX_UINT32);
    const request = { shard, workerId, maxTasks, taskGroup, waitMs };
    const limits = { timeoutMs, signal, waitMs };
    const info = { ...limits, operation: "leaseTasks", isPoll: true, onUnreachable };
    const invoke: Invoke<LeaseTasksResponse> = (stub, rpc) =>
      stub.leaseTasks(request, rpc).response;
    const response = await (shard === undefined
      ? this.connection.anyCall(server, info, invoke)
      : this.connection.shardCall(shard, info, invoke));
    return {
      tasks: response.tasks,
      refreshTasks: response.refreshTasks.map(refreshTaskFromProto),
    };
  }

  /**
   * Reports how an attempt ended.
   * @throws TaskNotFoundError if the task is not leased any more.
   */
  async reportOutcome<Result = unknown>(
    options: ReportOutcomeOptions<Result>,
    call: CallOptions = {},
  ): Promise<void> {
    const { taskId, shard, tenant: tenantId } = options;
    const outcome = outcomeToProto(options.outcome);
    const noRetry = isFinal(options.outcome);
    const requestBytes = outcomeBytes(outcome);
    let tries = 0;
    try {
      await this.connection.shardCall(
        shard,
        { ...call, operation: "reportOutcome", taskId, tenant: tenantId, requestBytes },
        (stub, rpc) => {
          tries++;
          return stub.reportOutcome({ shard, taskId, outcome, tenantId, noRetry }, rpc).response;
        },
      );
    } catch (error) {
      const isRepeated = tries > 1 && error instanceof TaskNotFoundError;
      throw isRepeated ? new TaskNotFoundError(taskId, error.grpcMessage, true) : error;
    }
  }

  /**
   * Gives leased tasks back that were not begun: they stand where they stood before the lease.
   * Each task succeeds or fails alone; results come in the order of the tasks.
   * @throws SiloGrpcError with the code UNIMPLEMENTED from servers that know no better.
   */
  async returnTasks(
    options: ReturnTasksOptions,
    call: CallOptions = {},
  ): Promise<ReturnTasksResult[]> {
    const { shard, workerId } = options;
    const tasks = options.tasks.map(({ taskId, tenant: tenantId }) => ({ taskId, tenantId }));
    const { results } = await this.connection.shardCall(
      shard,
      { ...call, operation: "returnTasks" },
      (stub, rpc) => stub.returnTasks({ shard, workerId, tasks }, rpc).response,
    );
    return tasks.map(({ taskId, tenantId: tenant }, i) => {
      const { code, message } = results[i] ?? { code: grpcStatus.INTERNAL, message: "no result" };
      const subject = { taskId, tenant };
      return code === 0 ? {} : { error: errorFromStatus(grpcStatus[code], message, subject) };
    });
  }

  /**
   * Reports how many attempts ended, with few calls: one for each shard and 256 outcomes. Each
   * report succeeds or fails alone, with the error that `reportOutcome` would throw; results come
   * in the order of the outcomes. Falls back on single calls where the server knows no better.
   *
   * Never rejects: when a whole call fails its error is that of each of its outcomes. Whether
   * those were recorded may then be unknown; one that is reported again, and was recorded, fails
   * with `TaskNotFoundError`.
   */
  reportOutcomes(
    outcomes: ReportOutcomeOptions[],
    call: CallOptions = {},
  ): Promise<ReportOutcomesResult[]> {
    return this.bulkReports.report(outcomes, call);
  }

  /**
   * Reports the new maximum of a floating limit, or why there is none.
   * @throws TaskNotFoundError if the task is not leased any more.
   */
  async reportRefreshOutcome(
    options: ReportRefreshOutcomeOptions,
    call: CallOptions = {},
  ): Promise<void> {
    const { taskId, shard, tenant: tenantId } = options;
    const given = options.outcome;
    const outcome =
      given.type === "success"
        ? {
            oneofKind: "success" as const,
            success: { newMaxConcurrency: given.newMaxConcurrency },
          }
        : {
            oneofKind: "failure" as const,
            failure: { code: given.code, message: given.message },
          };
    await this.connection.shardCall(
      shard,
      { ...call, operation: "reportRefreshOutcome", taskId, tenant: tenantId },
      (stub, rpc) => stub.reportRefreshOutcome({ shard, taskId, outcome, tenantId }, rpc).response,
    );
  }

  /**
   * Renews a task's lease and tells whether its job was cancelled.
   * @param shard the task's shard.
   * @throws TaskNotFoundError if the task is not leased any more.
   * @throws SiloFailedPreconditionError if another worker holds it.
   */
  async heartbeat(
    workerId: string,
    taskId: string,
    shard: string,
    tenant?: string,
    call: CallOptions = {},
  ): Promise<HeartbeatResult> {
    const { cancelled, cancelledAtMs } = await this.connection.shardCall(
      shard,
      { ...call, operation: "heartbeat", taskId, tenant },
      (stub, rpc) => stub.heartbeat({ shard, workerId, taskId, tenantId: tenant }, rpc).response,
    );
    return { cancelled, cancelledAtMs };
  }

  /**
   * Tells which tasks of a worker in a shard belong to cancelled jobs, and waits for one if there
   * is none. Renews no lease. `SiloWorker` calls it for the tasks it runs.
   * @throws SiloGrpcError with the code UNIMPLEMENTED from servers that know no better; heartbeats
   *     tell the same.
   */
  async awaitCancellations(options: AwaitCancellationsOptions): Promise<CancelledTask[]> {
    const { shard, workerId, knownTaskIds = [], timeoutMs, signal } = options;
    const waitMs = wholeNumber(options.waitMs ?? 0, "waitMs", 0, MAX_UINT32);
    const { tasks } = await this.connection.shardCall(
      shard,
      { operation: "awaitCancellations", timeoutMs, signal, waitMs },
      (stub, rpc) =>
        stub.awaitCancellations({ shard, workerId, knownTaskIds, waitMs }, rpc).response,
    );
    return tasks;
  }

  /**
   * Runs a SQL statement on the tenant's shard. It sees all tenants of that shard.
   * @param parameters the values of `$1`, `$2`, ...
   * @throws SiloInvalidArgumentError for a bad statement.
   * @throws SiloResourceExhaustedError, SiloDeadlineExceededError at the server's limits.
   */
  async query<Row = Record<string, unknown>>(
    sql: string,
    tenant?: string,
    parameters: QueryBindParameter[] = [],
    call: CallOptions = {},
  ): Promise<QueryResult<Row>> {
    const values = parameters.map(queryParameter);
    const response = await this.connection.tenantCall(
      tenant,
      { ...call, operation: "query" },
      (stub, rpc, shard) => stub.query({ shard, sql, tenant, parameters: values }, rpc).response,
    );
    return queryResult<Row>(response);
  }

  /**
   * Empties all shards of all known servers. Development mode only.
   * @throws SiloPermissionDeniedError outside development mode.
   */
  resetShards(call: CallOptions = {}): Promise<void> {
    return this.connection.callOwners({ ...call, operation: "resetShards" }, async (stub, rpc) => {
      await stub.resetShards({}, rpc).response;
    });
  }
}

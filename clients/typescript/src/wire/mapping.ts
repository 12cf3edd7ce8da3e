// Between the messages of silo.v1 and the public types.
import { instantMs, wholeNumber } from "../checks/numbers";
import { checkLabels, checkTextMember } from "../checks/texts";
import { JobNotTerminalError } from "../errors/errors";
import type {
  EnqueueRequest,
  GetJobResponse,
  GetJobResultResponse,
  JobAttempt as ProtoJobAttempt,
  RefreshFloatingLimitTask,
  ReportOutcomeRequest,
} from "../gen/silo";
import { pendingFromProto } from "../jobs/pending";
import { retryPolicyToProto } from "../jobs/retry-policy";
import { JobStatus } from "../jobs/types";
import type {
  EnqueueJobOptions,
  Job,
  JobAttempt,
  JobResult,
  RefreshTask,
  ReportOutcomeOptions,
} from "../jobs/types";
import { bytesOf, decodeBytes, serialize, tolerantDecodeAttemptBytes } from "./codec";
import { limitsFromProto, limitsToProto } from "./limits";
import { attemptStatusFromProto, jobStatusFromProto } from "./statuses";

const DEFAULT_PRIORITY = 50;
/** The least urgent. */
const LAST_PRIORITY = 99;

/**
 * Refuses a job with a text that is none, or would be stored as another one, as UTF-8 has no lone
 * surrogates.
 * @throws InvalidOptionError, ValueNotEncodableError
 */
export function checkTexts(job: Partial<EnqueueJobOptions>): void {
  checkTextMember(job.id, "id");
  checkTextMember(job.tenant, "tenant");
  checkTextMember(job.taskGroup, "taskGroup");
  checkLabels(job.metadata, "metadata");
}

/** What jobs to enqueue and to import have in common of numbers. @throws InvalidOptionError */
export function timesAndPolicy({
  priority = DEFAULT_PRIORITY,
  startAtMs = 0n,
  retryPolicy,
}: Partial<EnqueueJobOptions>) {
  return {
    priority: wholeNumber(priority, "priority", 0, LAST_PRIORITY),
    // 0 means now by the server's clock: this machine's may be wrong.
    startAtMs: instantMs(startAtMs, "startAtMs"),
    retryPolicy: retryPolicy && retryPolicyToProto(retryPolicy),
  };
}

/** The message of an enqueue call. @param shard "" where the shard stands beside it. */
export function enqueueRequest(job: EnqueueJobOptions, shard: string): EnqueueRequest {
  checkTexts(job);
  return {
    shard,
    id: job.id ?? "",
    ...timesAndPolicy(job),
    payload: serialize(job.payload),
    limits: limitsToProto(job.limits),
    tenant: job.tenant,
    metadata: job.metadata ?? {},
    taskGroup: job.taskGroup,
    returnExisting: job.returnExisting ?? false,
  };
}

function attemptFromProto<Result>(attempt: ProtoJobAttempt): JobAttempt<Result> {
  return {
    jobId: attempt.jobId,
    attemptNumber: attempt.attemptNumber,
    taskId: attempt.taskId,
    status: attemptStatusFromProto(attempt.status),
    startedAtMs: attempt.startedAtMs,
    finishedAtMs: attempt.finishedAtMs,
    result: tolerantDecodeAttemptBytes<Result>(bytesOf(attempt.result), "result"),
    errorCode: attempt.errorCode,
    errorData: tolerantDecodeAttemptBytes(bytesOf(attempt.errorData), "errorData"),
    dataOmitted: attempt.dataOmitted,
  };
}

/** The payload of a job, unless it was left out. A payload that was not is never absent. */
function payloadFromProto<Payload>(job: GetJobResponse): Payload {
  return job.payloadOmitted
    ? (undefined as Payload)
    : decodeBytes<Payload>(bytesOf(job.payload), "payload");
}

/** A job from the wire. @throws Error if its payload cannot be decoded. */
export function jobFromProto<Payload, Result>(job: GetJobResponse): Job<Payload, Result> {
  return {
    id: job.id,
    priority: job.priority,
    enqueueTimeMs: job.enqueueTimeMs,
    payload: payloadFromProto<Payload>(job),
    payloadOmitted: job.payloadOmitted,
    retryPolicy: job.retryPolicy,
    limits: limitsFromProto(job.limits),
    metadata: job.metadata,
    status: jobStatusFromProto(job.status),
    statusChangedAtMs: job.statusChangedAtMs,
    attempts: job.attempts.length > 0 ? job.attempts.map(attemptFromProto<Result>) : undefined,
    nextAttemptStartsAfterMs: job.nextAttemptStartsAfterMs,
    taskGroup: job.taskGroup,
    result: tolerantDecodeAttemptBytes<Result>(bytesOf(job.result), "result"),
    resultOmitted: job.resultOmitted,
    pending: pendingFromProto(job.pending),
    cancelRequestedAtMs: job.cancelRequestedAtMs,
  };
}

/** A result from the wire. @throws JobNotTerminalError if the status is not a final one. */
export function resultFromProto<T>(
  response: GetJobResultResponse,
  id: string,
  tenant: string | undefined,
): JobResult<T> {
  const status = jobStatusFromProto(response.status);
  const { result } = response;
  switch (status) {
    case JobStatus.Succeeded: {
      const data = result.oneofKind === "successData" ? result.successData : undefined;
      return { status, result: tolerantDecodeAttemptBytes<T>(bytesOf(data), "result") as T };
    }
    case JobStatus.Failed: {
      const failure = result.oneofKind === "failure" ? result.failure : undefined;
      const errorData = tolerantDecodeAttemptBytes(bytesOf(failure?.errorData), "errorData");
      return { status, errorCode: failure?.errorCode ?? "", errorData };
    }
    case JobStatus.Cancelled:
      return { status };
    default:
      throw new JobNotTerminalError(id, tenant, status);
  }
}

/** The outcome part of a report. */
export function outcomeToProto(
  outcome: ReportOutcomeOptions["outcome"],
): ReportOutcomeRequest["outcome"] {
  switch (outcome.type) {
    case "success":
      return { oneofKind: "success", success: serialize(outcome.result) };
    case "failure": {
      // Bytes are taken as encoded already.
      const data: unknown = outcome.data;
      const encoded =
        data instanceof Uint8Array
          ? { encoding: { oneofKind: "msgpack" as const, msgpack: data } }
          : serialize(data);
      return { oneofKind: "failure", failure: { code: outcome.code, data: encoded } };
    }
    default:
      return { oneofKind: "cancelled", cancelled: {} };
  }
}

/** Whether the job fails with this outcome, whatever retries it has left. */
export function isFinal(outcome: ReportOutcomeOptions["outcome"]): boolean {
  return outcome.type === "failure" && outcome.retry === false;
}

/** Bytes of an outcome's data. */
export function outcomeBytes(outcome: ReportOutcomeRequest["outcome"]): number {
  switch (outcome.oneofKind) {
    case "success":
      return bytesOf(outcome.success)?.length ?? 0;
    case "failure":
      return bytesOf(outcome.failure.data)?.length ?? 0;
    default:
      return 0;
  }
}

/** A refresh task from the wire. */
export function refreshTaskFromProto(task: RefreshFloatingLimitTask): RefreshTask {
  const { tenantId, ...rest } = task;
  return { ...rest, tenant: tenantId };
}

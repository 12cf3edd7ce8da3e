import { RpcError } from "@protobuf-ts/runtime-rpc";
import { asError } from "../base/describe";
import { instantMs } from "../checks/numbers";
import type { ImportJobRequest, ImportJobResult as ProtoImportJobResult } from "../gen/silo";
import { JobStatus } from "../jobs/types";
import type { ImportAttemptOptions, ImportJobOptions, ImportJobResult } from "../jobs/types";
import { bytesOf, serialize } from "../wire/codec";
import { limitsToProto } from "../wire/limits";
import {
  checkTexts,
  timesAndPolicy,
} from "../wire/mapping";
import { attemptStatusToProto, jobStatusFromProto } from "../wire/statuses";

/** Jobs of one tenant with their places in the caller's list. */
export interface TenantGroup<T> {
  tenant: string | undefined;
  items: T[];
  places: number[];
}

/** Splits a list by tenant, in order of first appearance. */
export function groupByTenant<T extends { tenant?: string }>(
  items: readonly T[],
): TenantGroup<T>[] {
  const groups = new Map<string | undefined, TenantGroup<T>>();
  items.forEach((item, place) => {
    let group = groups.get(item.tenant);
    if (group === undefined) {
      group = { tenant: item.tenant, items: [], places: [] };
      groups.set(item.tenant, group);
    }
    group.items.push(item);
    group.places.push(place);
  });
  return [...groups.values()];
}

function importAttempt(attempt: ImportAttemptOptions, i: number) {
  const place = `attempts[${i}]`;
  return {
    status: attemptStatusToProto(attempt.status),
    startedAtMs: instantMs(attempt.startedAtMs, `${place}.startedAtMs`),
    finishedAtMs: instantMs(attempt.finishedAtMs, `${place}.finishedAtMs`),
    result: attempt.result === undefined ? undefined : serialize(attempt.result),
    errorCode: attempt.errorCode,
    errorData: attempt.errorData === undefined ? undefined : serialize(attempt.errorData),
  };
}

/** The message of one job to import. */
function importJobRequest(job: ImportJobOptions, shard: string): ImportJobRequest {
  checkTexts(job);
  return {
    shard,
    id: job.id,
    ...timesAndPolicy(job),
    enqueueTimeMs: instantMs(job.enqueueTimeMs ?? 0n, "enqueueTimeMs"),
    payload: serialize(job.payload),
    limits: limitsToProto(job.limits),
    tenant: job.tenant,
    metadata: job.metadata ?? {},
    taskGroup: job.taskGroup,
    attempts: (job.attempts ?? []).map(importAttempt),
  };
}

/** Bytes of a job to import on the wire, roughly. */
export function importBytes({ payload, attempts }: ImportJobRequest): number {
  return attempts.reduce(
    (sum, { result, errorData }) =>
      sum + 64 + (bytesOf(result)?.length ?? 0) + (bytesOf(errorData)?.length ?? 0),
    256 + (bytesOf(payload)?.length ?? 0),
  );
}

/** The messages of jobs to import, or why one cannot be made. */
export function importRequests(jobs: readonly ImportJobOptions[]): (ImportJobRequest | Error)[] {
  return jobs.map((job) => {
    try {
      return importJobRequest(job, "");
    } catch (error) {
      return asError(error);
    }
  });
}

/**
 * What became of jobs, and which of them are to be sent again, as each was refused because the
 * shard is elsewhere or on its way: an import says that of each job alone.
 */
export function sortedOut(
  results: readonly ProtoImportJobResult[],
  sent: readonly ImportJobRequest[],
): { settled: ProtoImportJobResult[]; again: ImportJobRequest[]; error?: RpcError } {
  const isAway = ({ success, error = "" }: ProtoImportJobResult) =>
    !success && /^shard (not found|not ready|is temporarily unavailable)/.test(error);
  const away = results.filter(isAway);
  if (away.length === 0) {
    return { settled: [...results], again: [] };
  }
  const ids = new Set(away.map(({ id }) => id));
  const message = away[0].error ?? "";
  const code = message.startsWith("shard not found") ? "NOT_FOUND" : "UNAVAILABLE";
  return {
    settled: results.filter((result) => !isAway(result)),
    again: sent.filter(({ id }) => ids.has(id)),
    error: new RpcError(message, code),
  };
}

/**
 * The results of one group in the order of its jobs; jobs that were not sent, or that the server
 * left out, have failed.
 */
export function importResults(
  jobs: readonly ImportJobOptions[],
  made: readonly (ImportJobRequest | Error)[],
  results: readonly ProtoImportJobResult[],
): ImportJobResult[] {
  const byId = new Map<string, ProtoImportJobResult[]>();
  for (const result of results) {
    const same = byId.get(result.id);
    if (same === undefined) {
      byId.set(result.id, [result]);
    } else {
      same.push(result);
    }
  }
  return jobs.map(({ id }, i) => {
    const request = made[i];
    if (request instanceof Error) {
      return { id, success: false, error: request.message, status: JobStatus.Failed };
    }
    const result = byId.get(id)?.shift();
    if (result === undefined) {
      const error = `No result returned from server for job ${id}`;
      return { id, success: false, error, status: JobStatus.Scheduled };
    }
    const { success, error, status } = result;
    return { id, success, error, status: jobStatusFromProto(status) };
  });
}

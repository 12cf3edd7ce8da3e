// How jobs and attempts stand: the numbers of silo.v1 and the names that callers see.
import { AttemptStatus, JobStatus } from "../base/job-status";
import { InvalidOptionError, SiloProtocolError } from "../errors/errors";
import { AttemptStatus as ProtoAttemptStatus, JobStatus as ProtoJobStatus } from "../gen/silo";

const JOB_STATUSES: ReadonlyMap<ProtoJobStatus, JobStatus> = new Map([
  [ProtoJobStatus.SCHEDULED, JobStatus.Scheduled],
  [ProtoJobStatus.RUNNING, JobStatus.Running],
  [ProtoJobStatus.SUCCEEDED, JobStatus.Succeeded],
  [ProtoJobStatus.FAILED, JobStatus.Failed],
  [ProtoJobStatus.CANCELLED, JobStatus.Cancelled],
]);

const ATTEMPT_STATUSES: ReadonlyMap<ProtoAttemptStatus, AttemptStatus> = new Map([
  [ProtoAttemptStatus.RUNNING, AttemptStatus.Running],
  [ProtoAttemptStatus.SUCCEEDED, AttemptStatus.Succeeded],
  [ProtoAttemptStatus.FAILED, AttemptStatus.Failed],
  [ProtoAttemptStatus.CANCELLED, AttemptStatus.Cancelled],
]);

const ATTEMPT_NUMBERS = new Map([...ATTEMPT_STATUSES].map(([number, name]) => [name, number]));

/** @throws SiloProtocolError for a status this package does not know. */
export function jobStatusFromProto(status: ProtoJobStatus): JobStatus {
  const name = JOB_STATUSES.get(status);
  if (name === undefined) {
    throw new SiloProtocolError(`Unknown job status: ${String(status)}`);
  }
  return name;
}

/** @throws SiloProtocolError for a status this package does not know. */
export function attemptStatusFromProto(status: ProtoAttemptStatus): AttemptStatus {
  const name = ATTEMPT_STATUSES.get(status);
  if (name === undefined) {
    throw new SiloProtocolError(`Unknown attempt status: ${String(status)}`);
  }
  return name;
}

/** @throws InvalidOptionError for a status this package does not know. */
export function attemptStatusToProto(status: AttemptStatus): ProtoAttemptStatus {
  const number = ATTEMPT_NUMBERS.get(status);
  if (number === undefined) {
    throw new InvalidOptionError("status", `Unknown attempt status: ${String(status)}`);
  }
  return number;
}

// Values checked by the caller's own validator, which has the Standard Schema interface.
import type { StandardSchemaV1 } from "@standard-schema/spec";
import { asError, messageOf } from "../base/describe";
import { checkNames } from "../checks/known-names";
import type { KnownNames } from "../checks/known-names";
import { InvalidOptionError, SiloValidationError } from "../errors/errors";
import type { EnqueueJobOptions, JobResult } from "./types";
import { JobStatus } from "./types";

const JOB_OPTIONS: KnownNames<EnqueueJobOptions> = {
  payload: true,
  payloadSchema: true,
  taskGroup: true,
  id: true,
  priority: true,
  startAtMs: true,
  retryPolicy: true,
  limits: true,
  tenant: true,
  metadata: true,
  returnExisting: true,
};

/** @throws InvalidOptionError for a member that a new job does not have. */
export function checkJobNames(job: EnqueueJobOptions): void {
  checkNames(job, JOB_OPTIONS, "a job");
}

/**
 * What the schema makes of a value.
 * @param what the value is, for the message.
 * @throws SiloValidationError, InvalidOptionError for what is no validator, what the validator
 *     throws.
 */
export async function validated<Output>(
  schema: StandardSchemaV1<any, Output>,
  value: unknown,
  what: "payload" | "result",
): Promise<Output> {
  const standard: unknown = (schema as Partial<typeof schema> | null)?.["~standard"]?.validate;
  if (typeof standard !== "function") {
    const expected = "a validator with the Standard Schema interface";
    throw new InvalidOptionError(`${what}Schema`, `expected ${expected}, not ${messageOf(schema)}`);
  }
  const result: unknown = await outcomeOf(schema, value);
  if (typeof result !== "object" || result === null) {
    const given = messageOf(result);
    throw new InvalidOptionError(`${what}Schema`, `its validator gave ${given} and no result`);
  }
  const { issues, value: output } = result as StandardSchemaV1.SuccessResult<Output>;
  if (issues) {
    throw new SiloValidationError(what, issues);
  }
  return output;
}

/** What the validator says. @throws Error whatever it throws. */
async function outcomeOf(schema: StandardSchemaV1<any>, value: unknown): Promise<unknown> {
  try {
    return await schema["~standard"].validate(value);
  } catch (error) {
    throw asError(error);
  }
}

type Checked = Pick<EnqueueJobOptions, "payload" | "payloadSchema">;

/** Does nothing for a job without a schema. @throws SiloValidationError */
export async function checkPayload({ payload, payloadSchema }: Checked): Promise<void> {
  if (payloadSchema !== undefined) {
    await validated(payloadSchema, payload, "payload");
  }
}

/** Why the payload of each job is refused, by its place in the list; those that pass are absent. */
export async function refusedPayloads(jobs: readonly Checked[]): Promise<Map<number, Error>> {
  const refused = new Map<number, Error>();
  for (const [place, job] of jobs.entries()) {
    if (job.payloadSchema !== undefined) {
      await checkPayload(job).catch((error) => refused.set(place, asError(error)));
    }
  }
  return refused;
}

/** A job's end with its result, if it has one, checked. @throws SiloValidationError */
export async function checkedResult<Result>(
  ended: JobResult<Result>,
  schema: StandardSchemaV1<any, Result>,
): Promise<JobResult<Result>> {
  return ended.status === JobStatus.Succeeded
    ? { status: ended.status, result: await validated(schema, ended.result, "result") }
    : ended;
}

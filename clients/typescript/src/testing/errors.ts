import { SiloError } from "../errors/errors";
import type { TestJob } from "./job-log";

/** How many jobs a message tells of. */
const SHOWN_JOBS = 10;

/** A test server cannot be started, or ended by itself. */
export class TestServerError extends SiloError {
  override readonly name = "TestServerError";
  readonly code = "SILO_TEST_SERVER";
}

/** What a test waited for did not come about in time. */
export class TestTimeoutError extends SiloError {
  override readonly name = "TestTimeoutError";
  readonly code = "SILO_TEST_TIMEOUT";

  /** @internal Made by the test kit. */
  constructor(
    message: string,
    /** The jobs that it waited for, as they stand. */
    readonly jobs: readonly TestJob[],
  ) {
    const lines = jobs.slice(0, SHOWN_JOBS).map((job) => {
      const why = job.pending === undefined ? "" : `. ${job.pending.text}`;
      return `\n  job ${job.id} of ${job.taskGroup}: ${job.status}${why}`;
    });
    super(message + lines.join(""));
  }
}

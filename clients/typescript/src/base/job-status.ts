// How jobs and attempts stand. Errors tell it too, so it stands below them.

/** Where a job stands. */
export enum JobStatus {
  /** Waiting: for its start, for a retry, for a limit, or for a worker. */
  Scheduled = "Scheduled",
  /** Leased by a worker. */
  Running = "Running",
  /** Ended with a result. */
  Succeeded = "Succeeded",
  /** Ended with an error and no retry left. */
  Failed = "Failed",
  /** Ended because it was cancelled. */
  Cancelled = "Cancelled",
}

/** How one attempt of a job stands. */
export enum AttemptStatus {
  /** Leased by a worker. */
  Running = "Running",
  /** Ended with a result. */
  Succeeded = "Succeeded",
  /** Ended with an error; a retry may follow. */
  Failed = "Failed",
  /** Ended because the job was cancelled. */
  Cancelled = "Cancelled",
}

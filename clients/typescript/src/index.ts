// What the package exports. Where things are; a folder uses only those below it, and no files use each other in a circle
// (a test checks both):
//
//   testing/     the test kit, an entry point of its own
//   worker/      leases tasks, keeps their leases, runs handlers, reports outcomes
//   client/      the calls that users make, and the handle on a job
//   connection/  which server a call goes to, how it is reached and trusted, how long a call may take
//   wire/        payloads as MessagePack; public types to messages and back
//   jobs/        the public types of jobs, checked and completed
//   checks/      numbers, texts and names that callers give
//   errors/      every error, and what becomes which
//   base/        what knows nothing of Silo: descriptions, texts, timers; and how a job stands
//   gen/         the messages and stubs, generated from silo.proto
export { SiloGRPCClient } from "./client/client";
export { isConnectivityError } from "./errors/error-mapping";
export {
  DuplicateTaskDeliveryError,
  InvalidOptionError,
  JobAlreadyExistsError,
  JobCancelledError,
  JobNotFoundError,
  JobNotTerminalError,
  PlaintextRefusedError,
  SiloAlreadyExistsError,
  SiloCancelledError,
  SiloClientClosedError,
  SiloDeadlineExceededError,
  SiloError,
  SiloFailedPreconditionError,
  SiloGrpcError,
  SiloInvalidArgumentError,
  SiloNotFoundError,
  SiloNotReadyError,
  SiloPermissionDeniedError,
  SiloProtocolError,
  SiloResourceExhaustedError,
  SiloTlsError,
  SiloTokenError,
  SiloUnauthenticatedError,
  SiloUnavailableError,
  SiloUnroutableError,
  SiloValidationError,
  TaskLeaseLostError,
  TaskNotFoundError,
  ValueNotDecodableError,
  ValueNotEncodableError,
} from "./errors/errors";
export { GubernatorAlgorithm, GubernatorBehavior } from "./gen/silo";
export { JobHandle } from "./client/handle";
export { hashTenant, initHasher } from "./connection/hash";
export { PendingCause } from "./jobs/pending";
export { shardForTenant } from "./connection/topology";
export { AttemptStatus, JobStatus } from "./jobs/types";
export { SiloWorker } from "./worker/worker";
export { WorkerMetrics } from "./worker/worker-metrics";

export type {
  ConcurrencyLimit,
  Failure,
  FloatingConcurrencyLimit,
  GubernatorRateLimit,
  Limit,
  RetryPolicy,
  ShardOwner,
} from "./gen/silo";
export type { HostAndPort, ShardRoutingConfig, SiloGRPCClientOptions } from "./connection/options";
export type { JobPending } from "./jobs/pending";
export type { TlsProblem } from "./errors/errors";
export type { TlsOptions } from "./connection/tls";
export type { TokenFunction, TokenRequest } from "./connection/token";
export type { ShardInfoWithRange } from "./connection/topology";
export type {
  AwaitCancellationsOptions,
  AwaitJobOptions,
  CallOptions,
  CancelledJobResult,
  CancelledOutcome,
  CancelledTask,
  ConcurrencyLimitConfig,
  EnqueueJobOptions,
  EnqueueManyResult,
  FailedJobResult,
  FailureOutcome,
  FloatingConcurrencyLimitConfig,
  GetJobOptions,
  GetJobResultOptions,
  HeartbeatResult,
  ImportAttemptOptions,
  ImportJobOptions,
  ImportJobResult,
  Job,
  JobAttempt,
  JobLimit,
  JobResult,
  LeaseTaskOptions,
  LeaseTasksOptions,
  LeaseTasksResult,
  QueryBindParameter,
  QueryColumnInfo,
  QueryResult,
  RateLimitConfig,
  RateLimitRetryPolicyConfig,
  RefreshFailureOutcome,
  RefreshOutcome,
  RefreshSuccessOutcome,
  RefreshTask,
  ReportOutcomeOptions,
  ReportOutcomesResult,
  ReportRefreshOutcomeOptions,
  ReturnedTask,
  ReturnTasksOptions,
  ReturnTasksResult,
  SucceededJobResult,
  SuccessOutcome,
  TaskOutcome,
} from "./jobs/types";
export type { Duration, Instant } from "./checks/numbers";
export type { RetryPolicyOptions } from "./jobs/retry-policy";
export type {
  CancellationError,
  CancellationReason,
  CancellationSignal,
  ErrorListener,
  RefreshHandler,
  RefreshTaskContext,
  SiloWorkerOptions,
  Task,
  TaskContext,
  TaskHandler,
  WorkerStartOptions,
  WorkerStopOptions,
} from "./worker/worker-types";

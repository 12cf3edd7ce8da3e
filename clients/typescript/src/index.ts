export { SiloGRPCClient } from "./client";
export { isConnectivityError } from "./error-mapping";
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
} from "./errors";
export { GubernatorAlgorithm, GubernatorBehavior } from "./gen/silo";
export { JobHandle } from "./handle";
export { hashTenant, initHasher } from "./hash";
export { PendingCause } from "./pending";
export { shardForTenant } from "./topology";
export { AttemptStatus, JobStatus } from "./types";
export { SiloWorker } from "./worker";
export { WorkerMetrics } from "./worker-metrics";

export type {
  ConcurrencyLimit,
  Failure,
  FloatingConcurrencyLimit,
  GubernatorRateLimit,
  Limit,
  RetryPolicy,
  ShardOwner,
} from "./gen/silo";
export type { HostAndPort, ShardRoutingConfig, SiloGRPCClientOptions } from "./options";
export type { JobPending } from "./pending";
export type { TlsProblem } from "./errors";
export type { TlsOptions } from "./tls";
export type { TokenFunction, TokenRequest } from "./token";
export type { ShardInfoWithRange } from "./topology";
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
} from "./types";
export type { Duration, Instant } from "./numbers";
export type { RetryPolicyOptions } from "./retry-policy";
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
} from "./worker-types";

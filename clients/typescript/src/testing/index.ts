/// <reference lib="esnext.disposable" preserve="true" />
// The test kit, `@silo-ai/client/testing`: a server of one's own in memory, and helpers for tests
// of jobs.
export { TestServerError, TestTimeoutError } from "./errors";
export { startTestServer, TestServer } from "./server";

export type { JobFilter, TestJob } from "./job-log";
export type { IdleOptions, RunUntilIdleOptions, RunWorkerOptions } from "./run-until-idle";
export type { ExpediteFilter, TestServerOptions, WaitForStatusOptions } from "./server";
export type { Settings, SettingValue } from "./toml";

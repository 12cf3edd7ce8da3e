// What the executions of tasks and of refresh tasks share.
import type { SiloGRPCClient } from "../client/client";
import type { OutcomeReporter } from "./outcome-reporter";

/** A task that a worker holds, from its delivery to the answer to its report. */
export interface Runner {
  readonly taskId: string;
  readonly shard: string;
  readonly tenant: string | undefined;
  /**
   * Does the work and reports it. Resolves when the slot is free again: when the report is
   * answered, or when the lease has lapsed while it is still being sent. Never rejects.
   */
  run(): Promise<void>;
  /** Bytes of the report, roughly, once there is one. */
  readonly reportBytes: number;
  /** Resolves when nothing is left to do, the report included. */
  readonly done: Promise<void>;
  /** The server says that the task's job was cancelled; absent where no job is behind it. */
  cancelled?(): void;
  /** Ends the heartbeats and the repetition of the report; what is still running goes on alone. */
  abandon(): void;
}

/** What a runner needs of its worker. */
export interface RunnerHost {
  readonly client: SiloGRPCClient;
  readonly reporter: OutcomeReporter;
  readonly workerId: string;
  readonly heartbeatIntervalMs: number;
  onError(error: Error, context?: { taskId?: string }): void;
  /** The runner's task id may be delivered again. */
  release(runner: Runner): void;
  /** The runner has given up its slot and still sends its report. */
  late(runner: Runner): void;
}

// What the executions of tasks and of refresh tasks share.
import type { SiloGRPCClient } from "./client";
import type { OutcomeReporter } from "./outcome-reporter";

/** A task that a worker holds, queued or running. */
export interface Runner {
  readonly taskId: string;
  /** Does the work and reports it. Never rejects. */
  run(): Promise<void>;
  /** Ends the heartbeats; what is still running goes on alone. */
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
}

/** Calls `beat` every `intervalMs` until stopped; calls may overlap. */
export class HeartbeatTimer {
  private readonly timer: NodeJS.Timeout;

  /** @param beat must not reject. */
  constructor(intervalMs: number, beat: () => Promise<void>) {
    this.timer = setInterval(() => void beat(), intervalMs);
  }

  stop(): void {
    clearInterval(this.timer);
  }
}

// What a worker holds between start() and stop(): its tasks, its queue and its pollers. A worker
// that is started again begins with a new session, so handlers that outlived the old one's stop
// can neither take its slots nor release its tasks.
import type { Runner } from "./runner";
import { SlotQueue } from "./slot-queue";

export class WorkerSession {
  readonly queue: SlotQueue;
  /** Poll loops by number, each resolved when it has ended. */
  readonly pollers = new Map<number, Promise<void>>();
  private readonly held = new Map<string, Runner>();
  private readonly stopping = new AbortController();
  private ended = false;

  constructor(private readonly maxConcurrentTasks: number) {
    this.queue = new SlotQueue(maxConcurrentTasks);
  }

  /** Aborts when the worker stops. */
  get signal(): AbortSignal {
    return this.stopping.signal;
  }

  get isRunning(): boolean {
    return !this.stopping.signal.aborted;
  }

  /** Whether a task id is queued or running. */
  holds(taskId: string): boolean {
    return this.held.has(taskId);
  }

  /** Queues a task, unless the session has ended. */
  take(runner: Runner): void {
    if (this.ended) {
      runner.abandon();
      return;
    }
    this.held.set(runner.taskId, runner);
    this.queue.add(() => runner.run());
  }

  /** Forgets a task, unless its id belongs to a later delivery by now. */
  release(runner: Runner): void {
    if (this.held.get(runner.taskId) === runner) {
      this.held.delete(runner.taskId);
    }
  }

  /** Resolves when there is room in the queue, or at the stop. */
  async room(): Promise<void> {
    while (this.isRunning && this.queue.queued >= this.maxConcurrentTasks) {
      await this.untilStop((wake) => void this.queue.changed().then(wake));
    }
  }

  /** Resolves after `ms` milliseconds, or at the stop. */
  async sleep(ms: number): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    await this.untilStop((wake) => {
      timer = setTimeout(wake, ms);
    });
    clearTimeout(timer);
  }

  /**
   * Ends the polls, lets the tasks finish, and drops what is left after `timeoutMs`.
   */
  async stop(timeoutMs: number): Promise<void> {
    this.stopping.abort();
    let timer: NodeJS.Timeout | undefined;
    const timeout = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, timeoutMs);
    });
    await Promise.race([this.drain(), timeout]);
    clearTimeout(timer);
    this.ended = true;
    this.queue.clear();
    for (const runner of this.held.values()) {
      runner.abandon();
    }
    this.held.clear();
  }

  private async drain(): Promise<void> {
    await Promise.all(this.pollers.values());
    await this.queue.idle();
  }

  private async untilStop(arm: (wake: () => void) => void): Promise<void> {
    if (!this.isRunning) {
      return;
    }
    await new Promise<void>((resolve) => {
      const wake = () => {
        this.signal.removeEventListener("abort", wake);
        resolve();
      };
      this.signal.addEventListener("abort", wake);
      arm(wake);
    });
  }
}

import { metrics } from "@opentelemetry/api";
import { asError, messageOf } from "../base/describe";
import type { Duration } from "../checks/numbers";
import { within } from "../base/sleep";
import type { SiloGRPCClient } from "../client/client";
import { DuplicateTaskDeliveryError, InvalidOptionError } from "../errors/errors";
import type { Task as ProtoTask } from "../gen/silo";
import type { LeaseTasksResult } from "../jobs/types";
import { CancellationWatch } from "./cancellation-watch";
import { giveBack } from "./give-back";
import { OutcomeReporter } from "./outcome-reporter";
import { ONLY_SERVER, PollLoops } from "./poll-loops";
import type { PollLoop } from "./poll-loops";
import type { Ask } from "./poll-shares";
import { RefreshRunner } from "./refresh-runner";
import type { Runner, RunnerHost } from "./runner";
import { taskWith, transformTask } from "./task-execution";
import { TaskRunner } from "./task-runner";
import type { TaskWork } from "./task-runner";
import { WorkerMetrics } from "./worker-metrics";
import { checkWorkerOptions } from "./worker-options";
import { WorkerSession } from "./worker-session";
import type {
  ErrorListener,
  RefreshHandler,
  SiloWorkerOptions,
  TaskHandler,
  WorkerStartOptions,
  WorkerStopOptions,
} from "./worker-types";

function logError(error: Error, context?: { taskId?: string }): void {
  const task = context?.taskId === undefined ? "" : ` task ${context.taskId}:`;
  console.error(`[SiloWorker]${task}`, error);
}

/**
 * Leases the tasks of a task group and runs a handler for each: heartbeats keep the lease while
 * the handler works, and its outcome is reported when it is done. A handler may run more than once
 * for the same job, after a retry or when a worker died, so its effects should bear repetition.
 */
export class SiloWorker<Payload = any, Metadata = Record<string, string>, Result = unknown> {
  /** Name of this worker. */
  readonly workerId: string;
  /** Which jobs it runs. */
  readonly taskGroup: string;
  /** Independent poll loops, as given or by default. */
  readonly concurrentPollers: number;
  /** Handlers that may run at once. */
  readonly maxConcurrentTasks: number;
  /** Most tasks asked for in one poll. */
  readonly tasksPerPoll: number;
  /** Tasks leased beyond those that can run. */
  readonly prefetchTasks: number;
  /** Shortest time between two polls that bring nothing, in milliseconds. */
  readonly pollIntervalMs: number;
  /** Longest time between two heartbeats of a task, in milliseconds. */
  readonly heartbeatIntervalMs: number;
  /** Its instruments. */
  readonly workerMetrics: WorkerMetrics;
  private readonly pollWaitMs: number;
  private readonly client: SiloGRPCClient;
  private readonly reporter: OutcomeReporter;
  private readonly work: TaskWork;
  private readonly refreshHandler: RefreshHandler | undefined;
  private readonly listener: ErrorListener;
  private session: WorkerSession | undefined;
  /** The latest stop. */
  private ending: Promise<void> = Promise.resolve();
  private polls = 0;

  /** @throws InvalidOptionError for options that are missing, unknown, or cannot be meant. */
  constructor(options: SiloWorkerOptions<Payload, Metadata, Result>) {
    const numbers = checkWorkerOptions(options);
    this.client = options.client;
    this.reporter = new OutcomeReporter(options.client);
    this.workerId = options.workerId;
    this.taskGroup = options.taskGroup;
    this.work = {
      handler: options.handler as TaskHandler,
      payloadSchema: options.payloadSchema,
      resultSchema: options.resultSchema,
    };
    this.refreshHandler = options.refreshHandler;
    this.concurrentPollers = numbers.concurrentPollers;
    this.maxConcurrentTasks = numbers.maxConcurrentTasks;
    this.tasksPerPoll = numbers.tasksPerPoll;
    this.prefetchTasks = numbers.prefetchTasks;
    this.pollIntervalMs = numbers.pollIntervalMs;
    this.heartbeatIntervalMs = numbers.heartbeatIntervalMs;
    this.pollWaitMs = numbers.pollWaitMs;
    this.listener = options.onError ?? logError;
    this.workerMetrics = new WorkerMetrics(
      options.meter ?? metrics.getMeter("silo-worker"),
      this.taskGroup,
      () => this.availableTaskSlots,
    );
  }

  /** Whether the worker polls: from `start()` until `stop()` is called. */
  get isRunning(): boolean {
    return this.session?.isRunning ?? false;
  }

  /** Handlers running. */
  get activeTasks(): number {
    return this.session?.queue.active ?? 0;
  }

  /** Tasks leased and waiting for a slot. */
  get queuedTasks(): number {
    return this.session?.queue.queued ?? 0;
  }

  /** Slots not taken by running or queued tasks; negative while more are queued than fit. */
  get availableTaskSlots(): number {
    return this.maxConcurrentTasks - this.activeTasks - this.queuedTasks;
  }

  /**
   * Begins to poll and resolves at once. Does nothing while running; may follow `stop()`.
   * @param options with a `signal` that stops the worker when it aborts, as `stop()` does: await
   *     that to know when it has ended. A worker is not started with a signal that has aborted.
   */
  start({ signal }: WorkerStartOptions = {}): Promise<void> {
    if (!this.isRunning && signal?.aborted !== true) {
      const session = new WorkerSession(
        { slots: this.maxConcurrentTasks, prefetch: this.prefetchTasks },
        (runners) => giveBack(this.client, this.workerId, runners),
        new CancellationWatch(this.client, this.workerId),
      );
      this.session = session;
      signal?.addEventListener("abort", () => void this.stop(), { signal: session.signal });
      this.startPolling(session);
    }
    return Promise.resolve();
  }

  /**
   * Stops polling, gives back the tasks that were not begun, and waits for those that were: they
   * are reported as usual. A stop that is under way is waited for.
   * @param options as an object, or the number of `timeoutMs` alone.
   */
  async stop(options: Duration | WorkerStopOptions = {}): Promise<void> {
    const { timeoutMs: limit = 30_000, signal } =
      typeof options === "object" ? options : { timeoutMs: options };
    const timeoutMs = Number(limit);
    if (this.isRunning && this.session !== undefined) {
      this.ending = this.session.stop({ timeoutMs, signal }, this.client.closed);
    }
    await within(this.ending, timeoutMs, signal);
  }

  /** Tells the listener; nothing it throws, at once or later, ends the process. */
  private onError(error: Error, context?: { taskId?: string }): void {
    const complain = (thrown: unknown) =>
      console.error("[SiloWorker] onError threw:", messageOf(thrown));
    try {
      const told: unknown =
        context === undefined ? this.listener(error) : this.listener(error, context);
      Promise.resolve(told).catch(complain);
    } catch (thrown) {
      complain(thrown);
    }
  }

  /** Servers to poll. A stand-in for the client need not know them. */
  private get servers(): string[] {
    const { servers = [] } = this.client as Partial<SiloGRPCClient>;
    return servers.length > 0 ? servers : [ONLY_SERVER];
  }

  private startPolling(session: WorkerSession): void {
    const loops = new PollLoops(session, {
      concurrentPollers: this.concurrentPollers,
      tasksPerPoll: this.tasksPerPoll,
      pollWaitMs: this.pollWaitMs,
      pollIntervalMs: this.pollIntervalMs,
      servers: () => this.servers,
      poll: (loop, ask) => this.poll(session, loop, ask),
      onError: (error) => this.onError(error),
      stop: () => void this.stop(),
    });
    const { followTopology } = this.client as Partial<SiloGRPCClient>;
    const letGo = followTopology?.call(this.client, () => loops.start());
    session.signal.addEventListener("abort", () => letGo?.());
    loops.start();
  }

  /** Leases tasks as the session allowed to ask for, and takes them. */
  private async poll(session: WorkerSession, loop: PollLoop, ask: Ask): Promise<number> {
    const { workerId, taskGroup, servers } = this;
    const { pollSignal: signal } = session;
    const answer = await this.client.leaseTasks(
      { workerId, maxTasks: ask.tasks, taskGroup, waitMs: ask.waitMs, signal },
      servers.length > 1 ? loop.server : this.polls++,
      (error) => {
        // The poll may have met a server that has left meanwhile, or has just been started.
        const isOne = this.servers.some((each) => each !== (error.address ?? loop.server));
        if (session.isRunning && session.outage.meets(loop.name, error, isOne)) {
          this.onError(error);
        }
      },
    );
    session.outage.ends(loop.name);
    const count = answer.tasks.length + answer.refreshTasks.length;
    this.workerMetrics.countPoll(count);
    await session.take(this.runnersOf(session, answer));
    return count;
  }

  private hostOf(session: WorkerSession): RunnerHost {
    return {
      client: this.client,
      reporter: this.reporter,
      workerId: this.workerId,
      heartbeatIntervalMs: this.heartbeatIntervalMs,
      onError: (error, context) => this.onError(error, context),
      release: (runner) => session.release(runner),
      late: (runner) => session.late(runner),
    };
  }

  private isDuplicate(session: WorkerSession, taskId: string, jobId?: string): boolean {
    if (!session.holds(taskId)) {
      return false;
    }
    const { duplicateTaskDeliveriesCounter, defaultAttributes } = this.workerMetrics;
    duplicateTaskDeliveriesCounter.add(1, defaultAttributes);
    this.onError(new DuplicateTaskDeliveryError(taskId, jobId), { taskId });
    return true;
  }

  /** What was delivered, but for what is held already. */
  private runnersOf(session: WorkerSession, answer: LeaseTasksResult): Runner[] {
    const host = this.hostOf(session);
    const { refreshHandler } = this;
    const runners: Runner[] = [];
    const hold = (runner: Runner) => {
      session.hold(runner);
      runners.push(runner);
    };
    for (const task of answer.tasks) {
      if (!this.isDuplicate(session, task.id, task.jobId)) {
        hold(this.runnerOf(host, task));
      }
    }
    if (answer.refreshTasks.length > 0 && refreshHandler === undefined) {
      this.onError(
        new InvalidOptionError(
          "refreshHandler",
          `Received ${answer.refreshTasks.length} floating limit refresh task(s), ` +
            "but the worker has no refreshHandler",
        ),
      );
      return runners;
    }
    for (const task of answer.refreshTasks) {
      if (refreshHandler !== undefined && !this.isDuplicate(session, task.id)) {
        hold(new RefreshRunner(host, task, refreshHandler, session.signal));
      }
    }
    return runners;
  }

  /** A task whose payload cannot be decoded fails; the rest of its batch is not touched. */
  private runnerOf(host: RunnerHost, proto: ProtoTask): Runner {
    try {
      return new TaskRunner(host, transformTask(proto), this.work);
    } catch (error) {
      return new TaskRunner(host, taskWith(proto, undefined), this.work, asError(error));
    }
  }
}

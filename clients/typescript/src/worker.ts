import { metrics } from "@opentelemetry/api";
import type { SiloGRPCClient } from "./client";
import { DuplicateTaskDeliveryError } from "./errors";
import type { Task as ProtoTask } from "./gen/silo";
import { OutcomeReporter } from "./outcome-reporter";
import { failureOf, PAYLOAD_DECODE_ERROR } from "./outcome";
import { RefreshRunner } from "./refresh-runner";
import { asError, messageOf } from "./describe";
import type { RunnerHost } from "./runner";
import { transformTask } from "./task-execution";
import { TaskRunner } from "./task-runner";
import type { RefreshTask } from "./types";
import { WorkerMetrics } from "./worker-metrics";
import { WorkerSession } from "./worker-session";
import type { ErrorListener, RefreshHandler, SiloWorkerOptions, TaskHandler } from "./worker-types";

/** Longest time a server holds a poll, in milliseconds. */
const MAX_POLL_WAIT_MS = 60_000;

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
  readonly workerId: string;
  readonly taskGroup: string;
  readonly concurrentPollers: number;
  readonly maxConcurrentTasks: number;
  readonly tasksPerPoll: number;
  readonly pollIntervalMs: number;
  readonly heartbeatIntervalMs: number;
  readonly workerMetrics: WorkerMetrics;
  private readonly pollWaitMs: number;
  private readonly client: SiloGRPCClient;
  private readonly reporter: OutcomeReporter;
  private readonly handler: TaskHandler;
  private readonly refreshHandler: RefreshHandler | undefined;
  private readonly listener: ErrorListener;
  private session: WorkerSession | undefined;
  private polls = 0;

  constructor(options: SiloWorkerOptions<Payload, Metadata, Result>) {
    this.client = options.client;
    this.reporter = new OutcomeReporter(options.client);
    this.workerId = options.workerId;
    this.taskGroup = options.taskGroup;
    this.handler = options.handler as TaskHandler;
    this.refreshHandler = options.refreshHandler;
    this.concurrentPollers = options.concurrentPollers ?? 1;
    this.maxConcurrentTasks = options.maxConcurrentTasks ?? 10;
    this.tasksPerPoll = options.tasksPerPoll ?? Math.ceil(this.maxConcurrentTasks / 2);
    this.pollIntervalMs = options.pollIntervalMs ?? 1000;
    this.heartbeatIntervalMs = options.heartbeatIntervalMs ?? 5000;
    const wait = Math.round(options.pollWaitMs ?? this.pollIntervalMs);
    this.pollWaitMs = Math.min(MAX_POLL_WAIT_MS, Math.max(0, wait));
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

  /** Slots not taken by running or queued tasks; may be negative. */
  get availableTaskSlots(): number {
    return this.maxConcurrentTasks - this.activeTasks - this.queuedTasks;
  }

  /** Begins to poll and resolves at once. Does nothing while running; may follow `stop()`. */
  start(): Promise<void> {
    if (!this.isRunning) {
      const session = new WorkerSession(this.maxConcurrentTasks);
      this.session = session;
      this.startPollers(session);
    }
    return Promise.resolve();
  }

  /**
   * Stops polling and waits for the tasks at hand, which are reported as usual.
   * @param timeoutMs after which waiting tasks are dropped and running handlers left alone; their
   *     leases run out.
   */
  async stop(timeoutMs = 30_000): Promise<void> {
    if (this.isRunning) {
      await this.session?.stop(timeoutMs);
    }
  }

  private onError(error: Error, context?: { taskId?: string }): void {
    try {
      if (context === undefined) {
        this.listener(error);
      } else {
        this.listener(error, context);
      }
    } catch (thrown) {
      console.error("[SiloWorker] onError threw:", messageOf(thrown));
    }
  }

  /** Servers known, at least 1. A stand-in for the client need not know their number. */
  private get servers(): number {
    return this.client.serverCount || 1;
  }

  /**
   * Poll loops wanted: one for each server, so that a task waits for no poll held by another
   * server, but without `concurrentPollers` no more than there are slots to fill.
   */
  private get pollersWanted(): number {
    return Math.max(this.concurrentPollers, Math.min(this.servers, this.maxConcurrentTasks));
  }

  private startPollers(session: WorkerSession): void {
    for (let number = 0; number < this.pollersWanted; number++) {
      if (!session.pollers.has(number)) {
        session.pollers.set(number, this.pollLoop(session, number));
      }
    }
  }

  private async pollLoop(session: WorkerSession, number: number): Promise<void> {
    for (;;) {
      await session.room();
      if (!session.isRunning) {
        return;
      }
      if (number >= this.pollersWanted) {
        session.pollers.delete(number);
        return;
      }
      const started = performance.now();
      let pause = this.pollIntervalMs;
      try {
        // A server that held the poll has spent the interval already.
        const isEmpty = (await this.poll(session, number)) === 0;
        pause = isEmpty ? Math.max(0, started + pause - performance.now()) : 0;
      } catch (error) {
        if (session.isRunning) {
          this.onError(asError(error));
        }
      }
      if (session.isRunning) {
        // The servers may be more by now.
        this.startPollers(session);
      }
      if (pause > 0) {
        await session.sleep(pause);
      }
    }
  }

  /** @param number of the loop: its server, if there is a loop for each. */
  private async poll(session: WorkerSession, number: number): Promise<number> {
    const { workerId, taskGroup, pollWaitMs: waitMs, servers } = this;
    // Polls at several servers share what is free; each may be answered in full.
    const free = Math.ceil((this.maxConcurrentTasks - session.queue.queued) / servers);
    const maxTasks = Math.min(free, this.tasksPerPoll);
    const isPinned = servers > 1 && this.pollersWanted >= servers;
    const { tasks, refreshTasks } = await this.client.leaseTasks(
      { workerId, maxTasks, taskGroup, waitMs },
      isPinned ? number : this.polls++,
    );
    const count = tasks.length + refreshTasks.length;
    this.workerMetrics.countPoll(count);
    const host = this.hostOf(session);
    for (const task of tasks) {
      this.takeTask(session, host, task);
    }
    this.takeRefreshTasks(session, host, refreshTasks);
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

  private takeTask(session: WorkerSession, host: RunnerHost, proto: ProtoTask): void {
    if (this.isDuplicate(session, proto.id, proto.jobId)) {
      return;
    }
    try {
      session.take(new TaskRunner(host, transformTask(proto), this.handler));
    } catch (error) {
      void this.refuse(proto, asError(error));
    }
  }

  /** Fails an attempt whose payload cannot be decoded; the rest of its batch is not touched. */
  private async refuse(proto: ProtoTask, error: Error): Promise<void> {
    const { id: taskId, shard, tenantId: tenant } = proto;
    this.onError(error, { taskId });
    try {
      const outcome = failureOf(error, PAYLOAD_DECODE_ERROR);
      await this.reporter.report({ taskId, shard, tenant, outcome });
    } catch (thrown) {
      this.onError(asError(thrown), { taskId });
    }
  }

  private takeRefreshTasks(session: WorkerSession, host: RunnerHost, tasks: RefreshTask[]): void {
    if (tasks.length === 0) {
      return;
    }
    const { refreshHandler } = this;
    if (refreshHandler === undefined) {
      throw new Error(
        `Received ${tasks.length} floating limit refresh task(s), ` +
          "but the worker has no refreshHandler",
      );
    }
    for (const task of tasks) {
      if (!this.isDuplicate(session, task.id)) {
        session.take(new RefreshRunner(host, task, refreshHandler, session.signal));
      }
    }
  }
}

// How a worker hears of cancellations while its handlers run: one waiting call for all its tasks
// in a shard. Heartbeats tell of them too, but seconds later.
//
// A shard is watched once a task of it has been held for a moment, so short tasks cost no call.
// Nothing is missed by that: the server tells what is cancelled, not what becomes cancelled.
import { setMaxListeners } from "node:events";
import { context, ROOT_CONTEXT } from "@opentelemetry/api";
import { jittered, sleep } from "../base/sleep";
import type { SiloGRPCClient } from "../client/client";
import { SiloGrpcError } from "../errors/errors";

/** How long a task has been held when its shard begins to be watched, in milliseconds. */
const WATCH_AFTER_MS = 250;

/** How long the server holds a call, in milliseconds, and how long its answer may take then. */
const WAIT_MS = 30_000;
const ANSWER_MS = 10_000;

/** Shortest time between two calls, in milliseconds: when tasks were told, and when none was. */
const TOLD_PAUSE_MS = 50;
const EMPTY_PAUSE_MS = 1000;

/** Wait after a call that failed, and after one that the server does not know. */
const FAILED_PAUSE_MS = 2000;
const UNKNOWN_PAUSE_MS = 60_000;

/** Tasks told that are not held: their delivery is on its way, or they are another process's. */
const STRANGERS_MAX = 1000;

/** What is told of in one call, at most. */
const KNOWN_MAX = 10_000;

/** A task that may be cancelled. */
export interface WatchedTask {
  readonly taskId: string;
  readonly shard: string;
  /** The server says that its job was cancelled. */
  cancelled(): void;
}

/** What the watch needs of a client; one that knows no such call is not watched. */
export type WatchClient = Partial<Pick<SiloGRPCClient, "awaitCancellations">>;

interface Held {
  task: WatchedTask;
  /** In the time of `performance.now()`. */
  since: number;
  told: boolean;
}

export class CancellationWatch {
  private readonly held = new Map<string, Held>();
  /** Shards that are watched. */
  private readonly shards = new Set<string>();
  /** Id and shard of tasks told and not held, oldest first. */
  private readonly strangers = new Map<string, string>();
  private readonly over = new AbortController();
  private timer: NodeJS.Timeout | undefined;

  constructor(
    private readonly client: WatchClient,
    private readonly workerId: string,
  ) {
    // One call for each shard listens.
    setMaxListeners(0, this.over.signal);
  }

  /** A task is held from now on. */
  add(task: WatchedTask): void {
    const held = { task, since: performance.now(), told: false };
    this.held.set(task.taskId, held);
    if (this.strangers.delete(task.taskId)) {
      held.told = true;
      task.cancelled();
    }
    this.arm();
  }

  /** A task is held no more, unless its id belongs to a later delivery by now. */
  remove(task: WatchedTask): void {
    if (this.held.get(task.taskId)?.task === task) {
      this.held.delete(task.taskId);
    }
  }

  /** Ends all calls. */
  end(): void {
    this.over.abort();
    clearTimeout(this.timer);
  }

  private arm(): void {
    if (this.client.awaitCancellations !== undefined && !this.over.signal.aborted) {
      this.timer ??= setTimeout(() => this.look(), WATCH_AFTER_MS);
    }
  }

  /** Watches the shards of tasks that are not new, and looks again if there are others. */
  private look(): void {
    this.timer = undefined;
    // A timer may be early by a millisecond.
    const settled = performance.now() - WATCH_AFTER_MS + 2;
    let isLeft = false;
    for (const { task, since } of this.held.values()) {
      if (since > settled) {
        isLeft = true;
      } else if (!this.shards.has(task.shard)) {
        this.shards.add(task.shard);
        void context.with(ROOT_CONTEXT, () => this.watch(task.shard));
      }
    }
    if (isLeft) {
      this.arm();
    }
  }

  /** Until no task of the shard is held. Never rejects. */
  private async watch(shard: string): Promise<void> {
    const { signal } = this.over;
    while (!signal.aborted && this.holdsAny(shard)) {
      await sleep(await this.ask(shard), signal);
    }
    this.shards.delete(shard);
    this.arm();
  }

  /** Makes one call. @returns how long to wait before the next. Never rejects. */
  private async ask(shard: string): Promise<number> {
    const { signal } = this.over;
    const started = performance.now();
    try {
      const tasks = await this.client.awaitCancellations?.({
        workerId: this.workerId,
        shard,
        knownTaskIds: this.known(shard),
        waitMs: WAIT_MS,
        timeoutMs: WAIT_MS + ANSWER_MS,
        signal,
      });
      tasks?.forEach(({ taskId }) => this.tell(shard, taskId));
      const isTold = tasks !== undefined && tasks.length > 0;
      // A server that held the call has spent the time already; one that is stopping does not.
      return isTold ? TOLD_PAUSE_MS : started + EMPTY_PAUSE_MS - performance.now();
    } catch (error) {
      // Heartbeats tell the same, and report what keeps them from it.
      const isUnknown = error instanceof SiloGrpcError && error.grpcCode === "UNIMPLEMENTED";
      return jittered(isUnknown ? UNKNOWN_PAUSE_MS : FAILED_PAUSE_MS);
    }
  }

  private holdsAny(shard: string): boolean {
    for (const { task } of this.held.values()) {
      if (task.shard === shard) {
        return true;
      }
    }
    return false;
  }

  private known(shard: string): string[] {
    const ids: string[] = [];
    for (const { task, told } of this.held.values()) {
      if (told && task.shard === shard) {
        ids.push(task.taskId);
      }
    }
    for (const [taskId, place] of this.strangers) {
      if (place === shard) {
        ids.push(taskId);
      }
    }
    return ids.slice(0, KNOWN_MAX);
  }

  private tell(shard: string, taskId: string): void {
    const held = this.held.get(taskId);
    if (held !== undefined) {
      held.told = true;
      held.task.cancelled();
      return;
    }
    this.strangers.set(taskId, shard);
    for (const oldest of this.strangers.keys()) {
      if (this.strangers.size <= STRANGERS_MAX) {
        return;
      }
      this.strangers.delete(oldest);
    }
  }
}

// What a worker holds between start() and stop(): its tasks, its queue and its pollers. A worker
// that is started again begins with a new session, so handlers that outlived the old one's stop
// can neither take its slots nor release its tasks.
import { after, within } from "../base/sleep";
import type { CancellationWatch, WatchedTask } from "./cancellation-watch";
import { Outage } from "./outage";
import type { Runner } from "./runner";
import { SlotQueue } from "./slot-queue";

/** Reports kept beyond the lapse of their leases, and their bytes; beyond that the oldest go. */
const LATE_REPORTS_MAX = 1000;
const LATE_BYTES_MAX = 256 * 1024 * 1024;

/** How long such a report is kept, in milliseconds. */
const LATE_REPORT_MS = 600_000;

/** How long a stop lets a poll come back by itself before it is cancelled, in milliseconds. */
const POLL_GRACE_MS = 2000;

/** How many tasks a session may hold. */
export interface SessionSize {
  /** Handlers running at once. */
  slots: number;
  /** Tasks leased beyond that. */
  prefetch: number;
}

function isWatched(runner: Runner): runner is Runner & WatchedTask {
  return runner.cancelled !== undefined;
}

export class WorkerSession {
  readonly queue: SlotQueue<Runner>;
  /** Poll loops by name, each resolved when it has ended. */
  readonly pollers = new Map<string, Promise<void>>();
  /** What its polls could not reach. */
  readonly outage = new Outage();
  private readonly held = new Map<string, Runner>();
  /** Runners whose tasks are being given back. */
  private readonly returning = new Set<Runner>();
  /** Runners that sent their reports in vain until their leases lapsed, with what forgets them. */
  private readonly lateReports = new Map<Runner, () => void>();
  private lateBytes = 0;
  private readonly stopping = new AbortController();
  private readonly pollsOver = new AbortController();
  private asked = 0;
  private ended = false;

  /**
   * @param giveBack gives tasks back; resolves with those that this worker still has.
   * @param watch tells tasks of their cancellation.
   */
  constructor(
    private readonly size: SessionSize,
    private readonly giveBack: (runners: Runner[]) => Promise<Runner[]>,
    private readonly watch: CancellationWatch,
  ) {
    this.queue = new SlotQueue(size.slots);
  }

  /** Aborts when the worker stops. */
  get signal(): AbortSignal {
    return this.stopping.signal;
  }

  /** Aborts when polls are to end that have not come back. */
  get pollSignal(): AbortSignal {
    return this.pollsOver.signal;
  }

  get isRunning(): boolean {
    return !this.stopping.signal.aborted;
  }

  /** Whether a task id is queued or running. */
  holds(taskId: string): boolean {
    return this.held.has(taskId);
  }

  /** Tasks that may be leased beside those at hand. */
  get free(): number {
    const { slots, prefetch } = this.size;
    return Math.max(0, slots + prefetch - this.queue.active - this.queue.queued);
  }

  /**
   * How many tasks a poll may ask for, which others may not until `answered()`: no poll brings
   * more than there is room for, however many wait at once.
   * @param wanted at most.
   */
  ask(wanted: number): number {
    const count = Math.max(0, Math.min(wanted, this.free - this.asked));
    this.asked += count;
    return count;
  }

  /** The poll that asked for so many is over, and its tasks have been taken. */
  answered(count: number): void {
    this.asked -= count;
    this.queue.notify();
  }

  /** Knows a task by its id from now on. */
  hold(runner: Runner): void {
    this.held.set(runner.taskId, runner);
    if (isWatched(runner)) {
      this.watch.add(runner);
    }
  }

  /**
   * Takes the tasks of one poll: to run, as far as there is room for them, or else to be given back,
   * as all are once the worker stops.
   */
  async take(runners: Runner[]): Promise<void> {
    const room = this.isRunning ? this.free : 0;
    this.run(runners.slice(0, room));
    await this.return(runners.slice(room));
  }

  private run(runners: Runner[]): void {
    for (const runner of runners) {
      this.queue.add(runner);
    }
  }

  /** Gives tasks back that were not begun; what cannot be given back is run. */
  private async return(runners: Runner[]): Promise<void> {
    if (runners.length === 0) {
      return;
    }
    for (const runner of runners) {
      // The next poll may bring it before the answer is here that it was given back.
      this.letGo(runner);
      this.returning.add(runner);
    }
    const isKept = new Set(await this.giveBack(runners));
    for (const runner of runners) {
      this.returning.delete(runner);
      if (this.ended || !isKept.has(runner) || this.held.has(runner.taskId)) {
        runner.abandon();
      } else {
        this.hold(runner);
        this.queue.add(runner);
      }
    }
  }

  /** Forgets a task, unless its id belongs to a later delivery by now. */
  release(runner: Runner): void {
    this.forgetLate(runner);
    this.letGo(runner);
  }

  private letGo(runner: Runner): void {
    if (isWatched(runner)) {
      this.watch.remove(runner);
    }
    if (this.held.get(runner.taskId) === runner) {
      this.held.delete(runner.taskId);
    }
  }

  /** Keeps a report that is late, for a while, without its slot. */
  late(runner: Runner): void {
    this.lateReports.set(
      runner,
      after(LATE_REPORT_MS, () => runner.abandon()),
    );
    this.lateBytes += runner.reportBytes;
    for (const oldest of this.lateReports.keys()) {
      if (this.lateReports.size <= LATE_REPORTS_MAX && this.lateBytes <= LATE_BYTES_MAX) {
        return;
      }
      this.forgetLate(oldest);
      oldest.abandon();
    }
  }

  private forgetLate(runner: Runner): void {
    const callOff = this.lateReports.get(runner);
    if (callOff !== undefined) {
      callOff();
      this.lateReports.delete(runner);
      this.lateBytes -= runner.reportBytes;
    }
  }

  /** Resolves when there is something to ask for, or at the stop. */
  async room(): Promise<void> {
    while (this.isRunning && this.free - this.asked <= 0) {
      await this.untilStop((wake) => void this.queue.changed().then(wake));
    }
  }

  /** Resolves after `ms` milliseconds, or at the stop. */
  async sleep(ms: number): Promise<void> {
    let callOff = () => {};
    await this.untilStop((wake) => {
      callOff = after(ms, wake);
    });
    callOff();
  }

  /**
   * Ends the polls, gives back what was not begun, lets the rest finish, and drops what is left
   * after `timeoutMs`, or when the signal aborts. Polls that are out then still have their time to come back, and what they
   * bring is given back: a poll that is cancelled loses what is on its way to it.
   * @param closed aborts when nothing can be given back any more.
   */
  async stop(
    { timeoutMs, signal }: { timeoutMs: number; signal?: AbortSignal },
    closed?: AbortSignal,
  ): Promise<void> {
    this.stopping.abort();
    this.letPollsReturn(closed);
    await within(this.drain(), timeoutMs, signal);
    this.ended = true;
    this.queue.clear();
    const left = [...this.held.values(), ...this.returning, ...this.lateReports.keys()];
    for (const runner of left) {
      this.forgetLate(runner);
      runner.abandon();
    }
    this.held.clear();
    this.watch.end();
  }

  /** Cancels polls that are not back in time, or when the client is closed. */
  private letPollsReturn(closed: AbortSignal | undefined): void {
    const cancel = () => this.pollsOver.abort();
    const callOff = after(POLL_GRACE_MS, cancel);
    closed?.addEventListener("abort", cancel);
    void Promise.all(this.pollers.values()).then(() => {
      callOff();
      closed?.removeEventListener("abort", cancel);
    });
  }

  private async drain(): Promise<void> {
    await this.return(this.queue.clear());
    await Promise.all(this.pollers.values());
    await this.queue.idle();
    await Promise.all([...this.lateReports.keys()].map(({ done }) => done));
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

// Why a job does not run: what the server says about a scheduled job.
import { PendingCause as ProtoCause } from "../gen/silo";
import type { JobPending as ProtoPending } from "../gen/silo";

/** What keeps a scheduled job from running: the first thing in its way. */
export enum PendingCause {
  /** Its start lies ahead: `untilMs`. */
  Start = "Start",
  /** Its last attempt failed, and the next one is not due: `untilMs`, `attemptNumber`. */
  Retry = "Retry",
  /** It stands in line for a slot of a concurrency limit: `limitKey`, `maxConcurrency`, `holderJobIds`. */
  ConcurrencyLimit = "ConcurrencyLimit",
  /** The same, and the limit's value is 0, or a refresh waits for a worker that nobody runs: `taskGroup`. */
  FloatingLimit = "FloatingLimit",
  /** It stands before a rate limit, which is asked about it when a worker wants it: `limitKey`, `untilMs`. */
  RateLimit = "RateLimit",
  /** A rate limit refused it; it is asked again by itself: `untilMs`. */
  RateLimitRefused = "RateLimitRefused",
  /** It is ready, and other jobs of its task group go first: `ahead`. */
  BehindOthers = "BehindOthers",
  /** It is ready, and nobody polls its task group: `taskGroup`, `lastPolledAtMs`. */
  NoWorker = "NoWorker",
  /** It is ready, and the workers of its task group run others and ask for no more: `running`. */
  WorkersBusy = "WorkersBusy",
  /** Nothing holds it up: the next worker that asks gets it. */
  Next = "Next",
  /** What is stored of it is damaged: its task is missing. */
  TaskMissing = "TaskMissing",
  /** A cause that this version of the client does not know; `text` says it. */
  Other = "Other",
}

/** Why a scheduled job does not run, as the server saw it at that moment. Times are Unix milliseconds. */
export interface JobPending {
  /** The first thing in its way. */
  cause: PendingCause;
  /** The same in a sentence for people. Its words may change. */
  text: string;
  /**
   * When time alone changes something: the start, the retry, the next question to a rate limit, the
   * next refresh. Milliseconds since the Unix epoch.
   */
  untilMs?: bigint;
  /** The attempt that comes next, while the job waits for its time. */
  attemptNumber?: number;
  /** The limit in its way: the key of a concurrency limit, the name of a rate limit. */
  limitKey?: string;
  /** Of a rate limit. */
  rateLimitUniqueKey?: string;
  /** Slots that a concurrency limit has for this job. */
  maxConcurrency?: number;
  /** Of these, how many are taken. */
  slotsTaken?: number;
  /** Some of the jobs that hold the slots, oldest first; at most 8. */
  holderJobIds: string[];
  /** Jobs that go first; undefined: not known at present. */
  ahead?: number;
  /** Whether there may be more than `ahead`; so many were counted. */
  aheadMore: boolean;
  /** All jobs that stand in that line, this one among them. */
  inLine?: bigint;
  /** The task group that has to be polled: the job's, or the one a refresh is offered to. */
  taskGroup?: string;
  /**
   * When a worker last asked for work of that group, in milliseconds since the Unix epoch;
   * undefined: none did since `pollsSeenFromMs`.
   */
  lastPolledAtMs?: bigint;
  /** Since when the server remembers who asked, in milliseconds since the Unix epoch. */
  pollsSeenFromMs?: bigint;
  /** Jobs of that group that are running; at least so many with `runningMore`. */
  running: number;
  /** Whether more than `running` may be running. */
  runningMore: boolean;
}

const CAUSES = new Map<ProtoCause, PendingCause>([
  [ProtoCause.START, PendingCause.Start],
  [ProtoCause.RETRY, PendingCause.Retry],
  [ProtoCause.CONCURRENCY_LIMIT, PendingCause.ConcurrencyLimit],
  [ProtoCause.FLOATING_LIMIT, PendingCause.FloatingLimit],
  [ProtoCause.RATE_LIMIT, PendingCause.RateLimit],
  [ProtoCause.RATE_LIMIT_REFUSED, PendingCause.RateLimitRefused],
  [ProtoCause.BEHIND_OTHERS, PendingCause.BehindOthers],
  [ProtoCause.NO_WORKER, PendingCause.NoWorker],
  [ProtoCause.WORKERS_BUSY, PendingCause.WorkersBusy],
  [ProtoCause.NEXT, PendingCause.Next],
  [ProtoCause.TASK_MISSING, PendingCause.TaskMissing],
]);

/** Absent: the job is not scheduled, or the server is an older one. */
export function pendingFromProto(pending: ProtoPending | undefined): JobPending | undefined {
  if (pending === undefined) {
    return undefined;
  }
  const concurrency = pending.maxConcurrency !== undefined;
  const rate = pending.limitKey !== undefined && !concurrency;
  const group = pending.taskGroup !== "";
  return {
    cause: CAUSES.get(pending.cause) ?? PendingCause.Other,
    text: pending.text,
    untilMs: pending.untilMs,
    attemptNumber: pending.attemptNumber === 0 ? undefined : pending.attemptNumber,
    limitKey: pending.limitKey,
    rateLimitUniqueKey: rate ? pending.rateLimitUniqueKey : undefined,
    maxConcurrency: pending.maxConcurrency,
    slotsTaken: concurrency ? pending.slotsTaken : undefined,
    holderJobIds: pending.holderJobIds,
    ahead: pending.ahead,
    aheadMore: pending.aheadMore,
    inLine: pending.inLine,
    taskGroup: group ? pending.taskGroup : undefined,
    lastPolledAtMs: pending.lastPolledAtMs,
    pollsSeenFromMs: group ? pending.pollsSeenFromMs : undefined,
    running: pending.running,
    runningMore: pending.runningMore,
  };
}

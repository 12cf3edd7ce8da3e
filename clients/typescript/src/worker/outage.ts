// Which servers out of reach a worker has told of: each trouble once, until a poll works again. One
// server of several is told of only when it stays away: others take its shards within seconds.
import { SiloUnavailableError } from "../errors/errors";

/** Troubles remembered; beyond that all are forgotten. */
const TROUBLES_MAX = 100;

/** How long one server of several is out of reach before that is told, in milliseconds. */
const GRACE_MS = 15_000;

interface Trouble {
  /** Names of the poll loops that have met it. */
  loops: Set<string>;
  /** In the time of `performance.now()`. */
  since: number;
  isTold: boolean;
}

/** What the polls of one session could not reach. */
export class Outage {
  private readonly troubles = new Map<string, Trouble>();

  /** @param graceMs how long one server of several is out of reach before that is told. */
  constructor(private readonly graceMs = GRACE_MS) {}

  /**
   * A poll has met this error and may be tried again.
   * @param loop the name of its loop.
   * @param isOneOfSeveral whether there are other servers.
   * @returns whether it is to be told now.
   */
  meets(loop: string, { message }: SiloUnavailableError, isOneOfSeveral: boolean): boolean {
    const now = performance.now();
    let trouble = this.troubles.get(message);
    if (trouble === undefined) {
      if (this.troubles.size >= TROUBLES_MAX) {
        this.troubles.clear();
      }
      trouble = { loops: new Set(), since: now, isTold: false };
      this.troubles.set(message, trouble);
    }
    trouble.loops.add(loop);
    if (trouble.isTold || (isOneOfSeveral && now - trouble.since < this.graceMs)) {
      return false;
    }
    trouble.isTold = true;
    return true;
  }

  /** Whether an error that ended a poll, or what was beneath it, has been met, so that it is told. */
  knows(error: Error): boolean {
    const isKnown = (each: unknown) =>
      each instanceof SiloUnavailableError && this.troubles.has(each.message);
    return isKnown(error) || isKnown(error.cause);
  }

  /** A poll of this loop was answered, or the loop has ended: what it met is over. */
  ends(loop: string): void {
    for (const [message, { loops }] of this.troubles) {
      if (loops.has(loop)) {
        this.troubles.delete(message);
      }
    }
  }
}

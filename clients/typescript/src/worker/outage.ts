// Which servers out of reach a worker has told of: each trouble once, until a poll works again.
import { SiloUnavailableError } from "../errors/errors";

/** Troubles remembered; beyond that all are forgotten. */
const TROUBLES_MAX = 100;

/** What the polls of one session could not reach. */
export class Outage {
  private readonly told = new Map<string, Set<number>>();

  /**
   * A poll has met this error and may be tried again.
   * @param poller the number of its loop.
   * @returns whether it is news.
   */
  meets(poller: number, { message }: SiloUnavailableError): boolean {
    const pollers = this.told.get(message);
    if (pollers !== undefined) {
      pollers.add(poller);
      return false;
    }
    if (this.told.size >= TROUBLES_MAX) {
      this.told.clear();
    }
    this.told.set(message, new Set([poller]));
    return true;
  }

  /** Whether an error that ended a poll, or what was beneath it, has been told. */
  knows(error: Error): boolean {
    const isTold = (each: unknown) =>
      each instanceof SiloUnavailableError && this.told.has(each.message);
    return isTold(error) || isTold(error.cause);
  }

  /** A poll of this loop was answered: what it met is over. */
  ends(poller: number): void {
    for (const [message, pollers] of this.told) {
      if (pollers.has(poller)) {
        this.told.delete(message);
      }
    }
  }
}

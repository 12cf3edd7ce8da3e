// What the poll loops of a worker ask for where it polls several servers.
//
// A server that gave nothing last time is asked for one task, and the poll waits there. Such polls
// reserve no slot: what is free goes to the servers that gave something, in equal parts, and when a
// waiting poll brings its task while all slots are taken, the task is given back. Their polls wait
// only for a moment, as they do reserve slots, which others may have a use for.

/** How long a poll waits that reserves slots, in milliseconds. */
const SHORT_WAIT_MS = 50;

/** What one poll asks for. */
export interface Ask {
  tasks: number;
  waitMs: number;
  /** Whether its tasks have slots reserved for them. */
  isFirm: boolean;
}

/** The part of each server in the slots of a worker. */
export class PollShares {
  /** Servers that gave something when they were last asked. */
  private readonly busy = new Set<string>();

  /** What a server answered to a poll. */
  answered(server: string, tasks: number): void {
    if (tasks > 0) {
      this.busy.add(server);
    } else {
      this.busy.delete(server);
    }
  }

  /**
   * What to ask a server for.
   * @param servers all that are polled.
   * @param free slots, at least 1.
   * @param most of one poll, and how long it may wait.
   */
  of(server: string, servers: readonly string[], free: number, most: Omit<Ask, "isFirm">): Ask {
    if (servers.length <= 1) {
      return { tasks: Math.min(most.tasks, free), waitMs: most.waitMs, isFirm: true };
    }
    if (!this.busy.has(server)) {
      return { tasks: Math.min(1, most.tasks), waitMs: most.waitMs, isFirm: false };
    }
    const sharing = servers.filter((each) => this.busy.has(each)).length;
    const share = Math.ceil(free / Math.max(1, sharing));
    return {
      tasks: Math.min(most.tasks, share),
      waitMs: Math.min(most.waitMs, SHORT_WAIT_MS),
      isFirm: true,
    };
  }

  /** Forgets servers that are not polled any more. */
  keepOnly(servers: readonly string[]): void {
    for (const server of this.busy) {
      if (!servers.includes(server)) {
        this.busy.delete(server);
      }
    }
  }
}

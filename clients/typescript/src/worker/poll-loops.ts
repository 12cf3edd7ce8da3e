// The poll loops of a running worker: at least one for each server that has shards, from the moment
// that the server is known until it is known no more.
import { asError } from "../base/describe";
import { SiloClientClosedError, SiloNotReadyError } from "../errors/errors";
import { PollShares } from "./poll-shares";
import type { Ask } from "./poll-shares";
import type { WorkerSession } from "./worker-session";

/** Stands for the server of a client that does not tell its servers. */
export const ONLY_SERVER = "";

/** What the loops need of their worker. */
export interface PollHost {
  /** Poll loops wanted whatever the number of servers. */
  readonly concurrentPollers: number;
  /** Most tasks of one poll. */
  readonly tasksPerPoll: number;
  readonly pollWaitMs: number;
  /** Shortest time between two polls that bring nothing, in milliseconds. */
  readonly pollIntervalMs: number;
  /** Addresses of the servers to poll, at least one. */
  servers(): string[];
  /** Polls a server and takes its tasks. @returns how many. */
  poll(loop: PollLoop, ask: Ask): Promise<number>;
  onError(error: Error): void;
  /** No poll will ever bring anything again. */
  stop(): void;
}

/** One loop. */
export interface PollLoop {
  readonly name: string;
  readonly server: string;
}

export class PollLoops {
  private readonly shares = new PollShares();
  /** What gives the slots back that long polls at an only server have reserved. */
  private readonly longPolls = new Set<() => void>();

  constructor(
    private readonly session: WorkerSession,
    private readonly host: PollHost,
  ) {}

  /** Starts the loops that are wanted and not there. Those not wanted any more end by themselves. */
  start(): void {
    const { session } = this;
    if (!session.isRunning) {
      return;
    }
    const servers = this.host.servers();
    this.shares.keepOnly(servers);
    if (servers.length > 1) {
      this.longPolls.forEach((release) => release());
    }
    for (const loop of this.wanted()) {
      if (!session.pollers.has(loop.name)) {
        session.pollers.set(loop.name, this.run(loop));
      }
    }
  }

  /** One loop for each server, and more if the worker's options say so. */
  private wanted(): PollLoop[] {
    const servers = this.host.servers();
    const count = Math.max(this.host.concurrentPollers, servers.length);
    return Array.from({ length: count }, (_, i) => {
      const server = servers[i % servers.length];
      return { name: `${Math.floor(i / servers.length)} ${server}`, server };
    });
  }

  private isWanted({ name }: PollLoop): boolean {
    return this.wanted().some((each) => each.name === name);
  }

  private async run(loop: PollLoop): Promise<void> {
    const { session } = this;
    for (;;) {
      await session.room();
      if (!session.isRunning) {
        return;
      }
      if (!this.isWanted(loop)) {
        session.pollers.delete(loop.name);
        session.outage.ends(loop.name);
        return;
      }
      const { tasksPerPoll, pollWaitMs: waitMs } = this.host;
      const most = { tasks: Math.max(1, tasksPerPoll), waitMs };
      const ask = this.shares.of(loop.server, this.host.servers(), session.free, most);
      const tasks = session.ask(ask.tasks);
      if (tasks > 0) {
        await session.sleep(await this.pollOnce(loop, { ...ask, tasks }));
      }
    }
  }

  /** @returns how long to wait before the next poll. Never rejects. */
  private async pollOnce(loop: PollLoop, ask: Ask): Promise<number> {
    const { host } = this;
    const started = performance.now();
    const release = this.reservation(ask);
    let pause = host.pollIntervalMs;
    try {
      const count = await host.poll(loop, ask);
      this.shares.answered(loop.server, count);
      // A server that held the poll has spent the interval already.
      const isSpent = count > 0 || ask.waitMs < host.pollWaitMs;
      pause = isSpent ? 0 : Math.max(0, started + pause - performance.now());
    } catch (error) {
      pause = this.failed(loop, error) ? pause : 0;
    } finally {
      release();
    }
    return pause;
  }

  /** @returns what gives back the slots that a poll has reserved, as far as it keeps any. */
  private reservation(ask: Ask): () => void {
    let isReserved = true;
    const release = () => {
      this.longPolls.delete(release);
      if (isReserved) {
        isReserved = false;
        this.session.answered(ask.tasks);
      }
    };
    if (!ask.isFirm) {
      release();
    } else if (this.host.servers().length <= 1) {
      this.longPolls.add(release);
    }
    return release;
  }

  /** @returns whether the loop goes on after a pause. */
  private failed(loop: PollLoop, thrown: unknown): boolean {
    const { session, host } = this;
    const error = asError(thrown);
    if (error instanceof SiloNotReadyError && !this.isWanted(loop)) {
      // The server has left the cluster meanwhile.
      return false;
    }
    if (session.isRunning && !session.outage.knows(error)) {
      host.onError(error);
    }
    if (error instanceof SiloClientClosedError) {
      host.stop();
    }
    return true;
  }
}

// How a client learns which server owns which shard.
//
// A server that does not answer soon is not waited for: the next is asked beside it, and the first
// answer counts. At most one reading of the topology is under way, whoever asks for it, and readings that follow
// failed calls begin no faster than the first wait between two tries: a thousand calls that fail
// together cause one.
import { setTimeout as timer } from "node:timers/promises";
import type { RpcOptions } from "@protobuf-ts/runtime-rpc";
import { isConnectivityError, noteAddress } from "../errors/error-mapping";
import { TopologyError } from "../errors/errors";
import type { GetClusterInfoResponse } from "../gen/silo";
import type { ChannelPool } from "./channels";
import type { DialRules } from "./dial-rules";
import { initHasher } from "./hash";
import { Topology } from "./topology";

/** After how long the next server is asked, too, in milliseconds. */
const NEXT_SERVER_MS = 1000;

/** What a reading of the topology needs of its client. */
export interface DiscoveryOptions {
  rules: DialRules;
  /** Makes one GetClusterInfo call with its options and its token. */
  call: <T>(invoke: (options: RpcOptions) => Promise<T>) => Promise<T>;
  /** Says more of an error, if there is more to say. */
  explain: (error: unknown, address: string, isConnected: boolean) => Promise<unknown>;
  /** Shortest time between the beginnings of two readings after failed calls, in milliseconds. */
  intervalMs: number;
}

/** The topology of one client and how it is read. */
export class Discovery {
  readonly topology = new Topology();
  private reading: Promise<void> | undefined;
  private planned: Promise<void> | undefined;
  /** When the latest reading began, and the latest that succeeded; `performance.now()`. */
  private begunAt = -Infinity;
  private readAt = -Infinity;
  /** Servers that did not tell it when they were last asked; they are asked last. */
  private readonly silent = new Set<string>();

  constructor(
    private readonly pool: ChannelPool,
    private readonly options: DiscoveryOptions,
  ) {}

  /**
   * Asks one server after another for the topology and takes the first answer; joins a reading
   * that is under way.
   * @throws TopologyError if none answers.
   */
  read(): Promise<void> {
    this.reading ??= this.readNow().finally(() => {
      this.reading = undefined;
    });
    return this.reading;
  }

  /** Reads the topology unless a reading that began after `since` has succeeded. */
  async readSince(since: number): Promise<void> {
    if (this.readAt > since) {
      return;
    }
    this.planned ??= this.readPaced().finally(() => {
      this.planned = undefined;
    });
    await this.planned;
  }

  /** All servers known, those most likely to answer first. */
  candidates(): string[] {
    const known = new Set([...this.pool.addresses, ...this.options.rules.servers]);
    for (const address of this.silent) {
      // To the end; a server that nobody knows any more is forgotten.
      if (known.delete(address)) {
        known.add(address);
      } else {
        this.silent.delete(address);
      }
    }
    return [...known];
  }

  /** Asks a server last from now on, until it tells the topology. */
  avoid(address: string): void {
    this.silent.add(address);
  }

  private async readPaced(): Promise<void> {
    const wait = this.begunAt + this.options.intervalMs - performance.now();
    if (this.reading === undefined && wait > 0) {
      await timer(wait);
    }
    await this.read();
  }

  /**
   * Takes what a server told: channels are opened to servers that have shards now, and closed to
   * all others.
   */
  take(info: GetClusterInfoResponse): void {
    const { rules } = this.options;
    if (!this.topology.replace(info, (advertised) => rules.dialled(advertised))) {
      return;
    }
    if (this.topology.isLoaded) {
      const members = new Set(info.members.map(({ grpcAddr }) => rules.mapped(grpcAddr)));
      // A server that tells no members says nothing about who has left.
      const isMember = (address: string) => members.size === 0 || members.has(address);
      this.pool.keepOnly(new Set(this.topology.servers), isMember);
    }
  }

  private async readNow(): Promise<void> {
    await initHasher();
    this.begunAt = performance.now();
    const failures: unknown[] = [];
    const readings: Promise<boolean>[] = [];
    for (const address of this.candidates()) {
      readings.push(this.readFrom(address, failures));
      const patience = new AbortController();
      const isOver = timer(NEXT_SERVER_MS, false, { signal: patience.signal }).catch(() => false);
      const isRead = await Promise.race([anyTrue(readings), isOver]);
      patience.abort();
      if (isRead) {
        return;
      }
    }
    if (!(await anyTrue(readings))) {
      // If any server may answer later, that is what matters.
      throw new TopologyError(failures.find(isConnectivityError) ?? failures.at(-1));
    }
  }

  /** @returns whether the server told the topology; else why not is among the failures. */
  private async readFrom(address: string, failures: unknown[]): Promise<boolean> {
    const isNew = !this.pool.has(address);
    const begunAt = this.begunAt;
    try {
      const channel = this.pool.ensure(address);
      const info = await this.options.call(
        (options) => channel.stubFor(0).getClusterInfo({}, options).response,
      );
      if (begunAt >= this.readAt) {
        this.take(info);
        this.readAt = begunAt;
      }
      this.silent.delete(address);
      return true;
    } catch (error) {
      noteAddress(error, address);
      this.silent.add(address);
      const isConnected = this.pool.get(address)?.isConnected ?? false;
      failures.push(await this.options.explain(error, address, isConnected));
      if (isNew) {
        this.pool.drop(address);
      }
      return false;
    }
  }
}

/** Whether any of these is true, as soon as one is; false when all are not. They must not reject. */
function anyTrue(readings: readonly Promise<boolean>[]): Promise<boolean> {
  return new Promise((resolve) => {
    readings.forEach((reading) => void reading.then((isTrue) => isTrue && resolve(true)));
    void Promise.all(readings).then(() => resolve(false));
  });
}

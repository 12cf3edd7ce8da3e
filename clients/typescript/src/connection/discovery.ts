// How a client learns which server owns which shard.
//
// At most one reading of the topology is under way, whoever asks for it, and readings that follow
// failed calls begin no faster than the first wait between two tries: a thousand calls that fail
// together cause one.
import { setTimeout as timer } from "node:timers/promises";
import type { RpcOptions } from "@protobuf-ts/runtime-rpc";
import { isConnectivityError, noteAddress } from "../errors/error-mapping";
import { TopologyError } from "../errors/errors";
import type { Channel, ChannelPool } from "./channels";
import type { DialRules } from "./dial-rules";
import { initHasher } from "./hash";
import { Topology } from "./topology";

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
  private candidates(): string[] {
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

  private async readPaced(): Promise<void> {
    const wait = this.begunAt + this.options.intervalMs - performance.now();
    if (this.reading === undefined && wait > 0) {
      await timer(wait);
    }
    await this.read();
  }

  private async readNow(): Promise<void> {
    await initHasher();
    this.begunAt = performance.now();
    const failures: unknown[] = [];
    for (const address of this.candidates()) {
      try {
        await this.readFrom(address);
        this.silent.delete(address);
        this.readAt = this.begunAt;
        return;
      } catch (error) {
        this.silent.add(address);
        failures.push(error);
      }
    }
    // If any server may answer later, that is what matters.
    throw new TopologyError(failures.find(isConnectivityError) ?? failures.at(-1));
  }

  private async readFrom(address: string): Promise<void> {
    const isNew = !this.pool.has(address);
    try {
      const channel: Channel = this.pool.ensure(address);
      const { shardOwners } = await this.options.call(
        (options) => channel.stubFor(0).getClusterInfo({}, options).response,
      );
      this.topology.replace(shardOwners, (advertised) => this.options.rules.dialled(advertised));
    } catch (error) {
      noteAddress(error, address);
      const isConnected = this.pool.get(address)?.isConnected ?? false;
      const failure = await this.options.explain(error, address, isConnected);
      if (isNew) {
        this.pool.drop(address);
      }
      throw failure;
    }
    if (this.topology.isLoaded) {
      this.pool.keepOnly(new Set(this.topology.shards.map((shard) => shard.serverAddr)));
    }
  }
}

// Which server a call goes to, and what happens when it is the wrong one or cannot be reached.
//
// A tenant's hash names its shard, the topology names the shard's server. The topology is read
// when it is first needed, then by the timer and after retryable errors. A wrong-shard error that
// names the owner is followed without reading the topology again. When no server at all can tell
// the topology the call fails at once: with the whole cluster away nobody is served by waiting.
import { metrics } from "@opentelemetry/api";
import type { Counter } from "@opentelemetry/api";
import type { RpcOptions } from "@protobuf-ts/runtime-rpc";
import { makeCallOptions } from "./call-options";
import { ChannelPool } from "./channels";
import type { Channel } from "./channels";
import { isConnectivityError, isWrongShardError, mapError, ownerAddressOf } from "./error-mapping";
import type { CallSubject } from "./error-mapping";
import type { SiloClient } from "./gen/silo.client";
import { hashTenant, initHasher } from "./hash";
import { isLoopbackAddress, serverAddresses } from "./options";
import type { ShardRoutingConfig, SiloGRPCClientOptions } from "./options";
import { sleep } from "./sleep";
import { shardForTenant, Topology } from "./topology";

/** Longest wait between two tries, in milliseconds. */
const MAX_RETRY_DELAY_MS = 5000;

/** The tenant that stands for none. */
const DEFAULT_TENANT = "-";

/**
 * Makes one call on a stub. `shard` is the shard it was routed to, "" if none; `address` is the
 * stub's server.
 */
export type Invoke<T> = (
  stub: SiloClient,
  options: RpcOptions,
  shard: string,
  address: string,
) => Promise<T>;

/** Where a try goes. */
interface Target {
  channel: Channel;
  shard: string;
}

/** Name and subject of a call, for its errors. */
export interface CallInfo extends CallSubject {
  operation: string;
}

/** Channels, topology and retries of one client. */
export class Connection {
  readonly topology = new Topology();
  readonly pool: ChannelPool;
  private readonly bootstrap: string[];
  private readonly routing: Required<ShardRoutingConfig>;
  private readonly addressMap: Record<string, string>;
  private readonly wrongShardRetries: Counter;
  private readonly timer: NodeJS.Timeout | undefined;
  private loading: Promise<void> | undefined;

  constructor(private readonly options: SiloGRPCClientOptions) {
    this.bootstrap = serverAddresses(options.servers);
    this.routing = {
      maxRetries: options.shardRouting?.maxRetries ?? 8,
      retryDelayMs: options.shardRouting?.retryDelayMs ?? 250,
      topologyRefreshIntervalMs: options.shardRouting?.topologyRefreshIntervalMs ?? 30000,
      topologyRefreshTimeoutMs: options.shardRouting?.topologyRefreshTimeoutMs ?? 10000,
    };
    this.addressMap = options.addressMap ?? {};
    const useTls = options.useTls ?? !this.bootstrap.every(isLoopbackAddress);
    this.pool = new ChannelPool(useTls, options.grpcClientOptions ?? {});
    for (const address of this.bootstrap) {
      this.pool.ensure(address);
    }
    this.wrongShardRetries = (options.meter ?? metrics.getMeter("silo-client")).createCounter(
      "silo.client.wrong_shard_retries",
      { description: "Calls sent again because the server did not serve the shard" },
    );
    this.timer = this.startTimer();
  }

  private startTimer(): NodeJS.Timeout | undefined {
    if (this.routing.topologyRefreshIntervalMs <= 0) {
      return undefined;
    }
    const timer = setInterval(() => {
      this.refreshTopology().catch((error: unknown) => {
        console.error("[SiloGRPCClient] cannot refresh the topology:", error);
      });
    }, this.routing.topologyRefreshIntervalMs);
    timer.unref();
    return timer;
  }

  /** Stops the timer and closes all channels. May be called again. */
  close(): void {
    clearInterval(this.timer);
    this.pool.close();
  }

  /** A call for a tenant, sent to the server of the tenant's shard. */
  tenantCall<T>(tenant: string | undefined, info: CallInfo, invoke: Invoke<T>): Promise<T> {
    return this.run(
      info,
      () => this.ensureTopology(),
      () => this.targetOfShard(this.shardOfTenant(tenant)),
      invoke,
    );
  }

  /** A call that names a shard, sent to its server if known, else to any. */
  shardCall<T>(shard: string, info: CallInfo, invoke: Invoke<T>): Promise<T> {
    return this.run(info, undefined, () => this.targetOfShard(shard), invoke);
  }

  /** A call that any server can answer. */
  anyCall<T>(serverIndex: number | undefined, info: CallInfo, invoke: Invoke<T>): Promise<T> {
    return this.run(
      info,
      undefined,
      () => ({ channel: this.pool.any(serverIndex), shard: "" }),
      invoke,
    );
  }

  /**
   * A call to each distinct owner in turn, without retries; the topology is forgotten afterwards.
   * With no topology it goes to every server that has a channel.
   */
  async callOwners(info: CallInfo, invoke: Invoke<void>): Promise<void> {
    const owners = new Set(this.topology.shards.map((shard) => shard.serverAddr));
    const addresses = owners.size > 0 ? owners : this.pool.addresses;
    try {
      for (const address of addresses) {
        const options = await makeCallOptions(this.options);
        await invoke(this.pool.ensure(address).stub, options, "", address);
      }
    } catch (error) {
      throw mapError(error, info.operation, info);
    }
    if (owners.size > 0) {
      this.topology.clear();
    }
  }

  /**
   * The shard of a tenant.
   * @throws Error if the topology is not known or has a gap there.
   */
  shardOfTenant(tenant: string | undefined): string {
    const shards = this.topology.shards;
    if (shards.length === 0) {
      throw new Error("Cluster topology not discovered yet. Call refreshTopology() first.");
    }
    const name = tenant ?? DEFAULT_TENANT;
    const shard = shardForTenant(hashTenant(name), shards);
    if (shard === undefined) {
      throw new Error(`No shard found for tenant "${name}". This indicates a topology error.`);
    }
    return shard.shardId;
  }

  /** Loads the hash function and, once for all callers that need it now, the topology. */
  async ensureTopology(): Promise<void> {
    await initHasher();
    if (this.topology.isLoaded) {
      return;
    }
    this.loading ??= this.refreshTopology().finally(() => {
      this.loading = undefined;
    });
    await this.loading;
  }

  /**
   * Asks one server after another for the topology and takes the first answer.
   * @throws Error if none answers.
   */
  async refreshTopology(): Promise<void> {
    await initHasher();
    const pooled = this.pool.addresses;
    const others = this.bootstrap.filter((address) => !pooled.includes(address));
    let cause: unknown;
    for (const address of [...pooled, ...others]) {
      try {
        await this.refreshFrom(address);
        return;
      } catch (error) {
        cause = error;
      }
    }
    throw new Error("Failed to refresh cluster topology from any server", { cause });
  }

  private async refreshFrom(address: string): Promise<void> {
    const isNew = !this.pool.has(address);
    try {
      const channel = this.pool.ensure(address);
      const { response } = channel.stub.getClusterInfo(
        {},
        {
          ...(await makeCallOptions(this.options)),
          timeout: this.routing.topologyRefreshTimeoutMs,
        },
      );
      const { shardOwners } = await response;
      this.topology.replace(shardOwners, (advertised) => this.dialled(advertised));
    } catch (error) {
      if (isNew) {
        this.pool.drop(address);
      }
      throw error;
    }
    if (this.topology.isLoaded) {
      this.pool.keepOnly(new Set(this.topology.shards.map((shard) => shard.serverAddr)));
    }
  }

  private dialled(advertised: string): string {
    return Object.hasOwn(this.addressMap, advertised) ? this.addressMap[advertised] : advertised;
  }

  private targetOfShard(shard: string): Target {
    const address = this.topology.addressOf(shard);
    const channel = address === undefined ? undefined : this.pool.get(address);
    return { channel: channel ?? this.pool.any(), shard };
  }

  private async run<T>(
    info: CallInfo,
    prepare: (() => Promise<void>) | undefined,
    resolve: () => Target,
    invoke: Invoke<T>,
  ): Promise<T> {
    try {
      return await this.tryAndRetry(prepare, resolve, invoke);
    } catch (error) {
      throw mapError(error, info.operation, info);
    }
  }

  private async tryAndRetry<T>(
    prepare: (() => Promise<void>) | undefined,
    resolve: () => Target,
    invoke: Invoke<T>,
  ): Promise<T> {
    let redirect: { address: string; shard: string } | undefined;
    let delay = this.routing.retryDelayMs;
    for (let retries = 0; ; retries++) {
      await prepare?.();
      const options = await makeCallOptions(this.options);
      // No await between choosing a channel and using it: a refresh may close it.
      const target: Target = redirect
        ? { channel: this.pool.ensure(redirect.address), shard: redirect.shard }
        : resolve();
      try {
        const { stub, address } = target.channel;
        return await invoke(stub, options, target.shard, address);
      } catch (error) {
        const wrongShard = isWrongShardError(error);
        const retryable = wrongShard || isConnectivityError(error);
        if (!retryable || retries >= this.routing.maxRetries) {
          throw error;
        }
        const owner = wrongShard ? ownerAddressOf(error) : undefined;
        redirect = undefined;
        if (wrongShard) {
          this.wrongShardRetries.add(1);
        }
        if (owner !== undefined && target.shard !== "") {
          redirect = { address: this.dialled(owner), shard: target.shard };
          this.pool.ensure(redirect.address);
          this.topology.record(redirect.shard, redirect.address);
        } else {
          await this.refreshTopology();
        }
      }
      await sleep(delay);
      delay = Math.min(delay * 2, MAX_RETRY_DELAY_MS);
    }
  }
}

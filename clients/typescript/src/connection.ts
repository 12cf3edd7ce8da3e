// Which server a call goes to, and what happens when it is the wrong one or cannot be reached.
//
// A tenant's hash names its shard, the topology names the shard's server. The topology is read
// when it is first needed, then by the timer and after retryable errors. A wrong-shard error that
// names the owner is followed without reading the topology again. A call whose server is away, or
// which no server can tell where to go, is tried again until its deadline or for its number of
// retries: a server that restarts is back in seconds.
import { setMaxListeners } from "node:events";
import { metrics } from "@opentelemetry/api";
import type { Counter } from "@opentelemetry/api";
import { RpcError } from "@protobuf-ts/runtime-rpc";
import type { RpcOptions } from "@protobuf-ts/runtime-rpc";
import { CallLimits } from "./call-limits";
import { givenOptions, makeCallOptions } from "./call-options";
import { ChannelPool } from "./channels";
import type { Channel } from "./channels";
import { DialRules } from "./dial-rules";
import { Discovery } from "./discovery";
import { isRetryable, isWrongShardError, mapError, ownerAddressOf } from "./error-mapping";
import type { CallSubject } from "./error-mapping";
import { SiloUnroutableError, TopologyError } from "./errors";
import type { SiloClient } from "./gen/silo.client";
import { hashTenant, initHasher } from "./hash";
import type { ShardRoutingConfig, SiloGRPCClientOptions } from "./options";
import { jittered } from "./sleep";
import { shardForTenant } from "./topology";
import type { Topology } from "./topology";
import type { CallOptions } from "./types";

/** Retries of a call without a deadline. */
const DEFAULT_MAX_RETRIES = 8;

/** Longest wait between two tries, in milliseconds. */
const MAX_RETRY_DELAY_MS = 5000;

/** Longest pause between two readings of the topology that failed calls ask for, likewise. */
const MAX_READING_PAUSE_MS = 1000;

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

/** Name and subject of a call, for its errors, what ends it early, and its size. */
export interface CallInfo extends CallSubject, CallOptions {
  operation: string;
  /** Bytes of the request, roughly; default: few. */
  requestBytes?: number;
}

/** How the tries of one call find their server. */
interface Route {
  /** Whether the topology has to be known first. */
  needsTopology: boolean;
  /** @throws SiloUnroutableError */
  resolve: () => Target;
}

/** A call on its way through its tries. */
interface Trial {
  route: Route;
  limits: CallLimits;
  requestBytes: number;
  /** The owner of the shard, as the last try was told. */
  redirect?: { address: string; shard: string };
  /** When the last try began; `performance.now()`, undefined before the first. */
  begunAt?: number;
  /** The shard the last try went to, "" if none. */
  shard: string;
}

/**
 * Whether what an earlier try met says more: that the topology cannot be read, or that the time of
 * the last try was over, only follows from it.
 */
function saysLittle(error: unknown): boolean {
  return (
    error instanceof TopologyError ||
    (error instanceof RpcError && error.code === "DEADLINE_EXCEEDED")
  );
}

/** Channels, topology and retries of one client. */
export class Connection {
  readonly pool: ChannelPool;
  private readonly rules: DialRules;
  private readonly discovery: Discovery;
  private readonly routing: Required<Omit<ShardRoutingConfig, "maxRetries">>;
  private readonly wrongShardRetries: Counter;
  private readonly timer: NodeJS.Timeout | undefined;
  private readonly closing = new AbortController();

  constructor(private readonly options: SiloGRPCClientOptions) {
    this.routing = {
      retryDelayMs: options.shardRouting?.retryDelayMs ?? 250,
      topologyRefreshIntervalMs: options.shardRouting?.topologyRefreshIntervalMs ?? 30000,
      topologyRefreshTimeoutMs: options.shardRouting?.topologyRefreshTimeoutMs ?? 10000,
    };
    this.rules = new DialRules(options);
    this.pool = new ChannelPool(this.rules.useTls, options.grpcClientOptions ?? {});
    for (const address of this.rules.servers) {
      this.pool.ensure(address);
    }
    this.discovery = new Discovery(this.pool, {
      rules: this.rules,
      callOptions: () => this.refreshOptions(),
      intervalMs: Math.min(this.routing.retryDelayMs, MAX_READING_PAUSE_MS),
    });
    this.wrongShardRetries = (options.meter ?? metrics.getMeter("silo-client")).createCounter(
      "silo.client.wrong_shard_retries",
      { description: "Calls sent again because the server did not serve the shard" },
    );
    this.timer = this.startTimer();
    // Every call that waits listens.
    setMaxListeners(0, this.closing.signal);
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

  private async refreshOptions(): Promise<RpcOptions> {
    const options = await makeCallOptions(givenOptions(this.options), this.options);
    return { ...options, timeout: this.routing.topologyRefreshTimeoutMs };
  }

  /** Aborts when the client is closed. */
  get closed(): AbortSignal {
    return this.closing.signal;
  }

  get topology(): Topology {
    return this.discovery.topology;
  }

  /** Stops the timer, closes all channels, ends calls between two tries. May be called again. */
  close(): void {
    clearInterval(this.timer);
    this.pool.close();
    this.closing.abort();
  }

  /** A call for a tenant, sent to the server of the tenant's shard. */
  tenantCall<T>(tenant: string | undefined, info: CallInfo, invoke: Invoke<T>): Promise<T> {
    const resolve = () => this.targetOfShard(this.shardOfTenant(tenant));
    return this.run(info, { needsTopology: true, resolve }, invoke);
  }

  /** A call that names a shard, sent to its server if known, else to any. */
  shardCall<T>(shard: string, info: CallInfo, invoke: Invoke<T>): Promise<T> {
    const resolve = () => this.targetOfShard(shard);
    return this.run(info, { needsTopology: false, resolve }, invoke);
  }

  /** A call that any server can answer. */
  anyCall<T>(serverIndex: number | undefined, info: CallInfo, invoke: Invoke<T>): Promise<T> {
    const resolve = () => ({ channel: this.pool.any(serverIndex), shard: "" });
    return this.run(info, { needsTopology: false, resolve }, invoke);
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
        const options = await makeCallOptions(givenOptions(this.options), this.options);
        await invoke(this.pool.ensure(address).stubFor(0), options, "", address);
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
   * @throws SiloUnroutableError if the topology is not known or has a gap there.
   */
  shardOfTenant(tenant: string | undefined): string {
    const shards = this.topology.shards;
    if (shards.length === 0) {
      throw new SiloUnroutableError(
        this.topology.isTold
          ? "Cluster topology not discovered yet: no server that answered has a shard open."
          : "Cluster topology not discovered yet. Call refreshTopology() first.",
      );
    }
    const name = tenant ?? DEFAULT_TENANT;
    const shard = shardForTenant(hashTenant(name), shards);
    if (shard === undefined) {
      throw new SiloUnroutableError(
        `No shard found for tenant "${name}". This indicates a topology error.`,
      );
    }
    return shard.shardId;
  }

  /**
   * Reads the topology, or joins a reading that is under way.
   * @throws Error if no server tells it.
   */
  refreshTopology(): Promise<void> {
    return this.discovery.read();
  }

  private targetOfShard(shard: string): Target {
    const address = this.topology.addressOf(shard);
    const channel = address === undefined ? undefined : this.pool.get(address);
    return { channel: channel ?? this.pool.any(), shard };
  }

  private async run<T>(info: CallInfo, route: Route, invoke: Invoke<T>): Promise<T> {
    let limits: CallLimits | undefined;
    try {
      const given = givenOptions(this.options);
      limits = new CallLimits(given, info, this.closing.signal);
      const { requestBytes = 0 } = info;
      return await this.tryAndRetry({ route, limits, requestBytes, shard: "" }, given, invoke);
    } catch (error) {
      throw mapError(error, info.operation, info);
    } finally {
      limits?.release();
    }
  }

  private async tryAndRetry<T>(trial: Trial, given: RpcOptions, invoke: Invoke<T>): Promise<T> {
    const { limits } = trial;
    const unlessSaid = limits.hasDeadline ? Infinity : DEFAULT_MAX_RETRIES;
    const maxRetries = this.options.shardRouting?.maxRetries ?? unlessSaid;
    let delay = this.routing.retryDelayMs;
    for (let retries = 0; ; retries++) {
      limits.check();
      try {
        return await this.tryOnce(trial, retries > 0 ? givenOptions(this.options) : given, invoke);
      } catch (error) {
        if (!isRetryable(error)) {
          throw error;
        }
        if (limits.lastFailure === undefined || !saysLittle(error)) {
          limits.lastFailure = error;
        }
        if (retries >= maxRetries) {
          throw limits.lastFailure;
        }
        await this.learnFrom(trial, error);
      }
      await limits.wait(jittered(delay));
      delay = Math.min(delay * 2, MAX_RETRY_DELAY_MS);
    }
  }

  private async tryOnce<T>(trial: Trial, given: RpcOptions, invoke: Invoke<T>): Promise<T> {
    const { route, limits, requestBytes } = trial;
    await this.prepare(trial);
    limits.check();
    const making = makeCallOptions(given, this.options);
    // A token may take its time.
    const isQuick = typeof this.options.token !== "function";
    const options = isQuick ? await making : await limits.join(making);
    limits.check();
    trial.begunAt = performance.now();
    // No await between choosing a channel and using it: a reading of the topology may close it.
    const { channel, shard } = trial.redirect
      ? { channel: this.pool.ensure(trial.redirect.address), shard: trial.redirect.shard }
      : route.resolve();
    trial.shard = shard;
    const stub = channel.stubFor(requestBytes);
    return await invoke(stub, limits.applyTo(options), shard, channel.address);
  }

  /** Sees to it that the try knows where to go. @throws TopologyError if nobody tells. */
  private async prepare(trial: Trial): Promise<void> {
    if (!trial.route.needsTopology || trial.redirect !== undefined) {
      return;
    }
    await initHasher();
    if (!this.topology.isLoaded) {
      const { begunAt } = trial;
      trial.begunAt ??= performance.now();
      const reading =
        begunAt === undefined ? this.discovery.read() : this.discovery.readSince(begunAt);
      await trial.limits.join(reading);
    }
  }

  /**
   * Learns from a retryable error where the next try has to go: to the owner that it names, else
   * to where the topology says now. If nobody tells, the servers that are known are tried again.
   */
  private async learnFrom(trial: Trial, error: unknown): Promise<void> {
    trial.redirect = undefined;
    if (error instanceof TopologyError) {
      return;
    }
    if (isWrongShardError(error)) {
      this.wrongShardRetries.add(1);
      const owner = ownerAddressOf(error);
      if (owner !== undefined && trial.shard !== "") {
        const address = this.rules.dialled(owner);
        trial.redirect = { address, shard: trial.shard };
        this.pool.ensure(address);
        this.topology.record(trial.shard, address);
        return;
      }
    }
    const reading = this.discovery.readSince(trial.begunAt ?? 0).catch((failure: unknown) => {
      if (!isRetryable(failure)) {
        throw failure;
      }
    });
    await trial.limits.join(reading);
  }
}

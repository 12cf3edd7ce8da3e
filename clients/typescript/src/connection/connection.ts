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
import { jittered } from "../base/sleep";
import {
  isRetryable,
  isTimeOut,
  isWrongShardError,
  mapError,
  noteAddress,
  ownerAddressOf,
} from "../errors/error-mapping";
import type { CallSubject } from "../errors/error-mapping";
import {
  SiloCancelledError,
  SiloUnavailableError,
  SiloUnroutableError,
  TopologyError,
  withCause,
} from "../errors/errors";
import type { SiloClient } from "../gen/silo.client";
import type { CallOptions } from "../jobs/types";
import { CallLimits, timeLimit } from "./call-limits";
import { givenOptions, makeCallOptions } from "./call-options";
import { ChannelPool } from "./channels";
import type { Channel } from "./channels";
import { DialRules } from "./dial-rules";
import { Discovery } from "./discovery";
import { Doctor } from "./doctor";
import { hashTenant, initHasher } from "./hash";
import { routingOf } from "./options";
import type { Routing, SiloGRPCClientOptions } from "./options";
import { Tokens } from "./token";
import { shardForTenant } from "./topology";
import type { Topology } from "./topology";

/** Retries of a call that was given no deadline. */
const DEFAULT_MAX_RETRIES = 8;

/** How long such a call may take, in milliseconds; its request takes time in addition. */
const DEFAULT_TIMEOUT_MS = 60_000;

/** The slowest upload that such a call allows for, in bytes per millisecond. */
const SLOWEST_UPLOAD = 64;

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
interface Place {
  channel: Channel;
  shard: string;
}

/** Where a call goes, and what sends it there. */
interface Target<T> {
  address: string;
  call: (options: RpcOptions) => Promise<T>;
}

/** Name and subject of a call, for its errors, what ends it early, and its size. */
export interface CallInfo extends CallSubject, CallOptions {
  operation: string;
  /** Bytes of the request, roughly; default: few. */
  requestBytes?: number;
  /** How long the server was asked to wait with its answer, in milliseconds. */
  waitMs?: number;
  /** Hears of each try that found no connection, while others follow. */
  onUnreachable?: (error: SiloUnavailableError) => void;
}

/** How the tries of one call find their server. */
interface Route {
  /** Whether the topology has to be known first. */
  needsTopology: boolean;
  /** @throws SiloUnroutableError */
  resolve: () => Place;
}

/** A call on its way through its tries. */
interface Trial {
  route: Route;
  limits: CallLimits;
  requestBytes: number;
  onUnreachable?: (error: SiloUnavailableError) => void;
  /** The owner of the shard, as the last try was told. */
  redirect?: { address: string; shard: string };
  /** When the last try began; `performance.now()`, undefined before the first. */
  begunAt?: number;
  /** The shard the last try went to, "" if none. */
  shard: string;
  /** The server the last try went to, if one was chosen. */
  address?: string;
}

/**
 * Whether what an earlier try met says more: that the topology cannot be read, or that the time of
 * the last try was over, only follows from it.
 */
function saysLittle(error: unknown): boolean {
  return error instanceof TopologyError || isTimeOut(error);
}

/** Addresses that an error names. */
const NAMED_ADDRESSES = 3;

/** Channels, topology and retries of one client. */
export class Connection {
  readonly pool: ChannelPool;
  private readonly rules: DialRules;
  private readonly doctor: Doctor;
  private readonly tokens: Tokens;
  /** As the client's options say. */
  private readonly timeoutMs: number | undefined;
  private readonly discovery: Discovery;
  private readonly routing: Routing;
  private readonly wrongShardRetries: Counter;
  private readonly timer: NodeJS.Timeout | undefined;
  private readonly closing = new AbortController();

  constructor(private readonly options: SiloGRPCClientOptions) {
    this.routing = routingOf(options.shardRouting);
    this.rules = new DialRules(options);
    this.tokens = new Tokens(this.rules.token, options.cacheToken ?? false);
    this.timeoutMs = options.timeoutMs === undefined ? undefined : timeLimit(options.timeoutMs);
    this.doctor = new Doctor(this.rules.tls, options.grpcClientOptions ?? {});
    this.pool = new ChannelPool(this.rules.tls, options.grpcClientOptions ?? {});
    for (const address of this.rules.servers) {
      this.pool.ensure(address);
    }
    this.discovery = new Discovery(this.pool, {
      rules: this.rules,
      call: (invoke) => this.readingCall(invoke),
      explain: (...found) => this.doctor.explain(...found),
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

  /** One call of a reading of the topology: no caller's, so it has a deadline of its own. */
  private async readingCall<T>(invoke: (options: RpcOptions) => Promise<T>): Promise<T> {
    const { topologyRefreshTimeoutMs: timeout } = this.routing;
    const given = { ...givenOptions(this.options), timeout };
    const limits = new CallLimits({ timeout }, {}, this.closing.signal);
    return this.tokens.use(
      (bearer) => invoke(makeCallOptions(given, bearer)),
      (work) => limits.join(work),
    );
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
    const resolve = () => this.placeOfShard(this.shardOfTenant(tenant));
    return this.run(info, { needsTopology: true, resolve }, invoke);
  }

  /** A call that names a shard, sent to its server if known, else to any. */
  shardCall<T>(shard: string, info: CallInfo, invoke: Invoke<T>): Promise<T> {
    const resolve = () => this.placeOfShard(shard);
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
    await this.limited(info, async (limits, given) => {
      for (const address of addresses) {
        await this.send(limits, given, () => {
          const stub = this.pool.ensure(address).stubFor(0);
          return { address, call: (options) => invoke(stub, options, "", address) };
        });
      }
    });
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
   * @throws SiloUnavailableError if no server tells it, or what all of them answered.
   */
  refreshTopology(call: CallOptions = {}): Promise<void> {
    const info = { ...call, operation: "refreshTopology" };
    return this.limited(info, (limits) => limits.join(this.discovery.read()));
  }

  /**
   * Waits for work of a call that no server does, within what the call may take. Work that is not
   * done by then goes on alone.
   * @param slow says what has not come, for the error.
   * @throws what the work throws, or that the call is over.
   */
  localWork<T>(info: CallInfo, slow: string, work: () => Promise<T>): Promise<T> {
    return this.limited(info, (limits) => {
      limits.suspect = () => new Error(slow);
      return limits.join(work());
    });
  }

  private placeOfShard(shard: string): Place {
    const address = this.topology.addressOf(shard);
    const channel = address === undefined ? undefined : this.pool.get(address);
    return { channel: channel ?? this.pool.any(), shard };
  }

  private run<T>(info: CallInfo, route: Route, invoke: Invoke<T>): Promise<T> {
    const { requestBytes = 0, onUnreachable } = info;
    return this.limited(info, (limits, given) => {
      const trial: Trial = { route, limits, requestBytes, onUnreachable, shard: "" };
      limits.suspect = () => this.noConnection(trial);
      return this.tryAndRetry(trial, given, invoke);
    });
  }

  /** Does a call's work within its limits. Its errors are those that callers see. */
  private async limited<T>(
    info: CallInfo,
    work: (limits: CallLimits, given: RpcOptions) => Promise<T>,
  ): Promise<T> {
    let limits: CallLimits | undefined;
    try {
      const given = givenOptions(this.options);
      const { requestBytes = 0, waitMs = 0 } = info;
      // A long poll takes its wait on top.
      const timeoutMs = info.timeoutMs ?? (this.timeoutMs && this.timeoutMs + waitMs);
      const otherwise = DEFAULT_TIMEOUT_MS + waitMs + requestBytes / SLOWEST_UPLOAD;
      limits = new CallLimits(given, { ...info, timeoutMs }, this.closing.signal, otherwise);
      limits.check();
      return await work(limits, given);
    } catch (error) {
      const hasToken = (this.rules.token ?? "") !== "";
      const mapped = mapError(error, info.operation, { ...info, hasToken });
      throw mapped instanceof SiloCancelledError
        ? withCause(mapped, limits?.abortReason ?? mapped.cause)
        : mapped;
    } finally {
      limits?.release();
    }
  }

  private async tryAndRetry<T>(trial: Trial, given: RpcOptions, invoke: Invoke<T>): Promise<T> {
    const { limits } = trial;
    const unlessSaid = limits.isDeadlineGiven ? Infinity : DEFAULT_MAX_RETRIES;
    const maxRetries = this.options.shardRouting?.maxRetries ?? unlessSaid;
    let delay = this.routing.retryDelayMs;
    for (let retries = 0; ; retries++) {
      limits.check();
      try {
        return await this.tryOnce(trial, retries > 0 ? givenOptions(this.options) : given, invoke);
      } catch (error) {
        if (!isRetryable(error) || limits.hasThrown(error)) {
          throw error;
        }
        const { lastFailure } = limits;
        if (lastFailure === undefined || isTimeOut(lastFailure) || !saysLittle(error)) {
          limits.lastFailure = error;
        }
        // What the server itself says is no such error until callers see it.
        if (error instanceof SiloUnavailableError) {
          trial.onUnreachable?.(error);
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
    return this.send(limits, given, () => {
      trial.begunAt = performance.now();
      const { channel, shard } = trial.redirect
        ? { channel: this.pool.ensure(trial.redirect.address), shard: trial.redirect.shard }
        : route.resolve();
      trial.shard = shard;
      const { address } = channel;
      trial.address = address;
      const stub = channel.stubFor(requestBytes);
      return { address, call: (options) => invoke(stub, options, shard, address) };
    });
  }

  /**
   * Sends a call.
   * @param target chooses where, as late as can be: no await comes between that and the sending, as
   *     a reading of the topology may close a channel.
   */
  private send<T>(limits: CallLimits, given: RpcOptions, target: () => Target<T>): Promise<T> {
    return this.tokens.use(
      async (bearer) => {
        limits.check();
        const options = makeCallOptions(given, bearer);
        const { address, call } = target();
        try {
          return await call(limits.applyTo(options));
        } catch (error) {
          noteAddress(error, address);
          if (error instanceof RpcError && error.code === "UNAVAILABLE") {
            limits.lastFailure ??= error;
            const isConnected = this.pool.get(address)?.isConnected ?? false;
            throw await limits.join(this.doctor.explain(error, address, isConnected));
          }
          throw error;
        }
      },
      (work) => limits.join(work),
    );
  }

  /** What a call without an answer has met if there is no connection to where it goes. */
  private noConnection({ address }: Trial): SiloUnavailableError | undefined {
    const addresses = address === undefined ? this.pool.addresses : [address];
    if (addresses.some((each) => this.pool.get(each)?.isConnected)) {
      return undefined;
    }
    const more = addresses.length > NAMED_ADDRESSES ? ", ..." : "";
    const names = `${addresses.slice(0, NAMED_ADDRESSES).join(", ")}${more}`;
    const error = new SiloUnavailableError(`no connection to ${names} (no answer)`);
    return addresses.length === 1 ? Object.assign(error, { address: addresses[0] }) : error;
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

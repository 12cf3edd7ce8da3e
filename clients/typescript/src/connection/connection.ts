// Which server a call goes to, and what happens when it is the wrong one or cannot be reached.
//
// A tenant's hash names its shard, the topology names the shard's server. The topology is read
// when it is first needed, then by the timer and after retryable errors, and servers tell of changes
// while a worker runs or a call takes long. A wrong-shard error that names the owner is followed at
// once, without reading the topology again, but not in circles. A call whose server is away, or
// which no server can tell where to go, is tried again until its deadline or for its number of
// retries: a server that restarts is back in seconds, and a shard that moves sooner.
import { setMaxListeners } from "node:events";
import { metrics } from "@opentelemetry/api";
import type { Counter } from "@opentelemetry/api";
import { RpcError } from "@protobuf-ts/runtime-rpc";
import type { RpcOptions } from "@protobuf-ts/runtime-rpc";
import { jittered, jitteredUp } from "../base/sleep";
import {
  isRetryable,
  isTimeOut,
  isWrongShardError,
  mapError,
  noteAddress,
  ownerAddressOf,
  retryAfterOf,
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
import type { ShardInfoWithRange, Topology } from "./topology";
import { TopologyWatch } from "./topology-watch";

/** Retries of a call that was given no deadline. */
const DEFAULT_MAX_RETRIES = 8;

/** How long such a call may take, in milliseconds; its request takes time in addition. */
const DEFAULT_TIMEOUT_MS = 60_000;

/** The slowest upload that such a call allows for, in bytes per millisecond. */
const SLOWEST_UPLOAD = 64;

/** Longest wait between two tries, in milliseconds. */
const MAX_RETRY_DELAY_MS = 5000;

/** Servers that one call follows redirects to, one after another without a wait. */
const REDIRECTS_MAX = 4;

/** How long a call has been under way when it begins to watch the topology, in milliseconds. */
const WATCH_AFTER_MS = 1000;

/** Calls that wait for a shard's new owner go there within so many milliseconds of each other. */
const SPREAD_MS = 20;

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
  /**
   * Whether an answer counts however late it comes, so that the call is not sent again when its
   * server leaves: the answer hands something out.
   */
  isPoll?: boolean;
  /** Hears of each try that found no connection, while others follow. */
  onUnreachable?: (error: SiloUnavailableError) => void;
}

/** How the tries of one call find their server. */
interface Route {
  /** Whether the topology has to be known first. */
  needsTopology: boolean;
  /** @throws SiloUnroutableError */
  resolve: () => Place;
  /** The owner of the call's shard as it is known now, if the call has one that can be told. */
  ownerNow?: () => string | undefined;
}

/** A call on its way through its tries. */
interface Trial {
  route: Route;
  limits: CallLimits;
  requestBytes: number;
  isPoll: boolean;
  onUnreachable?: (error: SiloUnavailableError) => void;
  /** Servers that did not have the shard, since the last wait. */
  wrong: Set<string>;
  /** The owner of the shard, as the last try was told. */
  redirect?: { address: string; shard: string };
  /** When the last try began; `performance.now()`, undefined before the first. */
  begunAt?: number;
  /** The shard the last try went to, "" if none. */
  shard: string;
  /** Its owner, as far as it was known then. */
  owner?: string;
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
  private readonly watch: TopologyWatch;
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
      call: (invoke) => this.ownCall(this.routing.topologyRefreshTimeoutMs, invoke),
      explain: (...found) => this.doctor.explain(...found),
      intervalMs: Math.min(this.routing.retryDelayMs, MAX_READING_PAUSE_MS),
    });
    this.watch = new TopologyWatch(this.pool, this.discovery, {
      call: (invoke) => this.ownCall(undefined, invoke),
      closed: this.closing.signal,
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

  /** A call that is no caller's, so it has a deadline of its own, or none. */
  private async ownCall<T>(
    timeout: number | undefined,
    invoke: (options: RpcOptions) => Promise<T>,
  ): Promise<T> {
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

  /** Servers that have shards, as far as is known; those to begin with while nothing is. */
  get servers(): string[] {
    return this.topology.isLoaded ? this.topology.servers : this.pool.addresses;
  }

  /**
   * Keeps the topology up to date while it is held, which keeps the process alive, too.
   * @returns what lets go.
   */
  followTopology(): () => void {
    if (!this.topology.isLoaded) {
      // Whoever uses the topology meets what keeps it from being read.
      this.discovery.read().catch(() => undefined);
    }
    return this.watch.hold();
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
    const ownerNow = () => this.findShard(tenant ?? DEFAULT_TENANT)?.serverAddr;
    return this.run(info, { needsTopology: true, resolve, ownerNow }, invoke);
  }

  /** A call that names a shard, sent to its server if known, else to any. */
  shardCall<T>(shard: string, info: CallInfo, invoke: Invoke<T>): Promise<T> {
    const resolve = () => this.placeOfShard(shard);
    return this.run(info, { needsTopology: false, resolve }, invoke);
  }

  /**
   * A call that any server can answer.
   * @param server the one to ask: its address, or a number to choose it by; default: each in turn.
   */
  anyCall<T>(server: string | number | undefined, info: CallInfo, invoke: Invoke<T>): Promise<T> {
    const resolve = () => ({
      channel: typeof server === "string" ? this.pool.known(server) : this.pool.any(server),
      shard: "",
    });
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
    if (this.topology.shards.length === 0) {
      throw new SiloUnroutableError(
        this.topology.isTold
          ? "Cluster topology not discovered yet: no server that answered has a shard open."
          : "Cluster topology not discovered yet. Call refreshTopology() first.",
      );
    }
    const name = tenant ?? DEFAULT_TENANT;
    const shard = this.findShard(name);
    if (shard === undefined) {
      throw new SiloUnroutableError(
        `No shard found for tenant "${name}". This indicates a topology error.`,
      );
    }
    return shard.shardId;
  }

  private findShard(tenant: string): ShardInfoWithRange | undefined {
    const { shards } = this.topology;
    return shards.length === 0 ? undefined : shardForTenant(hashTenant(tenant), shards);
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
    const { requestBytes = 0, isPoll = false, onUnreachable } = info;
    return this.limited(info, (limits, given) => {
      const wrong = new Set<string>();
      const trial = { route, limits, requestBytes, isPoll, onUnreachable, wrong, shard: "" };
      limits.suspect = () => this.noConnection(trial);
      const letGo = this.watch.holdAfter(WATCH_AFTER_MS);
      return this.tryAndRetry(trial, given, invoke).finally(letGo);
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
    const { maxRetries: said } = this.options.shardRouting ?? {};
    const maxRetries = said ?? unlessSaid;
    let delay = this.routing.retryDelayMs;
    let retries = 0;
    for (let tries = 0; ; tries++) {
      limits.check();
      try {
        return await this.tryOnce(trial, tries > 0 ? givenOptions(this.options) : given, invoke);
      } catch (error) {
        this.judge(trial, error);
        if (retries >= maxRetries) {
          throw limits.lastFailure;
        }
        const wait = await this.learnFrom(trial, error);
        // Who is told where to go, or when, is on its way: its deadline ends that.
        retries += wait === undefined || said !== undefined ? 1 : 0;
        if (wait !== 0) {
          await this.pause(trial, wait ?? jittered(delay));
        }
        if (wait === undefined) {
          delay = Math.min(delay * 2, MAX_RETRY_DELAY_MS);
        }
      }
    }
  }

  /** Keeps why a try failed. @throws the error if no other try may follow. */
  private judge({ limits, onUnreachable }: Trial, error: unknown): void {
    if (!isRetryable(error) || limits.hasThrown(error)) {
      throw error;
    }
    const { lastFailure } = limits;
    if (lastFailure === undefined || isTimeOut(lastFailure) || !saysLittle(error)) {
      limits.lastFailure = error;
    }
    // What the server itself says is no such error until callers see it.
    if (error instanceof SiloUnavailableError) {
      onUnreachable?.(error);
    }
  }

  /** Who has the shard of a call, as far as is known. */
  private ownerOf({ route, shard }: Trial): string | undefined {
    return shard === "" ? route.ownerNow?.() : this.topology.addressOf(shard);
  }

  /** Waits for the next try, but no longer than until the shard has another owner. */
  private async pause(trial: Trial, ms: number): Promise<void> {
    trial.wrong.clear();
    const hasMoved = () => {
      const now = trial.redirect === undefined ? this.ownerOf(trial) : undefined;
      return now !== undefined && now !== trial.owner;
    };
    const spread = Math.random() * SPREAD_MS;
    await trial.limits.wait(hasMoved() ? Math.min(ms, spread) : ms, (wake) =>
      this.topology.changes.listen(() => {
        if (hasMoved()) {
          setTimeout(wake, spread);
        }
      }),
    );
  }

  private async tryOnce<T>(trial: Trial, given: RpcOptions, invoke: Invoke<T>): Promise<T> {
    const { route, limits, requestBytes } = trial;
    await this.prepare(trial);
    limits.check();
    return this.send(limits, given, () => {
      trial.begunAt = performance.now();
      trial.owner = undefined;
      const { channel, shard } = trial.redirect
        ? { channel: this.pool.ensure(trial.redirect.address), shard: trial.redirect.shard }
        : route.resolve();
      trial.shard = shard;
      const { address } = channel;
      trial.address = address;
      trial.owner = this.ownerOf(trial);
      const stub = channel.stubFor(requestBytes);
      const isLeft = !trial.isPoll;
      const answered = (options: RpcOptions) => {
        const answer = invoke(stub, options, shard, address);
        return isLeft ? channel.answerOf(answer) : answer;
      };
      return { address, call: answered };
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
          if (error instanceof RpcError && error.code === "CANCELLED" && !limits.isAborted) {
            // A server, or a proxy before it, that ends its calls in a hurry.
            throw new RpcError("the call was cut off by its server", "UNAVAILABLE");
          }
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
   * to where the topology says now. If nobody tells, the servers that are known are tried again. A
   * wait that the server asks for is time enough to read the topology.
   * @returns how long the server asks to wait, in milliseconds; 0 = not at all, undefined = it does
   *     not say.
   */
  private async learnFrom(trial: Trial, error: unknown): Promise<number | undefined> {
    trial.redirect = undefined;
    if (error instanceof TopologyError) {
      return undefined;
    }
    const isWrong = isWrongShardError(error);
    if (isWrong) {
      this.wrongShardRetries.add(1);
      trial.wrong.add(trial.address ?? "");
    }
    const told = retryAfterOf(error);
    const wait = told === undefined ? undefined : Math.min(jitteredUp(told), MAX_RETRY_DELAY_MS);
    if (this.follow(trial, error)) {
      return isWrong ? 0 : wait;
    }
    const reading = this.discovery.readSince(trial.begunAt ?? 0).catch((failure: unknown) => {
      if (!isRetryable(failure) && wait === undefined) {
        throw failure;
      }
    });
    if (wait === undefined) {
      await trial.limits.join(reading);
    }
    return wait;
  }

  /** Sends the next try to the owner that an error names, unless that is a circle. */
  private follow(trial: Trial, error: unknown): boolean {
    const owner = ownerAddressOf(error);
    if (owner === undefined || trial.shard === "") {
      return false;
    }
    const address = this.rules.dialled(owner);
    if (address === "" || trial.wrong.has(address) || trial.wrong.size > REDIRECTS_MAX) {
      return false;
    }
    trial.redirect = { address, shard: trial.shard };
    this.pool.ensure(address);
    this.topology.record(trial.shard, address);
    return true;
  }
}

// Hears of changes of the topology when they happen, for as long as anybody needs it.
//
// Two servers are asked to tell, as far as there are two: one that was stopped with its connections
// open tells nothing any more, and the other tells that it is gone. Servers that know no such call
// are left alone; readings of the topology and redirects have to do then.
//
// A call that stays open keeps the process alive, so the watch is on only while something else does:
// a worker that runs, or a call that has been under way for a while.
import { context, ROOT_CONTEXT } from "@opentelemetry/api";
import { RpcError } from "@protobuf-ts/runtime-rpc";
import type { RpcOptions } from "@protobuf-ts/runtime-rpc";
import { jittered, sleep } from "../base/sleep";
import type { GetClusterInfoResponse } from "../gen/silo";
import type { Channel, ChannelPool } from "./channels";
import type { Discovery } from "./discovery";
import { initHasher } from "./hash";

/** Servers that are asked to tell at the same time. */
const WATCHED_SERVERS = 2;

/** Wait before the next call after one that ended, in milliseconds: doubled while they end soon. */
const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 10_000;

/** A call that lasted so long, in milliseconds, was one that worked. */
const WORKED_MS = 5000;

/** How long an ended call's headers are waited for, in milliseconds. */
const HEADERS_MS = 1000;

/** How long a server that does not know the call is left alone, in milliseconds. */
const UNKNOWN_MS = 60_000;

/** What the watch needs of its client. */
export interface WatchOptions {
  /** Makes one call with its options and its token. */
  call: <T>(invoke: (options: RpcOptions) => Promise<T>) => Promise<T>;
  /** Aborts when the client is closed. */
  closed: AbortSignal;
}

export class TopologyWatch {
  private holders = 0;
  private over: AbortController | undefined;
  /** Servers that are being watched. */
  private readonly watched = new Set<string>();
  /** Servers that do not know the call, with when to ask them again; `performance.now()`. */
  private readonly unknowing = new Map<string, number>();

  constructor(
    private readonly pool: ChannelPool,
    private readonly discovery: Discovery,
    private readonly options: WatchOptions,
  ) {}

  /** Watches from now on. @returns what lets go; the watch ends with the last who does. */
  hold(): () => void {
    if (this.holders++ === 0) {
      this.begin();
    }
    let isHeld = true;
    return () => {
      if (isHeld && --this.holders === 0) {
        this.over?.abort();
      }
      isHeld = false;
    };
  }

  /** Watches once `ms` milliseconds have passed, as `hold` does. */
  holdAfter(ms: number): () => void {
    let release = () => {};
    const timer = setTimeout(() => (release = this.hold()), ms).unref();
    return () => {
      clearTimeout(timer);
      release();
    };
  }

  private begin(): void {
    const over = new AbortController();
    this.over = over;
    this.options.closed.addEventListener("abort", () => over.abort(), { signal: over.signal });
    if (this.options.closed.aborted) {
      over.abort();
    }
    for (let i = 0; i < WATCHED_SERVERS; i++) {
      void context.with(ROOT_CONTEXT, () => this.keepWatching(over.signal));
    }
  }

  /** Watches one server after another. Never rejects. */
  private async keepWatching(over: AbortSignal): Promise<void> {
    let pause = FIRST_PAUSE_MS;
    while (!over.aborted) {
      const address = this.next();
      if (address === undefined) {
        // There may be another when the topology has changed.
        await this.changed(over);
        continue;
      }
      const begunAt = performance.now();
      await this.watch(address, over);
      pause = performance.now() - begunAt > WORKED_MS ? FIRST_PAUSE_MS : pause;
      await sleep(jittered(pause), over);
      pause = Math.min(pause * 2, LONGEST_PAUSE_MS);
    }
  }

  /** A server that is not watched yet and may know the call. */
  private next(): string | undefined {
    const now = performance.now();
    return this.discovery
      .candidates()
      .find((each) => !this.watched.has(each) && (this.unknowing.get(each) ?? 0) <= now);
  }

  private async changed(over: AbortSignal): Promise<void> {
    const change = new AbortController();
    const end = () => change.abort();
    const callOff = this.discovery.topology.changes.listen(end);
    over.addEventListener("abort", end, { signal: change.signal });
    await sleep(over.aborted ? 0 : jittered(UNKNOWN_MS), change.signal);
    callOff();
    end();
  }

  /** Takes what a server tells until it tells no more. Never rejects. */
  private async watch(address: string, over: AbortSignal): Promise<void> {
    this.watched.add(address);
    try {
      await initHasher();
      const channel = this.pool.ensure(address);
      await this.options.call((options) => this.listen(channel, options, over));
    } catch (error) {
      this.discovery.avoid(address);
      if (error instanceof RpcError && error.code === "UNIMPLEMENTED") {
        this.unknowing.set(address, performance.now() + UNKNOWN_MS);
      }
    } finally {
      this.watched.delete(address);
    }
  }

  /** One call. Rejects with what ended it, unless that was the end of the watch. */
  private async listen(channel: Channel, given: RpcOptions, over: AbortSignal): Promise<void> {
    const ended = new AbortController();
    let begun: Promise<unknown> = Promise.resolve();
    // The transport throws, where nobody can catch it, when headers come to a call that was ended before: they are waited for.
    const end = () => {
      const late = new Promise((resolve) => setTimeout(resolve, HEADERS_MS).unref());
      void Promise.race([begun, late]).then(
        () => ended.abort(),
        () => ended.abort(),
      );
    };
    over.addEventListener("abort", end, { signal: ended.signal });
    const callOff = channel.onLeft(end);
    const options = { ...given, timeout: undefined, abort: ended.signal };
    try {
      await new Promise<void>((resolve, reject) => {
        // No version is told as known: another server's answer may have replaced this one's.
        const call = channel.stubFor(0).watchTopology({ knownLife: 0n, knownVersion: 0n }, options);
        begun = call.headers;
        call.responses.onMessage((info) => this.take(info, reject));
        call.responses.onError(reject);
        call.responses.onComplete(resolve);
        if (over.aborted) {
          end();
        }
      });
    } catch (error) {
      if (!over.aborted) {
        throw error;
      }
    } finally {
      callOff();
      end();
    }
  }

  private take(info: GetClusterInfoResponse, refuse: (error: unknown) => void): void {
    try {
      this.discovery.take(info);
    } catch (error) {
      refuse(error);
    }
  }
}

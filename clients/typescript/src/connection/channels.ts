// The channels of one client: one for each address, connected when first used.
import type { ClientOptions } from "@grpc/grpc-js";
import { SiloClientClosedError, SiloNotReadyError, SiloUnavailableError } from "../errors/errors";
import type { SiloClient } from "../gen/silo.client";
import { Link } from "./link";
import type { TlsMaterial } from "./tls";

/** Largest message in each direction: a payload of 100 MB has to fit. */
const MAX_MESSAGE_BYTES = 128 * 1024 * 1024;

const NO_SERVERS = "No server connections available";

const SERVICE_CONFIG = {
  methodConfig: [
    {
      name: [{ service: "silo.v1.Silo" }],
      retryPolicy: {
        maxAttempts: 5,
        initialBackoff: "0.1s",
        maxBackoff: "5s",
        backoffMultiplier: 2,
        // Not UNAVAILABLE: the client's own loop goes to another server instead.
        retryableStatusCodes: ["RESOURCE_EXHAUSTED"],
      },
    },
  ],
};

const DEFAULT_CHANNEL_OPTIONS: ClientOptions = {
  "grpc.max_send_message_length": MAX_MESSAGE_BYTES,
  "grpc.max_receive_message_length": MAX_MESSAGE_BYTES,
  "grpc.enable_retries": 1,
  "grpc.service_config": JSON.stringify(SERVICE_CONFIG),
  // A server that is back is found within seconds, however long it was away. The library makes
  // waits up to a fifth shorter or longer, at random.
  "grpc.initial_reconnect_backoff_ms": 250,
  "grpc.max_reconnect_backoff_ms": 1000,
  "grpc.dns_min_time_between_resolutions_ms": 1000,
  // A connection that hangs must not be found again by the one that replaces it.
  "grpc.use_local_subchannel_pool": 1,
};

/**
 * Pings say whether the server is still there. One that is sent waits behind all that was sent
 * before it, up to the server's window for a connection, so its answer may take that long.
 */
const SMALL_KEEPALIVE: ClientOptions = {
  "grpc.keepalive_time_ms": 5000,
  "grpc.keepalive_timeout_ms": 20_000,
  "grpc.keepalive_permit_without_calls": 1,
};

/** A connection for large requests is allowed minutes: 16 MiB at 140 KB/s take that long. */
const LARGE_KEEPALIVE: ClientOptions = {
  "grpc.keepalive_time_ms": 10_000,
  "grpc.keepalive_timeout_ms": 120_000,
};

/** How long the answers of a server that has left may be on their way, in milliseconds. */
const LAST_ANSWERS_MS = 500;

/** Bytes of a request that goes over the connection for large ones. */
const LARGE_REQUEST_BYTES = 64 * 1024;

/**
 * A channel to one address, of two connections: heartbeats and other small requests do not wait
 * behind a large one that is still on its way.
 */
export class Channel {
  private readonly small: Link;
  private readonly large: Link;
  /** Ends the waits for calls in flight; each is there while its call is. */
  private readonly waits = new Set<() => void>();

  /**
   * @param tls undefined = plaintext.
   * @param options merged over the defaults of both connections.
   */
  constructor(
    readonly address: string,
    tls: TlsMaterial | undefined,
    options: ClientOptions,
  ) {
    const name = tls?.serverName;
    const naming = name === undefined ? {} : { "grpc.ssl_target_name_override": name };
    const common = { ...DEFAULT_CHANNEL_OPTIONS, ...naming, ...options };
    this.small = new Link(address, tls, { ...SMALL_KEEPALIVE, ...common });
    this.large = new Link(address, tls, { ...LARGE_KEEPALIVE, ...common });
  }

  /** The stub for a call made now, with a request of about so many bytes. */
  stubFor(requestBytes: number): SiloClient {
    return (requestBytes < LARGE_REQUEST_BYTES ? this.small : this.large).stub;
  }

  /** Whether there is a connection to the server. */
  get isConnected(): boolean {
    return this.small.isReady || this.large.isReady;
  }

  /**
   * Waits for the answer of a call, but no longer than its server is there: a process that was
   * stopped, or a machine that is gone, closes no connection.
   * @throws SiloUnavailableError when the server has left; what the call throws.
   */
  answerOf<T>(call: Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      const message = `the server ${this.address} has left the cluster without an answer`;
      const callOff = this.onLeft(() => reject(new SiloUnavailableError(message)));
      call.then(resolve, reject).finally(callOff);
    });
  }

  /** Listens for the end of the waits for answers. @returns what calls it off. */
  onLeft(leave: () => void): () => void {
    this.waits.add(leave);
    return () => void this.waits.delete(leave);
  }

  /** The server is no member of the cluster any more: nobody waits for its answers from now on. */
  left(): void {
    for (const leave of [...this.waits]) {
      leave();
    }
  }

  /** Calls in flight go on. Not to be used afterwards. */
  close(): void {
    this.small.close();
    this.large.close();
  }
}

/** The channels of a client, in the order they were made. */
export class ChannelPool {
  private readonly channels = new Map<string, Channel>();
  private turn = 0;
  private closed = false;

  /**
   * @param tls undefined = plaintext.
   * @param options merged over the defaults.
   */
  constructor(
    private readonly tls: TlsMaterial | undefined,
    private readonly options: ClientOptions,
  ) {}

  /** Addresses that have a channel now. */
  get addresses(): string[] {
    return [...this.channels.keys()];
  }

  has(address: string): boolean {
    return this.channels.has(address);
  }

  get(address: string): Channel | undefined {
    return this.channels.get(address);
  }

  /** The channel to an address, made if need be. @throws SiloClientClosedError */
  ensure(address: string): Channel {
    const existing = this.channels.get(address);
    if (existing !== undefined) {
      return existing;
    }
    if (this.closed) {
      throw new SiloClientClosedError();
    }
    const channel = new Channel(address, this.tls, this.options);
    this.channels.set(address, channel);
    return channel;
  }

  /**
   * Any channel: the next in turn, or that of a number of the caller's, which does not use a turn.
   * @throws SiloNotReadyError if there is none, SiloClientClosedError
   */
  any(index?: number): Channel {
    const all = [...this.channels.values()];
    if (all.length === 0) {
      throw this.closed ? new SiloClientClosedError() : new SiloNotReadyError(NO_SERVERS);
    }
    return all[(index ?? this.turn++) % all.length];
  }

  /** The channel to a server that is known. @throws SiloNotReadyError, SiloClientClosedError */
  known(address: string): Channel {
    const channel = this.channels.get(address);
    if (channel === undefined) {
      throw this.closed
        ? new SiloClientClosedError()
        : new SiloNotReadyError(`The server ${address} is not known, or has left the cluster`);
    }
    return channel;
  }

  /** Closes the channel to an address. Calls in flight go on. */
  drop(address: string): void {
    this.channels.get(address)?.close();
    this.channels.delete(address);
  }

  /**
   * Makes channels to these addresses and closes all others.
   * @param isMember whether a server is still there: answers of others are soon waited for no more.
   */
  keepOnly(addresses: ReadonlySet<string>, isMember: (address: string) => boolean): void {
    for (const address of addresses) {
      this.ensure(address);
    }
    for (const [address, channel] of [...this.channels]) {
      if (addresses.has(address)) {
        continue;
      }
      this.drop(address);
      if (!isMember(address)) {
        // What it answered last may still be on its way.
        setTimeout(() => channel.left(), LAST_ANSWERS_MS).unref();
      }
    }
  }

  /** Closes all channels for good. */
  close(): void {
    this.closed = true;
    for (const address of this.addresses) {
      this.drop(address);
    }
  }
}

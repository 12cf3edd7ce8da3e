// The channels of one client: one for each address, connected when first used.
import { credentials } from "@grpc/grpc-js";
import type { ClientOptions } from "@grpc/grpc-js";
import { GrpcTransport } from "@protobuf-ts/grpc-transport";
import { BinaryWriter } from "@protobuf-ts/runtime";
import { SiloClient } from "./gen/silo.client";
import { wellFormedEncoder } from "./well-formed";

/** Largest message in each direction: a payload of 100 MB has to fit. */
const MAX_MESSAGE_BYTES = 128 * 1024 * 1024;

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
  "grpc.keepalive_time_ms": 5000,
  "grpc.keepalive_timeout_ms": 1000,
  "grpc.keepalive_permit_without_calls": 1,
  "grpc.max_send_message_length": MAX_MESSAGE_BYTES,
  "grpc.max_receive_message_length": MAX_MESSAGE_BYTES,
  "grpc.enable_retries": 1,
  "grpc.service_config": JSON.stringify(SERVICE_CONFIG),
};

/** A channel to one address. */
export interface Channel {
  readonly address: string;
  readonly stub: SiloClient;
  readonly transport: GrpcTransport;
}

/** The channels of a client, in the order they were made. */
export class ChannelPool {
  private readonly channels = new Map<string, Channel>();
  private readonly options: ClientOptions;
  private turn = 0;
  private closed = false;

  /** @param options merged over the defaults. */
  constructor(
    private readonly useTls: boolean,
    options: ClientOptions,
  ) {
    this.options = { ...DEFAULT_CHANNEL_OPTIONS, ...options };
  }

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

  /** The channel to an address, made if need be. @throws Error once closed. */
  ensure(address: string): Channel {
    const existing = this.channels.get(address);
    if (existing !== undefined) {
      return existing;
    }
    if (this.closed) {
      throw new Error("No server connections available");
    }
    const transport = new GrpcTransport({
      host: address,
      channelCredentials: this.useTls ? credentials.createSsl() : credentials.createInsecure(),
      clientOptions: this.options,
      binaryOptions: { writerFactory: () => new BinaryWriter(wellFormedEncoder) },
    });
    const channel = { address, transport, stub: new SiloClient(transport) };
    this.channels.set(address, channel);
    return channel;
  }

  /**
   * Any channel: the next in turn, or that of a number of the caller's, which does not use a turn.
   * @throws Error if there is none.
   */
  any(index?: number): Channel {
    const all = [...this.channels.values()];
    if (all.length === 0) {
      throw new Error("No server connections available");
    }
    return all[(index ?? this.turn++) % all.length];
  }

  /** Closes the channel to an address. Calls in flight go on. */
  drop(address: string): void {
    this.channels.get(address)?.transport.close();
    this.channels.delete(address);
  }

  /** Makes channels to these addresses and closes all others. */
  keepOnly(addresses: ReadonlySet<string>): void {
    for (const address of addresses) {
      this.ensure(address);
    }
    for (const address of this.addresses) {
      if (!addresses.has(address)) {
        this.drop(address);
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

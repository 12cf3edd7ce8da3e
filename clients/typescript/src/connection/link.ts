import { Channel, connectivityState, credentials } from "@grpc/grpc-js";
import type { ChannelCredentials, ChannelInterface, ClientOptions } from "@grpc/grpc-js";
import { BinaryWriter } from "@protobuf-ts/runtime";
import { GrpcTransport } from "@protobuf-ts/grpc-transport";
import { wellFormedEncoder } from "../checks/texts";
import { SiloClient } from "../gen/silo.client";
import type { TlsMaterial } from "./tls";

/** How long a link that has calls may take to connect before it begins anew, in milliseconds. */
const CONNECT_MS = 10_000;

const PLAINTEXT = credentials.createInsecure();

/** A channel of the gRPC library and what is built on it. */
interface Line {
  channel: ChannelInterface;
  transport: GrpcTransport;
  stub: SiloClient;
  secrets: ChannelCredentials;
}

/**
 * A connection to one address, made when it is first used and again when it was lost.
 *
 * The library waits for ever for a peer that takes a connection and says nothing, and minutes for
 * one that does not even refuse. A link that has calls and cannot connect for CONNECT_MS begins
 * anew: calls that were waiting for it end with UNAVAILABLE.
 */
export class Link {
  private line: Line | undefined;
  private alarm: NodeJS.Timeout | undefined;

  constructor(
    private readonly address: string,
    private readonly tls: TlsMaterial | undefined,
    private readonly options: ClientOptions,
  ) {}

  /** The stub for a call that is made now. */
  get stub(): SiloClient {
    if (!this.isReady && this.line !== undefined && this.line.secrets !== this.secretsNow()) {
      // Certificates have changed since: what connects from now on uses the new ones.
      this.close();
    }
    this.line ??= this.open();
    if (!this.isReady) {
      this.alarm ??= setTimeout(() => this.check(), CONNECT_MS).unref();
    }
    return this.line.stub;
  }

  /** Whether there is a connection. */
  get isReady(): boolean {
    return this.line?.channel.getConnectivityState(false) === connectivityState.READY;
  }

  private secretsNow(): ChannelCredentials {
    return this.tls?.credentials ?? PLAINTEXT;
  }

  /** Ends the connection. Calls in flight go on; the link connects again if it is used again. */
  close(): void {
    clearTimeout(this.alarm);
    this.alarm = undefined;
    this.line?.transport.close();
    this.line = undefined;
  }

  private check(): void {
    this.alarm = undefined;
    const state = this.line?.channel.getConnectivityState(false);
    if (state !== connectivityState.READY && state !== connectivityState.IDLE) {
      this.close();
    }
  }

  private open(): Line {
    const secrets = this.secretsNow();
    const channel = this.options.channelFactoryOverride
      ? this.options.channelFactoryOverride(this.address, secrets, this.options)
      : new Channel(this.address, secrets, this.options);
    const transport = new GrpcTransport({
      host: this.address,
      channelCredentials: secrets,
      clientOptions: { channelOverride: channel, ...this.options },
      binaryOptions: { writerFactory: () => new BinaryWriter(wellFormedEncoder) },
    });
    return { channel, transport, stub: new SiloClient(transport), secrets };
  }
}

import type { ClientOptions } from "@grpc/grpc-js";
import type { Meter } from "@opentelemetry/api";
import type { RpcOptions } from "@protobuf-ts/runtime-rpc";
import { checkNames } from "../checks/known-names";
import type { KnownNames } from "../checks/known-names";
import { milliseconds } from "../checks/numbers";
import type { Duration } from "../checks/numbers";
import { InvalidOptionError } from "../errors/errors";
import type { TlsOptions } from "./tls";
import type { TokenFunction } from "./token";

/** An address as two parts. */
export interface HostAndPort {
  /** A name, an IPv4 address, or an IPv6 address with or without brackets. */
  host: string;
  /** Port, 1 to 65535. */
  port: number;
}

/** How calls find their shard and how often they try. */
export interface ShardRoutingConfig {
  /**
   * Retries after the first try. Default: until its deadline for a call that was given one
   * (`timeoutMs` of the call or the client, `timeout` of `rpcOptions`), else 8 and those for which
   * a server said whom to ask or when.
   */
  maxRetries?: number;
  /**
   * First wait between tries, in milliseconds, doubled each time up to 5000; default 250. A wait is
   * shortened at random, by up to half.
   */
  retryDelayMs?: Duration;
  /**
   * Milliseconds after which the topology is read anew; default 30000, 0 = never by itself. Beside
   * that servers tell of changes while a worker runs or a call takes long.
   */
  topologyRefreshIntervalMs?: Duration;
  /**
   * Milliseconds that each server may take to tell the topology; default 10000. The next is asked,
   * too, after a second.
   */
  topologyRefreshTimeoutMs?: Duration;
}

/** Options of `SiloGRPCClient`. */
export interface SiloGRPCClientOptions {
  /**
   * Addresses to begin with, `host:port`; the others are learnt from them. Default: those of the
   * environment variable SILO_SERVERS, separated by commas.
   */
  servers?: string | string[] | HostAndPort | HostAndPort[];
  /**
   * Bearer token, or a function that gives it; what that throws fails the call. Default: the
   * environment variable SILO_TOKEN; "" = none.
   */
  token?: string | TokenFunction;
  /** Whether a token that a function gave is used until a server refuses it; default false. */
  cacheToken?: boolean;
  /**
   * TLS: certificates, or whether to use it with the system's roots. Parts that are not given come
   * from the environment: SILO_TLS_CA, SILO_TLS_CERT and SILO_TLS_KEY (paths, or PEM text) and
   * SILO_TLS_SERVER_NAME.
   *
   * Default: yes if the environment has any of these, no if every address in `servers` is a
   * loopback name (`localhost`, 127.0.0.0/8, ::1), else yes. The choice holds for every server
   * of the cluster, whatever its address. Without TLS by default, a client with a token refuses
   * servers that are not on loopback.
   */
  tls?: boolean | TlsOptions;
  /** The same as `tls: true` or `tls: false`. */
  useTls?: boolean;
  /**
   * How long a call may take in all, its retries included, in milliseconds; 0 or Infinity = without
   * end. Each call may have its own. Default: 60000, more for requests above a few MiB, and what a
   * call asks the server to wait; not if `rpcOptions` has a `timeout`.
   */
  timeoutMs?: Duration;
  /** Merged over the channel options this package sets. */
  grpcClientOptions?: ClientOptions;
  /**
   * Passed to every RPC; a function is asked before each. Its `timeout` counts for a call with all
   * its retries, its `abort` ends the call.
   */
  rpcOptions?: RpcOptions | (() => RpcOptions | undefined);
  /** How calls find their shard and how often they try. */
  shardRouting?: ShardRoutingConfig;
  /**
   * Advertised address to the address to dial, for proxies and port-forwards. Applied to the
   * addresses that servers tell, not to `servers`.
   */
  addressMap?: Record<string, string>;
  /** Where the client's counters go; default: the global provider's meter `silo-client`. */
  meter?: Meter;
}

const OPTIONS: KnownNames<SiloGRPCClientOptions> = {
  servers: true,
  token: true,
  cacheToken: true,
  tls: true,
  useTls: true,
  timeoutMs: true,
  grpcClientOptions: true,
  rpcOptions: true,
  shardRouting: true,
  addressMap: true,
  meter: true,
};

const ROUTING_OPTIONS: KnownNames<ShardRoutingConfig> = {
  maxRetries: true,
  retryDelayMs: true,
  topologyRefreshIntervalMs: true,
  topologyRefreshTimeoutMs: true,
};

/** @throws InvalidOptionError for a member that a client does not have. */
export function checkClientOptions(options: SiloGRPCClientOptions): void {
  checkNames(options, OPTIONS, "a client");
  checkNames(options.shardRouting ?? {}, ROUTING_OPTIONS, "shardRouting", "shardRouting.");
}

/** How calls find their shard, in numbers of milliseconds. */
export interface Routing {
  retryDelayMs: number;
  topologyRefreshIntervalMs: number;
  topologyRefreshTimeoutMs: number;
}

/** The times of a configuration, with their defaults. @throws InvalidOptionError */
export function routingOf(config: ShardRoutingConfig = {}): Routing {
  const msOf = (name: keyof Routing, otherwise: number) =>
    milliseconds(config[name] ?? otherwise, `shardRouting.${name}`);
  return {
    retryDelayMs: msOf("retryDelayMs", 250),
    topologyRefreshIntervalMs: msOf("topologyRefreshIntervalMs", 30_000),
    topologyRefreshTimeoutMs: msOf("topologyRefreshTimeoutMs", 10_000),
  };
}

/** `servers` as a list of distinct `host:port`. */
export function serverAddresses(
  servers: NonNullable<SiloGRPCClientOptions["servers"]>,
): string[] {
  const list = Array.isArray(servers) ? servers : [servers];
  const addresses = list.map((server) => (typeof server === "string" ? server : joined(server)));
  return [...new Set(addresses)];
}

/** An IPv6 address needs brackets. */
function joined({ host, port }: HostAndPort): string {
  return host.includes(":") && !host.startsWith("[") ? `[${host}]:${port}` : `${host}:${port}`;
}

/**
 * Refuses what cannot be an address: an empty one, a URL, several in one string, no port.
 * @throws InvalidOptionError
 */
export function checkAddresses(addresses: readonly string[]): void {
  const refuse = (what: string): never => {
    throw new InvalidOptionError("servers", `${what}; give host:port, or a list of them`);
  };
  if (addresses.length === 0) {
    refuse("no server is named, nor in SILO_SERVERS");
  }
  for (const address of addresses) {
    if (/[\s,]/.test(address) || address === "") {
      refuse(`"${address}" is not one address`);
    }
    if (/^https?:/i.test(address)) {
      refuse(`"${address}" is a URL`);
    }
    // Other targets of the gRPC library, such as unix:path, are passed on.
    if (/^[^:/]*$|^\[[^\]]*\]$/.test(address)) {
      refuse(`"${address}" has no port`);
    }
  }
}

function hostOf(address: string): string {
  const bracketed = /^\[([^\]]*)\](?::\d+)?$/.exec(address);
  if (bracketed) {
    return bracketed[1];
  }
  const colons = address.split(":").length - 1;
  return colons === 1 ? address.slice(0, address.indexOf(":")) : address;
}

/** Whether an address names this machine itself: `localhost`, 127.0.0.0/8 or ::1. */
export function isLoopbackAddress(address: string): boolean {
  // An IPv6 address without brackets keeps its port: `::1:50051` joins `{host: "::1"}` and a port.
  const host = hostOf(address).toLowerCase();
  return (
    host === "localhost" ||
    /^127\.\d{1,3}\.\d{1,3}\.\d{1,3}$/.test(host) ||
    /^::1(?::\d{4,5})?$/.test(host)
  );
}

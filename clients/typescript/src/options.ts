import type { ClientOptions } from "@grpc/grpc-js";
import type { Meter } from "@opentelemetry/api";
import type { RpcOptions } from "@protobuf-ts/runtime-rpc";

/** An address as two parts. */
export interface HostAndPort {
  host: string;
  port: number;
}

/** How calls find their shard and how often they try. */
export interface ShardRoutingConfig {
  /**
   * Retries after the first try. Default: until its deadline for a call that has one (`timeout` of
   * `rpcOptions`, `timeoutMs` of the call), else 8.
   */
  maxRetries?: number;
  /**
   * First wait between tries, doubled each time up to 5000; default 250. A wait is shortened at
   * random, by up to half.
   */
  retryDelayMs?: number;
  /** How often the topology is read anew; default 30000, 0 = never by itself. */
  topologyRefreshIntervalMs?: number;
  /** How long each server may take to tell the topology; default 10000. */
  topologyRefreshTimeoutMs?: number;
}

/** Options of `SiloGRPCClient`. */
export interface SiloGRPCClientOptions {
  /** Addresses to begin with, `host:port`; the others are learnt from them. */
  servers: string | string[] | HostAndPort | HostAndPort[];
  /** Bearer token, or a function asked before each call; a rejection fails that call. */
  token?: string | (() => Promise<string>);
  /**
   * Whether to use TLS with the system's roots. Default: no if every address in `servers` is a
   * loopback name (`localhost`, 127.0.0.0/8, ::1), else yes. The choice holds for every server
   * of the cluster, whatever its address. Without TLS by default, a client with a token refuses
   * servers that are not on loopback.
   */
  useTls?: boolean;
  /** Merged over the channel options this package sets. */
  grpcClientOptions?: ClientOptions;
  /**
   * Passed to every RPC; a function is asked before each. Its `timeout` counts for a call with all
   * its retries, its `abort` ends the call.
   */
  rpcOptions?: RpcOptions | (() => RpcOptions | undefined);
  shardRouting?: ShardRoutingConfig;
  /**
   * Advertised address to the address to dial, for proxies and port-forwards. Applied to the
   * addresses that servers tell, not to `servers`.
   */
  addressMap?: Record<string, string>;
  /** Default: the global provider's meter `silo-client`. */
  meter?: Meter;
}

/** `servers` as a list of distinct `host:port`. */
export function serverAddresses(servers: SiloGRPCClientOptions["servers"]): string[] {
  const list = Array.isArray(servers) ? servers : [servers];
  const addresses = list.map((server) =>
    typeof server === "string" ? server : `${server.host}:${server.port}`,
  );
  return [...new Set(addresses)];
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

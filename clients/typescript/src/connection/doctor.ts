// Puts the errors of connections that did not come about into words, at little cost.
import type { ClientOptions } from "@grpc/grpc-js";
import { isConnectivityError } from "../errors/error-mapping";
import { SiloError } from "../errors/errors";
import { diagnose } from "./diagnosis";
import type { TlsMaterial } from "./tls";

/** How long what was found of an address holds, in milliseconds. */
const HOLDS_MS = 1000;

/** Addresses whose findings are kept; beyond that all are forgotten. */
const ADDRESSES_MAX = 1000;

/** Variables that make the gRPC library dial through a proxy: what is dialled here is not that. */
const PROXIES = ["grpc_proxy", "https_proxy", "http_proxy"];

interface Finding {
  at: number;
  error: Promise<SiloError | undefined>;
}

/** Finds out why the servers of one client cannot be reached. Calls that fail together share it. */
export class Doctor {
  private readonly findings = new Map<string, Finding>();
  private readonly isAble: boolean;
  private readonly serverName: string | undefined;

  /** @param options of all channels. */
  constructor(
    private readonly tls: TlsMaterial | undefined,
    options: ClientOptions,
  ) {
    this.serverName = options["grpc.ssl_target_name_override"] ?? tls?.serverName;
    this.isAble =
      options.channelFactoryOverride === undefined &&
      PROXIES.every((name) => (process.env[name] ?? "") === "");
  }

  /**
   * An error that says why a call found no connection.
   * @param isConnected whether there is a connection: then the server itself is what failed.
   * @returns the error itself if there is no more to say. Never rejects.
   */
  async explain(error: unknown, address: string, isConnected: boolean): Promise<unknown> {
    const isKnown = error instanceof SiloError || !isConnectivityError(error);
    if (isKnown || isConnected || !this.isAble) {
      return error;
    }
    return (await this.find(address)) ?? error;
  }

  private find(address: string): Promise<SiloError | undefined> {
    const now = performance.now();
    const known = this.findings.get(address);
    if (known !== undefined && now - known.at < HOLDS_MS) {
      return known.error;
    }
    if (this.findings.size >= ADDRESSES_MAX) {
      this.findings.clear();
    }
    const { tls, serverName } = this;
    const error = diagnose(address, tls && { pems: tls.pems, serverName });
    this.findings.set(address, { at: now, error });
    return error;
  }
}

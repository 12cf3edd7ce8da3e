import { PlaintextRefusedError } from "../errors/errors";
import { grpcRoots, serversFrom, tlsSources, tlsWanted, tokenFrom } from "./environment";
import type { Environment } from "./environment";
import { checkAddresses, isLoopbackAddress, serverAddresses } from "./options";
import type { SiloGRPCClientOptions } from "./options";
import { TlsMaterial } from "./tls";
import { checkToken } from "./token";
import type { TokenFunction } from "./token";

/**
 * Which addresses a client dials, and whether with TLS. Both follow from the client's options and
 * environment alone: no address that a server tells turns TLS off, or moves a token to where
 * plaintext was not meant to go.
 */
export class DialRules {
  /** Addresses to begin with. */
  readonly servers: readonly string[];
  /** Certificates for all channels of the client; undefined = plaintext. */
  readonly tls: TlsMaterial | undefined;
  /** What the client shows to servers. */
  readonly token: string | TokenFunction | undefined;
  private readonly isLoopbackOnly: boolean;
  private readonly addressMap: Readonly<Record<string, string>>;

  /** @throws InvalidOptionError */
  constructor(options: SiloGRPCClientOptions, environment: Environment = process.env) {
    this.servers = serverAddresses(options.servers ?? serversFrom(environment) ?? []);
    checkAddresses(this.servers);
    this.token = options.token ?? tokenFrom(environment);
    if (typeof this.token === "string") {
      checkToken(this.token);
    }
    const wanted = tlsWanted(options);
    const isLocal = this.servers.every(isLoopbackAddress);
    if (wanted !== false) {
      const sources = tlsSources(typeof options.tls === "object" ? options.tls : {}, environment);
      const isOn = wanted ?? (Object.keys(sources).length > 0 || !isLocal);
      this.tls = isOn ? new TlsMaterial({ ca: grpcRoots(environment), ...sources }) : undefined;
    }
    const hasToken = this.token !== undefined && this.token !== "";
    this.isLoopbackOnly = wanted === undefined && this.tls === undefined && hasToken;
    this.addressMap = options.addressMap ?? {};
  }

  /** Whether all channels of the client use TLS. */
  get useTls(): boolean {
    return this.tls !== undefined;
  }

  /**
   * The address to dial for one that a server advertises.
   * @throws PlaintextRefusedError
   */
  dialled(advertised: string): string {
    const address = this.mapped(advertised);
    if (this.isLoopbackOnly && !isLoopbackAddress(address)) {
      throw new PlaintextRefusedError(address);
    }
    return address;
  }

  /** What the caller's map makes of an address that a server advertises. */
  mapped(advertised: string): string {
    return Object.hasOwn(this.addressMap, advertised) ? this.addressMap[advertised] : advertised;
  }
}

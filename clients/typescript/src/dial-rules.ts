import { PlaintextRefusedError } from "./errors";
import { isLoopbackAddress, serverAddresses } from "./options";
import type { SiloGRPCClientOptions } from "./options";

/**
 * Which addresses a client dials, and whether with TLS. Both follow from the client's options
 * alone: no address that a server tells turns TLS off, or moves a token to where plaintext was
 * not meant to go.
 */
export class DialRules {
  /** Addresses to begin with. */
  readonly servers: readonly string[];
  /** Whether all channels of the client use TLS. */
  readonly useTls: boolean;
  private readonly isLoopbackOnly: boolean;
  private readonly addressMap: Readonly<Record<string, string>>;

  constructor(options: SiloGRPCClientOptions) {
    this.servers = serverAddresses(options.servers);
    this.useTls = options.useTls ?? !this.servers.every(isLoopbackAddress);
    const hasToken = options.token !== undefined && options.token !== "";
    this.isLoopbackOnly = options.useTls === undefined && !this.useTls && hasToken;
    this.addressMap = options.addressMap ?? {};
  }

  /**
   * The address to dial for one that a server advertises.
   * @throws PlaintextRefusedError
   */
  dialled(advertised: string): string {
    const address = Object.hasOwn(this.addressMap, advertised)
      ? this.addressMap[advertised]
      : advertised;
    if (this.isLoopbackOnly && !isLoopbackAddress(address)) {
      throw new PlaintextRefusedError(address);
    }
    return address;
  }
}

import { isLoopbackAddress, serverAddresses } from "./options";
import type { SiloGRPCClientOptions } from "./options";

/**
 * Which addresses a client dials, and whether with TLS. Both follow from the client's options
 * alone.
 */
export class DialRules {
  /** Addresses to begin with. */
  readonly servers: readonly string[];
  /** Whether all channels of the client use TLS. */
  readonly useTls: boolean;
  private readonly addressMap: Readonly<Record<string, string>>;

  constructor(options: SiloGRPCClientOptions) {
    this.servers = serverAddresses(options.servers);
    this.useTls = options.useTls ?? !this.servers.every(isLoopbackAddress);
    this.addressMap = options.addressMap ?? {};
  }

  /** The address to dial for one that a server advertises. */
  dialled(advertised: string): string {
    return Object.hasOwn(this.addressMap, advertised) ? this.addressMap[advertised] : advertised;
  }
}

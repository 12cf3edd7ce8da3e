// The bearer token of a client: given once, or by a function that is asked for it.
import { asError } from "./describe";
import { SiloTokenError } from "./errors";

/** Why a token function is asked. */
export interface TokenRequest {
  /** The token that a server has just refused, so that another is wanted. */
  refused?: string;
}

/**
 * Gives the bearer token. It is asked before each call, or with `cacheToken` before the first; and
 * once more after a server refused a token (UNAUTHENTICATED): then the call is sent again with what
 * it gives, unless that is the same. Calls that are refused together ask together.
 */
export type TokenFunction = (request: TokenRequest) => string | Promise<string>;

/** Asks a token function. */
export class Tokens {
  private known: string | undefined;
  private asking: Promise<string | undefined> | undefined;
  private renewing: Promise<string | undefined> | undefined;

  /** @param isCached whether a token is used until it is refused. */
  constructor(
    private readonly source: string | TokenFunction | undefined,
    private readonly isCached: boolean,
  ) {}

  /** Whether `get()` waits for nothing. */
  get isFixed(): boolean {
    return typeof this.source !== "function";
  }

  /** The token for a call; undefined = none. @throws SiloTokenError */
  async get(): Promise<string | undefined> {
    if (typeof this.source !== "function") {
      return this.source === "" ? undefined : this.source;
    }
    if (!this.isCached) {
      return this.ask({});
    }
    if (this.renewing === undefined && this.known !== undefined) {
      return this.known;
    }
    this.asking ??= (this.renewing ?? this.ask({})).finally(() => {
      this.asking = undefined;
    });
    return this.asking;
  }

  /**
   * Another token after a server refused one.
   * @returns undefined if there is no other.
   * @throws SiloTokenError
   */
  async renewed(refused: string | undefined): Promise<string | undefined> {
    if (typeof this.source !== "function") {
      return undefined;
    }
    if (this.renewing === undefined && this.known !== refused && this.isCached) {
      return this.known;
    }
    this.renewing ??= this.ask({ refused }).finally(() => {
      this.renewing = undefined;
    });
    const token = await this.renewing;
    return token === refused ? undefined : token;
  }

  private async ask(request: TokenRequest): Promise<string | undefined> {
    let token: unknown;
    try {
      token = await (this.source as TokenFunction)(request);
    } catch (error) {
      throw new SiloTokenError(asError(error));
    }
    if (token !== undefined && typeof token !== "string") {
      throw new SiloTokenError(new TypeError(`it gave a ${typeof token} and no string`));
    }
    this.known = token === "" ? undefined : token;
    return this.known;
  }
}

// The bearer token of a client: given once, or by a function that is asked for it.
import { RpcError } from "@protobuf-ts/runtime-rpc";
import { asError } from "../base/describe";
import { SiloTokenError } from "../errors/errors";

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

/** The token of one client. */
export class Tokens {
  private known: string | undefined;
  private asking: Promise<string | undefined> | undefined;
  private renewing: Promise<string | undefined> | undefined;

  /** @param isCached whether a token is used until it is refused. */
  constructor(
    private readonly source: string | TokenFunction | undefined,
    private readonly isCached: boolean,
  ) {}

  /**
   * Makes a call with the token, and once more if a server refused that and there is another.
   * @param join waits for a token as long as the call may go on.
   * @throws what the call throws, SiloTokenError
   */
  async use<T>(
    call: (bearer: string | undefined) => Promise<T>,
    join: <V>(work: Promise<V>) => Promise<V>,
  ): Promise<T> {
    if (typeof this.source !== "function") {
      return call(this.source === "" ? undefined : this.source);
    }
    const bearer = await join(this.get(this.source));
    try {
      return await call(bearer);
    } catch (error) {
      if (!(error instanceof RpcError && error.code === "UNAUTHENTICATED")) {
        throw error;
      }
      const other = await join(this.renewed(this.source, bearer));
      if (other === undefined) {
        throw error;
      }
      return call(other);
    }
  }

  private async get(source: TokenFunction): Promise<string | undefined> {
    if (!this.isCached) {
      return this.ask(source, {});
    }
    if (this.renewing === undefined && this.known !== undefined) {
      return this.known;
    }
    this.asking ??= (this.renewing ?? this.ask(source, {})).finally(() => {
      this.asking = undefined;
    });
    return this.asking;
  }

  /** Another token after a server refused one; undefined if there is no other. */
  private async renewed(
    source: TokenFunction,
    refused: string | undefined,
  ): Promise<string | undefined> {
    if (this.renewing === undefined && this.known !== refused && this.isCached) {
      return this.known;
    }
    this.renewing ??= this.ask(source, { refused }).finally(() => {
      this.renewing = undefined;
    });
    const token = await this.renewing;
    return token === refused ? undefined : token;
  }

  private async ask(source: TokenFunction, request: TokenRequest): Promise<string | undefined> {
    let token: unknown;
    try {
      token = await source(request);
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

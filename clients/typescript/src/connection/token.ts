// The bearer token of a client: given once, or by a function that is asked for it.
import { RpcError } from "@protobuf-ts/runtime-rpc";
import { asError } from "../base/describe";
import { InvalidOptionError, SiloTokenError } from "../errors/errors";

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

/** How long calls wait for an answer that another call asked for, before they ask again. */
const ASKED_MS = 10_000;

/** Why a token cannot be sent; undefined if it can. Does not tell the token. */
function unsendable(token: string): string | undefined {
  return /^[\x20-\x7e]*$/.test(token)
    ? undefined
    : "the token has a line break, or another character that no header may have";
}

/** @throws InvalidOptionError for what is no token. */
export function checkToken(token: string): void {
  const why = unsendable(token);
  if (why !== undefined) {
    throw new InvalidOptionError("token", why);
  }
}

/** An answer that several calls wait for. */
interface Asking {
  answer: Promise<string | undefined>;
  /** In the time of `performance.now()`. */
  since: number;
}

/** The token of one client. */
export class Tokens {
  private known: string | undefined;
  private asking: Asking | undefined;
  private renewing: Asking | undefined;

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
    this.asking = this.joined(this.asking ?? this.renewing, () => this.ask(source, {}));
    return this.over(this.asking);
  }

  /** Another token after a server refused one; undefined if there is no other. */
  private async renewed(
    source: TokenFunction,
    refused: string | undefined,
  ): Promise<string | undefined> {
    if (this.renewing === undefined && this.known !== refused && this.isCached) {
      return this.known;
    }
    this.renewing = this.joined(this.renewing, () => this.ask(source, { refused }));
    const token = await this.over(this.renewing);
    return token === refused ? undefined : token;
  }

  /** What is being asked for; asked anew if the function seems to have forgotten it. */
  private joined(
    asking: Asking | undefined,
    ask: () => Promise<string | undefined>,
  ): Asking {
    const now = performance.now();
    return asking !== undefined && now - asking.since < ASKED_MS
      ? asking
      : { answer: ask(), since: now };
  }

  private async over(asking: Asking): Promise<string | undefined> {
    try {
      return await asking.answer;
    } finally {
      this.asking = this.asking === asking ? undefined : this.asking;
      this.renewing = this.renewing === asking ? undefined : this.renewing;
    }
  }

  private async ask(source: TokenFunction, request: TokenRequest): Promise<string | undefined> {
    let token: unknown;
    try {
      token = await source(request);
    } catch (error) {
      throw new SiloTokenError(asError(error));
    }
    if (token !== undefined && typeof token !== "string") {
      const what = token === null ? "null" : `a ${typeof token}`;
      throw new SiloTokenError(new TypeError(`it gave ${what} and no string`));
    }
    const why = unsendable(token ?? "");
    if (why !== undefined) {
      throw new SiloTokenError(new TypeError(why));
    }
    this.known = token === "" ? undefined : token;
    return this.known;
  }
}

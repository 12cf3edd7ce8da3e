// What the bulk calls share: how a list is cut into calls, and which servers have no such calls.
import { RpcError } from "@protobuf-ts/runtime-rpc";

/** Bytes of one bulk call, but for a single larger item: the server's window for one call. */
const CALL_BYTES = 4 * 1024 * 1024;

/** Single calls in flight in place of a bulk call. */
export const SINGLE_CALLS = 32;

/** How long a server's lack of a method is remembered: it may be replaced by a newer one. */
const REMEMBER_MS = 60_000;

/** Applies `work` to all items, at most `limit` at a time. */
export async function mapLimited<T, R>(
  items: readonly T[],
  limit: number,
  work: (item: T) => Promise<R>,
): Promise<R[]> {
  const results = new Array<R>(items.length);
  let next = 0;
  const lane = async () => {
    while (next < items.length) {
      const place = next++;
      results[place] = await work(items[place]);
    }
  };
  await Promise.all(Array.from({ length: Math.min(limit, items.length) }, lane));
  return results;
}

/**
 * Cuts a list into the lists of single calls, in order. Items are taken only when they are needed.
 * @param most items in a call.
 * @param sizeOf bytes of an item, roughly.
 */
export function* inCalls<T>(
  items: Iterable<T>,
  most: number,
  sizeOf: (item: T) => number,
): Generator<T[]> {
  let call: T[] = [];
  let bytes = 0;
  for (const item of items) {
    const size = sizeOf(item);
    if (call.length === most || (call.length > 0 && bytes + size > CALL_BYTES)) {
      yield call;
      call = [];
      bytes = 0;
    }
    call.push(item);
    bytes += size;
  }
  if (call.length > 0) {
    yield call;
  }
}

/** Remembers for a while which servers answered which methods with UNIMPLEMENTED. */
export class MissingMethods {
  private readonly until = new Map<string, number>();

  /** @param now the present in milliseconds, from any origin. */
  constructor(private readonly now: () => number = () => performance.now()) {}

  /**
   * Makes a call unless the server is known not to have its method.
   * @returns undefined if the server does not have it.
   */
  async attempt<T>(
    address: string,
    method: string,
    call: () => Promise<T>,
  ): Promise<T | undefined> {
    const key = `${method} ${address}`;
    const until = this.until.get(key);
    if (until !== undefined && this.now() < until) {
      return undefined;
    }
    try {
      return await call();
    } catch (error) {
      if (error instanceof RpcError && error.code === "UNIMPLEMENTED") {
        this.until.set(key, this.now() + REMEMBER_MS);
        return undefined;
      }
      throw error;
    }
  }
}

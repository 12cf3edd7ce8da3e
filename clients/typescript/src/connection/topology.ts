import type { ShardOwner } from "../gen/silo";

/** A shard, where it is served, and the tenants it serves as a range of hashes. */
export interface ShardInfoWithRange {
  /** Shard UUID. */
  shardId: string;
  /** Address to dial, `host:port`. */
  serverAddr: string;
  /** First hash of the range; empty = no bound. */
  rangeStart: string;
  /** First hash after the range; empty = no bound. */
  rangeEnd: string;
}

/**
 * Finds the shard whose range holds a hash.
 * @param key a hash as `hashTenant()` makes it; it is not hashed again.
 * @param shards sorted by `rangeStart`.
 * @returns undefined if there are no shards or the key falls in a gap.
 */
export function shardForTenant(
  key: string,
  shards: readonly ShardInfoWithRange[],
): ShardInfoWithRange | undefined {
  let low = 0;
  let high = shards.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (shards[middle].rangeStart <= key) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  const candidate = low > 0 ? shards[low - 1] : undefined;
  if (candidate === undefined || (candidate.rangeEnd !== "" && key >= candidate.rangeEnd)) {
    return undefined;
  }
  return candidate;
}

function byRangeStart(a: ShardInfoWithRange, b: ShardInfoWithRange): number {
  return a.rangeStart < b.rangeStart ? -1 : a.rangeStart > b.rangeStart ? 1 : 0;
}

/** What a client knows about where shards are. */
export class Topology {
  private addresses = new Map<string, string>();
  private sorted: ShardInfoWithRange[] = [];
  private known = false;
  private answered = false;

  /** Whether a server has told the topology, be it that no shard has an owner. */
  get isTold(): boolean {
    return this.answered;
  }

  /** Whether an answer with at least one owned shard has been taken. */
  get isLoaded(): boolean {
    return this.known;
  }

  /** The shards by rangeStart. Not to be changed by the caller. */
  get shards(): readonly ShardInfoWithRange[] {
    return this.sorted;
  }

  /** Address of a shard's owner, if known. */
  addressOf(shardId: string): string | undefined {
    return this.addresses.get(shardId);
  }

  /**
   * Takes a server's answer in place of what was known. Shards without an owner are left out;
   * an answer with no owned shard leaves the topology not loaded.
   * @param dial maps an advertised address to the one to dial. If it throws nothing is changed.
   */
  replace(owners: readonly ShardOwner[], dial: (address: string) => string): void {
    const shards = owners
      .filter((owner) => owner.grpcAddr !== "")
      .map(({ shardId, grpcAddr, rangeStart, rangeEnd }) => {
        return { shardId, serverAddr: dial(grpcAddr), rangeStart, rangeEnd };
      });
    this.addresses = new Map(shards.map(({ shardId, serverAddr }) => [shardId, serverAddr]));
    this.sorted = shards.sort(byRangeStart);
    this.known = shards.length > 0;
    this.answered = true;
  }

  /** Records one shard's new owner, as a redirect tells it. */
  record(shardId: string, serverAddr: string): void {
    this.addresses.set(shardId, serverAddr);
    this.sorted = this.sorted.map((shard) =>
      shard.shardId === shardId ? { ...shard, serverAddr } : shard,
    );
  }

  /** Forgets everything. */
  clear(): void {
    this.addresses = new Map();
    this.sorted = [];
    this.known = false;
    this.answered = false;
  }

  /** Copies for the caller to keep. */
  snapshot(): { shardToServer: Map<string, string>; shards: ShardInfoWithRange[] } {
    return {
      shardToServer: new Map(this.addresses),
      shards: this.sorted.map((shard) => ({ ...shard })),
    };
  }
}

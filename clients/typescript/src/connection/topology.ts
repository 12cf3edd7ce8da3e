import { Notifier } from "../base/notifier";
import type { GetClusterInfoResponse, ShardOwner } from "../gen/silo";

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

function shardsOf(
  owners: readonly ShardOwner[],
  dial: (address: string) => string,
): ShardInfoWithRange[] {
  return owners
    .filter((owner) => owner.grpcAddr !== "")
    .map(({ shardId, grpcAddr, rangeStart, rangeEnd }) => {
      return { shardId, serverAddr: dial(grpcAddr), rangeStart, rangeEnd };
    })
    .sort(byRangeStart);
}

function isSame(a: ShardInfoWithRange, b: ShardInfoWithRange): boolean {
  return (
    a.shardId === b.shardId &&
    a.serverAddr === b.serverAddr &&
    a.rangeStart === b.rangeStart &&
    a.rangeEnd === b.rangeEnd
  );
}

/** What a client knows about where shards are. */
export class Topology {
  private addresses = new Map<string, string>();
  private sorted: ShardInfoWithRange[] = [];
  private known = false;
  private answered = false;
  /** Of the newest answer that was taken: versions of one life of a server can be compared. */
  private life = 0n;
  private version = 0n;
  /** Tells when a shard has another owner, or there are other shards. */
  readonly changes = new Notifier();

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

  /** The servers that have shards, each once, in the order of their shards. */
  get servers(): string[] {
    return [...new Set(this.addresses.values())];
  }

  /** Address of a shard's owner, if known. */
  addressOf(shardId: string): string | undefined {
    return this.addresses.get(shardId);
  }

  /**
   * Takes a server's answer in place of what was known, unless the same server has told a newer
   * one. Shards without an owner are left out; an answer with no owned shard leaves the topology
   * not loaded.
   * @param dial maps an advertised address to the one to dial. If it throws nothing is changed.
   * @returns whether it was taken.
   */
  replace(info: GetClusterInfoResponse, dial: (address: string) => string): boolean {
    const { shardOwners, life, version } = info;
    if (life !== 0n && life === this.life && version < this.version) {
      return false;
    }
    const shards = shardsOf(shardOwners, dial);
    const isChanged =
      shards.length !== this.sorted.length ||
      shards.some((shard, i) => !isSame(shard, this.sorted[i])) ||
      shards.length !== this.addresses.size;
    this.life = life;
    this.version = version;
    this.addresses = new Map(shards.map(({ shardId, serverAddr }) => [shardId, serverAddr]));
    this.sorted = shards;
    this.known = shards.length > 0;
    this.answered = true;
    if (isChanged) {
      this.changes.tell();
    }
    return true;
  }

  /** Records one shard's new owner, as a redirect tells it. */
  record(shardId: string, serverAddr: string): void {
    if (this.addresses.get(shardId) === serverAddr) {
      return;
    }
    this.addresses.set(shardId, serverAddr);
    this.sorted = this.sorted.map((shard) =>
      shard.shardId === shardId ? { ...shard, serverAddr } : shard,
    );
    this.changes.tell();
  }

  /** Forgets everything. */
  clear(): void {
    this.addresses = new Map();
    this.sorted = [];
    this.known = false;
    this.answered = false;
    this.life = 0n;
    this.version = 0n;
    this.changes.tell();
  }

  /** Copies for the caller to keep. */
  snapshot(): { shardToServer: Map<string, string>; shards: ShardInfoWithRange[] } {
    return {
      shardToServer: new Map(this.addresses),
      shards: this.sorted.map((shard) => ({ ...shard })),
    };
  }
}

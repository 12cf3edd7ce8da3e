// Which shard a tenant belongs to is decided by XXH64, seed 0, of its UTF-8 bytes. That function
// is part of the wire contract.
import xxhash from "xxhash-wasm";
import { SiloNotReadyError } from "../errors/errors";

type Hasher = Awaited<ReturnType<typeof xxhash>>;

let hasher: Hasher | undefined;
let loading: Promise<void> | undefined;

/** Loads the hash function. May be called any number of times; it is loaded once. */
export function initHasher(): Promise<void> {
  loading ??= xxhash().then(
    (loaded) => {
      hasher = loaded;
    },
    (error: unknown) => {
      loading = undefined;
      throw error;
    },
  );
  return loading;
}

/**
 * The hash of a tenant id, as 16 lower-case hex digits.
 * @throws SiloNotReadyError before `initHasher()` has resolved.
 */
export function hashTenant(tenantId: string): string {
  if (hasher === undefined) {
    throw new SiloNotReadyError(
      "XXH64 hasher not initialized. Call and await initHasher() first.",
    );
  }
  return hasher.h64(tenantId, 0n).toString(16).padStart(16, "0");
}

import assert from "node:assert/strict";
import { test } from "node:test";
import { hashTenant, initHasher, shardForTenant } from "../../src/index";
import type { ShardInfoWithRange } from "../../src/index";

function shard(shardId: string, rangeStart: string, rangeEnd: string): ShardInfoWithRange {
  return { shardId, serverAddr: "", rangeStart, rangeEnd };
}

test("hashing needs initHasher() first", async () => {
  assert.throws(() => hashTenant("a"), {
    message: "XXH64 hasher not initialized. Call and await initHasher() first.",
  });
  await Promise.all([initHasher(), initHasher()]);
  assert.equal(hashTenant("a"), "d24ec4f1a98c6e5b");
});

test("hash vectors", async () => {
  await initHasher();
  const vectors = {
    "": "ef46db3751d8e999",
    "-": "7a162ebe4ce6fc55",
    "test-tenant": "7bda10a719882c53",
    "test-tenant-123": "4b9f5c20822d0db3",
    "customer-123": "0bb632d435317a69",
    "env-0123456789abcdef0123456789abcdef-long": "b7c3026884251f59",
    "tenant-abc": "dc890e6e498241e4",
    "env-123": "c8be2c71603145bc",
    "customer-42": "ca6e96e956958c0f",
    日本: "80c2e40b8486afab",
  };
  for (const [tenant, hash] of Object.entries(vectors)) {
    assert.equal(hashTenant(tenant), hash, tenant);
  }
});

test("shardForTenant finds the range that holds the key", () => {
  const shards = [shard("a", "", "4"), shard("b", "4", "8"), shard("c", "9", "")];
  assert.equal(shardForTenant("0", shards)?.shardId, "a");
  assert.equal(shardForTenant("3fff", shards)?.shardId, "a");
  assert.equal(shardForTenant("4", shards)?.shardId, "b");
  assert.equal(shardForTenant("7fffffffffffffff", shards)?.shardId, "b");
  assert.equal(shardForTenant("8", shards), undefined, "a gap");
  assert.equal(shardForTenant("9", shards)?.shardId, "c");
  assert.equal(shardForTenant("ffffffffffffffff", shards)?.shardId, "c");
  assert.equal(shardForTenant("5", []), undefined);
  assert.equal(shardForTenant("5", [shard("x", "6", "")]), undefined, "below the first");
  assert.equal(shardForTenant("5", [shard("x", "", "")])?.shardId, "x");
});

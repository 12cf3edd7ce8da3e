import { randomBytes } from "node:crypto";

/**
 * A new job id: a UUID of version 7. Its first 48 bits are this machine's time in milliseconds, so
 * that ids made one after another lie together in the server's storage; the rest is random. No
 * order is read from it.
 */
export function newJobId(): string {
  const bytes = randomBytes(16);
  bytes.writeUIntBE(Date.now() % 2 ** 48, 0, 6);
  bytes[6] = (bytes[6] & 0x0f) | 0x70;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = bytes.toString("hex");
  const parts = [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20)];
  return [...parts, hex.slice(20)].join("-");
}

// What the tests against a real server share. The server is the one at SILO_ADDR.
import { randomUUID } from "node:crypto";
import { SiloGRPCClient } from "../../src/index";

/** A client of the server under test. @throws Error if SILO_ADDR is not set. */
export function liveClient(): SiloGRPCClient {
  const address = process.env.SILO_ADDR;
  if (address === undefined || address === "") {
    throw new Error("SILO_ADDR must name the server to test, for example 127.0.0.1:50051");
  }
  return new SiloGRPCClient({ servers: address, useTls: false });
}

/** A name no other test uses. */
export function unique(prefix: string): string {
  return `${prefix}-${randomUUID()}`;
}

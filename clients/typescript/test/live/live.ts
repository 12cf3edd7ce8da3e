// What the tests against a real server share. The server is the one at SILO_ADDR.
import { randomUUID } from "node:crypto";
import type { TestContext } from "node:test";
import { SiloGRPCClient, SiloGrpcError } from "../../src/index";

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

/**
 * Whether the server serves a method, found out by a call that fails otherwise. If it does not,
 * the test is reported as skipped, with the reason.
 */
export async function serves(t: TestContext, probe: () => Promise<unknown>): Promise<boolean> {
  try {
    await probe();
  } catch (error) {
    if (error instanceof SiloGrpcError && error.grpcCode === "UNIMPLEMENTED") {
      t.skip(`the server does not serve this method: ${error.message}`);
      return false;
    }
  }
  return true;
}

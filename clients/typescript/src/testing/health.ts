// Asks a server for its health, by the part of grpc.health.v1 that takes.
import { Client, credentials } from "@grpc/grpc-js";

const METHOD = "/grpc.health.v1.Health/Check";
const SERVICE = Buffer.from("silo.v1.Silo");

/** HealthCheckRequest: the service's name is field 1. */
const REQUEST = Buffer.concat([Buffer.from([0x0a, SERVICE.length]), SERVICE]);

/** HealthCheckResponse: field 1, the status, is SERVING. */
const SERVING = Buffer.from([0x08, 0x01]);

/** How long one question may take, in milliseconds. */
const ANSWER_MS = 1000;

/** Asks servers whether all their shards are open. Close it after use. */
export class HealthClient {
  private readonly client: Client;

  /** @param address `host:port`, reached in plaintext. */
  constructor(address: string) {
    this.client = new Client(address, credentials.createInsecure());
  }

  /** Whether the server serves; not, if it does not answer. */
  isServing(): Promise<boolean> {
    const deadline = Date.now() + ANSWER_MS;
    const same = (bytes: Buffer) => bytes;
    return new Promise((resolve) => {
      this.client.makeUnaryRequest(METHOD, same, same, REQUEST, { deadline }, (error, answer) =>
        resolve(error === null && answer?.equals(SERVING) === true),
      );
    });
  }

  close(): void {
    this.client.close();
  }
}

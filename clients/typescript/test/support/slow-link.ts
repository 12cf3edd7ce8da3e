// A TCP link between a client and a server that a test can make slow, silent, or cut.
import { createServer, connect } from "node:net";
import type { AddressInfo, Server, Socket } from "node:net";

/** Longest piece passed on at once, in bytes: at 3 MB/s some five milliseconds. */
const PIECE_BYTES = 16 * 1024;

/** What happens to bytes of one direction: `up` is from the client to the server. */
export interface LinkRates {
  /** Bytes a second of all connections together; default: as fast as they come. */
  up?: number;
  down?: number;
}

/** Passes the bytes of one direction at a rate that all connections share. */
class Lane {
  /** When the bytes already taken will have passed, in the time of `performance.now()`. */
  private busyUntil = 0;
  private waiting: (() => void)[] = [];
  private paused = false;

  /** @param bytesPerSecond Infinity = no limit. */
  constructor(private bytesPerSecond: number) {}

  setRate(bytesPerSecond: number): void {
    this.bytesPerSecond = bytesPerSecond;
  }

  pause(): void {
    this.paused = true;
  }

  resume(): void {
    this.paused = false;
    for (const go of this.waiting.splice(0)) {
      go();
    }
  }

  /** Resolves when so many bytes may go on. */
  async pass(bytes: number): Promise<void> {
    while (this.paused) {
      await new Promise<void>((resolve) => this.waiting.push(resolve));
    }
    const now = performance.now();
    this.busyUntil = Math.max(now, this.busyUntil) + (bytes / this.bytesPerSecond) * 1000;
    if (this.busyUntil > now) {
      await new Promise((resolve) => setTimeout(resolve, this.busyUntil - now));
    }
  }
}

/**
 * A proxy on a loopback port. Bytes are read from a side only as fast as they are passed on, so a
 * slow link fills the sender's buffers as a real one does.
 */
export class SlowLink {
  /** Connections accepted since the start. */
  accepted = 0;
  private readonly up: Lane;
  private readonly down: Lane;
  private readonly sockets = new Set<Socket>();
  private refusing = false;

  private constructor(
    private readonly server: Server,
    private readonly target: string,
    rates: LinkRates,
  ) {
    this.up = new Lane(rates.up ?? Infinity);
    this.down = new Lane(rates.down ?? Infinity);
  }

  /** Starts a link to `target`, `host:port`. End it with `close()`. */
  static async to(target: string, rates: LinkRates = {}): Promise<SlowLink> {
    const server = createServer();
    const link = new SlowLink(server, target, rates);
    server.on("connection", (socket) => link.accept(socket));
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen(0, "127.0.0.1", resolve);
    });
    return link;
  }

  /** Where clients connect to, `host:port`. */
  get address(): string {
    return `127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  /** Connections open now. */
  get connections(): number {
    return this.sockets.size / 2;
  }

  /** Changes the rates of connections old and new; a rate left out has no limit. */
  setRates(rates: LinkRates): void {
    this.up.setRate(rates.up ?? Infinity);
    this.down.setRate(rates.down ?? Infinity);
  }

  /** Lets no byte through, both ways, and says nothing: the peer seems to be gone. */
  pause(): void {
    this.up.pause();
    this.down.pause();
  }

  /** Undoes `pause()`. What was held goes on. */
  resume(): void {
    this.up.resume();
    this.down.resume();
  }

  /** Resets all connections; new ones are accepted. */
  cut(): void {
    for (const socket of [...this.sockets]) {
      socket.resetAndDestroy();
    }
  }

  /** Whether new connections are reset as soon as they are accepted. */
  refuse(refusing: boolean): void {
    this.refusing = refusing;
  }

  /** Ends the link and its connections. */
  close(): void {
    this.cut();
    this.resume();
    this.server.close();
  }

  private accept(client: Socket): void {
    this.accepted++;
    if (this.refusing) {
      client.on("error", () => undefined);
      client.resetAndDestroy();
      return;
    }
    const colon = this.target.lastIndexOf(":");
    const server = connect(Number(this.target.slice(colon + 1)), this.target.slice(0, colon));
    for (const [socket, other] of [
      [client, server],
      [server, client],
    ]) {
      socket.setNoDelay(true);
      this.sockets.add(socket);
      socket.on("error", () => other.destroy());
      socket.on("close", () => {
        this.sockets.delete(socket);
        other.destroy();
      });
    }
    void carry(client, server, this.up);
    void carry(server, client, this.down);
  }
}

/** Passes on what one side says until either side is gone. */
async function carry(from: Socket, to: Socket, lane: Lane): Promise<void> {
  try {
    for await (const chunk of from as AsyncIterable<Buffer>) {
      for (let at = 0; at < chunk.length; at += PIECE_BYTES) {
        const piece = chunk.subarray(at, at + PIECE_BYTES);
        await lane.pass(piece.length);
        if (to.destroyed) {
          return;
        }
        if (!to.write(piece)) {
          await new Promise<void>((resolve) => {
            to.once("drain", resolve);
            to.once("close", resolve);
          });
        }
      }
    }
    to.end();
  } catch {
    // The link was cut; the sockets' own listeners close the other side.
  }
}

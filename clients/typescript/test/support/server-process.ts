// A server of its own for tests that kill it: one process at a time on one data directory.
import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** How long a server may take until its port is open, in milliseconds. */
const START_MS = 60_000;

/** A port that nothing listens on. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}

/** Whether a port takes connections. */
export function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1", () => {
      socket.destroy();
      resolve(true);
    });
    socket.on("error", () => resolve(false));
  });
}

/** The server's binary. @throws Error if SILO_BIN is not set. */
function binary(): string {
  const path = process.env.SILO_BIN;
  if (path === undefined || path === "") {
    throw new Error("SILO_BIN must name the server's binary, for example build/bin/silo");
  }
  return path;
}

export class ServerProcess {
  private child: ChildProcess | undefined;

  private constructor(
    private readonly dir: string,
    private readonly port: number,
  ) {}

  /**
   * Starts a server on a port and a data directory of its own.
   * @param settings lines of the configuration's `[server]`.
   */
  static async start(settings: readonly string[] = []): Promise<ServerProcess> {
    const dir = mkdtempSync(join(tmpdir(), "silo-client-"));
    const port = await freePort();
    const server = new ServerProcess(dir, port);
    server.configure(
      `[server]\n${[`grpc_addr = "127.0.0.1:${port}"`, ...settings].join("\n")}\n\n` +
        `[database]\nbackend = "fs"\npath = "${dir}/data/%shard%"\n`,
    );
    await server.start();
    return server;
  }

  /** A node of a cluster, which does not run yet. @param configuration says all but its address. */
  static async node(dir: string, configuration: (address: string) => string) {
    const server = new ServerProcess(dir, await freePort());
    server.configure(
      `[server]\ngrpc_addr = "${server.address}"\n\n${configuration(server.address)}`,
    );
    return server;
  }

  private configure(text: string): void {
    writeFileSync(join(this.dir, "silo.toml"), text);
  }

  get address(): string {
    return `127.0.0.1:${this.port}`;
  }

  /** Starts the process again, after `kill()`. Resolves when its port is open. */
  async start(): Promise<void> {
    const log = openSync(join(this.dir, "server.log"), "a");
    const child = spawn(binary(), ["--config", join(this.dir, "silo.toml")], {
      stdio: ["ignore", log, log],
    });
    this.child = child;
    const deadline = performance.now() + START_MS;
    while (!(await accepts(this.port))) {
      if (child.exitCode !== null || performance.now() > deadline) {
        throw new Error(`the server did not start:\n${readFileSync(join(this.dir, "server.log"))}`);
      }
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  /** Ends the process at once, as a crash does. */
  kill(): Promise<void> {
    return this.end("SIGKILL");
  }

  /** Ends the process in an orderly way. */
  stop(): Promise<void> {
    return this.end("SIGTERM");
  }

  private async end(signal: NodeJS.Signals): Promise<void> {
    const { child } = this;
    this.child = undefined;
    if (child !== undefined && child.exitCode === null) {
      const ended = once(child, "exit");
      child.kill(signal);
      await ended;
    }
  }

  /** Stops the process where it stands, until `resume()`. */
  pause(): void {
    this.child?.kill("SIGSTOP");
  }

  resume(): void {
    this.child?.kill("SIGCONT");
  }

  /** Ends the process and removes its data. */
  async remove(): Promise<void> {
    await this.kill();
    rmSync(this.dir, { recursive: true, force: true });
  }
}

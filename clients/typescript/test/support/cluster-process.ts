// A cluster of real servers for tests that end some of them: one etcd, one shared directory.
import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { SiloGRPCClient } from "../../src/index";
import { accepts, freePort, ServerProcess } from "./server-process";

/** How long etcd may take to start, and shards to be spread, in milliseconds. */
const START_MS = 30_000;
const SPREAD_MS = 60_000;

const ETCD = process.env.SILO_ETCD || "/usr/bin/etcd";

/**
 * Why there can be no cluster here, or false.
 * @throws Error in CI, where there has to be one.
 */
export function noCluster(): string | false {
  if (existsSync(ETCD)) {
    return false;
  }
  const why = `${ETCD} is not there: install etcd-server, or name etcd in SILO_ETCD`;
  if (process.env.CI) {
    throw new Error(why);
  }
  return why;
}

export class ClusterProcess {
  readonly nodes: ServerProcess[] = [];

  private constructor(
    private readonly dir: string,
    private readonly etcd: ChildProcess,
  ) {}

  /** Starts nodes with as many shards, and waits until each has some. */
  static async start(count: number, shards: number): Promise<ClusterProcess> {
    const dir = mkdtempSync(join(tmpdir(), "silo-cluster-"));
    const [client, peer] = [await freePort(), await freePort()];
    const urls = [`http://127.0.0.1:${client}`, `http://127.0.0.1:${peer}`];
    const log = openSync(join(dir, "etcd.log"), "a");
    const options = {
      name: "etcd",
      "data-dir": join(dir, "etcd"),
      "listen-client-urls": urls[0],
      "advertise-client-urls": urls[0],
      "listen-peer-urls": urls[1],
      "initial-advertise-peer-urls": urls[1],
      "initial-cluster": `etcd=${urls[1]}`,
      "log-level": "warn",
    };
    const etcd = spawn(
      ETCD,
      Object.entries(options).map(([name, value]) => `--${name}=${value}`),
      { stdio: ["ignore", log, log] },
    );
    const cluster = new ClusterProcess(dir, etcd);
    try {
      await cluster.awaitEtcd(client);
      for (let i = 0; i < count; i++) {
        await cluster.addNode(i, shards, urls[0]);
      }
      await cluster.awaitSpread();
    } catch (error) {
      await cluster.remove();
      throw error;
    }
    return cluster;
  }

  get addresses(): string[] {
    return this.nodes.map(({ address }) => address);
  }

  /** Waits until shards are on so many nodes, all of them by default. */
  async awaitSpread(count = this.nodes.length): Promise<void> {
    const client = new SiloGRPCClient({ servers: this.addresses });
    const deadline = performance.now() + SPREAD_MS;
    try {
      for (;;) {
        await client.refreshTopology().catch(() => undefined);
        if (new Set(client.getTopology().shardToServer.values()).size === count) {
          return;
        }
        if (performance.now() > deadline) {
          throw new Error(`the shards are not on ${count} nodes after ${SPREAD_MS} ms`);
        }
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    } finally {
      client.close();
    }
  }

  /** Ends all processes and removes their data. */
  async remove(): Promise<void> {
    await Promise.all(this.nodes.map((node) => node.kill()));
    if (this.etcd.exitCode === null) {
      const ended = once(this.etcd, "exit");
      this.etcd.kill("SIGKILL");
      await ended;
    }
    rmSync(this.dir, { recursive: true, force: true });
  }

  private async awaitEtcd(port: number): Promise<void> {
    const deadline = performance.now() + START_MS;
    while (!(await accepts(port))) {
      if (this.etcd.exitCode !== null || performance.now() > deadline) {
        throw new Error(`etcd did not start:\n${readFileSync(join(this.dir, "etcd.log"))}`);
      }
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  private async addNode(number: number, shards: number, etcd: string): Promise<void> {
    const dir = join(this.dir, `node-${number}`);
    mkdirSync(dir);
    const node = await ServerProcess.node(
      dir,
      (address) =>
        `[coordination]\nbackend = "etcd"\netcd_endpoints = ["${etcd}"]\n` +
        `node_id = "node-${number}"\nadvertised_grpc_addr = "${address}"\n` +
        `initial_shard_count = ${shards}\nlease_ttl_secs = 3\n\n` +
        `[database]\nbackend = "fs"\npath = "${this.dir}/data/%shard%"\n` +
        "lock = false\nlocal_log = false\n",
    );
    this.nodes.push(node);
    await node.start();
  }
}

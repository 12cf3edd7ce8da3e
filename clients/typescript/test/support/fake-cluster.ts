// Several fake servers that share shards: what is asked at the wrong one is redirected.
import { status } from "@grpc/grpc-js";
import { FakeServer, grpcError, OTHER_SHARD, SHARD } from "../fake-server";
import type { Handler } from "../fake-server";

/** Bounds of the two shards' ranges. */
const RANGES: Record<string, [string, string]> = {
  [SHARD]: ["", "8000000000000000"],
  [OTHER_SHARD]: ["8000000000000000", ""],
};

/** The shard that a request names, wherever it does. */
function shardOf(request: any): string | undefined {
  return request.jobs?.[0]?.shard || request.shard || undefined;
}

export class FakeCluster {
  readonly nodes: FakeServer[] = [];
  /** The node of each shard; undefined = nobody has it. */
  readonly owners = new Map<string, FakeServer | undefined>();
  /** Nodes that are members. */
  readonly members = new Set<FakeServer>();

  /**
   * Starts nodes; the first has both shards.
   * @param handlers of all nodes; those of calls that name a shard run at its owner only.
   */
  static async start(count: number, handlers: Record<string, Handler> = {}): Promise<FakeCluster> {
    const cluster = new FakeCluster();
    for (let i = 0; i < count; i++) {
      await cluster.addNode(handlers);
    }
    cluster.owners.set(SHARD, cluster.nodes[0]);
    cluster.owners.set(OTHER_SHARD, cluster.nodes[0]);
    return cluster;
  }

  get addresses(): string[] {
    return this.nodes.map(({ address }) => address);
  }

  async addNode(handlers: Record<string, Handler>): Promise<FakeServer> {
    const node = await FakeServer.start();
    for (const [method, handler] of Object.entries(handlers)) {
      node.handlers[method] = (request, metadata) => {
        this.check(node, shardOf(request));
        return handler.call(node, request, metadata);
      };
    }
    node.handlers.getClusterInfo = () => this.topology();
    node.isWatchable = true;
    this.nodes.push(node);
    this.members.add(node);
    return node;
  }

  /** Gives a shard to another node, or to nobody. Nobody is told. */
  move(shard: string, to: FakeServer | undefined): void {
    this.owners.set(shard, to);
  }

  /** Tells all who watch. */
  async tell(): Promise<void> {
    await Promise.all([...this.members].map((node) => node.tellTopology()));
  }

  stop(): void {
    this.nodes.forEach((node) => node.stop());
  }

  /** How often a method was called, at all nodes together. */
  calls(method: string): number {
    return this.nodes.reduce((sum, node) => sum + node.requests(method).length, 0);
  }

  topology(): object {
    return {
      shardOwners: [...this.owners].map(([shardId, owner]) => ({
        shardId,
        grpcAddr: owner?.address ?? "",
        nodeId: owner?.address ?? "",
        rangeStart: RANGES[shardId][0],
        rangeEnd: RANGES[shardId][1],
      })),
      members: [...this.members].map(({ address }) => ({ nodeId: address, grpcAddr: address })),
    };
  }

  /** @throws the redirect to the owner, if that is another. */
  private check(node: FakeServer, shard: string | undefined): void {
    if (shard === undefined || this.owners.get(shard) === node) {
      return;
    }
    const owner = this.owners.get(shard);
    throw owner === undefined
      ? grpcError(status.UNAVAILABLE, "shard not ready: acquisition in progress")
      : grpcError(status.NOT_FOUND, "shard not found", {
          "x-silo-shard-owner-addr": owner.address,
          "x-silo-shard-owner-node": owner.address,
        });
  }
}

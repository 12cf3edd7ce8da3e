#!/usr/bin/env python3
"""What it costs a client when nodes of a cluster come, go and die: measured, on this machine.

    figures.py takeover [--times N]      kill -9 of a node: the longest time in which no call on a shard of it succeeded
    figures.py restart [--times N]       an orderly restart of each node in turn: the same for every shard, and failed calls
    figures.py move [--jobs N]           moves of a shard with so many waiting jobs and 1,000 leases
    figures.py idle [--shards N]         processor time of each node, and writes to etcd, when nothing happens

    --nodes N, --shards N, --store fs|s3|s3-30ms, --etcd VERSION

Each prints what it measured, as "what: p50 p99 max", in milliseconds where nothing else is said.
"""

import argparse
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from checks import until  # noqa: E402
from cluster import Cluster  # noqa: E402
from relay import Relay  # noqa: E402
from s3_server import MinioServer  # noqa: E402
from silo_api import pb  # noqa: E402
from traffic import Traffic, tenants_of  # noqa: E402

IDLE_SECONDS = 20
SETTLE_SECONDS = 300
LEASES = 1000
BATCH = 1000
MOVES = 10


class DistantS3(MinioServer):
    """Every request takes 30 ms more."""

    def __init__(self):
        super().__init__()
        self.relay = Relay().start()  # nodes are told its address before anything runs
        self.relay.delay(30)

    def start(self):
        super().start()
        self.relay.to("127.0.0.1:%d" % self.port)
        return self

    def __exit__(self, *args):
        super().__exit__(*args)
        self.relay.stop()

    def environment(self):
        return dict(super().environment(), AWS_ENDPOINT="http://" + self.relay.address)


def store_of(name):
    return {"fs": lambda: None, "s3": MinioServer, "s3-30ms": DistantS3}[name]()


def show(what, seconds):
    ordered = sorted(1000 * s for s in seconds)
    at = [ordered[min(len(ordered) - 1, int(len(ordered) * part))] for part in (0.5, 0.99)]
    print("%s: %.0f %.0f %.0f (%d)" % (what, *at, ordered[-1], len(ordered)), flush=True)


def takeover(cluster, args):
    holes = []
    for number in range(args.times):
        owners = cluster.await_spread(SETTLE_SECONDS)
        node = list(cluster.nodes.values())[number % len(cluster.nodes)]
        with Traffic(cluster) as traffic:
            node.kill()
            cluster.await_served(by=set(cluster.nodes) - {node.node_id}, seconds=SETTLE_SECONDS)
        traffic.check()
        holes += [hole for shard, hole in traffic.holes().items() if owners[shard] == node.node_id]
        node.start()
        cluster.await_members(cluster.nodes)
    show("takeover", holes)


def restart(cluster, args):
    holes, refused, again = [], 0, 0
    for _ in range(args.times):
        cluster.await_spread(SETTLE_SECONDS)
        with Traffic(cluster) as traffic:
            for node in cluster.nodes.values():
                node.stop()
                node.start()
                cluster.await_spread(SETTLE_SECONDS)
        traffic.check(attempts=1)
        holes += traffic.holes().values()
        refused += len(traffic.refused)
        again += traffic.tried_again
    show("longest hole of a shard in a rolling restart", holes)
    print("calls that failed for good: %d; that were tried again: %d" % (refused, again))


def move(cluster, args):
    """One shard is filled; its owner is stopped and started, so that it moves each time."""
    owners = cluster.await_spread(SETTLE_SECONDS)
    shard = min(owners)
    tenant = tenants_of(cluster.answering[0].info().shard_owners)[shard]
    api = cluster[owners[shard]].api
    job = pb.EnqueueRequest(tenant=tenant, task_group="waiting")
    for _ in range(args.jobs // BATCH):
        api.EnqueueMany(shard=shard, jobs=[job] * BATCH)
    leased = 0
    while leased < LEASES:
        leased += len(api.LeaseTasks(shard=shard, worker_id="w", max_tasks=1000, task_group="waiting").tasks)
    holes = []
    for _ in range(MOVES):
        owner = cluster.await_spread(SETTLE_SECONDS)[shard]
        with Traffic(cluster) as traffic:
            cluster[owner].stop()
            cluster.await_served(seconds=SETTLE_SECONDS)
        holes.append(traffic.holes()[shard])
        cluster[owner].start()
        cluster.await_members(cluster.nodes)
    show("move of a shard with %d waiting jobs and %d leases" % (args.jobs, LEASES), holes)


def processor_seconds(node):
    with open("/proc/%d/stat" % node.process.pid, encoding="ascii") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def idle(cluster, _):
    cluster.await_spread(SETTLE_SECONDS)
    until(lambda: cluster.served(), "every shard", SETTLE_SECONDS)
    time.sleep(IDLE_SECONDS / 2)
    nodes = list(cluster.nodes.values())
    before, revision, began = [processor_seconds(node) for node in nodes], cluster.etcd.revision(), time.monotonic()
    time.sleep(IDLE_SECONDS)
    took = time.monotonic() - began
    shares = ["%.2f %%" % (100 * (processor_seconds(node) - was) / took) for node, was in zip(nodes, before)]
    print("idle, %d shards: %s of a core; writes to etcd: %d" % (cluster.shards, ", ".join(shares),
                                                                 cluster.etcd.revision() - revision))


FIGURES = {"takeover": takeover, "restart": restart, "move": move, "idle": idle}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("figure", choices=FIGURES)
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--shards", type=int, default=12)
    parser.add_argument("--store", choices=("fs", "s3", "s3-30ms"), default="fs")
    parser.add_argument("--etcd", default="3.4")
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=100000)
    args = parser.parse_args()
    with Cluster(args.nodes, args.shards, store=store_of(args.store), etcd_version=args.etcd) as cluster:
        FIGURES[args.figure](cluster, args)
    return 0


if __name__ == "__main__":
    sys.exit(main())

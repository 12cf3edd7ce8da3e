"""Nodes of a cluster that are stopped, killed, paused, added and cut off from etcd, with jobs coming in all the while.

Three nodes on a shared directory with one etcd are started once; each test leaves them serving everything.
"""

import concurrent.futures
import os
import subprocess
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import runner  # noqa: E402
import silo_server  # noqa: E402
from checks import equal, status_is, until  # noqa: E402
from cluster import TTL_SECONDS, Cluster  # noqa: E402
from silo_api import blob  # noqa: E402
from traffic import Traffic, tenants_of  # noqa: E402

SHARDS = 12
LONG_SECONDS = 2 * TTL_SECONDS + 2  # for a lease to be lost, by any clock
SANITIZED = os.environ.get("SILO_BUILD") in ("asan", "tsan")
release_only = unittest.skipIf(SANITIZED, "it takes the same ways through the program as others here")
UNKNOWN_SHARD = "00000000-0000-4000-8000-000000000000"


class Nodes(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cluster = Cluster(nodes=3, shards=SHARDS).start()

    @classmethod
    def tearDownClass(cls):
        cls.cluster.close()

    def setUp(self):
        for node in self.cluster.nodes.values():
            node.resume()
            if not node.running:
                node.start()
        self.cluster.await_members(self.cluster.nodes)
        self.owners = self.cluster.await_spread()

    def had(self, node_id):
        return {shard for shard, owner in self.owners.items() if owner == node_id}

    def others(self, node_id):
        return set(self.cluster.nodes) - {node_id}

    def tenant_in(self, shard):
        return tenants_of(self.cluster.answering[0].info().shard_owners)[shard]

    # ---- where shards are ----

    @release_only
    def test_another_nodes_shard_is_answered_with_its_owner(self):
        shard = min(self.had("n1"))
        status = self.cluster["n0"].api.fails("GetJob", shard=shard, tenant=self.tenant_in(shard), id="x")
        status_is(status, "NOT_FOUND", "shard not found")
        equal(status.trailers.get("x-silo-shard-owner-addr"), self.cluster["n1"].address)
        equal(status.trailers.get("x-silo-shard-owner-node"), "n1")

    @release_only
    def test_nothing_is_written_to_etcd_when_nothing_happens(self):
        """The leases of members are kept alive, which writes nothing."""
        revision = self.cluster.etcd.revision()
        time.sleep(2 * TTL_SECONDS)
        equal(self.cluster.etcd.revision(), revision)

    # ---- a node that ends in order ----

    def test_a_stopped_node_hands_its_shards_over(self):
        """No hand-out is lost, nothing runs twice, no call fails at a client that tries again."""
        with Traffic(self.cluster) as traffic:
            equal(self.cluster["n1"].stop(), 0)
            self.cluster.await_served(by=self.others("n1"))
        traffic.check(attempts=1)
        equal(traffic.refused, [])

    @release_only
    def test_a_rolling_restart(self):
        with Traffic(self.cluster) as traffic:
            for node in self.cluster.nodes.values():
                equal(node.stop(), 0)
                self.cluster.await_served(by=self.others(node.node_id))
                node.start()
                self.cluster.await_spread()
        traffic.check(attempts=1)
        equal(traffic.refused, [])

    # ---- a node that dies ----

    def test_a_killed_nodes_shards_are_taken_over(self):
        with Traffic(self.cluster) as traffic:
            self.cluster["n2"].kill()
            self.cluster.await_served(by=self.others("n2"))
        traffic.check()

    @release_only
    def test_a_killed_node_that_is_started_at_once(self):
        """Under its own id, before anybody knows that it was away."""
        with Traffic(self.cluster) as traffic:
            self.cluster["n0"].kill()
            self.cluster["n0"].start()
            self.cluster.await_served()
        traffic.check()
        self.cluster.await_spread()

    def test_all_nodes_are_killed_at_once(self):
        with Traffic(self.cluster) as traffic:
            self.cluster.kill()
            with concurrent.futures.ThreadPoolExecutor() as pool:
                list(pool.map(lambda node: node.start(), self.cluster.nodes.values()))
            self.cluster.await_served()
        traffic.check()

    # ---- a node that stands still ----

    def test_a_node_that_stood_still_acknowledges_nothing_that_others_serve(self):
        node = self.cluster["n1"]
        had = self.had("n1")
        tenants = tenants_of(node.info().shard_owners)
        with Traffic(self.cluster) as traffic:
            node.pause()
            self.cluster.await_served(by=self.others("n1"))
            late = {shard: node.api.start("Enqueue", shard=shard, tenant=tenants[shard], id="late", task_group="late",
                                          payload=blob(b"x")) for shard in had}
            node.resume()
            for shard, call in late.items():
                self.assertIsNotNone(call.exception(), "a call on %s, which another node serves, succeeded" % shard)
            self.cluster.await_members(self.cluster.nodes)
            owners = self.cluster.await_spread()
        traffic.check()
        for shard in had:
            status = self.cluster[owners[shard]].api.fails("GetJob", shard=shard, tenant=tenants[shard], id="late")
            status_is(status, "NOT_FOUND", "job not found")

    # ---- etcd ----

    def test_etcd_is_away_for_longer_than_a_lease(self):
        """Whoever serves a shard goes on meanwhile, and all come back by themselves."""
        with Traffic(self.cluster) as traffic:
            self.cluster.etcd.kill()
            end = time.monotonic() + LONG_SECONDS
            acknowledged = len(traffic.jobs)
            until(lambda: time.monotonic() > end, "the end of the outage", 2 * LONG_SECONDS)
            self.assertGreater(len(traffic.jobs), acknowledged)
            self.cluster.etcd.start()
            self.cluster.await_members(self.cluster.nodes)
            self.cluster.await_served()
        traffic.check(attempts=1)

    def test_all_leases_are_lost(self):
        """As when a leader of etcd stalled and revoked them all."""
        with Traffic(self.cluster) as traffic:
            for lease in self.cluster.etcd.leases():
                self.cluster.etcd.revoke(lease)
            self.cluster.await_members(self.cluster.nodes)
            self.cluster.await_served()
        traffic.check()

    @release_only
    def test_a_node_dies_while_etcd_is_away(self):
        with Traffic(self.cluster) as traffic:
            self.cluster.etcd.kill()
            self.cluster["n2"].kill()
            self.cluster.etcd.start()
            self.cluster.await_served(by=self.others("n2"))
        traffic.check()

    @release_only
    def test_history_is_compacted_while_a_node_stands_still(self):
        node = self.cluster["n0"]
        node.pause()
        self.cluster.await_served(by=self.others("n0"))
        self.cluster.etcd.compact()
        node.resume()
        self.cluster.await_members(self.cluster.nodes)
        self.cluster.await_spread()

    # ---- nodes that join ----

    def test_a_new_node_takes_its_share(self):
        node = self.cluster.add("n3")
        try:
            with Traffic(self.cluster) as traffic:
                node.start()
                self.cluster.await_members(self.cluster.nodes)
                owners = self.cluster.await_spread()
            traffic.check(attempts=1)
            equal(traffic.refused, [])
            taken = list(owners.values()).count("n3")
            moved = sum(owners[shard] != self.owners[shard] for shard in owners)
            print("a fourth node took %d of %d shards; %d moved" % (taken, SHARDS, moved), flush=True)
            self.assertGreater(taken, 0)
            self.assertLessEqual(moved, SHARDS // 2)
        finally:
            equal(node.stop(), 0)
            del self.cluster.nodes["n3"]
        self.cluster.await_served()

    @release_only
    def test_a_second_process_with_a_nodes_id_refuses_to_start(self):
        """The first one goes on. Between machines no lock of a directory stands in the way, so here neither."""
        directory = os.path.join(self.cluster.directory, "twin")
        os.makedirs(directory, exist_ok=True)
        twin = silo_server.SiloServer(directory=directory, settings=dict(self.cluster["n1"].settings))
        twin.settings["server.grpc_addr"] = twin.settings["coordination.advertised_grpc_addr"] = twin.address
        twin.settings["database.lock"] = False
        config = twin.write_config()
        with open(twin.log_path, "wb") as log:
            ended = subprocess.run([silo_server.program(), "--config", config], cwd=directory, stdout=log, stderr=log,
                                   stdin=subprocess.DEVNULL, timeout=60)
        self.assertNotEqual(ended.returncode, 0)
        self.assertIn("n1", twin.log())
        self.cluster.check_alive()
        equal(self.cluster.await_served(), self.owners)

    @release_only
    def test_a_node_under_another_prefix_says_what_it_finds(self):
        """Etcd may have lost its data, so it starts; who took the prefix by mistake reads why both take shards from each other."""
        directory = os.path.join(self.cluster.directory, "stray")
        os.makedirs(directory, exist_ok=True)
        stray = silo_server.SiloServer(directory=directory, settings=dict(self.cluster["n1"].settings))
        stray.settings["server.grpc_addr"] = stray.settings["coordination.advertised_grpc_addr"] = stray.address
        stray.settings["coordination.node_id"] = "stray"
        stray.settings["coordination.cluster_prefix"] = self.cluster.prefix + "-stray"
        try:
            stray.start()
            until(lambda: "coordinator_empty prefix=%s-stray/" % self.cluster.prefix in stray.log(), "the stray node says it")
        finally:
            stray.stop()
        self.cluster.await_served()

    # ---- operators ----

    def test_a_live_nodes_shard_is_released_only_by_force(self):
        shard = min(self.had("n2"))
        api = self.cluster["n0"].api
        status_is(api.fails("ForceReleaseShard", shard=UNKNOWN_SHARD), "NOT_FOUND")
        status_is(api.fails("ForceReleaseShard", shard=shard), "FAILED_PRECONDITION")
        equal(self.cluster.await_served(), self.owners)
        equal(api.ForceReleaseShard(shard=shard, force=True).released, True)
        self.cluster.await_served()


if __name__ == "__main__":
    sys.exit(runner.main())

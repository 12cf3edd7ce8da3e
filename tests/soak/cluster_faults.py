"""What a soak does to a cluster: nodes, members of etcd, an object store and clients, each with a network of its own.

  node-kill    SIGKILL of a node, a new start up to 10 s later
  node-stop    an orderly stop, a new start up to 10 s later
  node-pause   SIGSTOP for up to 30 s, SIGCONT
  etcd-member  a member of etcd is killed, often the leader, and started again
  etcd-away    all members of etcd are killed, and started again a minute later
  etcd-link    a node and all members of etcd hear nothing from each other, or one does not hear the other
  store-away   the object store answers nothing, or refuses connections
  store-slow   the object store works a part of the time
  link         two parties hear nothing from each other, or one does not hear the other; every pair in its turn
  lossy        three in ten packets between a node and all others are lost, so that what it says and hears comes late

A fault begins every 20 s, or when the one before has ended; in a brief soak all times are a third. What is written down of a fault
says who was hit, and how long after its beginning, or its end, every shard was served.
"""

import itertools
import os
import signal
import time

from cluster import Cluster
from etcd_server import Etcd
from network import Network
from routes import World
from s3_server import MinioServer
from silo_api import Status

KINDS = ("node-kill", "node-stop", "node-pause", "etcd-member", "etcd-away", "etcd-link", "store-away", "store-slow", "link", "lossy")
LINKS_IN_ROUND = 3
PERIOD_SECONDS = 20
AWAY_SECONDS = 60  # of the whole etcd
BRIEF = 1 / 3
CALL_SECONDS = 4
SERVED_SECONDS = 60
CLIENTS, STORE = "load", "store"
TENANTS, SHARDS = 8, 12
TENANTS_BRIEF, SHARDS_BRIEF = 3, 6
STANDS_SECONDS, GOES_SECONDS = 0.2, 0.05  # of a store that is slow


class ClusterVictim:
    """The same to a soak as faults.Victim."""

    talks = True
    def __init__(self, directory, rng, kinds, nodes, members=3, brief=False, etcd_version="3.4"):
        self.rng = rng
        self.kinds = kinds
        self.scale = BRIEF if brief else 1
        shards = SHARDS_BRIEF if brief else SHARDS
        tenants = TENANTS_BRIEF if brief else TENANTS
        self.tenants = ["tenant-%d" % n for n in range(tenants)]
        names = ["n%d" % n for n in range(nodes)]
        self.members = ["e%d" % n for n in range(members)]
        self.net = Network([*names, *self.members, STORE, CLIENTS])
        self.pairs = self.pairs_in_turn(names)
        self.etcd = Etcd(etcd_version, members, hosts=[self.net.address(m) for m in self.members],
                         within=[self.net.within(m) for m in self.members])
        self.store = MinioServer(self.net.address(STORE), self.net.within(STORE))
        places = {name: {"host": self.net.address(name), "within": self.net.within(name)} for name in names}
        self.cluster = Cluster(nodes, shards, etcd=self.etcd, store=self.store, places=places,
                               directory=os.path.join(directory, "nodes"))
        self.nodes = list(self.cluster.nodes.values())
        self.within = self.net.within(CLIENTS)
        self.busy = 0.0  # seconds that the fault before took
        self.ended = False

    def pairs_in_turn(self, nodes):
        """Pairs of parties that have something to say to each other, in an order that is repeated."""
        pairs = [pair for pair in itertools.combinations(self.net.parties, 2)
                 if set(pair) & set(nodes) or set(pair) <= set(self.members)]
        return itertools.cycle(self.rng.sample(pairs, len(pairs)))

    # ---- life ----

    def start(self):
        self.net.__enter__()
        self.etcd.start()
        self.cluster.start()
        self.cluster.await_spread(SERVED_SECONDS)

    def world(self):
        return World([node.address for node in self.nodes], self.tenants, CLIENTS, CALL_SECONDS)

    def addresses(self):
        return [node.address for node in self.nodes]

    def check_alive(self):
        self.cluster.check_alive()

    def totals(self):
        """None while a shard is not served."""
        if self.cluster.served() is None:
            return None
        try:
            shards = [shard for node in self.nodes for shard in node.api.GetNodeInfo(timeout=CALL_SECONDS).owned_shards]
        except Status:
            return None
        return sum(s.total_jobs for s in shards), sum(s.completed_jobs for s in shards)

    def end(self):
        self.ended = True
        try:
            self.cluster.close()
            return ""
        except RuntimeError as error:
            return str(error)

    def close(self):
        if not self.ended:
            self.cluster.kill()
            self.cluster.stack.close()
        self.etcd.close()

    # ---- when it is struck, and with what ----

    def schedule(self):
        """The whole etcd goes away in every second round only: that takes a minute."""
        for turn in itertools.count():
            kinds = [kind for kind in self.kinds if kind != "etcd-away" or turn % 2 == 0 or len(self.kinds) == 1]
            if "link" in kinds and self.scale == 1:
                kinds += ["link"] * (LINKS_IN_ROUND - 1)
            for kind in self.rng.sample(kinds, len(kinds)):
                yield max(1.0, PERIOD_SECONDS * self.scale - self.busy), kind

    def strike(self, kind):
        began = time.monotonic()
        try:
            did = getattr(self, kind.replace("-", "_"))()
        finally:
            self.net.heal()
        ended = time.monotonic()
        served = self.until_served(began + PERIOD_SECONDS * self.scale)
        self.busy = time.monotonic() - began
        return dict(did, at=[began, ended], served=served)

    def last_strike(self):
        """Every node at once, and from here on every shard has to be served."""
        began = time.monotonic()
        self.cluster.kill()
        for node in self.nodes:
            node.start()
        ended = time.monotonic()
        self.cluster.await_served(seconds=SERVED_SECONDS)
        return "node-kill", {"who": "all", "at": [began, ended], "served": time.monotonic() - ended}

    def until_served(self, deadline, by=None):
        """Seconds until every shard is served, by some nodes; None when that is not so in time."""
        began = time.monotonic()
        while True:
            if self.cluster.served(by) is not None:
                return round(time.monotonic() - began, 3)
            if time.monotonic() > deadline:
                return None
            time.sleep(0.05)

    def seconds(self, least, most):
        return self.scale * self.rng.uniform(least, most)

    # ---- faults ----

    def without(self, node, seconds):
        """The others take over what a node had."""
        others = {other.node_id for other in self.nodes if other is not node}
        began = time.monotonic()
        took = self.until_served(began + seconds, others)
        time.sleep(max(0.0, began + self.seconds(0, 10) - time.monotonic()))
        return {"who": node.node_id, "taken": took}

    def node_kill(self):
        node = self.rng.choice(self.nodes)
        node.kill()
        did = self.without(node, 10)
        node.start()
        return did

    def node_stop(self):
        node = self.rng.choice(self.nodes)
        status = node.stop()
        if status != 0:
            raise RuntimeError("node %s ended with %d:\n%s" % (node.node_id, status, node.log()[-4000:]))
        did = self.without(node, 10)
        node.start()
        return did

    def node_pause(self):
        node = self.rng.choice(self.nodes)
        node.pause()
        began = time.monotonic()
        seconds = self.seconds(2, 30)
        did = self.without(node, seconds)
        time.sleep(max(0.0, began + seconds - time.monotonic()))
        node.resume()
        return dict(did, seconds=seconds)

    def etcd_member(self):
        leader = self.etcd.leader() if self.rng.random() < 0.5 else None
        member = self.rng.choice(self.etcd.members) if leader is None else self.etcd.members[leader]
        member.kill()
        time.sleep(self.seconds(3, 10))
        self.etcd.start()
        return {"who": member.name, "leader": leader is not None}

    def etcd_away(self):
        self.etcd.kill()
        time.sleep(self.scale * AWAY_SECONDS)
        self.etcd.start()
        return {}

    def directions(self, one, other):
        """(speaker, listener) of what is lost, and how one says that."""
        return self.rng.choice((([(one, other)], "->"), ([(other, one)], "<-"), ([(one, other), (other, one)], "<->")))

    def etcd_link(self):
        node = self.rng.choice(self.nodes).node_id
        lost, arrow = self.directions(node, "etcd")
        for speaker, listener in lost:
            for member in self.members:
                self.net.cut(*(member if party == "etcd" else party for party in (speaker, listener)))
        time.sleep(self.seconds(4, 16))
        return {"who": "%s %s etcd" % (node, arrow)}

    def link(self):
        one, other = next(self.pairs)
        lost, arrow = self.directions(one, other)
        for speaker, listener in lost:
            self.net.cut(speaker, listener)
        time.sleep(self.seconds(4, 16))
        return {"who": "%s %s %s" % (one, arrow, other)}

    def lossy(self):
        node = self.rng.choice(self.nodes).node_id
        for party in self.net.parties:
            if party != node:
                self.net.spoil(node, party)
                self.net.spoil(party, node)
        time.sleep(self.seconds(4, 16))
        return {"who": node}

    def store_away(self):
        if self.rng.random() < 0.5:
            self.store.pause()
            time.sleep(self.seconds(3, 14))
            self.store.resume()
            return {"how": "silent"}
        self.store.stop()
        time.sleep(self.seconds(3, 14))
        self.store.start()
        return {"how": "refuses"}

    def store_slow(self):
        end = time.monotonic() + self.seconds(6, 14)
        while time.monotonic() < end:
            self.store.process.send_signal(signal.SIGSTOP)
            time.sleep(STANDS_SECONDS)
            self.store.process.send_signal(signal.SIGCONT)
            time.sleep(GOES_SECONDS)
        return {}

"""Several nodes on one store with one etcd: a cluster of real processes on loopback.

    with Cluster(nodes=3, shards=12) as cluster:            # a shared directory, etcd 3.4 with one member
        cluster.await_spread()                              # every shard is served, and no node has too many
        cluster["n1"].kill()                                # stop(), pause(), resume(), start()
        cluster.await_served(by={"n0", "n2"})
        cluster.owners()                                    # {shard: node id}, as all nodes that run say together

    with Cluster(nodes=2, store=MinioServer()) as cluster:  # an object store; started and ended with the cluster

A shard counts as served when its owner answers a read of it. Nodes keep their ids, addresses and directories when they are
started again. Nodes are servers of silo_server.py, and what their logs say comes with every failure.
"""

import contextlib
import os
import shutil
import signal
import tempfile

from checks import until
from etcd_server import Etcd
from s3_server import BUCKET
from silo_api import Status
from silo_server import SiloServer

TTL_SECONDS = 3
SETTLE_SECONDS = 60
CALL_SECONDS = 2
LAST_WORDS = 3000


class Node(SiloServer):
    """One process."""

    def __init__(self, node_id, directory, settings, environment=None, **place):
        super().__init__(directory=directory, settings=settings, environment=environment, **place)
        self.node_id = node_id
        self.settings["coordination.node_id"] = node_id
        self.settings["coordination.advertised_grpc_addr"] = self.address
        self.paused = False

    @property
    def running(self):
        return self.process is not None

    @property
    def answering(self):
        return self.running and not self.paused

    def pause(self):
        self.process.send_signal(signal.SIGSTOP)
        self.paused = True

    def resume(self):
        if self.paused:
            self.process.send_signal(signal.SIGCONT)
            self.paused = False

    def kill(self):
        super().kill()
        self.paused = False

    def check_alive(self):
        if self.running and self.process.poll() is not None:
            raise RuntimeError("node %s ended by itself with %d:\n%s"
                               % (self.node_id, self.process.returncode, self.log()[-LAST_WORDS:]))

    def info(self):
        """Its GetClusterInfo."""
        return self.api.GetClusterInfo(timeout=CALL_SECONDS)

    def open_shards(self):
        """The shards that are open at this node."""
        return {shard.shard_id for shard in self.api.GetNodeInfo(timeout=CALL_SECONDS).owned_shards}


class Cluster:
    """etcd may be one that runs already, which then stays; store is None for a shared directory, or an S3 server that does
    not run yet. Settings are for all nodes. `places` has {"host", "within"} for nodes that have a network of their own."""

    def __init__(self, nodes=3, shards=12, etcd=None, store=None, settings=None, tenancy=True, etcd_version="3.4",
                 etcd_members=1, ttl_seconds=TTL_SECONDS, directory=None, places=None):
        self.stack = contextlib.ExitStack()
        self.owns_directory = directory is None
        self.directory = directory or tempfile.mkdtemp(prefix="silo-cluster-")
        self.owns_etcd = etcd is None
        self.etcd = etcd or Etcd(etcd_version, etcd_members)
        self.store = store
        self.shards = shards
        self.prefix = os.path.basename(self.directory)
        self.common = {
            "coordination.backend": "etcd",
            "coordination.cluster_prefix": self.prefix,
            "coordination.etcd_endpoints": self.etcd.endpoints,
            "coordination.initial_shard_count": shards,
            "coordination.lease_ttl_secs": ttl_seconds,
            "tenancy.enabled": tenancy,
        }
        if store is None:
            self.common["database.path"] = os.path.join(self.directory, "data", "%shard%")
        else:
            self.common["database.backend"] = store.backend
            self.common["database.path"] = "%s://%s/%s/%%shard%%" % (store.scheme, BUCKET, self.prefix)
        self.common.update(settings or {})
        self.places = places or {}
        self.nodes = {}
        for number in range(nodes):
            self.add("n%d" % number)

    def add(self, node_id, **settings):
        """A further node, which does not run yet. The names of settings have two underscores for the dot."""
        directory = os.path.join(self.directory, node_id)
        os.makedirs(directory, exist_ok=True)
        own = {name.replace("__", "."): value for name, value in settings.items()}
        node = Node(node_id, directory, dict(self.common, **own), self.store.environment() if self.store else None,
                    **self.places.get(node_id, {}))
        self.nodes[node_id] = node
        return node

    def __getitem__(self, node_id):
        return self.nodes[node_id]

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.close()

    def start(self):
        try:
            if self.store is not None:
                self.stack.enter_context(self.store)
            if self.owns_etcd:
                self.stack.enter_context(self.etcd)
            for node in self.nodes.values():
                node.start()
        except BaseException:
            self.kill()
            self.stack.close()
            raise
        return self

    def kill(self):
        for node in self.nodes.values():
            node.kill()

    def close(self):
        """Ends all nodes in order, and says so if one had ended by itself or does not end well."""
        errors = []
        try:
            for node in self.nodes.values():
                try:
                    node.resume()
                    node.close()
                except (RuntimeError, OSError) as error:
                    errors.append("node %s: %s" % (node.node_id, error))
                    node.kill()
        finally:
            self.stack.close()
            if self.owns_directory and not os.environ.get("SILO_KEEP"):
                shutil.rmtree(self.directory, ignore_errors=True)
        if errors:
            raise RuntimeError("\n".join(errors))

    # ---- what they say ----

    @property
    def answering(self):
        return [node for node in self.nodes.values() if node.answering]

    def check_alive(self):
        for node in self.nodes.values():
            node.check_alive()

    def owners(self):
        """{shard: node id} as every node that answers says; None while two of them differ or one does not answer."""
        said = None
        for node in self.answering:
            try:
                info = node.info()
            except Status:
                return None
            owners = {owner.shard_id: owner.node_id for owner in info.shard_owners}
            if said is not None and said != owners:
                return None
            said = owners
        return said

    def members(self):
        """Ids of the members that every node that answers names; None while they differ."""
        said = None
        for node in self.answering:
            try:
                members = {member.node_id for member in node.info().members}
            except Status:
                return None
            if said is not None and said != members:
                return None
            said = members
        return said

    def open_at(self):
        """{node id: shards open there} of all nodes that answer; None when one does not."""
        try:
            return {node.node_id: node.open_shards() for node in self.answering}
        except Status:
            return None

    def served(self, by=None):
        """{shard: node id} once every shard is open at the one node that all name as its owner, and only there; else None.
        by: ids of nodes that may have some."""
        self.check_alive()
        owners, places = self.owners(), self.open_at()
        if not owners or places is None or len(owners) < self.shards:
            return None
        for shard, owner in owners.items():
            if by is not None and owner not in by:
                return None
            if [node for node, shards in places.items() if shard in shards] != [owner]:
                return None
        return owners

    def spread(self):
        """served(), once no node that answers has two shards more than another."""
        owners = self.served(by={node.node_id for node in self.answering})
        if owners is None:
            return None
        counts = [list(owners.values()).count(node.node_id) for node in self.answering]
        return owners if max(counts) - min(counts) <= max(1, self.shards // 4) else None

    # ---- waiting ----

    def _until(self, condition, what, seconds):
        try:
            return until(condition, what, seconds)
        except AssertionError as error:
            raise AssertionError("%s\n%s" % (error, self.story())) from None

    def await_served(self, by=None, seconds=SETTLE_SECONDS):
        return self._until(lambda: self.served(by), "every shard to be served", seconds)

    def await_spread(self, seconds=SETTLE_SECONDS):
        return self._until(self.spread, "the shards to spread", seconds)

    def await_members(self, ids, seconds=SETTLE_SECONDS):
        return self._until(lambda: self.members() == set(ids), "members %s" % sorted(ids), seconds)

    def story(self):
        """What everybody says at the moment, for a failure's text."""
        lines = []
        for node in self.nodes.values():
            lines.append("--- %s, %s" % (node.node_id, "paused" if node.paused else "running" if node.running else "ended"))
            if node.answering:
                try:
                    info = node.info()
                    lines.append("members %s" % sorted(m.node_id for m in info.members))
                    lines.append("owners %s" % {o.shard_id[:8]: o.node_id for o in info.shard_owners})
                    lines.append("open %s" % sorted(shard[:8] for shard in node.open_shards()))
                except Status as status:
                    lines.append(str(status))
            lines.append(node.log()[-LAST_WORDS:] if os.path.exists(node.log_path) else "")
        try:
            lines.append("etcd: %s" % {key: row.value for key, row in self.etcd.keys(self.prefix + "/").items()})
        except Exception as error:  # whatever it is, it is not what the test waited for
            lines.append("etcd: %s" % error)
        return "\n".join(lines)

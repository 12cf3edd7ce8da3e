"""How clients of tests find the server of a shard: by what GetClusterInfo says, and by redirects.

A World says where the servers are and whose jobs there are; it goes to every process of clients. A tenant lives in the shard
whose range holds its hash. Without tenancy the only tenant is "", and there is one shard.
"""

import collections
import ctypes
import os
import time

import grpc
import xxhash

from silo_api import METHODS, pb

World = collections.namedtuple("World", "addresses tenants network call_seconds")

WRONG_SHARD = "shard not found"
OWNER_ADDRESS = "x-silo-shard-owner-addr"
HOPS_MAX = 4
TOTALS_SECONDS = 1
CLONE_NEWNET = 0x40000000


def enter(network):
    """Moves this process, which has no other thread yet, into a network namespace."""
    if network is None:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    with open(os.path.join("/run/netns", network), "rb") as file:
        if libc.setns(file.fileno(), CLONE_NEWNET) != 0:
            error = ctypes.get_errno()
            raise OSError(error, os.strerror(error))


def named(tenant, name):
    """What logs call a job or a queue of a tenant."""
    return "%s/%s" % (tenant, name) if tenant else name


def ranges_of(owners):
    """[(first hash, shard)] of the shards that GetClusterInfo names, the last first."""
    return sorted(((owner.range_start, owner.shard_id) for owner in owners), reverse=True)


def shard_in(ranges, tenant):
    wanted = xxhash.xxh64_hexdigest(tenant.encode()) if tenant else ""
    return next(shard for first, shard in ranges if first <= wanted)


class Routes:
    """The connections of one client, which has one thread."""

    def __init__(self, world, rng):
        self.world = world
        self.rng = rng
        self.stubs = {}
        self.channels = {}
        self.owners = {}  # shard -> address
        self.ranges = []

    def close(self):
        for channel in self.channels.values():
            channel.close()

    def stub(self, address, method):
        stub = self.stubs.get((address, method))
        if stub is None:
            channel = self.channels.get(address)
            if channel is None:
                channel = self.channels[address] = grpc.insecure_channel(address, options=[
                    ("grpc.use_local_subchannel_pool", 1),
                    ("grpc.enable_retries", 0),
                    ("grpc.enable_http_proxy", 0),
                    ("grpc.initial_reconnect_backoff_ms", 100),
                    ("grpc.min_reconnect_backoff_ms", 100),
                    ("grpc.max_reconnect_backoff_ms", 300),
                    *self.keepalive(),
                ])
            reply = getattr(pb, METHODS[method].output_type.name)
            stub = self.stubs[address, method] = channel.unary_unary(
                "/silo.v1.Silo/" + method, lambda m: m.SerializeToString(), reply.FromString)
        return stub

    def keepalive(self):
        """Where there is more than one server, one that is silent is given up soon."""
        if len(self.world.addresses) == 1:
            return []
        return [("grpc.keepalive_time_ms", 10000), ("grpc.keepalive_timeout_ms", 3000)]

    def refresh(self):
        """Asks servers, one after another in some order, until one answers."""
        for address in self.rng.sample(self.world.addresses, len(self.world.addresses)):
            try:
                info = self.stub(address, "GetClusterInfo")(pb.GetClusterInfoRequest(), timeout=self.world.call_seconds)
            except grpc.RpcError:
                continue
            if info.shard_owners:
                self.owners = {owner.shard_id: owner.grpc_addr for owner in info.shard_owners if owner.grpc_addr}
                self.ranges = ranges_of(info.shard_owners)
                return True
        return False

    def shard_of(self, tenant):
        """None while nobody has said which shards there are."""
        if not self.ranges and not self.refresh():
            return None
        return shard_in(self.ranges, tenant)

    def any_address(self):
        return self.rng.choice(self.world.addresses)

    def call(self, method, message, shard):
        """(status name, reply or None, [sent, answered]) of a call on a shard's owner; of one that found none UNAVAILABLE."""
        began = sent = time.monotonic()
        for _ in range(HOPS_MAX):
            address = self.owners.get(shard)
            if address is None:
                if not self.refresh() or shard not in self.owners:
                    break
                continue
            sent = time.monotonic()
            try:
                reply = self.stub(address, method)(message, timeout=self.world.call_seconds)
                return "OK", reply, [sent, time.monotonic()]
            except grpc.RpcError as error:
                if not self.redirected(shard, error):
                    if error.code().name in ("UNAVAILABLE", "DEADLINE_EXCEEDED"):
                        self.owners.pop(shard, None)
                    return error.code().name, None, [sent, time.monotonic()]
        return "UNAVAILABLE", None, [began, time.monotonic()]

    def totals(self):
        """Jobs that are open at the servers that answer soon; None when none does."""
        found = None
        for address in self.world.addresses:
            try:
                info = self.stub(address, "GetNodeInfo")(pb.GetNodeInfoRequest(), timeout=TOTALS_SECONDS)
            except grpc.RpcError:
                continue
            found = (found or 0) + sum(s.total_jobs - s.completed_jobs for s in info.owned_shards)
        return found

    def redirected(self, shard, error):
        """Whether the server said that the shard is not its own, so that nothing was done. Learns whose it is."""
        if error.code() != grpc.StatusCode.NOT_FOUND or WRONG_SHARD not in (error.details() or ""):
            return False
        address = dict(error.trailing_metadata() or ()).get(OWNER_ADDRESS)
        if address:
            self.owners[shard] = address
        else:
            self.owners.pop(shard, None)
        return True

    def poll(self, message, address):
        """(status name, reply or None, [sent, answered]) of a call on one server, whatever it owns."""
        sent = time.monotonic()
        try:
            reply = self.stub(address, "LeaseTasks")(message, timeout=self.world.call_seconds)
            return "OK", reply, [sent, time.monotonic()]
        except grpc.RpcError as error:
            return error.code().name, None, [sent, time.monotonic()]

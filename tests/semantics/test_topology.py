"""What one server tells of its cluster, at once and as it goes on, and what operators may ask of it: GetClusterInfo,
WatchTopology, ConfigureShard and ForceReleaseShard."""

import os
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import grpc  # noqa: E402

from checks import equal, status_is  # noqa: E402
from silo_api import blob, pb  # noqa: E402
from silo_server import SiloServer  # noqa: E402

SHARDS = 3
FIRST_SECONDS = 20
STOP_SECONDS = 4  # far less than the 5 s for which calls under way are waited for, and half of it for a slow machine


def watch(server, **known):
    call = server.api.channel.unary_stream(
        "/silo.v1.Silo/WatchTopology",
        request_serializer=pb.WatchTopologyRequest.SerializeToString,
        response_deserializer=pb.GetClusterInfoResponse.FromString,
    )
    return call(pb.WatchTopologyRequest(**known), metadata=server.api.headers, timeout=FIRST_SECONDS * 3)


def end_of(stream):
    """The messages that came until the stream ended, and how it ended."""
    messages = []
    try:
        for message in stream:
            messages.append(message)
    except grpc.RpcError as error:
        return messages, error.code().name
    return messages, "OK"


class Topology(unittest.TestCase):
    def test_every_shard_has_a_state_and_the_answer_a_version(self):
        with SiloServer(tenancy=True, shards=SHARDS, settings={"coordination.placement_rings": ["default", "gpu"]}) as server:
            info = server.api.GetClusterInfo()
            self.assertEqual({pb.SHARD_STATE_SERVING}, {owner.state for owner in info.shard_owners})
            self.assertEqual([False] * SHARDS, [owner.HasField("placement_ring") for owner in info.shard_owners])
            self.assertEqual([info.this_node_id] * SHARDS, [owner.node_id for owner in info.shard_owners])
            self.assertEqual(["default", "gpu"], list(info.members[0].placement_rings))
            self.assertGreater(info.version, 0)
            self.assertNotEqual(info.life, 0)
            self.assertEqual(info.map_number, 1)

    def test_a_watch_is_told_at_once_and_ends_with_the_server(self):
        with SiloServer(tenancy=True, shards=SHARDS) as server:
            first = watch(server)
            info = next(first)
            self.assertEqual(info, server.api.GetClusterInfo())
            second = watch(server, known_life=info.life, known_version=info.version)
            self.assertEqual(next(watch(server, known_life=info.life + 1, known_version=info.version)), info)
            begin = time.monotonic()
            server.stop()
            self.assertLess(time.monotonic() - begin, STOP_SECONDS)
            for stream in (first, second):
                messages, code = end_of(stream)
                self.assertEqual(code, "UNAVAILABLE")
                self.assertTrue(all(message.version > info.version for message in messages), "what is known is sent again")
            server.start()
            again = next(watch(server, known_life=info.life, known_version=1 << 40))
            self.assertNotEqual(again.life, info.life)
            self.assertEqual([o.shard_id for o in again.shard_owners], [o.shard_id for o in info.shard_owners])

    def test_a_connection_has_room_for_sixteen(self):
        with SiloServer() as server:
            streams = [watch(server) for _ in range(16)]
            for stream in streams:
                next(stream)
            self.assertEqual(end_of(watch(server)), ([], "RESOURCE_EXHAUSTED"))
            streams[0].cancel()
            server.api.GetClusterInfo()  # behind the cancellation, on the same connection
            next(watch(server))

    def rings(self, server):
        return {owner.shard_id: owner.placement_ring for owner in server.api.GetClusterInfo().shard_owners}

    def test_a_ring_is_kept_and_a_lone_server_serves_every_shard(self):
        with SiloServer(tenancy=True, shards=2, settings={"coordination.placement_rings": ["gpu"]}) as server:
            first, second = server.shard_ids()
            number = server.api.GetClusterInfo().map_number
            reply = server.api.ConfigureShard(shard=first, placement_ring="gpu")
            equal((reply.previous_ring, reply.current_ring), ("", "gpu"))
            equal(server.api.GetClusterInfo().map_number, number + 1)
            status_is(server.api.fails("ConfigureShard", shard=second, placement_ring="empty"), "FAILED_PRECONDITION", "empty")
            server.api.ConfigureShard(shard=second, placement_ring="empty", allow_unpopulated_ring=True)
            status_is(server.api.fails("ConfigureShard", shard=second, placement_ring="a\nb"), "INVALID_ARGUMENT", "ring")
            status_is(server.api.fails("ConfigureShard", shard=second, placement_ring="r" * 200), "INVALID_ARGUMENT", "ring")
            server.stop()
            server.start()
            equal(self.rings(server), {first: "gpu", second: "empty"})
            for owner in server.api.GetClusterInfo().shard_owners:
                equal(owner.state, pb.SHARD_STATE_SERVING)
            reply = server.api.ConfigureShard(shard=second)
            equal((reply.previous_ring, reply.current_ring), ("empty", ""))
            equal(self.rings(server), {first: "gpu", second: ""})

    def test_a_lone_server_keeps_what_is_taken_from_it(self):
        with SiloServer() as server:
            shard = server.shard_ids()[0]
            server.api.Enqueue(shard=shard, id="kept", task_group="g", payload=blob(b"\xc0"))
            status_is(server.api.fails("ForceReleaseShard", shard=shard), "FAILED_PRECONDITION", "is a member of the cluster")
            self.assertTrue(server.api.ForceReleaseShard(shard=shard, force=True).released)
            equal(server.api.GetJob(shard=shard, id="kept").id, "kept")


if __name__ == "__main__":
    unittest.main()

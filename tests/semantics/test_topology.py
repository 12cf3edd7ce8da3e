"""What one server tells of its cluster, at once and as it goes on: GetClusterInfo and WatchTopology."""

import os
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import grpc  # noqa: E402

from silo_api import pb  # noqa: E402
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


if __name__ == "__main__":
    unittest.main()

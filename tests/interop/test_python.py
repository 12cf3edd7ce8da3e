"""Debian's grpcio (the gRPC C core), unmodified: reflection, large messages, resets, pings."""

import hashlib
import os
import random
import socket
import struct
import sys
import threading
import time
import unittest

import grpc

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import runner  # noqa: E402
from checks import equal, until  # noqa: E402
from reflect import Reflected  # noqa: E402
from silo_api import Api, blob, pb  # noqa: E402
from silo_server import SiloServer  # noqa: E402

SILO = "silo.v1.Silo"
SERVICES = {SILO, "grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection",
            "grpc.reflection.v1alpha.ServerReflection"}
SANITIZED = os.environ.get("SILO_BUILD") in ("asan", "tsan")


class Watched:
    """A client whose connection is watched: `losses` counts how often it was lost."""

    def __init__(self, address, options=()):
        self.channel = grpc.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1),
                                                               ("grpc.enable_retries", 0), *options])
        self.states = []
        self.channel.subscribe(self.states.append, try_to_connect=True)
        self.poll = self.channel.unary_unary("/%s/LeaseTasks" % SILO, lambda m: m.SerializeToString(),
                                             pb.LeaseTasksResponse.FromString)
        self.info = self.channel.unary_unary("/%s/GetClusterInfo" % SILO, lambda m: m.SerializeToString(),
                                             pb.GetClusterInfoResponse.FromString)
        until(lambda: grpc.ChannelConnectivity.READY in self.states, "a connection", 20)

    def losses(self):
        ready = self.states.index(grpc.ChannelConnectivity.READY)
        return len([state for state in self.states[ready:] if state != grpc.ChannelConnectivity.READY])

    def close(self):
        self.channel.close()


class Python(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.silo = SiloServer().start()
        cls.shard = cls.silo.shard_ids()[0]

    @classmethod
    def tearDownClass(cls):
        cls.silo.close()

    def test_reflection_tells_all(self):
        for version in ("v1", "v1alpha"):
            client = Reflected(self.silo.address, version)
            self.addCleanup(client.close)
            equal(SERVICES - set(client.services()), set(), "services missing in the list")
            reply = client.ask(file_containing_symbol=SILO)
            files = reply.file_descriptor_response.file_descriptor_proto
            equal(len(files) > 0 and b"silo.proto" in files[0], True, "the file of our service")
            by_name = client.ask(file_by_filename="silo.proto").file_descriptor_response.file_descriptor_proto
            equal(by_name[0], files[0], "the same file by its name")
            equal(client.ask(file_containing_symbol=SILO + ".Enqueue").file_descriptor_response.file_descriptor_proto[0],
                  files[0], "by a method's name")
            equal(client.ask(file_containing_symbol="no.such.Thing").error_response.error_code,
                  grpc.StatusCode.NOT_FOUND.value[0], "an unknown symbol")
            equal(client.ask(file_by_filename="no.proto").error_response.error_code,
                  grpc.StatusCode.NOT_FOUND.value[0], "an unknown file")
            many = client.ask_many([dict(list_services="*"), dict(file_by_filename="silo.proto"),
                                    dict(file_containing_symbol="nothing")])
            equal([r.WhichOneof("message_response") for r in many],
                  ["list_services_response", "file_descriptor_response", "error_response"], "three on one stream")

    def test_calls_learned_by_reflection(self):
        client = Reflected(self.silo.address)
        self.addCleanup(client.close)
        info = client.call(SILO, "GetClusterInfo")
        shard = info.shard_owners[0].shard_id
        job = client.call(SILO, "Enqueue", shard=shard, task_group="learned", metadata={"k": "v"},
                          payload={"msgpack": b"\x01"}, retry_policy={"retry_count": 1}).id
        task = client.call(SILO, "LeaseTasks", worker_id="w", max_tasks=1, task_group="learned", wait_ms=5000).tasks[0]
        equal((task.job_id, dict(task.metadata), task.payload.msgpack), (job, {"k": "v"}, b"\x01"))
        client.call(SILO, "ReportOutcome", shard=shard, task_id=task.id, success={"msgpack": b"\x02"})
        result = client.call(SILO, "GetJobResult", shard=shard, id=job, wait_ms=5000)
        equal(result.success_data.msgpack, b"\x02")
        equal(client.call("grpc.health.v1.Health", "Check", service=SILO).status, 1)

    def test_large_payloads(self):
        for size in (5 << 20, 100 << 20):
            self.round_trip(random.Random(size).randbytes(size), "large-%d" % size)

    def round_trip(self, payload, group):
        """As the payload, as the leased task, as the result, and read back from the job."""
        api, digest = self.silo.api, hashlib.sha256(payload).hexdigest()
        job = api.Enqueue(shard=self.shard, task_group=group, payload=blob(payload), timeout=120).id
        task = until(lambda: api.LeaseTasks(worker_id="w", max_tasks=1, task_group=group, wait_ms=5000,
                                            timeout=120).tasks, "the task", 120)[0]
        equal(hashlib.sha256(task.payload.msgpack).hexdigest(), digest, "leased payload")
        api.ReportOutcome(shard=self.shard, task_id=task.id, success=blob(payload), timeout=120)
        result = api.GetJobResult(shard=self.shard, id=job, timeout=120)
        equal(hashlib.sha256(result.success_data.msgpack).hexdigest(), digest, "result")
        read = api.GetJob(shard=self.shard, id=job, timeout=120) if len(payload) < 50 << 20 else None
        if read is not None:
            equal(hashlib.sha256(read.payload.msgpack).hexdigest(), digest, "payload read back")
        api.DeleteJob(shard=self.shard, id=job, timeout=60)

    def test_too_large_is_refused_and_the_connection_lives(self):
        client = Api(self.silo.address)
        self.addCleanup(client.close)
        status = client.fails("Enqueue", shard=self.shard, task_group="g", payload=blob(bytes(128 << 20)), timeout=120)
        equal(status.code, "OUT_OF_RANGE", str(status))
        equal(client.GetClusterInfo().num_shards, 1)

    def test_bursts_of_resets(self):
        """100 clients cancel parked polls in bursts, on connections that stay usable throughout."""
        clients = [Watched(self.silo.address) for _ in range(100)]
        bursts, polls = (2, 20) if SANITIZED else (5, 40)
        problems = []

        def hammer(client, number):
            try:
                for burst in range(bursts):
                    parked = [client.poll.future(pb.LeaseTasksRequest(
                        worker_id="r%d" % number, max_tasks=1, task_group="nothing", wait_ms=30000), timeout=60)
                        for _ in range(polls)]
                    if burst % 2:  # so that the server has them parked
                        client.info(pb.GetClusterInfoRequest(), timeout=60)
                    for call in parked:
                        call.cancel()
                    equal(client.info(pb.GetClusterInfoRequest(), timeout=60).num_shards, 1)
                equal(client.losses(), 0, "lost connections of client %d" % number)
            except Exception as error:  # into the test's own thread
                problems.append(repr(error))

        threads = [threading.Thread(target=hammer, args=(c, n)) for n, c in enumerate(clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for client in clients:
            client.close()
        equal(problems, [], "problems")
        # The tasks of polls that went away are nobody's: the next poll gets what comes.
        self.silo.api.Enqueue(shard=self.shard, task_group="nothing")
        tasks = self.silo.api.LeaseTasks(worker_id="alive", max_tasks=1, task_group="nothing", wait_ms=5000).tasks
        equal(len(tasks), 1, "tasks for the poll that is still there")

    def test_resets_of_uploads(self):
        """Calls that are cancelled while their request is on its way."""
        client = Watched(self.silo.address, [("grpc.max_send_message_length", -1)])
        self.addCleanup(client.close)
        enqueue = client.channel.unary_unary("/%s/Enqueue" % SILO, lambda m: m.SerializeToString(),
                                             pb.EnqueueResponse.FromString)
        request = pb.EnqueueRequest(shard=self.shard, task_group="dropped", payload=blob(bytes(8 << 20)))
        for _ in range(20):
            call = enqueue.future(request, timeout=60)
            time.sleep(random.uniform(0, 0.01))  # where in the upload it hits is left to chance
            call.cancel()
            # Not "on the same connection": cancelled early enough, this client resets a stream that it never opened,
            # which HTTP/2 has a server end the connection for; the client then makes another.
            reply = client.info(pb.GetClusterInfoRequest(), timeout=60, wait_for_ready=True)
            equal(reply.num_shards, 1)

    def test_pings_every_second(self):
        """An idle client with eager keepalive is not sent away."""
        client = Watched(self.silo.address, [
            ("grpc.keepalive_time_ms", 1000), ("grpc.keepalive_timeout_ms", 1000),
            ("grpc.keepalive_permit_without_calls", 1), ("grpc.http2.max_pings_without_data", 0),
            ("grpc.http2.min_time_between_pings_ms", 500), ("grpc.http2.min_sent_ping_interval_without_data_ms", 500)])
        self.addCleanup(client.close)
        time.sleep(8)  # being idle is what is tested
        equal(client.losses(), 0, "lost connections")
        equal(client.info(pb.GetClusterInfoRequest(), timeout=20).num_shards, 1)

    def test_pings_as_fast_as_they_go(self):
        """300 PING frames, every one answered with its own bytes, in order."""
        host, port = self.silo.address.split(":")
        with socket.create_connection((host, int(port)), timeout=20) as sock:
            pings = [struct.pack(">Q", n) for n in range(300)]
            sock.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, b""))
            for burst in range(0, len(pings), 50):
                sock.sendall(b"".join(frame(6, 0, data) for data in pings[burst:burst + 50]))
            answers, stream = [], sock.makefile("rb")
            while len(answers) < len(pings):
                kind, flags, data = read_frame(stream)
                self.assertNotEqual(kind, 7, "GOAWAY")
                if kind == 6 and flags & 1:
                    answers.append(data)
            equal(answers, pings, "answers")

    def test_many_calls_at_once(self):
        client = Api(self.silo.address)
        self.addCleanup(client.close)
        calls = [client.start("Enqueue", shard=self.shard, task_group="many", payload=blob(b"%d" % n))
                 for n in range(1000)]
        equal(len({call.result().id for call in calls}), 1000, "ids")

    def test_polls_end_before_their_deadline(self):
        client = Api(self.silo.address)
        self.addCleanup(client.close)
        began = time.monotonic()
        reply = client.LeaseTasks(worker_id="w", max_tasks=1, task_group="empty", wait_ms=60000, timeout=1.0)
        equal(len(reply.tasks), 0, "tasks")
        self.assertLess(time.monotonic() - began, 1.0)


def frame(kind, flags, data, stream=0):
    return struct.pack(">I", len(data))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + data


def read_frame(stream):
    head = stream.read(9)
    if len(head) < 9:
        raise AssertionError("the connection was closed")
    data = stream.read(int.from_bytes(head[:3], "big"))
    return head[3], head[4], data


if __name__ == "__main__":
    sys.exit(runner.main())

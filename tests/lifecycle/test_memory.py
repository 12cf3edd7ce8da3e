"""What callers that do not read make a whole server hold: large jobs asked for again and again, through closed windows."""

import os
import sys
import time
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path[:0] = [os.path.join(ROOT, "tests", "lib"), os.path.join(ROOT, "tests", "rpc")]

import h2  # noqa: E402
import runner  # noqa: E402
from silo_api import pb  # noqa: E402
from silo_server import SiloServer  # noqa: E402

MIB = 1 << 20
PAYLOAD = 24 * MIB
SERVICE = "/silo.v1.Silo/"


def memory(server, what):
    """Resident bytes, now (VmRSS) or at most (VmHWM); 0 under a sanitizer, which keeps what was freed."""
    with open("/proc/%d/maps" % server.process.pid) as maps:
        if any(name in line for line in maps for name in ("libasan", "libtsan")):
            return 0
    with open("/proc/%d/status" % server.process.pid) as status:
        return next(int(line.split()[1]) for line in status if line.startswith(what)) * 1024


def held(server):
    return memory(server, "VmRSS:")


def peak(server):
    return memory(server, "VmHWM:")


def forget_peak(server):
    with open("/proc/%d/clear_refs" % server.process.pid, "w") as refs:
        refs.write("5")


class Memory(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = SiloServer().__enter__()
        cls.port = int(cls.server.address.rsplit(":", 1)[1])
        cls.shard = cls.server.api.GetClusterInfo().shard_owners[0].shard_id

    @classmethod
    def tearDownClass(cls):
        cls.server.__exit__(None, None, None)

    def put(self, group):
        payload = pb.SerializedBytes(msgpack=os.urandom(PAYLOAD))
        return self.server.api.Enqueue(shard=self.shard, task_group=group, payload=payload).id

    def settle(self, bound):
        """Awaits that the server holds less than this: caches and memtables fill and empty meanwhile."""
        end = time.monotonic() + 60
        while held(self.server) >= bound:
            self.assertLess(time.monotonic(), end, "still %d MiB" % (held(self.server) // MIB))
            time.sleep(0.2)

    def test_jobs_that_are_asked_for_and_not_read(self):
        job = self.put("unread")
        before = held(self.server)
        forget_peak(self.server)
        raw = h2.Raw(self.port, settings=h2.stream_windows(0))
        raw.socket.settimeout(120)  # a sanitized server reads that much slowly
        request = pb.GetJobRequest(shard=self.shard, id=job).SerializeToString()
        for _ in range(100):
            raw.request(h2.head(SERVICE + "GetJob"), h2.message(request))
        refused = 0
        for _ in range(100):
            _, flags, _, _ = raw.until(lambda f: f[0] == h2.HEADERS)
            refused += 1 if flags & h2.END_STREAM else 0
        self.assertGreaterEqual(refused, 90)
        # 512 MiB being read, 256 MiB of replies ready, and the storage engine's own.
        self.assertLess(peak(self.server) - before, 900 * MIB)
        self.assertEqual(self.server.api.GetJob(shard=self.shard, id=job, omit_payload=True).id, job)
        raw.close()
        self.settle(before + 100 * MIB)

    def test_a_poll_for_more_than_a_reply_holds(self):
        for _ in range(8):
            self.put("many")
        self.settle(600 * MIB)
        before = held(self.server)
        forget_peak(self.server)
        reply = self.server.api.LeaseTasks(shard=self.shard, worker_id="w", task_group="many", max_tasks=8)
        self.assertEqual(len(reply.tasks), 5)
        self.assertLess(peak(self.server) - before, 400 * MIB)
        del reply
        self.settle(before + 150 * MIB)

    def test_polls_whose_requests_are_unpacked_into_much(self):
        """A field of two bytes takes some seventy; a poll waits with them, 250 of them with 30 MB that become a gigabyte."""
        before = held(self.server)
        raw = h2.Raw(self.port)
        raw.until(lambda f: f[0] == h2.SETTINGS)
        raw.send(h2.frame(h2.SETTINGS, h2.ACK, 0))
        request = pb.LeaseTasksRequest(worker_id="w", task_group="nothing", max_tasks=1, wait_ms=60000)
        body = h2.message(request.SerializeToString() + b"\x78\x01" * 60000)
        refused = 0

        def refusal(frame):
            nonlocal refused
            refused += frame[0] == h2.HEADERS
            return frame[0] == h2.PING

        for _ in range(250):
            raw.request(h2.head(SERVICE + "LeaseTasks"), *[body[at:at + 16384] for at in range(0, len(body), 16384)])
            raw.send(h2.frame(h2.PING, 0, 0, bytes(8)))
            raw.until(refusal)
        self.assertGreater(refused, 100)
        # Seven eighths of the 512 MiB that a connection's requests may hold.
        self.assertLess(held(self.server) - before, 600 * MIB)
        self.assertTrue(self.server.api.GetClusterInfo().shard_owners)
        raw.close()
        self.settle(before + 100 * MIB)


if __name__ == "__main__":
    sys.exit(runner.main())

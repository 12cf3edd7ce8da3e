"""Open files: connections never take those that storage needs."""

import os
import socket
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import runner  # noqa: E402
from checks import equal  # noqa: E402
from silo_server import SiloServer  # noqa: E402

FILES = 1024
PEERS = 1500
JOBS = 50


def connect_all(silo, count):
    """That many idle connections, each with HTTP/2's preface; one that is refused at once counts, too."""
    host, port = silo.address.rsplit(":", 1)
    peers = []
    for _ in range(count):
        peer = socket.create_connection((host, int(port)), 20)
        peers.append(peer)
        try:
            peer.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0")
        except ConnectionError:
            pass
    return peers


def is_closed(peer):
    peer.settimeout(0.2)
    try:
        while True:
            if not peer.recv(4096):
                return True
    except ConnectionError:
        return True
    except TimeoutError:
        return False


class Descriptors(unittest.TestCase):
    def test_idle_connections_leave_files_for_storage(self):
        settings = {"database.local_log": False, "server.max_connections_per_address": 16384}  # a file for each commit
        with SiloServer(settings=settings, open_files=(FILES, FILES)) as silo:
            peers = connect_all(silo, PEERS)
            shard = silo.shard_ids()[0]
            for i in range(JOBS):
                silo.api.Enqueue(shard=shard, id="job-%d" % i, task_group="g")
            leased = silo.api.LeaseTasks(worker_id="w", max_tasks=JOBS, task_group="g", shard=shard)
            equal(len(leased.tasks), JOBS, "tasks")
            self.assertTrue(is_closed(peers[-1]), "the last connection is refused, not left waiting")
            log = silo.log()
            self.assertIn("connections_limited", log)
            equal(log.count("connections_refused"), 1, "lines about refused connections")
            self.assertNotIn("accept_paused", log)
            for peer in peers:
                peer.close()

    def test_soft_limit_is_raised(self):
        with SiloServer(open_files=(256, FILES)) as silo:
            with open("/proc/%d/limits" % silo.process.pid, encoding="ascii") as file:
                line = next(line for line in file if line.startswith("Max open files"))
            equal(line.split()[3:5], [str(FILES), str(FILES)], "limits of the process")

    def test_enough_files_are_not_talked_about(self):
        with SiloServer(settings={"server.max_connections": 500}, open_files=(FILES, FILES)) as silo:
            self.assertNotIn("connections_limited", silo.log())
            self.assertIn("connections_max=500", silo.log())


if __name__ == "__main__":
    sys.exit(runner.main())

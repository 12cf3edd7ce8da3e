"""A worker that vanishes without a word: what it waited for goes to those who are there."""

import os
import socket
import sys
import threading
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import runner  # noqa: E402
from checks import equal, until  # noqa: E402
from silo_api import Api  # noqa: E402
from silo_server import SiloServer  # noqa: E402

WAITS = {"server.keepalive_time_ms": 300, "server.keepalive_timeout_ms": 300}
WAIT_MS = 60000


class Way:
    """A relay of one connection to the server. Silenced, it reads nothing any more and closes nothing."""

    def __init__(self, address):
        host, port = address.rsplit(":", 1)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]
        self.silent = threading.Event()
        self.server = socket.create_connection((host, int(port)))
        self.client = None
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        self.client = self.listener.accept()[0]
        threading.Thread(target=self._pass, args=(self.server, self.client), daemon=True).start()
        self._pass(self.client, self.server)

    def _pass(self, source, target):
        source.settimeout(0.05)
        while not self.silent.is_set():
            try:
                data = source.recv(1 << 16)
            except TimeoutError:
                continue
            except OSError:
                return
            if not data or self.silent.is_set():
                return
            target.sendall(data)

    def close(self):
        self.silent.set()
        for end in (self.listener, self.server, self.client):
            if end is not None:
                end.close()


def connections(pid):
    """Sockets of the process."""
    held = 0
    for name in os.listdir("/proc/%d/fd" % pid):
        try:
            held += os.readlink("/proc/%d/fd/%s" % (pid, name)).startswith("socket:")
        except OSError:
            pass
    return held


class Connections(unittest.TestCase):
    def test_vanished_worker_is_handed_no_tasks(self):
        with SiloServer(settings=WAITS) as silo:
            shard = silo.shard_ids()[0]
            before = connections(silo.process.pid)
            way = Way(silo.address)
            gone = Api(way.address)
            poll = gone.start("LeaseTasks", worker_id="gone", max_tasks=1, task_group="g", shard=shard, wait_ms=WAIT_MS)
            until(lambda: way.client is not None, "the worker to be connected")
            time.sleep(0.5)  # its poll is on its way through the relay
            way.silent.set()
            until(lambda: connections(silo.process.pid) <= before, "the connection to be given up", 20)
            silo.api.Enqueue(shard=shard, id="job", task_group="g")
            leased = silo.api.LeaseTasks(worker_id="here", max_tasks=1, task_group="g", shard=shard)
            equal([(task.job_id, task.attempt_number) for task in leased.tasks], [("job", 1)], "tasks")
            poll.cancel()
            gone.close()
            way.close()

    def test_quiet_worker_stays(self):
        with SiloServer(settings=WAITS) as silo:
            shard = silo.shard_ids()[0]
            poll = silo.api.start("LeaseTasks", worker_id="quiet", max_tasks=1, task_group="g", shard=shard,
                                  wait_ms=WAIT_MS)
            time.sleep(1.5)  # several times what a dead one has
            other = Api(silo.address)
            other.Enqueue(shard=shard, id="job", task_group="g")
            equal([task.job_id for task in poll.result().tasks], ["job"], "tasks")
            other.close()


if __name__ == "__main__":
    sys.exit(runner.main())

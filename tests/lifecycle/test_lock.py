"""A directory has one server: a second one says who has it, ends, and has changed nothing. And a start that fails for its
port or its certificates has made no data."""

import os
import socket
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import runner  # noqa: E402
from checks import equal  # noqa: E402
from silo_api import blob  # noqa: E402
from silo_server import SiloServer, free_port, program  # noqa: E402


def start(directory, *lines):
    """Starts a server that is to end by itself: (exit status, what it said)."""
    config = os.path.join(directory, "silo.toml")
    with open(config, "w", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")
    done = subprocess.run([program(), "--config", config], cwd=directory, stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, timeout=60)
    return done.returncode, done.stderr


def tree(directory):
    """Every file below, with its size."""
    return sorted((os.path.join(place, name), os.path.getsize(os.path.join(place, name)))
                  for place, _, names in os.walk(directory) for name in names)


class Lock(unittest.TestCase):
    def test_second_server(self):
        with SiloServer() as silo, tempfile.TemporaryDirectory(prefix="silo-second-") as other:
            data = os.path.dirname(silo.settings["database.path"])
            before = tree(os.path.join(data, "cluster"))
            status, text = start(other, 'server.grpc_addr = "127.0.0.1:%d"' % free_port(),
                                 'database.path = "%s/%%shard%%"' % data)
            equal(status, 1, "exit status")
            for part in ("another server has the data directory", "pid %d on host %s since 2" %
                         (silo.process.pid, socket.gethostname()), data):
                self.assertIn(part, text)
            equal(tree(os.path.join(data, "cluster")), before, "the cluster's record")
            silo.api.Enqueue(shard=silo.shard_ids()[0], task_group="g", payload=blob(b"x"))
            self.assertNotIn("shard_taken_over", silo.log())

    def test_log_directory(self):
        """The write-ahead log's own directory is locked as well."""
        with tempfile.TemporaryDirectory(prefix="silo-wal-") as shared:
            wal = {"database.wal.backend": "fs", "database.wal.path": os.path.join(shared, "%shard%")}
            with SiloServer(settings=wal), tempfile.TemporaryDirectory(prefix="silo-second-") as other:
                status, text = start(other, 'server.grpc_addr = "127.0.0.1:%d"' % free_port(),
                                     'database.wal = { backend = "fs", path = "%s/%%shard%%" }' % shared)
                equal((status, "another server has the data directory" in text, shared in text), (1, True, True), text)

    def test_after_a_crash(self):
        with SiloServer() as silo:
            job = silo.api.Enqueue(shard=silo.shard_ids()[0], task_group="g").id
            silo.kill()
            silo.start()
            equal(silo.api.GetJob(shard=silo.shard_ids()[0], id=job).id, job)


class Nothing(unittest.TestCase):
    """What a start leaves behind that fails before it touches data: nothing."""

    def refused(self, word, *lines):
        with tempfile.TemporaryDirectory(prefix="silo-refused-") as directory:
            status, text = start(directory, *lines)
            equal(status, 1, "exit status")
            self.assertIn(word, text)
            equal(os.listdir(directory), ["silo.toml"], "what there is")

    def test_busy_port(self):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            address = "127.0.0.1:%d" % taken.getsockname()[1]
            self.refused("cannot listen on %s" % address, 'server.grpc_addr = "%s"' % address)

    def test_missing_certificate(self):
        self.refused("/absent.pem", 'server.grpc_addr = "127.0.0.1:%d"' % free_port(),
                     'server.tls_cert = "/absent.pem"', 'server.tls_key = "/absent.key"')

    def test_bad_limiter(self):
        self.refused("gubernator", 'server.grpc_addr = "127.0.0.1:%d"' % free_port(), 'gubernator.address = "no port"')


if __name__ == "__main__":
    sys.exit(runner.main())

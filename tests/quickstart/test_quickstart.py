"""The Quick Start program against a server with nothing but defaults, on its default port."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import quick_start  # noqa: E402
import runner  # noqa: E402
from checks import equal, until  # noqa: E402
from silo_api import Api  # noqa: E402
from silo_server import SiloServer, program  # noqa: E402


def listens(address):
    host, port = address.split(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0


class QuickStart(unittest.TestCase):
    def test_program(self):
        with quick_start.at_the_default_address(SiloServer(settings={"database.fsync": True})) as silo:
            quick_start.check(silo)

    def test_readme_shows_the_program(self):
        """What people paste from the README is the program that runs here, word for word."""
        root = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
        with open(os.path.join(root, "README.md"), encoding="utf-8") as file:
            shown = file.read().split("```typescript\n", 1)[1].split("```", 1)[0]
        with open(os.path.join(root, "examples", "quickstart", "quickstart.ts"), encoding="utf-8") as file:
            self.assertTrue(file.read().endswith(shown), "README.md and quickstart.ts differ")

    def test_bare_server(self):
        """`silo` without arguments in an empty directory serves, and keeps its data in ./silo-data."""
        with quick_start.turn(), tempfile.TemporaryDirectory(prefix="silo-bare-") as directory:
            probe = quick_start.claim_port(SiloServer(directory=directory))
            shards = [self.bare_run(directory, probe.address) for _ in range(2)]
            equal(shards[0], shards[1], "shards before and after a restart")
            equal(len(shards[0]), 1, "shards")
            equal(sorted(os.listdir(directory)), ["server.log", "silo-data"])
            equal(sorted(os.listdir(os.path.join(directory, "silo-data"))), sorted(["cluster", "silo.lock", *shards[0]]))

    def bare_run(self, directory, address):
        with open(os.path.join(directory, "server.log"), "ab") as log:
            process = subprocess.Popen([program()], cwd=directory, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        until(lambda: listens(address), "the server to listen", 60)
        api = Api(address)
        try:
            until(lambda: api.serving("silo.v1.Silo"), "the server to be ready", 60)
            return [owner.shard_id for owner in api.GetClusterInfo().shard_owners]
        finally:
            api.close()
            process.send_signal(signal.SIGTERM)
            equal(process.wait(40), 0, "exit status")

    def test_busy_port(self):
        """A second server on the same port ends at once, says why, and does no harm to the first."""
        with SiloServer() as silo:
            second = subprocess.run([program(), "--config", os.path.join(silo.directory, "silo.toml")],
                                    cwd=silo.directory, capture_output=True, text=True, timeout=60)
            equal(second.returncode, 1, "exit status")
            self.assertIn(silo.address, second.stderr)
            self.assertIn("in use", second.stderr)
            silo.api.Enqueue(shard=silo.shard_ids()[0], task_group="g")


if __name__ == "__main__":
    sys.exit(runner.main())

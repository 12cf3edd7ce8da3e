"""`./dev cluster`, as somebody uses it who types into it and into another terminal."""

import os
import re
import subprocess
import sys
import threading
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import runner  # noqa: E402
from checks import equal, until  # noqa: E402
from silo_api import ROOT  # noqa: E402

PROGRAM = os.path.join(ROOT, "tools", "dev", "cluster.py")
SECONDS = 60


class DevCluster(unittest.TestCase):
    def setUp(self):
        self.lines = []
        self.process = subprocess.Popen([sys.executable, "-B", PROGRAM, "--shards", "6", "--store", "fs"], text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.reader = threading.Thread(target=self.read)
        self.reader.start()

    def read(self):
        for line in self.process.stdout:
            print(line, end="", flush=True)
            self.lines.append(line.rstrip("\n"))

    def tearDown(self):
        if self.process.poll() is None:
            self.process.terminate()
        self.process.wait(SECONDS)
        self.reader.join()
        self.process.stdin.close()
        self.process.stdout.close()

    def type(self, command):
        """Types a command; lines that come after it count for await_line."""
        self.seen = len(self.lines)
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()

    def await_line(self, pattern, since=None):
        start = self.seen if since is None else since

        def found():
            if self.process.poll() is not None:
                raise AssertionError("it ended:\n" + "\n".join(self.lines))
            return next((line for line in self.lines[start:] if re.search(pattern, line)), None)

        return until(found, pattern, SECONDS)

    def elsewhere(self, *words):
        """Status and output of a command in another terminal."""
        done = subprocess.run([sys.executable, "-B", PROGRAM, *words], stdout=subprocess.PIPE, text=True, timeout=SECONDS)
        return done.returncode, done.stdout

    def test_nodes_come_and_go(self):
        self.await_line("  n0 -> n1", since=0)
        self.await_line("every shard is served", since=0)
        self.type("kill n1")
        self.await_line("n1 is ended")
        self.await_line("some shards are not served")
        self.await_line("  n1 -> n[02] after [0-9]+ ms")
        self.await_line("every shard is served")
        self.type("start n1")
        self.await_line("n1 is running")
        self.await_line("  n[02] -> n1")
        status, text = self.elsewhere("status")
        equal(status, 0)
        self.assertRegex(text, r"(?m)^n1 .* running ")
        status, text = self.elsewhere("kill", "n9")
        equal((status, text), (1, "error: there is no node n9\n"))
        directory = re.search(r"(?m)^data: (.*)$", self.elsewhere("status")[1]).group(1)
        self.type("stop n0")
        self.await_line("n0 is ended")
        self.type("quit")
        equal(self.process.wait(SECONDS), 0)
        self.assertFalse(os.path.exists(directory), "its data is still there")


if __name__ == "__main__":
    sys.exit(runner.main())

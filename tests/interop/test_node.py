"""grpc-js, unmodified: the checks of client.cjs, each a test of its own."""

import os
import re
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import runner  # noqa: E402
from silo_server import SiloServer  # noqa: E402

CLIENT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "client.cjs")
CHECKS = ["reflection", "small_round_trip", "payload_of_5_MiB", "payload_of_100_MiB", "errors_carry_their_text",
          "bursts_of_resets", "pings_every_second"]


class Node(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        with SiloServer() as silo:
            done = subprocess.run(["node", CLIENT, silo.address], stdin=subprocess.DEVNULL, capture_output=True,
                                  text=True, timeout=600)
        cls.output = done.stdout + done.stderr
        cls.lines = dict(re.findall(r"^(?:ok|FAILED) (\w+)(.*)$", done.stdout, re.M))
        cls.passed = set(re.findall(r"^ok (\w+)$", done.stdout, re.M))


def add(name):
    def test(self):
        self.assertIn(name, self.lines, "no word of it:\n" + self.output)
        self.assertIn(name, self.passed, self.lines[name])

    setattr(Node, "test_" + name, test)


for each in CHECKS:
    add(each)

if __name__ == "__main__":
    sys.exit(runner.main())

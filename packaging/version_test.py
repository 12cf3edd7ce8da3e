#!/usr/bin/env python3
"""The version stands in CMakeLists.txt; whatever repeats it says the same."""

import json
import os
import re
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def read(name):
    with open(os.path.join(ROOT, name), encoding="utf-8") as file:
        return file.read()


VERSION = re.search(r"^project\(silo VERSION (\d+\.\d+\.\d+) ", read("CMakeLists.txt"), re.M).group(1)


class Version(unittest.TestCase):
    def test_client(self):
        self.assertEqual(json.loads(read("clients/typescript/package.json"))["version"], VERSION)
        lock = json.loads(read("clients/typescript/package-lock.json"))
        self.assertEqual(lock["version"], VERSION)
        self.assertEqual(lock["packages"][""]["version"], VERSION)

    def test_bridge(self):
        self.assertEqual(re.search(r'^version = "(.*)"', read("bridge/Cargo.toml"), re.M).group(1), VERSION)
        self.assertRegex(read("bridge/Cargo.lock"), r'name = "silo-bridge"\nversion = "%s"' % re.escape(VERSION))

    def test_changelog(self):
        """Its newest section is this version: released, or what becomes of it."""
        first = re.search(r"^## \[(.*?)\](.*)$", read("CHANGELOG.md"), re.M)
        self.assertIn(VERSION, first.group(0))


if __name__ == "__main__":
    unittest.main(verbosity=2)

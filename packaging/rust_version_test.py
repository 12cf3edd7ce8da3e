#!/usr/bin/env python3
"""The crates of bridge/Cargo.lock compile with the Rust that ./dev installs on a fresh Debian 12."""

import os
import re
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import notices  # noqa: E402


def number(text):
    """(1, 85, 0) of "1.85"."""
    parts = [int(part) for part in text.split(".")]
    return tuple(parts + [0] * (3 - len(parts)))


class RustVersion(unittest.TestCase):
    def test_no_crate_wants_a_newer_one(self):
        least = re.search(r"^CARGO_MIN=([\d.]+)$", notices.read(os.path.join(notices.ROOT, "tools", "dev", "prepare.sh")), re.M).group(1)
        found = notices.metadata()["packages"]
        self.assertGreater(len(found), 100)
        newer = [f"{package['name']} {package['version']}: {package['rust_version']}" for package in found
                 if package["rust_version"] and number(package["rust_version"]) > number(least)]
        self.assertEqual(newer, [], f"update them with CARGO_RESOLVER_INCOMPATIBLE_RUST_VERSIONS=fallback; ./dev promises {least}")


if __name__ == "__main__":
    unittest.main(verbosity=2)

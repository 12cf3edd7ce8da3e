#!/usr/bin/env python3
"""docs/internals/checklist.md names tests that exist, and says truly what is not built."""

import glob
import os
import re
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from checks import equal  # noqa: E402
from silo_api import METHODS, ROOT  # noqa: E402
from test_semantics import ABSENT  # noqa: E402


def checklist():
    with open(os.path.join(ROOT, "docs", "internals", "checklist.md"), encoding="utf-8") as file:
        return file.read()


def functions():
    """module.function of every test program."""
    found = set()
    for path in glob.glob(os.path.join(ROOT, "tests", "*", "test_*.py")):
        module = os.path.basename(path)[len("test_"):-len(".py")]
        with open(path, encoding="utf-8") as file:
            found.update("%s.%s" % (module, name) for name in re.findall(r"^ *def (\w+)", file.read(), re.MULTILINE))
    return found


class Checklist(unittest.TestCase):
    def test_its_tests_exist(self):
        named = set(re.findall(r"`([a-z_0-9]+\.(?!py`)[a-z_0-9]+)`", checklist()))
        assert len(named) > 100, len(named)
        equal(sorted(named - functions()), [], "tests that do not exist")

    def test_its_rows_say_where(self):
        for line in checklist().split("## Not built yet")[0].splitlines():
            if line.startswith("| ") and not line.startswith("| line "):
                where = line.rstrip(" |").rsplit("|", 1)[1]
                assert "`" in where or "every other test" in where or "not built yet" in where, line

    def test_what_is_not_built(self):
        rest = checklist().split("## Not built yet")[1]
        equal({m for m in re.findall(r"`(\w+)`", rest) if m in METHODS}, set(ABSENT), "methods that are not built")


if __name__ == "__main__":
    unittest.main()

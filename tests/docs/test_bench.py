"""Commands of silo-bench in the documentation are ones that it knows: the scenario, and each option that is given to it."""

import functools
import os
import re
import shlex
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import guide  # noqa: E402
import runner  # noqa: E402
from checks import equal  # noqa: E402
from silo_server import program  # noqa: E402

BENCH = os.path.join(os.path.dirname(program()), "silo-bench")
COMMAND = re.compile(r"(?:^|[\s`/])silo-bench ((?:[a-z][\w-]*)(?: [^\n#`|]*)?)")
PERFORMANCE = "docs/internals/performance.md"


@functools.lru_cache(maxsize=None)
def help_of(scenario):
    done = subprocess.run([BENCH, *([scenario] if scenario else []), "--help"], capture_output=True, text=True, timeout=60)
    if done.returncode != 0:
        raise AssertionError("silo-bench %s --help: %s" % (scenario, done.stderr))
    return done.stdout


def scenarios():
    """The names that begin a line of the list of --help."""
    return set(re.findall(r"^ {2}([a-z][a-z0-9-]*) {2,}\S", help_of(""), re.MULTILINE))


def commands():
    """(place, words) of every command in a block or in backticks."""
    for name in guide.markdown.pages():
        page = guide.markdown.read(name)
        texts = [(line, "silo-bench " + text.removeprefix("silo-bench ")) for line, text in page.code
                 if text.startswith("silo-bench ") or (name == PERFORMANCE and text.split()[0] in scenarios() and " --" in text)]
        texts += [(block.line, block.text) for block in page.blocks if block.language == "sh"]
        for line, text in texts:
            for words in COMMAND.findall(text):
                yield "%s:%d" % (name, line), shlex.split(words)


class Bench(unittest.TestCase):
    def test_every_scenario_has_a_row(self):
        rows = guide.markdown.read("docs/guides/benchmarking.md").rows
        start = [cells[0] for _, cells in rows].index("Scenario")
        shown = {name for _, cells in rows[start + 1:] for name in re.findall(r"`([a-z][a-z0-9-]*)`", cells[0])}
        equal(sorted(scenarios() - shown), [], "scenarios without a row")

    def test_commands(self):
        found = list(commands())
        self.assertGreater(len(found), 20, "commands")
        for place, words in found:
            with self.subTest(place + " " + " ".join(words)):
                scenario = words[0]
                self.assertIn(scenario, scenarios())
                known = set(re.findall(r"--[a-z][a-z-]*", help_of(scenario)))
                equal(sorted(set(word for word in words if word.startswith("--")) - known), [], "unknown options")


if __name__ == "__main__":
    sys.exit(runner.main())

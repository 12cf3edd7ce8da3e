"""What the documentation says about the TypeScript client's defaults and errors is what the client does."""

import json
import os
import re
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import guide  # noqa: E402
import runner  # noqa: E402
from checks import equal  # noqa: E402
from silo_api import ROOT  # noqa: E402
from silo_server import SiloServer  # noqa: E402

README = guide.markdown.read("clients/typescript/README.md")
ENQUEUEING = "docs/guides/enqueueing.md"


def bare(cell):
    return cell.strip("`")


class Client(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = SiloServer().start()
        cls.addClassCleanup(cls.server.close)
        program = os.path.join(os.path.dirname(os.path.abspath(__file__)), "defaults.cjs")
        done = subprocess.run(["node", program, cls.server.address], env=dict(os.environ, SILO_ROOT=ROOT), text=True,
                              capture_output=True, timeout=120)
        if done.returncode != 0:
            raise RuntimeError(done.stderr)
        cls.seen = json.loads(done.stdout)

    def test_options_of_the_worker(self):
        """A default is a number, or the name of another option."""
        worker = self.seen["worker"]
        rows = {bare(cells[0]): bare(cells[1]) for _, cells in README.rows if len(cells) == 3 and bare(cells[0]) in worker}
        self.assertGreaterEqual(set(rows), {"maxConcurrentTasks", "tasksPerPoll", "pollIntervalMs", "heartbeatIntervalMs"})
        for name, default in rows.items():
            equal(worker[name], int(default) if default.isdigit() else worker[default], "default of " + name)

    def test_defaults_of_a_job(self):
        job = self.server.api.GetJob(shard=self.server.shard_ids()[0], id=self.seen["id"])
        with open(os.path.join(ROOT, ENQUEUEING), encoding="utf-8") as file:
            said = re.findall(r"this client's default is (\d+)|left out is (\d+) in the TypeScript client", file.read())
        equal({int(number) for pair in said for number in pair if number}, {job.priority}, "priority")
        equal(job.limits[0].rate_limit.hits, 1, "hits")
        equal(job.HasField("retry_policy"), False, "retries")

    def test_every_error_has_a_row(self):
        """Classes that the package exports, by name; those of the table exist."""
        shown = {bare(cells[1]) for _, cells in README.rows if len(cells) == 3 and bare(cells[0]).startswith("SILO_")}
        named = {name for name in self.seen["errors"] if name != "SiloError"}
        equal(sorted(name for name in named - shown), [], "errors without a row")
        equal(sorted(name for name in shown - named if name.endswith("Error")), [], "rows without an error")


if __name__ == "__main__":
    sys.exit(runner.main())

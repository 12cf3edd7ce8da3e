"""A brief soak of a cluster in a laboratory: faults of nodes, links, etcd and the store under load, and the auditor's verdict.
`./dev soak --nodes 3` runs half an hour of it."""

import os
import re
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import network  # noqa: E402
import runner  # noqa: E402
from silo_api import ROOT  # noqa: E402

SECONDS = 36
FAULTS = "node-kill,node-pause,etcd-member,etcd-link,link,store-away"
LIMIT_SECONDS = 600
LAST_LINE = re.compile(r"^audit: (\d+) jobs, (\d+) runs, (\d+) faults, "
                       r"0 lost, 0 over-granted, 0 leaked, 0 ran after completion, 0 stuck, 0 spent$")


class Laboratory(unittest.TestCase):
    def test_faults_of_every_party(self):
        network.require()
        command = [sys.executable, "-B", os.path.join(ROOT, "tests", "soak", "soak.py"), str(SECONDS), "--nodes", "3", "--brief", "--etcd", "3.6",
                   "--faults", FAULTS, "--rate", "60"]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=LIMIT_SECONDS)
        print(done.stdout, flush=True)
        verdict = LAST_LINE.match(done.stdout.splitlines()[-1])
        self.assertIsNotNone(verdict, "the auditor's last line")
        self.assertEqual(done.returncode, 0)
        jobs, runs, struck = map(int, verdict.groups())
        self.assertGreater(jobs, 100)
        self.assertGreater(runs, 100)
        self.assertGreaterEqual(struck, 3)


if __name__ == "__main__":
    sys.exit(runner.main())

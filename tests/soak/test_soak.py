"""A short soak: faults under a mixed load with limits, and the auditor's verdict. `./dev soak` runs long ones."""

import os
import re
import subprocess
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))

import runner  # noqa: E402

SANITIZED = os.environ.get("SILO_BUILD") in ("asan", "tsan")
SECONDS = 16
FAULTS = "kill,pause,takeover,cut"
LIMIT_SECONDS = 600
LAST_LINE = re.compile(r"^audit: (\d+) jobs, (\d+) runs, (\d+) faults, "
                       r"0 lost, 0 over-granted, 0 leaked, 0 ran after completion, 0 stuck, 0 spent$")


class Soak(unittest.TestCase):
    def test_faults_under_mixed_load(self):
        command = [sys.executable, "-B", os.path.join(HERE, "soak.py"), str(SECONDS), "--faults", FAULTS, "--rate", "150" if SANITIZED else "600"]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=LIMIT_SECONDS)
        print(done.stdout, flush=True)
        verdict = LAST_LINE.match(done.stdout.splitlines()[-1])
        self.assertIsNotNone(verdict, "the auditor's last line")
        self.assertEqual(done.returncode, 0)
        jobs, runs, struck = map(int, verdict.groups())
        self.assertGreater(jobs, 200)
        self.assertGreater(runs, 200)
        self.assertGreaterEqual(struck, 2)  # one in the load at the least, and a kill after the drain


if __name__ == "__main__":
    sys.exit(runner.main())

#!/usr/bin/env python3
"""A database that an older version wrote (old_database.py) is opened, and everything in it goes on: nothing stored has
changed its bytes or its meaning."""

import base64
import json
import os
import shutil
import sys
import tarfile
import tempfile
import unittest
import zlib

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
sys.path.insert(0, HERE)

from checks import equal  # noqa: E402
from jobs import CANCELLED, FAILED, SCHEDULED, SUCCEEDED, Jobs  # noqa: E402
from old_database import GROUP, NAMES, server_of  # noqa: E402
from silo_api import pb  # noqa: E402

WRITTEN = os.path.join(HERE, "old_database_2026_11")


class Upgrade(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.mkdtemp(prefix="silo-test-")
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)
        with tarfile.open(WRITTEN + ".tar.gz") as archive:
            archive.extractall(self.directory)
        with open(WRITTEN + ".json", encoding="utf-8") as file:
            self.said = json.load(file)

    def tasks(self, *names):
        return [pb.Task(id=self.said["running"][name], job_id=name, shard=self.said["shard"]) for name in names]

    def job(self, name):
        job = pb.GetJobResponse()
        job.ParseFromString(zlib.decompress(base64.b64decode(self.said["jobs"][name])))
        return job

    def run_all(self, jobs, *names):
        """They all run to success. Returns them in the order in which they came."""
        came = []
        while len(came) < len(names):
            tasks = jobs.lease(len(names) - len(came))
            self.assertTrue(tasks, "only %s of %s" % (came, names))
            came += [task.job_id for task in tasks]
            for task in tasks:
                jobs.succeed(task)
        equal(sorted(came), sorted(names), "jobs that run")
        return came

    def test_an_old_database_goes_on(self):
        with server_of(self.directory) as server:
            equal(server.shard_ids(), [self.said["shard"]], "shards")
            jobs = Jobs(server, group=GROUP)
            holds, marked, raised_1, raised_2 = self.tasks("holds", "marked", "raised-1", "raised-2")
            for task in (holds, raised_1, raised_2):
                equal(jobs.beat(task).cancelled, False, task.job_id)
            equal(jobs.beat(marked).cancelled, True, "told that it is cancelled")
            for name in NAMES:
                equal(jobs.record(name), self.job(name), name)
            equal(list(jobs.counters()), self.said["counters"], "counters")

            # Slots, lines and order are those that were stored.
            jobs.cancelled(marked)
            jobs.succeed(holds)
            jobs.succeed(raised_1)
            came = self.run_all(jobs, "raised-3", "ready-first", "ready-second", "stands-first", "stands-second")
            equal([name for name in came if name.startswith("ready")], ["ready-first", "ready-second"], "order")
            equal([name for name in came if name.startswith("stands")], ["stands-first", "stands-second"], "order in line")
            jobs.succeed(raised_2)
            jobs.lease_none()
            equal({name: jobs.status(name) for name in ("marked", "holds", "slow-waits", "retried", "later")},
                  {"marked": CANCELLED, "holds": SUCCEEDED, "slow-waits": SCHEDULED, "retried": SCHEDULED,
                   "later": SCHEDULED}, "states")

            # What ended can be begun again, what waits moved, and what is stored of all of it goes.
            jobs.on("RestartJob", "failed")
            self.run_all(jobs, "failed")
            equal([a.status for a in jobs.get("failed", True).attempts],
                  [pb.ATTEMPT_STATUS_FAILED, pb.ATTEMPT_STATUS_FAILED, pb.ATTEMPT_STATUS_SUCCEEDED], "attempts")
            jobs.on("ExpediteJob", "later")
            jobs.on("ExpediteJob", "retried")
            self.run_all(jobs, "later", "retried")
            jobs.on("CancelJob", "slow-waits")
            for name in NAMES:
                jobs.on("DeleteJob", name)
            equal(list(jobs.counters()), [0, 0], "counters")


if __name__ == "__main__":
    unittest.main()

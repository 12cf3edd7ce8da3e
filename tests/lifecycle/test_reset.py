"""ResetShards removes all that belongs to a shard, wherever its write-ahead log lies and whatever its form."""

import os
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import runner  # noqa: E402
from checks import equal  # noqa: E402
from silo_api import blob  # noqa: E402
from silo_server import SiloServer  # noqa: E402

JOBS = ["job-%d" % i for i in range(20)]


def missing(silo, shard):
    return [job for job in JOBS if silo.api.fails("GetJob", shard=shard, id=job).code == "NOT_FOUND"]


def enqueue(silo, shards):
    for job in JOBS:
        for shard in shards:
            silo.api.Enqueue(shard=shard, id=job, task_group="g", payload=blob(b"x"))


class Reset(unittest.TestCase):
    def check(self, **settings):
        with SiloServer(shards=2, settings=dict({"server.dev_mode": True}, **settings)) as silo:
            shards = silo.shard_ids()
            for _ in range(3):
                enqueue(silo, shards)
                equal(silo.api.ResetShards().shards_reset, len(shards), "shards")
                for shard in shards:
                    equal(missing(silo, shard), JOBS, "jobs that are gone")
            # Nothing comes back with the next opening, nor after a crash.
            enqueue(silo, shards[:1])
            silo.kill()
            silo.start()
            equal(missing(silo, shards[1]), JOBS, "jobs that are gone")
            equal(len([silo.api.GetJob(shard=shards[0], id=job).id for job in JOBS]), len(JOBS), "jobs that are there")
            silo.api.ResetShards()
            equal(silo.stop(), 0, "exit status")
            silo.start()
            for shard in shards:
                equal(missing(silo, shard), JOBS, "jobs that are gone")

    def test_log_with_the_rest(self):
        self.check()

    def test_objects_with_the_rest(self):
        self.check(**{"database.local_log": False})

    def test_log_of_its_own(self):
        with tempfile.TemporaryDirectory(prefix="silo-wal-") as wal:
            self.check(**{"database.wal.backend": "fs", "database.wal.path": wal + "/%shard%"})

    def test_objects_of_their_own(self):
        with tempfile.TemporaryDirectory(prefix="silo-wal-") as wal:
            self.check(**{"database.wal.backend": "fs", "database.wal.path": wal + "/%shard%",
                          "database.local_log": False})


if __name__ == "__main__":
    sys.exit(runner.main())

"""SIGKILL right after an acknowledged call, and in the middle of a load: nothing acknowledged is lost."""

import glob
import os
import re
import sys
import threading
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import crash_checks  # noqa: E402
import runner  # noqa: E402
from checks import equal, until  # noqa: E402
from silo_server import SiloServer  # noqa: E402

SANITIZED = os.environ.get("SILO_BUILD") in ("asan", "tsan")


def server(**settings):
    return SiloServer(settings=dict({"database.fsync": True}, **settings))


class Crash(unittest.TestCase):
    def test_enqueue_is_kept(self):
        with server() as silo:
            crash_checks.check_enqueue(silo, rounds=8)

    def test_lease_is_kept_and_expires(self):
        with server() as silo:
            crash_checks.check_lease(silo)

    def test_outcome_is_kept(self):
        with server() as silo:
            crash_checks.check_report(silo, rounds=6)

    def test_kills_under_load(self):
        with server() as silo:
            crash_checks.check_under_load(silo, rounds=4 if SANITIZED else 10)

    def test_shard_map_is_kept(self):
        with server(**{"coordination.initial_shard_count": 3}) as silo:
            before = silo.api.GetClusterInfo().shard_owners
            ids = [owner.shard_id for owner in before]
            equal(len(set(ids)), 3, "shards")
            for n in range(3):
                crash_checks.enqueue(silo.api, ids[n], "in-%d" % n, b"x")
            crash_checks.restart(silo)
            after = silo.api.GetClusterInfo().shard_owners
            equal([(o.shard_id, o.range_start, o.range_end) for o in after],
                  [(o.shard_id, o.range_start, o.range_end) for o in before], "shard map")
            for n in range(3):
                equal(silo.api.GetJob(shard=ids[n], id="in-%d" % n).id, "in-%d" % n)

    def test_orderly_stop_keeps_all(self):
        with server() as silo:
            shard = silo.shard_ids()[0]
            for n in range(50):
                crash_checks.enqueue(silo.api, shard, "job-%d" % n, b"x", crash_checks.RETRIES)
            task = crash_checks.lease_one(silo.api)
            equal(silo.stop(), 0, "exit status")
            silo.start()
            equal(crash_checks.totals(silo.api), (50, 0), "totals")
            silo.api.ReportOutcome(shard=shard, task_id=task.id, success={"msgpack": b"late but valid"})
            equal(silo.api.GetJobResult(shard=shard, id=task.job_id).success_data.msgpack, b"late but valid")

    def test_sorted_files_in_between(self):
        """Enough rows that memory moved to sorted files before the kill."""
        with server(**{"database.slatedb.l0_sst_size_bytes": 1 << 20}) as silo:
            shard = silo.shard_ids()[0]
            for n in range(300):
                crash_checks.enqueue(silo.api, shard, "big-%d" % n, b"z" * 20000)
            crash_checks.restart(silo)
            equal(crash_checks.totals(silo.api), (300, 0), "totals")
            tasks = []
            until(lambda: tasks.extend(crash_checks.lease(silo.api, count=100, wait_ms=100)) or len(tasks) >= 300,
                  "all tasks", 60)
            equal(sorted(t.job_id for t in tasks), sorted("big-%d" % n for n in range(300)), "tasks")

    def test_a_damaged_log_says_what_to_do(self):
        """The error is in the server's log to its last word, and the way that it names is one."""
        with server() as silo:
            shard = silo.shard_ids()[0]
            for n in range(9):
                crash_checks.enqueue(silo.api, shard, "job-%d" % n, b"payload of %d" % n)
            silo.kill()
            spoiled = damage(silo, b"payload of 1")
            start = threading.Thread(target=silo.start)
            start.start()
            word = os.path.join(os.path.dirname(spoiled), "accept-loss")
            ways = "make the file %s and let the shard open again; what is damaged is kept beside it" % word
            until(lambda: ways in silo.log(), "the ways to go on", 30)
            self.assertIn(spoiled, silo.log())
            stake = re.search(r"At stake are records (\d+) to (\d+) with acknowledged work; (\d+) batches", silo.log())
            first, last, batches = map(int, stake.groups())
            self.assertGreaterEqual(min(last - first, batches), 7, "job-1 cannot be read, seven after it can")
            with open(word, "wb"):
                pass
            start.join()
            self.assertIn("An operator accepted the loss.", silo.log())
            equal(crash_checks.totals(silo.api), (1, 0), "what came before the damage")
            equal(silo.api.GetJob(shard=shard, id="job-0").id, "job-0")


def damage(silo, needle):
    """Changes a byte where a log file has `needle`; answers the file."""
    for name in glob.glob(os.path.join(silo.directory, "data", "*", "log", "*.log")):
        with open(name, "r+b") as file:
            at = file.read().find(needle)
            if at >= 0:
                file.seek(at)
                file.write(b"P")
                return name
    raise RuntimeError("no log file has %r" % needle)


if __name__ == "__main__":
    sys.exit(runner.main())

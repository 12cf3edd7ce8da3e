"""The server's wall clock is far off for a moment, or set back between two starts: what waits waits as long as it was to."""

import os
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import runner  # noqa: E402
from checks import equal, until  # noqa: E402
from silo_api import blob, pb  # noqa: E402
from silo_server import SiloServer  # noqa: E402

FAKETIME = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1"
SANITIZED = os.environ.get("SILO_BUILD") in ("asan", "tsan")
HOUR, TEN_DAYS = 3600, 10 * 24 * 3600
RETRY_MS = 500
FUTURE_SECONDS = 12


class Clock:
    """A server whose clock can be set, by so many seconds from the truth."""

    def __init__(self, ahead=0, **settings):
        self.silo = SiloServer(settings=settings)
        self.file = os.path.join(self.silo.directory, "clock")
        self.silo.environment = {
            "LD_PRELOAD": FAKETIME, "FAKETIME_TIMESTAMP_FILE": self.file, "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_NO_CACHE": "1"}
        self.set(ahead)

    def __enter__(self):
        self.silo.__enter__()
        return self

    def __exit__(self, *args):
        self.silo.__exit__(*args)

    def set(self, ahead):
        with open(self.file + ".new", "w", encoding="ascii") as file:
            file.write("%+d\n" % ahead)
        os.replace(self.file + ".new", self.file)

    def noticed(self, event, count):
        until(lambda: self.silo.log().count(event) >= count, "the server to see its clock: " + event, 20)

    @property
    def api(self):
        return self.silo.api

    def enqueue(self, **fields):
        return self.api.Enqueue(shard=self.silo.shard_ids()[0], task_group="g", payload=blob(b"x"), **fields).id

    def lease(self, wait_ms):
        return self.api.LeaseTasks(worker_id="w", max_tasks=1, task_group="g", wait_ms=wait_ms).tasks

    def fail_first(self, job):
        task = self.lease(10000)[0]
        equal(task.job_id, job)
        self.api.ReportOutcome(shard=task.shard, task_id=task.id, failure=pb.Failure(code="NO", data=blob(b"")))
        return time.monotonic()

    def retried(self, job, since):
        """How long the retry took that began then."""
        task = self.lease(10000)
        equal([t.job_id for t in task], [job], "the retry")
        return time.monotonic() - since


def retrying():
    return pb.RetryPolicy(retry_count=3, initial_interval_ms=RETRY_MS, max_interval_ms=RETRY_MS)


class Right(unittest.TestCase):
    def test_a_start_is_waited_for(self):
        """With the clock as it is: a job is handed out when it is due, and not before."""
        with SiloServer() as silo:
            due = time.time() + 1
            job = silo.api.Enqueue(shard=silo.shard_ids()[0], task_group="g", payload=blob(b"x"), start_at_ms=int(due * 1000)).id
            tasks = silo.api.LeaseTasks(worker_id="w", max_tasks=1, task_group="g", wait_ms=20000).tasks
            self.assertGreaterEqual(time.time(), due - 0.01)
            equal([task.job_id for task in tasks], [job])


@unittest.skipUnless(os.path.exists(FAKETIME), "libfaketime is not installed")
@unittest.skipIf(SANITIZED, "a sanitizer's runtime has to be the first library, and libfaketime would be")
class Moments(unittest.TestCase):
    def test_retry(self):
        for ahead in (HOUR, TEN_DAYS, -HOUR):
            with Clock() as clock:
                job = clock.enqueue(retry_policy=retrying())
                clock.set(ahead)
                clock.noticed("clock_stepped", 1)
                since = clock.fail_first(job)
                clock.set(0)
                clock.noticed("clock_right_again", 1)
                self.assertGreater(clock.retried(job, since), RETRY_MS / 1000 - 0.1)

    def test_retry_over_a_restart(self):
        with Clock() as clock:
            job = clock.enqueue(retry_policy=retrying())
            clock.set(HOUR)
            clock.noticed("clock_stepped", 1)
            since = clock.fail_first(job)
            clock.set(0)
            equal(clock.silo.stop(), 0, "exit status")
            clock.silo.start()
            clock.retried(job, since)

    def test_a_server_that_started_in_the_moment(self):
        """Its stamps are an hour ahead; the next start finds them so."""
        with Clock(ahead=HOUR) as clock:
            job = clock.enqueue(retry_policy=retrying())
            since = clock.fail_first(job)
            clock.set(0)
            equal(clock.silo.stop(), 0, "exit status")
            clock.silo.start()
            clock.retried(job, since)

    def test_future(self):
        for ahead in (HOUR, -HOUR):
            with Clock() as clock:
                since = time.monotonic()
                job = clock.enqueue(start_at_ms=int(time.time() * 1000) + FUTURE_SECONDS * 1000)
                clock.set(ahead)
                clock.noticed("clock_stepped", 1)
                equal([task.job_id for task in clock.lease(1000)], [], "jobs that are due")
                clock.set(0)
                clock.noticed("clock_right_again", 1)
                equal([task.job_id for task in clock.lease(20000)], [job], "jobs that are due")
                self.assertGreater(time.monotonic() - since, FUTURE_SECONDS - 0.1)


if __name__ == "__main__":
    sys.exit(runner.main())

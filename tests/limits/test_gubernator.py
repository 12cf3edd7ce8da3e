#!/usr/bin/env python3
"""Rate limits answered by a real Gubernator: what it lets pass, what it holds back, and what happens while it is away."""

import os
import subprocess
import sys
import threading
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from checks import equal, until  # noqa: E402
from gubernator_server import GubernatorServer, pb as gubernator_pb  # noqa: E402
from jobs import Jobs, fresh  # noqa: E402
from silo_api import ROOT, pb  # noqa: E402
from silo_server import SiloServer  # noqa: E402

HOUR_MS = 3600 * 1000
GONE = 20  # seconds for what has to come


def limit(name, rate, duration_ms=HOUR_MS, key="k", hits=1, initial=20, longest=200, retries=0, **fields):
    policy = pb.RateLimitRetryPolicy(initial_backoff_ms=initial, max_backoff_ms=longest, backoff_multiplier=1.5,
                                     max_retries=retries)
    return pb.Limit(rate_limit=pb.GubernatorRateLimit(name=name, unique_key=key, limit=rate, duration_ms=duration_ms,
                                                      hits=hits, retry_policy=policy, **fields))


def is_waiting(jobs, job_id):
    """Neither handed out nor ended."""
    equal(jobs.get(job_id).status, pb.JOB_STATUS_SCHEDULED)


class Direct(unittest.TestCase):
    """What the tests below build on: the program runs and does what its interface says."""

    @classmethod
    def setUpClass(cls):
        cls.gubernator = GubernatorServer().start()

    @classmethod
    def tearDownClass(cls):
        cls.gubernator.__exit__()

    def test_it_is_healthy(self):
        health = self.gubernator.health()
        equal((health.status, health.peer_count), ("healthy", 1))

    def test_it_counts(self):
        name = fresh("direct")
        answers = self.gubernator.checks(*[dict(name=name, unique_key="k", hits=1, limit=2, duration=HOUR_MS)] * 3)
        equal([answer.remaining for answer in answers], [1, 0, 0])
        under, over = gubernator_pb.UNDER_LIMIT, gubernator_pb.OVER_LIMIT
        equal([answer.status for answer in answers], [under, under, over])
        assert answers[2].reset_time > time.time() * 1000 + HOUR_MS / 2
        equal(self.gubernator.check(name, "other", hits=1, limit=2, duration=HOUR_MS).remaining, 1)

    def test_it_says_what_is_wrong_with_one_check(self):
        good = dict(name=fresh("direct"), unique_key="k", hits=1, limit=2, duration=HOUR_MS)
        bad, fine = self.gubernator.checks(dict(good, unique_key=""), good)
        assert bad.error
        equal((fine.error, fine.remaining), ("", 1))


class Client(unittest.TestCase):
    """The server's own client as a program (limiter_probe), without shards around it."""

    def setUp(self):
        self.gubernator = GubernatorServer().start()
        self.addCleanup(self.gubernator.__exit__)
        self.process = None
        self.addCleanup(self.end)

    def probe(self, *arguments):
        path = os.path.join(os.environ.get("SILO_BIN_DIR") or os.path.join(ROOT, "build", "bin"), "limiter_probe")
        self.process = subprocess.Popen([path, self.gubernator.address, *map(str, arguments)], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)

    def end(self):
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process.stdin.close()
            self.process.stdout.close()

    def ask(self, *checks):
        """Makes the checks at the same time: [(verdict, text)]."""
        self.process.stdin.write("".join("%s %s %d %d %d %d %d\n" % check for check in checks) + "\n")
        self.process.stdin.flush()
        return [tuple(self.process.stdout.readline().rstrip("\n").split(" ", 1)) for _ in checks]

    def verdicts(self, *checks):
        return [verdict for verdict, _ in self.ask(*checks)]

    def test_verdicts(self):
        self.probe()
        hit = ("verdicts", "k", 1, 2, HOUR_MS, 0, 0)
        equal(self.verdicts(hit), ["under"])
        now = time.time() * 1000
        (_, first), (verdict, second) = self.ask(hit, hit)
        equal(verdict, "over")
        equal(first, second, "reset times of one bucket")
        assert now + HOUR_MS / 2 < int(second) < now + HOUR_MS * 2, second
        equal(self.verdicts(("verdicts", "other", 2, 2, HOUR_MS, 1, 0)), ["under"])

    def test_behaviors_are_understood(self):
        self.probe()
        hit = ("flags", "k", 3, 4, HOUR_MS, 0, 0)
        reset, drain = gubernator_pb.RESET_REMAINING, gubernator_pb.DRAIN_OVER_LIMIT
        equal(self.verdicts(hit, hit), ["under", "over"])
        equal(self.verdicts((*hit[:6], reset)), ["under"])  # full again, and this call takes nothing
        equal(self.verdicts(hit), ["under"])
        equal(self.verdicts((*hit[:6], drain)), ["over"])
        equal(self.verdicts(("flags", "k", 1, 4, HOUR_MS, 0, 0)), ["over"])

    def test_thousands_at_once(self):
        """Many calls at the same time, and none of the hits is lost, doubled or given to another key."""
        self.probe(10000, 100)
        checks = [("many", "k%d" % (i % 7), 1, 10000, HOUR_MS, 0, 0) for i in range(7000)]
        equal(set(self.verdicts(*checks)), {"under"})
        for i in range(7):
            left = self.gubernator.check("many", "k%d" % i, hits=0, limit=10000, duration=HOUR_MS).remaining
            equal(left, 9000, "left of key %d" % i)

    def test_the_largest_call(self):
        self.probe(10000, 1000)
        equal(set(self.verdicts(*[("large", "k", 1, 2000, HOUR_MS, 0, 0)] * 2000)), {"under"})
        equal(self.verdicts(("large", "k", 1, 2000, HOUR_MS, 0, 0)), ["over"])

    def test_one_bad_check_fails_alone(self):
        self.probe()
        good = ("alone", "k", 1, 5, HOUR_MS, 0, 0)
        answers = self.ask(good, ("", "k", 1, 5, HOUR_MS, 0, 0), ("alone", "", 1, 5, HOUR_MS, 0, 0), good)
        equal([verdict for verdict, _ in answers], ["under", "error", "error", "under"])
        assert "Gubernator: " in answers[1][1] and "empty" in answers[1][1], answers

    def test_it_is_away_and_back(self):
        self.probe(1000)
        hit = ("away", "k", 1, 1000000, HOUR_MS, 0, 0)
        equal(self.verdicts(hit), ["under"])
        self.gubernator.stop()
        equal(self.verdicts(hit, hit), ["error", "error"])
        self.gubernator.start()
        until(lambda: self.verdicts(hit) == ["under"], "an answer", GONE)


class Limits(unittest.TestCase):
    """Silo with a Gubernator that stays."""

    @classmethod
    def setUpClass(cls):
        cls.gubernator = GubernatorServer().start()
        try:
            cls.server = SiloServer(shards=2, settings={"gubernator.address": cls.gubernator.address}).start()
        except BaseException:
            cls.gubernator.__exit__()
            raise

    @classmethod
    def tearDownClass(cls):
        cls.server.close()
        cls.gubernator.__exit__()

    def remaining(self, name, rate, key="k", duration_ms=HOUR_MS):
        return self.gubernator.check(name, key, hits=0, limit=rate, duration=duration_ms).remaining

    def test_under_the_limit_passes(self):
        jobs, name = Jobs(self.server), fresh("under")
        job_id = jobs.enqueue(limits=[limit(name, 5, hits=2)])
        equal(jobs.lease_one().job_id, job_id)
        equal(self.remaining(name, 5), 3, "what Gubernator has left after 2 hits")

    def test_every_job_is_a_hit(self):
        jobs, name = Jobs(self.server), fresh("hits")
        ids = {jobs.enqueue(limits=[limit(name, 100)]) for _ in range(20)}
        got = set()
        until(lambda: got.update(task.job_id for task in jobs.lease(20)) or got == ids, "all jobs", GONE)
        equal(self.remaining(name, 100), 80)

    def test_over_the_limit_waits_and_then_passes(self):
        jobs, name, window = Jobs(self.server), fresh("over"), 2000
        ids = {jobs.enqueue(limits=[limit(name, 2, window, longest=5000)]) for _ in range(3)}
        first, began = set(), time.monotonic()
        until(lambda: first.update(task.job_id for task in jobs.lease(3, wait_ms=200)) or len(first) >= 2, "two jobs", GONE)
        equal(len(first), 2, "jobs within one window")
        (last,) = ids - first
        task = jobs.lease(1, wait_ms=15000)[0]
        equal(task.job_id, last)
        took = time.monotonic() - began
        assert took < 10, "passed only after %.1f s" % took
        # The bucket began with the first check, which was some time before `first` was complete.
        assert self.gubernator.check(name, "k", hits=0, limit=2, duration=window).remaining <= 1

    def test_tokens_are_those_of_its_key(self):
        jobs, name = Jobs(self.server), fresh("keys")
        waits = jobs.enqueue(limits=[limit(name, 0, key="closed")])
        passes = jobs.enqueue(limits=[limit(name, 1, key="open")])
        equal(jobs.lease_one().job_id, passes)
        equal(jobs.lease(1, wait_ms=300), [])
        is_waiting(jobs, waits)

    def test_shards_share_a_bucket(self):
        name, got = fresh("shards"), []
        for shard in self.server.shard_ids():
            jobs = Jobs(self.server, shard)
            for _ in range(3):
                jobs.enqueue(limits=[limit(name, 4)])
            deadline = time.monotonic() + 2
            while time.monotonic() < deadline:
                got += jobs.lease(3, wait_ms=200)
        equal(len(got), 4, "jobs that passed")

    def test_tries_run_out(self):
        jobs, name = Jobs(self.server), fresh("tries")
        job_id = jobs.enqueue(limits=[limit(name, 0, retries=2, longest=30)])

        def ended():
            equal(jobs.lease(1, wait_ms=100), [])
            return jobs.get(job_id).status == pb.JOB_STATUS_FAILED

        until(ended, "the job to fail", GONE)
        result = jobs.api.GetJobResult(shard=jobs.shard, id=job_id)
        equal(result.failure.error_code, "RATE_LIMIT_EXCEEDED")

    def test_what_gubernator_refuses_does_not_pass(self):
        jobs = Jobs(self.server)
        job_id = jobs.enqueue(limits=[limit("", 5)])  # a check without a name has an error of its own
        other = jobs.enqueue(limits=[limit(fresh("fine"), 5)])
        equal(jobs.lease_one().job_id, other)
        equal(jobs.lease(1, wait_ms=300), [])
        is_waiting(jobs, job_id)


class Away(unittest.TestCase):
    """Gubernator comes late, goes, and comes back."""

    def setUp(self):
        self.gubernator = GubernatorServer()
        self.addCleanup(self.gubernator.__exit__)
        self.server = SiloServer(shards=1, settings={
            "gubernator.address": self.gubernator.address,
            "gubernator.connect_timeout_ms": 1000,
            "gubernator.request_timeout_ms": 1000,
        })
        self.addCleanup(self.server.close)

    def nothing_passes(self, jobs, ids, seconds=1.0):
        """Jobs with limits stay where they are, while others, of their group and of another, are handed out at once."""
        deadline, slowest = time.monotonic() + seconds, 0.0
        elsewhere = Jobs(self.server)
        while time.monotonic() < deadline:
            equal(jobs.lease(10, wait_ms=0), [], "jobs that passed unchecked")
            for free in (jobs, elsewhere):
                job_id = free.enqueue()
                began = time.monotonic()
                task = free.lease_one()
                slowest = max(slowest, time.monotonic() - began)
                equal(task.job_id, job_id)
                free.succeed(task)
        assert slowest < 0.9, "a job without limits waited %.2f s" % slowest
        for job_id in ids:
            is_waiting(jobs, job_id)

    def all_pass(self, jobs, ids):
        got = set()

        def polled():
            for task in jobs.lease(10, wait_ms=500):
                jobs.succeed(task)
                got.add(task.job_id)
            return got == ids

        until(polled, "the jobs to go on", 30)

    def test_the_start_does_not_need_it(self):
        self.server.start()
        jobs, name = Jobs(self.server), fresh("late")
        ids = {jobs.enqueue(limits=[limit(name, 10)]) for _ in range(3)}
        self.nothing_passes(jobs, ids)
        self.gubernator.start()
        self.all_pass(jobs, ids)
        equal(self.server.stop(), 0)
        log = self.server.log()
        assert "rate_checks_failed" in log and "rate_checks_recovered" in log, log

    def test_it_stops_and_comes_back(self):
        self.gubernator.start()
        self.server.start()
        jobs, name = Jobs(self.server), fresh("back")
        self.all_pass(jobs, {jobs.enqueue(limits=[limit(name, 100)])})
        self.gubernator.stop()
        ids = {jobs.enqueue(limits=[limit(name, 100)]) for _ in range(5)}
        self.nothing_passes(jobs, ids)
        self.gubernator.start()
        self.all_pass(jobs, ids)

    def test_polls_in_flight_are_answered(self):
        """A waiting poll of the limited group is filled when Gubernator is back, and not before."""
        self.server.start()
        jobs, name = Jobs(self.server), fresh("parked")
        job_id = jobs.enqueue(limits=[limit(name, 10)])
        got = []
        thread = threading.Thread(target=lambda: got.extend(jobs.lease(1, wait_ms=30000)))
        thread.start()
        self.nothing_passes_for(thread, 0.5)
        self.gubernator.start()
        thread.join(35)
        equal([task.job_id for task in got], [job_id])

    def nothing_passes_for(self, thread, seconds):
        thread.join(seconds)
        assert thread.is_alive(), "the poll came back while Gubernator was away"

    def test_a_stop_does_not_wait_for_it(self):
        self.server.start()
        jobs = Jobs(self.server)
        for _ in range(20):
            jobs.enqueue(limits=[limit(fresh("stop"), 1)])
        jobs.lease(20, wait_ms=0)
        began = time.monotonic()
        equal(self.server.stop(), 0)
        assert time.monotonic() - began < 15

    def test_a_bad_address_is_named(self):
        self.server.settings["gubernator.address"] = "ftp://somewhere"
        with self.assertRaises(RuntimeError) as failure:
            self.server.start()
        assert "gubernator.address" in str(failure.exception), failure.exception


if __name__ == "__main__":
    import runner

    sys.exit(runner.main())

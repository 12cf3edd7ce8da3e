"""Jobs that keep coming while nodes of a cluster come and go, and what became of each.

    with Traffic(cluster) as traffic:
        ...                                  # something happens
    traffic.check(attempts=1)                # every acknowledged job succeeded, in its first attempt
    traffic.holes()                          # {shard: the longest time in seconds in which no call on it succeeded}

One thread for each shard enqueues small jobs and one for each node leases and reports them, all with routing clients that try
again as documented. What fails in a thread fails the test.
"""

import random
import threading
import time

from checks import until
from routes import Routes, World, ranges_of, shard_in
from silo_api import blob, pb

GROUP = "traffic"
CALL_SECONDS = 6
RETRY_SECONDS = 0.02
PACE_SECONDS = 0.02
BACKLOG_MAX = 500  # jobs without an end, from which on there are no more: machines differ
POLL_MS = 200
END_SECONDS = 60
RETRY = pb.RetryPolicy(retry_count=5)  # the hand-out may die with a node that is killed
AGAIN = {"UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED", "UNKNOWN"}


def tenants_of(owners):
    """{shard: a tenant that lives in it}, one for each."""
    found = {}
    ranges = ranges_of(owners)
    number = 0
    while len(found) < len(ranges):
        tenant = "tenant-%d" % number
        number += 1
        found.setdefault(shard_in(ranges, tenant), tenant)
    return found


class Traffic:
    def __init__(self, cluster):
        self.cluster = cluster
        self.tenants = tenants_of(cluster.answering[0].info().shard_owners)
        self.ending = threading.Event()
        self.done = threading.Event()
        self.errors = []
        self.jobs = {}  # (tenant, id) -> shard, acknowledged
        self.reported = set()  # jobs whose worker was answered
        self.gaps = {shard: 0.0 for shard in self.tenants}
        self.run = "%08x" % random.SystemRandom().randrange(1 << 32)
        self.tried_again = 0
        self.refused = []  # answers that a client which tries again has to pass on
        self.producers = [threading.Thread(target=self.guard, args=(self.produce, shard)) for shard in self.tenants]
        self.workers = [threading.Thread(target=self.guard, args=(self.work, node.address))
                        for node in cluster.nodes.values()]

    def open_jobs(self):
        """Acknowledged ones whose worker was not answered yet."""
        return len(set(self.jobs) - self.reported)

    def guard(self, function, argument):
        routes = Routes(World([node.address for node in self.cluster.nodes.values()], [], None, CALL_SECONDS), random.Random(argument))
        try:
            function(routes, argument)
        except Exception as error:
            self.errors.append("%s(%s): %r" % (function.__name__, argument, error))
            raise
        finally:
            routes.close()

    def __enter__(self):
        for thread in self.producers + self.workers:
            thread.start()
        until(lambda: self.errors or len(set(self.jobs.values())) == len(self.tenants), "a job in each shard", END_SECONDS)
        return self

    def __exit__(self, kind, *_):
        """Awaits the end of what is open, unless the test has failed already."""
        self.ending.set()
        for thread in self.producers:
            thread.join(END_SECONDS)
        try:
            if kind is None:
                until(lambda: self.errors or self.open_jobs() == 0, "the end of all jobs", END_SECONDS)
        except AssertionError as error:
            raise AssertionError("%s: %d of %d are open; %s" % (error, self.open_jobs(), len(self.jobs), self.cluster.story())) from None
        finally:
            self.done.set()
            for thread in self.workers:
                thread.join(END_SECONDS)
        assert kind is not None or not self.errors, self.errors

    def again(self, routes, method, message, shard):
        """The reply of a call that is tried until it has an outcome; None when the test is over before."""
        while not self.done.is_set():
            code, reply, _ = routes.call(method, message, shard)
            if code == "OK":
                return reply
            if code not in AGAIN:
                self.refused.append("%s: %s" % (method, code))
                return None
            self.tried_again += 1
            time.sleep(RETRY_SECONDS)
        return None

    def produce(self, routes, shard):
        tenant = self.tenants[shard]
        number = 0
        last = time.monotonic()
        while not self.ending.is_set():
            if len(self.jobs) - len(self.reported) > BACKLOG_MAX:
                time.sleep(PACE_SECONDS)
                last += PACE_SECONDS
                continue
            request = pb.EnqueueRequest(shard=shard, tenant=tenant, id="%s-%d" % (self.run, number), task_group=GROUP,
                                        payload=blob(b"x"), return_existing=True, retry_policy=RETRY)
            number += 1
            if self.again(routes, "Enqueue", request, shard) is not None:
                now = time.monotonic()
                self.jobs[tenant, request.id] = shard
                self.gaps[shard] = max(self.gaps[shard], now - last)
                last = now
            time.sleep(PACE_SECONDS)
            last += PACE_SECONDS

    def work(self, routes, address):
        poll = pb.LeaseTasksRequest(worker_id=address, max_tasks=64, task_group=GROUP, wait_ms=POLL_MS)
        while not self.done.is_set():
            code, reply, _ = routes.poll(poll, address)
            if code != "OK":
                time.sleep(RETRY_SECONDS)
                continue
            for task in reply.tasks:
                outcome = pb.ReportOutcomeRequest(shard=task.shard, tenant_id=task.tenant_id, task_id=task.id, success=blob(b"y"))
                # NOT_FOUND, too, is an answer: an earlier try may have been heard. check() looks at what became of it.
                self.again(routes, "ReportOutcome", outcome, task.shard)
                self.reported.add((task.tenant_id, task.job_id))

    def holes(self):
        return dict(self.gaps)

    def check(self, attempts=None):
        """attempts: how many each job may have had; None when workers could not always be heard."""
        routes = Routes(World([node.address for node in self.cluster.answering], [], None, CALL_SECONDS), random.Random(0))
        self.done.clear()
        try:
            for (tenant, job), shard in self.jobs.items():
                request = pb.GetJobRequest(shard=shard, tenant=tenant, id=job, include_attempts=True)
                state = self.again(routes, "GetJob", request, shard)
                assert state is not None, "%s of %s is gone: %s" % (job, tenant, self.refused[-1])
                assert state.status == pb.JOB_STATUS_SUCCEEDED, "%s of %s: %s" % (job, tenant, pb.JobStatus.Name(state.status))
                tried = [attempt.status for attempt in state.attempts]
                assert attempts is None or len(tried) == attempts, "%s of %s: attempts %s" % (job, tenant, tried)
                assert tried.count(pb.ATTEMPT_STATUS_SUCCEEDED) == 1, "%s of %s: attempts %s" % (job, tenant, tried)
        finally:
            self.done.set()
            routes.close()

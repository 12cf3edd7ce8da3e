#!/usr/bin/env python3
"""Floating limits: when a refresh is wanted, who gets it, and what its outcome does."""

import os
import sys
import time
import unittest
import uuid

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from checks import Cases, equal, status_is  # noqa: E402
from jobs import (  # noqa: E402
    HASHES, HOUR_MS, NOT_OWNER, NO_LEASE, RUNNING, SCHEDULED, Jobs, floating, fresh, now_ms, slot, within,
)
from silo_api import blob, pb  # noqa: E402
from silo_server import SiloServer  # noqa: E402

cases = Cases()
case = cases.case

NO_TASKS = ("00000000-0000-4000-8000-000000000000", "", "no uuid")
SUCCESS = {"success": pb.RefreshSuccess(new_max_concurrency=1)}


class Queue:
    """A floating queue of one test's own, with a default of 1 and an hour between refreshes."""

    def __init__(self, server, default=1, interval_ms=HOUR_MS, **kwargs):
        self.jobs = Jobs(server, **kwargs)
        self.key = fresh("f")
        self.limit = floating(self.key, default, interval_ms, who="first")

    def enqueue(self, count=1, **fields):
        return [self.jobs.enqueue(limits=[self.limit], **fields) for _ in range(count)]

    def start(self, running, waiting):
        """Jobs that run, and jobs that wait: (tasks that run, ids of those who wait)."""
        ids = self.enqueue(running)
        tasks = []
        while len(tasks) < running:
            tasks += self.jobs.lease(running)
        equal([t.job_id for t in tasks], ids)
        return tasks, self.enqueue(waiting)


# --- the task ---


@case("plain")
def a_refresh_is_asked_for_when_jobs_wait(server):
    queue = Queue(server)
    jobs = queue.jobs
    holder, = queue.enqueue()
    reply = jobs.poll(1, 5000)
    equal(([t.job_id for t in reply.tasks], len(reply.refresh_tasks)), ([holder], 0), "nobody waits")
    queue.enqueue()
    refresh = jobs.lease_refresh()
    wanted = pb.RefreshFloatingLimitTask(id=refresh.id, queue_key=queue.key, current_max_concurrency=1,
                                         metadata={"who": "first"}, lease_ms=10000, shard=jobs.shard,
                                         task_group=jobs.group)
    equal(refresh, wanted)
    equal(str(uuid.UUID(refresh.id)), refresh.id)
    queue.enqueue(3)
    jobs.lease_none()  # one at a time
    jobs.refresh(refresh, 1)


@case("plain")
def a_future_job_wants_no_refresh(server):
    queue = Queue(server)
    jobs = queue.jobs
    queue.start(1, 0)
    queue.enqueue(2, start_at_ms=now_ms() + HOUR_MS)
    jobs.lease_none()


@case("plain")
def refreshes_do_not_count(server):
    queue = Queue(server, default=3)
    jobs = queue.jobs
    ids = queue.enqueue(5)
    reply = jobs.poll(0)
    equal((len(reply.tasks), len(reply.refresh_tasks)), (0, 0), "max_tasks 0")
    tasks, (refresh,) = jobs.lease_both(3)
    equal([t.job_id for t in tasks], ids[:3])
    jobs.lease_none()
    jobs.refresh(refresh, 3)


@case("plain")
def it_goes_to_the_group_of_the_best_waiter(server):
    queue, other = Queue(server), Jobs(server)
    jobs = queue.jobs
    queue.start(1, 0)
    other.enqueue(limits=[queue.limit])
    jobs.lease_none()
    refresh = other.lease_refresh()
    equal((refresh.task_group, refresh.queue_key), (other.group, queue.key))
    other.refresh(refresh, 2)
    other.lease_one()


@case("plain")
def the_first_job_defines_the_limit(server):
    queue = Queue(server, default=2)
    jobs = queue.jobs
    first, = queue.enqueue()
    changed = floating(queue.key, 100, 0, who="second")
    second, third = (jobs.enqueue(limits=[changed]) for _ in range(2))
    equal(list(jobs.get(third).limits), [changed], "the job's own limit is kept")
    tasks, (refresh,) = jobs.lease_both(2)
    equal((refresh.current_max_concurrency, dict(refresh.metadata)), (2, {"who": "first"}))
    jobs.refresh(refresh, 2)
    equal([t.job_id for t in tasks], [first, second])
    jobs.lease_none()  # nor is the second interval in effect
    for task in tasks:
        jobs.succeed(task)
    jobs.run(third)


# --- success ---


@case("plain")
def a_raised_value_admits_waiters(server):
    queue = Queue(server)
    jobs = queue.jobs
    (task,), waiting = queue.start(1, 6)
    refresh = jobs.lease_refresh()
    jobs.lease_none()
    poll = server.api.start("LeaseTasks", shard=jobs.shard, task_group=jobs.group, max_tasks=10, wait_ms=30000)
    jobs.refresh(refresh, 4)
    tasks = list(poll.result().tasks)
    while len(tasks) < 3:
        tasks += jobs.lease(10)
    equal([t.job_id for t in tasks], waiting[:3], "up to the new value")
    jobs.lease_none()
    jobs.succeed(task)
    equal([t.job_id for t in jobs.lease(10)], [waiting[3]])
    jobs.lease_none()


@case("plain")
def an_interval_passes_between_refreshes(server):
    queue = Queue(server, interval_ms=700)
    jobs = queue.jobs
    queue.start(1, 2)
    refresh = jobs.lease_refresh()
    equal(refresh.last_refreshed_at_ms, 0, "never")
    before = now_ms()
    jobs.refresh(refresh, 1)
    reported = now_ms()
    jobs.lease_none()
    again = jobs.lease_refresh()
    within(600, 5000, now_ms() - reported, "time between refreshes")
    within(before - 5, reported + 5, again.last_refreshed_at_ms, "last refresh")
    assert again.id != refresh.id
    jobs.refresh(again, 1)


@case("plain")
def zero_blocks_the_queue(server):
    queue = Queue(server, default=1, interval_ms=300)
    jobs = queue.jobs
    (task,), (waiting,) = queue.start(1, 1)
    jobs.refresh(jobs.lease_refresh(), 0)
    jobs.succeed(task)
    refresh = jobs.lease_refresh()  # the queue stands still and is refreshed all the same
    equal((refresh.current_max_concurrency, jobs.status(waiting)), (0, SCHEDULED))
    jobs.refresh(refresh, 2**32 - 1)
    jobs.run(waiting)


@case("plain")
def a_default_of_zero_is_refreshed(server):
    queue = Queue(server, default=0)
    jobs = queue.jobs
    waiting, = queue.enqueue()
    jobs.refresh(jobs.lease_refresh(), 1)
    jobs.run(waiting)


@case("plain")
def a_lowered_value_evicts_nobody(server):
    queue = Queue(server, default=3)
    jobs = queue.jobs
    tasks, waiting = queue.start(3, 2)
    jobs.refresh(jobs.lease_refresh(), 1)
    equal([jobs.status(t.job_id) for t in tasks], [RUNNING] * 3)
    for task in tasks[:2]:
        jobs.succeed(task)
        jobs.lease_none()
    jobs.succeed(tasks[2])
    jobs.run(waiting[0])
    jobs.run(waiting[1])


# --- failure ---


@case("plain")
def a_failed_refresh_backs_off(server):
    queue = Queue(server)
    jobs = queue.jobs
    (task,), waiting = queue.start(1, 2)
    refresh = jobs.lease_refresh()
    for back_off in (1000, 2000):
        jobs.refresh_failed(refresh, "E_REFRESH", "the reason")
        reported = now_ms()
        jobs.lease_none()
        refresh = jobs.lease_refresh()
        within(back_off - 100, back_off + 3000, now_ms() - reported, "back-off")
        equal((refresh.current_max_concurrency, refresh.last_refreshed_at_ms), (1, 0), "unchanged")
    jobs.refresh(refresh, 2)
    equal([t.job_id for t in jobs.lease(1)], waiting[:1])
    jobs.succeed(task)
    jobs.run(waiting[1])


# --- the lease, and what is refused ---


@case("plain")
def a_refresh_has_a_lease(server):
    queue = Queue(server)
    jobs = queue.jobs
    queue.start(1, 1)
    refresh = jobs.lease_refresh("r")
    equal(jobs.beat(refresh, "r"), pb.HeartbeatResponse())
    for worker in ("", "w", "R"):
        status_is(jobs.beat_fails(refresh, worker), *NOT_OWNER, exact=True)
    jobs.refresh(refresh, 1)
    status_is(jobs.beat_fails(refresh, "r"), *NO_LEASE, exact=True)
    for outcome in (SUCCESS, {"failure": pb.RefreshFailure()}):
        status_is(jobs.refresh_fails(refresh, **outcome), *NO_LEASE, exact=True)
    jobs.lease_none()


@case("plain")
def refresh_reports_are_checked(server):
    jobs = Jobs(server)
    for task_id in NO_TASKS:
        fields = {"shard": jobs.shard, "task_id": task_id}
        status_is(server.api.fails("ReportRefreshOutcome", **fields), "INVALID_ARGUMENT", "missing outcome")
        for outcome in (SUCCESS, {"failure": pb.RefreshFailure()}):
            status_is(server.api.fails("ReportRefreshOutcome", **fields, **outcome), *NO_LEASE, exact=True)


@case("plain")
def the_wrong_kind_of_report_is_refused(server):
    queue = Queue(server)
    jobs = queue.jobs
    (task,), (waiting,) = queue.start(1, 1)
    refresh = jobs.lease_refresh()
    for outcome in ({"success": blob()}, {"failure": pb.Failure()}, {"cancelled": pb.Cancelled()}):
        status_is(jobs.report_fails(refresh, **outcome), "FAILED_PRECONDITION", "ReportRefreshOutcome")
    for outcome in (SUCCESS, {"failure": pb.RefreshFailure()}):
        status_is(jobs.refresh_fails(task, **outcome), "INTERNAL", "ReportOutcome")
    results = server.api.ReportOutcomes(
        shard=jobs.shard, outcomes=[pb.ReportOutcomeRequest(task_id=refresh.id, success=blob())]
    ).results
    equal(results[0].code, 9, "FAILED_PRECONDITION")
    equal((jobs.beat(task), jobs.beat(refresh)), (pb.HeartbeatResponse(), pb.HeartbeatResponse()), "both leases")
    jobs.refresh(refresh, 2)
    jobs.run(waiting)
    jobs.succeed(task)


# --- beside other limits, tenants, and restarts ---


@case("plain")
def a_floating_limit_among_others(server):
    queue = Queue(server)
    jobs = queue.jobs
    fixed = fresh("q")
    both = [slot(fixed, 5), queue.limit]
    first, second = (jobs.enqueue(limits=both) for _ in range(2))
    (task,), (refresh,) = jobs.lease_both(1)
    equal(task.job_id, first)
    jobs.refresh(refresh, 1)
    jobs.lease_none()
    jobs.on("CancelJob", second)
    jobs.succeed(task)
    third = jobs.enqueue(limits=both)
    jobs.run(third)
    jobs.queues_are_free(fixed)


@case("plain")
def no_refresh_without_waiters(server):
    queue = Queue(server, interval_ms=0)
    jobs = queue.jobs
    (task,), (waiting,) = queue.start(1, 1)
    jobs.on("CancelJob", waiting)
    time.sleep(0.05)
    for refresh in jobs.poll(1).refresh_tasks:  # asked for before the cancel
        jobs.refresh(refresh, 1)
    jobs.lease_none()
    jobs.succeed(task)


@case("plain")
def imports_and_restarts_know_floating_limits(server):
    queue = Queue(server)
    jobs = queue.jobs
    failed, = queue.enqueue()
    jobs.failed(jobs.lease_one(failed))
    (task,), _ = queue.start(1, 0)
    imported = fresh("import")
    jobs.import_one(id=imported, limits=[queue.limit])
    jobs.on("RestartJob", failed)
    refresh = jobs.lease_refresh()
    jobs.lease_none()
    jobs.refresh(refresh, 3)
    tasks = jobs.lease(10)
    equal({t.job_id for t in tasks}, {imported, failed})
    for each in tasks + [task]:
        jobs.succeed(each)


@case("tenants")
def refreshes_belong_to_a_tenant(server):
    home = server.shard_of_hash(HASHES["a"])
    queue = Queue(server, shard=home, tenant="a")
    jobs = queue.jobs
    queue.start(1, 1)
    refresh = jobs.lease_refresh()
    equal(refresh.tenant_id, "a")
    call = {"shard": home, "task_id": refresh.id}
    for fields in ({}, {"tenant_id": ""}):
        status_is(server.api.fails("ReportRefreshOutcome", **call, **fields, **SUCCESS), "INVALID_ARGUMENT", "tenant_id")
        status_is(server.api.fails("ReportRefreshOutcome", **call, **fields), "INVALID_ARGUMENT", "tenant_id")
        status_is(server.api.fails("Heartbeat", worker_id="w", **call, **fields), "INVALID_ARGUMENT", "tenant_id")
    status = server.api.fails("ReportRefreshOutcome", tenant_id="customer-123", **call, **SUCCESS)
    status_is(status, "FAILED_PRECONDITION", "is not within shard")
    status_is(server.api.fails("ReportRefreshOutcome", tenant_id="a", **call), "INVALID_ARGUMENT", "missing outcome")
    equal(jobs.beat(refresh), pb.HeartbeatResponse())
    jobs.refresh(refresh, 2)
    jobs.lease_one()


@case("own")
def values_survive(server):
    queue = Queue(server)
    jobs = queue.jobs
    (task,), waiting = queue.start(1, 4)
    jobs.refresh(jobs.lease_refresh(), 2)
    second = jobs.lease_one(waiting[0])
    server.stop()
    server.start()
    jobs.api = server.api
    jobs.lease_none()
    jobs.succeed(task)
    third = jobs.lease_one(waiting[1])
    jobs.lease_none()  # neither a third slot nor a refresh within the hour
    server.kill()
    server.start()
    jobs.api = server.api
    for each in (second, third):
        jobs.succeed(each)
    tasks = []
    while len(tasks) < 2:
        tasks += jobs.lease(10)
    equal({t.job_id for t in tasks}, set(waiting[2:]))


SERVERS = {"plain": SiloServer, "tenants": lambda: SiloServer(tenancy=True), "own": SiloServer}

globals().update(cases.classes(SERVERS))

if __name__ == "__main__":
    unittest.main()

#!/usr/bin/env python3
"""Rate limits, answered by the server's own limiter: what passes, in which order the others follow, and how it ends."""

import os
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from checks import Cases, equal, status_is, until  # noqa: E402
from jobs import (  # noqa: E402
    CANCELLED, FAILED, HASHES, HOUR_MS, SCHEDULED, Jobs, fresh, now_ms, rate, retries, slot, within,
)
from silo_api import pb  # noqa: E402
from silo_server import SiloServer  # noqa: E402

cases = Cases()
case = cases.case

QUIET_MS = 150 if os.environ.get("SILO_BUILD", "release") == "release" else 600
LONG = (HOUR_MS, 2 * HOUR_MS, 2.0, 0)  # a back-off that no test waits for
SHORT = (20, 40, 1.0, 0)
BOUNDED = 1000  # retries: such a job does not wait in line, but is looked at again after its back-off


def all_that_pass(jobs):
    """Leases until nothing comes any more."""
    tasks = []
    while True:
        got = jobs.lease(100, wait_ms=QUIET_MS)
        if not got:
            return tasks
        tasks += got


def looked_at(jobs, job_id):
    """Polls, in vain, until the job was looked at and has to wait; returns when it will be looked at again."""
    before = jobs.get(job_id).next_attempt_starts_after_ms

    def moved():
        equal(jobs.lease(1, wait_ms=30), [])
        due = jobs.get(job_id).next_attempt_starts_after_ms
        return due if due != before else 0

    return until(moved, "a back-off")


def throttled(jobs, limits, **fields):
    """A job that was refused and has to wait."""
    job_id = jobs.enqueue(limits=limits, **fields)
    for _ in range(2):
        equal(jobs.lease(1, wait_ms=30), [])
    equal(jobs.status(job_id), SCHEDULED)
    return job_id


# --- what passes ---


@case("plain")
def as_many_pass_as_the_limit_says(server):
    jobs = Jobs(server)
    limits = [rate(fresh("r"), 3, back_off=LONG)]
    ids = [jobs.enqueue(limits=limits) for _ in range(5)]
    tasks = all_that_pass(jobs)
    equal([t.job_id for t in tasks], ids[:3])
    equal(list(tasks[0].limits), limits)
    for job_id in ids[3:]:
        job = jobs.get(job_id, True)
        equal((job.status, len(job.attempts)), (SCHEDULED, 0))
    for task in tasks:
        jobs.succeed(task)  # a rate is no slot
    equal(all_that_pass(jobs), [])


@case("plain")
def the_same_poll_hands_out_what_passed(server):
    jobs = Jobs(server)
    job_id = jobs.enqueue(limits=[rate(fresh("r"), 1)])
    equal([t.job_id for t in until(lambda: jobs.poll(1).tasks, "the task")], [job_id])


@case("plain")
def they_pass_in_order(server):
    jobs = Jobs(server)
    limits = [rate(fresh("r"), 2, 3000)]
    jobs.run(jobs.enqueue(limits=limits))
    jobs.run(jobs.enqueue(limits=limits))
    last, second, third = (jobs.enqueue(limits=limits, priority=p) for p in (30, 20, 20))
    equal(jobs.lease(10, wait_ms=30), [])
    first = jobs.enqueue(limits=limits, priority=10)
    began = now_ms()
    got = []
    while len(got) < 4:
        got += [t.job_id for t in jobs.lease(10, wait_ms=300)]
    equal(got, [first, second, third, last])
    within(3000, 30_000, now_ms() - began, "two refills")


@case("plain")
def a_throttled_backlog_holds_up_nobody(server):
    jobs = Jobs(server)
    limits = [rate(fresh("r"), 1, back_off=LONG)]
    for _ in range(200):
        jobs.enqueue(limits=limits, priority=1)
    equal(len(jobs.lease(50)), 1)
    other = jobs.enqueue(priority=90)
    equal([t.job_id for t in jobs.lease(50)], [other])


@case("plain")
def more_pass_after_the_reset(server):
    jobs = Jobs(server)
    began = now_ms()
    limits = [rate(fresh("r"), 1, 700, back_off=(10, 10_000, 1.0, BOUNDED))]
    first, second, third = (jobs.enqueue(limits=limits) for _ in range(3))
    task = jobs.lease_one(first)
    passed = now_ms()
    jobs.succeed(task)
    within(began + 700, passed + 700, looked_at(jobs, second), "the time of the reset")
    for job_id in (second, third):
        jobs.run(job_id)
    within(began + 1400, began + 20_000, now_ms(), "the time of the third one")


@case("plain")
def a_leaky_bucket_regains_bit_by_bit(server):
    jobs = Jobs(server)
    limits = [rate(fresh("r"), 2, 1200, algorithm=pb.GUBERNATOR_ALGORITHM_LEAKY_BUCKET, back_off=SHORT)]
    ids = [jobs.enqueue(limits=limits) for _ in range(3)]
    began = now_ms()
    tasks = []
    while len(tasks) < 3:
        tasks += jobs.lease(1)
    equal([t.job_id for t in tasks], ids)
    within(450, 10_000, now_ms() - began, "half the duration")


@case("plain")
def hits_are_counted(server):
    jobs = Jobs(server)
    name = fresh("r")
    jobs.run(jobs.enqueue(limits=[rate(name, 10, hits=8, back_off=LONG)]))
    three = throttled(jobs, [rate(name, 10, hits=3, back_off=LONG)])
    two = throttled(jobs, [rate(name, 10, hits=2, back_off=LONG)])  # two are left, but three are wanted first
    jobs.on("CancelJob", three)
    jobs.run(two)
    throttled(jobs, [rate(name, 10, hits=1, back_off=LONG)])
    one = fresh("r")
    jobs.run(jobs.enqueue(limits=[rate(one, 1, hits=0, back_off=LONG)]))  # not said, so it takes one
    throttled(jobs, [rate(one, 1, hits=0, back_off=LONG)])
    throttled(jobs, [rate(fresh("r"), 10, hits=11, back_off=LONG)])
    throttled(jobs, [rate(fresh("r"), 0, back_off=LONG)])


@case("plain")
def names_and_keys_are_apart(server):
    jobs = Jobs(server)
    name = fresh("r")
    jobs.run(jobs.enqueue(limits=[rate(name, 1, key="k", back_off=LONG)]))
    jobs.run(jobs.enqueue(limits=[rate(name, 1, key="l", back_off=LONG)]))
    jobs.run(jobs.enqueue(limits=[rate(name + "x", 1, key="k", back_off=LONG)]))
    throttled(jobs, [rate(name, 1, key="k", back_off=LONG)])


@case("plain")
def a_backlog_does_not_use_up_the_limit(server):
    jobs, other = Jobs(server), Jobs(server)
    limits = [rate(fresh("r"), 10, back_off=LONG)]
    for _ in range(40):
        jobs.enqueue(limits=limits)
    equal(len(jobs.lease(1)), 1)
    ids = [other.enqueue(limits=limits) for _ in range(9)]
    equal([t.job_id for t in all_that_pass(other)], ids, "one hit was used, not forty")


# --- when it is looked at again ---


@case("plain")
def the_back_off_grows_to_its_maximum(server):
    jobs = Jobs(server)
    name = fresh("r")
    limits = [rate(name, 1, back_off=(100_000, 500_000, 3.0, BOUNDED))]
    jobs.run(jobs.enqueue(limits=limits))
    job_id = jobs.enqueue(limits=limits)
    for wait in (100_000, 300_000, 500_000, 500_000):
        within(wait - 5000, wait, looked_at(jobs, job_id) - now_ms(), "back-off")
        jobs.on("ExpediteJob", job_id)  # its start is now; the limit still holds


@case("plain")
def a_bounded_back_off_doubles(server):
    jobs = Jobs(server)
    limits = [rate(fresh("r"), 1, back_off=(100, 30_000, 2.0, BOUNDED))]
    jobs.run(jobs.enqueue(limits=limits))
    job_id = jobs.enqueue(limits=limits)
    began = now_ms()
    seen = set()
    while now_ms() < began + 900:
        equal(jobs.lease(1, wait_ms=50), [])
        seen.add(jobs.get(job_id).next_attempt_starts_after_ms - began)
    # 100, 200, 400, 800 ms after one another.
    assert 3 <= len(seen) <= 6, seen


@case("plain")
def retries_can_be_used_up(server):
    jobs = Jobs(server)
    name = fresh("r")
    jobs.run(jobs.enqueue(limits=[rate(name, 1)]))
    moved = jobs.counting()
    job_id = jobs.enqueue(limits=[rate(name, 1, back_off=(20, 20, 1.0, 2))], retry_policy=retries(5))
    until(lambda: jobs.lease(1, wait_ms=50) == [] and jobs.status(job_id) == FAILED, "the end of the retries")
    job = jobs.get(job_id, True)
    equal((job.status, len(job.attempts), job.HasField("next_attempt_starts_after_ms")), (FAILED, 0, False))
    result = jobs.on("GetJobResult", job_id)
    equal((result.status, result.failure.error_code), (FAILED, "RATE_LIMIT_EXCEEDED"))
    equal(result.finished_at_ms, job.status_changed_at_ms)
    assert 0xA0 <= result.failure.error_data.msgpack[0] <= 0xDB, "a MessagePack string"
    moved(1, 1, "it failed")
    status_is(jobs.on_fails("CancelJob", job_id), "FAILED_PRECONDITION", "job is already in terminal state", exact=True)
    jobs.refused("ExpediteJob", job_id, "job is already in a terminal state", FAILED)
    jobs.on("RestartJob", job_id)
    moved(1, 0, "restart")
    task = jobs.lease_this(job_id)
    equal((task.attempt_number, task.relative_attempt_number), (1, 1), "it never ran")
    jobs.succeed(task)
    jobs.on("DeleteJob", job_id)
    moved(0, 0, "delete")


@case("plain")
def every_attempt_is_a_hit(server):
    jobs = Jobs(server)
    limits = [rate(fresh("r"), 2, back_off=(HOUR_MS, 2 * HOUR_MS, 2.0, BOUNDED))]
    job_id = jobs.enqueue(limits=limits, retry_policy=retries(5))
    for number in (1, 2):
        task = jobs.lease_one(job_id)
        equal(task.attempt_number, number)
        jobs.failed(task)
    within(HOUR_MS - 10_000, HOUR_MS, looked_at(jobs, job_id) - now_ms(), "back-off")


# --- a job that waits for its rate ---


@case("plain")
def it_is_cancelled(server):
    jobs = Jobs(server)
    name = fresh("r")
    jobs.run(jobs.enqueue(limits=[rate(name, 1)]))
    moved = jobs.counting()
    job_id = throttled(jobs, [rate(name, 1, back_off=(30, 30, 1.0, 0))])
    jobs.on("CancelJob", job_id)
    moved(1, 1, "cancel")
    equal(jobs.status(job_id), CANCELLED)
    equal(jobs.lease(1, wait_ms=150), [])
    equal(jobs.status(job_id), CANCELLED, "the check has gone with it")
    jobs.on("DeleteJob", job_id)


@case("plain")
def it_is_leased_alone(server):
    jobs = Jobs(server)
    name = fresh("r")
    jobs.run(jobs.enqueue(limits=[rate(name, 1)]))
    job_id = throttled(jobs, [rate(name, 1, back_off=LONG)])
    task = jobs.lease_this(job_id)
    equal((task.job_id, task.attempt_number), (job_id, 1))
    jobs.succeed(task)
    equal(jobs.lease(1, wait_ms=100), [])


@case("plain")
def a_future_one_is_expedited(server):
    jobs = Jobs(server)
    name = fresh("r")
    first, second = (jobs.enqueue(limits=[rate(name, 1, back_off=LONG)], start_at_ms=now_ms() + HOUR_MS) for _ in range(2))
    equal(jobs.lease(1, wait_ms=50), [])
    jobs.on("ExpediteJob", second)
    jobs.run(second)
    jobs.on("ExpediteJob", first)
    equal(jobs.lease(1, wait_ms=100), [])
    equal(jobs.status(first), SCHEDULED)


@case("plain")
def a_throttled_one_is_expedited(server):
    jobs = Jobs(server)
    name = fresh("r")
    jobs.run(jobs.enqueue(limits=[rate(name, 10, hits=8, back_off=LONG)]))
    first = throttled(jobs, [rate(name, 10, hits=3, back_off=LONG)])
    second = throttled(jobs, [rate(name, 10, hits=2, back_off=LONG)])
    jobs.on("ExpediteJob", second)
    jobs.refused("ExpediteJob", second, "task is already ready to run", SCHEDULED)
    jobs.run(second)
    equal(jobs.status(first), SCHEDULED)


@case("plain")
def it_is_imported_again(server):
    jobs = Jobs(server)
    name, queue = fresh("r"), fresh("q")
    jobs.run(jobs.enqueue(limits=[rate(name, 1)]))
    job_id = throttled(jobs, [slot(queue), rate(name, 1, back_off=(30, 30, 1.0, 0))])
    failed = pb.ImportAttempt(status=pb.ATTEMPT_STATUS_FAILED, started_at_ms=1, finished_at_ms=2, error_code="E")
    equal(jobs.import_one(id=job_id, attempts=[failed]), FAILED)
    equal(jobs.lease(1, wait_ms=100), [])
    jobs.queues_are_free(queue)


# --- beside slots ---


@case("plain")
def a_slot_is_kept_while_it_waits(server):
    jobs = Jobs(server)
    name, queue = fresh("r"), fresh("q")
    jobs.run(jobs.enqueue(limits=[rate(name, 1)]))
    job_id = throttled(jobs, [slot(queue), rate(name, 1, back_off=LONG)])
    waiting = jobs.enqueue(limits=[slot(queue)])
    jobs.lease_none()
    jobs.on("CancelJob", job_id)
    jobs.run(waiting)
    jobs.queues_are_free(queue)


@case("plain")
def used_up_retries_free_the_slot(server):
    jobs = Jobs(server)
    name, queue = fresh("r"), fresh("q")
    jobs.run(jobs.enqueue(limits=[rate(name, 1)]))
    job_id = jobs.enqueue(limits=[slot(queue), rate(name, 1, back_off=(20, 20, 1.0, 1))])
    waiting = jobs.enqueue(limits=[slot(queue)])
    jobs.run(waiting)
    equal(jobs.status(job_id), FAILED)


@case("plain")
def a_passed_rate_is_not_asked_again(server):
    jobs = Jobs(server)
    name, queue = fresh("r"), fresh("q")
    holder = jobs.enqueue(limits=[slot(queue)])
    task = jobs.lease_one(holder)
    job_id = jobs.enqueue(limits=[rate(name, 1, back_off=LONG), slot(queue)])

    def parked():
        equal(jobs.lease(1, wait_ms=30), [])
        return "no pending task to expedite" in jobs.on_fails("ExpediteJob", job_id).text

    until(parked, "the job to wait for its slot", 5)
    jobs.succeed(task)
    jobs.run(job_id)
    jobs.queues_are_free(queue)


@case("plain")
def two_rates_both_count(server):
    jobs = Jobs(server)
    wide, narrow = fresh("wide"), fresh("narrow")
    limits = [rate(wide, 5, back_off=LONG), rate(narrow, 2, back_off=LONG)]
    ids = [jobs.enqueue(limits=limits) for _ in range(3)]
    equal([t.job_id for t in all_that_pass(jobs)], ids[:2])
    equal(jobs.status(ids[2]), SCHEDULED)
    more = [jobs.enqueue(limits=[rate(wide, 5, back_off=LONG)]) for _ in range(3)]
    equal([t.job_id for t in all_that_pass(jobs)], more[:2], "three hits of the wide one were used")


# --- tenants, and restarts ---


@case("tenants")
def buckets_belong_to_a_tenant(server):
    limits = [rate(fresh("r"), 1, back_off=LONG)]
    for tenant in HASHES:
        jobs = Jobs(server, tenant=tenant)
        jobs.run(jobs.enqueue(limits=limits))
        throttled(jobs, limits)


@case("own")
def what_was_used_survives(server):
    jobs = Jobs(server)
    limits = [rate(fresh("r"), 2, back_off=SHORT)]
    jobs.run(jobs.enqueue(limits=limits))
    for end in (server.stop, server.kill):
        end()
        server.start()
        jobs.api = server.api
        if end == server.stop:
            jobs.run(jobs.enqueue(limits=limits))
            waiting = throttled(jobs, limits)
    equal(jobs.lease(1, wait_ms=200), [])
    equal(jobs.status(waiting), SCHEDULED)


SERVERS = {"plain": SiloServer, "tenants": lambda: SiloServer(tenancy=True, shards=1), "own": SiloServer}

globals().update(cases.classes(SERVERS))

if __name__ == "__main__":
    unittest.main()

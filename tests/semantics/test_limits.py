#!/usr/bin/env python3
"""Concurrency limits: who gets a slot, who waits, in which order, and what gives slots back."""

import os
import sys
import threading
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from checks import Cases, equal, status_is  # noqa: E402
from jobs import (  # noqa: E402
    CANCELLED, FAILED, HOUR_MS, RUNNING, SCHEDULED, SUCCEEDED, Jobs, floating, fresh, now_ms, rate, retries, slot,
)
from silo_api import pb  # noqa: E402
from silo_server import SiloServer  # noqa: E402

cases = Cases()
case = cases.case


def tenant_jobs(server, tenant):
    return Jobs(server, tenant=tenant)


# --- round trips ---


@case("plain")
def limits_of_each_kind_come_back(server):
    default_policy = pb.RateLimitRetryPolicy(initial_backoff_ms=100, max_backoff_ms=30000, backoff_multiplier=2.0)
    sent = (
        slot(fresh("slot"), 7),
        slot(fresh("wide"), 2**32 - 1),
        rate(fresh("rate"), 2**62, 2**61, key="\u00e9", hits=-5, algorithm=pb.GUBERNATOR_ALGORITHM_LEAKY_BUCKET,
             behavior=2 | 16, back_off=(1, 2**60, 1.5, 2**32 - 1)),
        rate(fresh("plain"), 10, HOUR_MS),
        rate(fresh("zero"), 10, HOUR_MS, back_off=(0, 0, 0.0, 0)),
        floating(fresh("float"), 5, 12345, a="1", b="\u00e9", c=""),
        floating(fresh("bare"), 1, 0),
        slot("", 3),
    )
    jobs = Jobs(server)
    job_id = jobs.enqueue(limits=sent)
    got = list(jobs.get(job_id).limits)
    wanted = [pb.Limit.FromString(limit.SerializeToString()) for limit in sent]
    wanted[3].rate_limit.retry_policy.CopyFrom(default_policy)
    equal(got, wanted, "limits of GetJob")
    task = jobs.lease_one(job_id)
    equal(list(task.limits), wanted, "limits of the task")
    equal(dict(task.limits[5].floating_concurrency.metadata), {"a": "1", "b": "\u00e9", "c": ""})
    jobs.succeed(task)
    equal(list(jobs.get(job_id).limits), wanted, "limits of the finished job")


@case("plain")
def each_kind_alone_comes_back(server):
    for limit in (slot(fresh()), floating(fresh(), 1, 5, k="v"), rate(fresh(), 1, back_off=(1, 2, 3, 4))):
        jobs = Jobs(server)
        job_id = jobs.enqueue(limits=[limit])
        equal(list(jobs.get(job_id).limits), [limit])
        task = jobs.lease_one(job_id)
        equal(list(task.limits), [limit])
        jobs.succeed(task)


# --- who gets a slot ---


@case("plain")
def one_runs_the_others_wait(server):
    jobs = Jobs(server)
    queue = [slot(fresh("q"))]
    before = now_ms()
    ids = [jobs.enqueue(limits=queue) for _ in range(4)]
    for n, report in enumerate((jobs.succeed, jobs.failed, jobs.cancelled, jobs.succeed)):
        task = jobs.lease_one(ids[n])
        equal((task.attempt_number, task.relative_attempt_number), (1, 1))
        jobs.lease_none()
        for waiting in ids[n + 1:]:
            job = jobs.get(waiting, True)
            equal((job.status, len(job.attempts)), (SCHEDULED, 0))
            assert before - 5 <= job.next_attempt_starts_after_ms <= now_ms(), "a start in the past"
        report(task)
    equal([jobs.status(i) for i in ids], [SUCCEEDED, FAILED, CANCELLED, SUCCEEDED])


@case("plain")
def a_free_slot_wakes_a_poll(server):
    jobs = Jobs(server)
    queue = [slot(fresh("q"))]
    first, second = jobs.enqueue(limits=queue), jobs.enqueue(limits=queue)
    task = jobs.lease_one(first)
    poll = server.api.start("LeaseTasks", shard=jobs.shard, task_group=jobs.group, max_tasks=1, wait_ms=30000)
    jobs.succeed(task)
    equal([t.job_id for t in poll.result().tasks], [second])


@case("plain")
def the_slot_is_taken_before_the_lease(server):
    jobs = Jobs(server)
    queue = fresh("q")
    first = jobs.enqueue(limits=[slot(queue)], priority=50)
    urgent = jobs.enqueue(limits=[slot(queue)], priority=0)
    jobs.run(first)  # it had the slot when the urgent one came
    jobs.run(urgent)


@case("plain")
def waiters_stand_in_order(server):
    jobs = Jobs(server)
    queue = [slot(fresh("q"))]
    holder = jobs.enqueue(limits=queue, priority=99)
    base = now_ms() - HOUR_MS
    late = jobs.enqueue(limits=queue, priority=50, start_at_ms=base + 2)
    early = jobs.enqueue(limits=queue, priority=50, start_at_ms=base + 1)
    same = jobs.enqueue(limits=queue, priority=50, start_at_ms=base + 2)
    urgent = jobs.enqueue(limits=queue, priority=1)
    for job_id in (holder, urgent, early, late, same):
        jobs.run(job_id)


@case("plain")
def a_maximum_of_zero_never_grants(server):
    jobs = Jobs(server)
    queue = fresh("q")
    never = jobs.enqueue(limits=[slot(queue, 0)])
    other = jobs.enqueue(limits=[slot(queue, 1)])
    jobs.run(other)
    jobs.lease_none()
    equal(jobs.status(never), SCHEDULED)
    jobs.on("CancelJob", never)
    equal(jobs.status(never), CANCELLED)


@case("plain")
def each_job_brings_its_own_maximum(server):
    jobs = Jobs(server)
    queue = fresh("q")
    first = jobs.enqueue(limits=[slot(queue, 1)])
    narrow = jobs.enqueue(limits=[slot(queue, 1)])
    wide = jobs.enqueue(limits=[slot(queue, 3)])
    wider = jobs.enqueue(limits=[slot(queue, 3)])
    last = jobs.enqueue(limits=[slot(queue, 3)])
    tasks = {t.job_id: t for t in jobs.lease(10)}
    equal(set(tasks), {first, wide, wider}, "those that fit")
    jobs.succeed(tasks[first])  # two are left: too many for the narrow one, which stands first
    equal([t.job_id for t in jobs.lease(10)], [last])
    jobs.succeed(tasks[wide])
    jobs.succeed(tasks[wider])
    jobs.lease_none()  # `last` still runs
    equal(jobs.status(narrow), SCHEDULED)


@case("plain")
def a_future_job_holds_no_slot(server):
    jobs = Jobs(server)
    queue = [slot(fresh("q"))]
    future = jobs.enqueue(limits=queue, start_at_ms=now_ms() + 600)
    now = jobs.enqueue(limits=queue)
    task = jobs.lease_one(now)
    equal(jobs.lease(10, wait_ms=900), [], "the slot is taken when the other one is due")
    equal(jobs.status(future), SCHEDULED)
    jobs.succeed(task)
    jobs.run(future)


@case("plain")
def one_queue_spans_groups_and_priorities(server):
    first, second = Jobs(server), Jobs(server)
    queue = [slot(fresh("q"))]
    a = first.enqueue(limits=queue)
    b = second.enqueue(limits=queue)
    task = first.lease_one(a)
    second.lease_none()
    first.succeed(task)
    second.run(b)


@case("plain")
def a_queue_named_twice_is_one_slot(server):
    jobs = Jobs(server)
    queue = fresh("q")
    twice = jobs.enqueue(limits=[slot(queue, 5), slot(queue, 1)])
    other = jobs.enqueue(limits=[slot(queue, 2)])
    third = jobs.enqueue(limits=[slot(queue, 1), slot(queue, 5)])
    tasks = {t.job_id: t for t in jobs.lease(10)}
    equal(set(tasks), {twice, other}, "one slot, and the smaller maximum counts")
    jobs.succeed(tasks[twice])
    jobs.lease_none()
    jobs.succeed(tasks[other])
    jobs.run(third)
    jobs.queues_are_free(queue)


@case("plain")
def limits_are_taken_in_their_order(server):
    jobs = Jobs(server)
    first, second = fresh("first"), fresh("second")
    blocker = jobs.enqueue(limits=[slot(second)])
    both = jobs.enqueue(limits=[slot(first), slot(second)])
    behind = jobs.enqueue(limits=[slot(first)])
    task = jobs.lease_one(blocker)
    jobs.lease_none()  # `both` holds the first slot while it waits for the second
    equal((jobs.status(both), jobs.status(behind)), (SCHEDULED, SCHEDULED))
    jobs.succeed(task)
    jobs.run(both)
    jobs.run(behind)
    jobs.queues_are_free(first, second)


@case("plain")
def opposite_orders_do_not_lock_up(server):
    jobs = Jobs(server)
    a, b = fresh("a"), fresh("b")
    blockers = [jobs.enqueue(limits=[slot(a)]), jobs.enqueue(limits=[slot(b)])]
    tasks = jobs.lease(10)
    equal({t.job_id for t in tasks}, set(blockers))
    ids = [jobs.enqueue(limits=[slot(a), slot(b)] if n % 2 else [slot(b), slot(a)]) for n in range(12)]
    for task in tasks:
        jobs.succeed(task)
    done = []
    while len(done) < len(ids):
        task = jobs.lease_one()
        jobs.lease_none()
        jobs.succeed(task)
        done.append(task.job_id)
    equal(sorted(done), sorted(ids))
    jobs.queues_are_free(a, b)


@case("plain")
def never_more_than_the_maximum(server):
    jobs = Jobs(server)
    queue = [slot(fresh("q"), 3)]
    count = 90
    lock = threading.Lock()
    seen, running, most = [], [0], [0]

    def work():
        while len(seen) < count:
            for task in jobs.lease(2, wait_ms=300):
                with lock:
                    running[0] += 1
                    most[0] = max(most[0], running[0])
                time.sleep(0.002)
                with lock:
                    running[0] -= 1
                jobs.succeed(task)
                with lock:
                    seen.append(task.job_id)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    results = server.api.EnqueueMany(
        shard=jobs.shard, jobs=[pb.EnqueueRequest(task_group=jobs.group, limits=queue) for _ in range(count)]
    ).results
    for thread in threads:
        thread.join(60)
    equal(sorted(seen), sorted(r.id for r in results))
    assert 1 < most[0] <= 3, most[0]
    jobs.queues_are_free(queue[0].concurrency.key)


# --- what gives a slot back ---


@case("plain")
def a_failed_attempt_gives_its_slot_to_a_waiter(server):
    for delay in (0, 300):
        jobs = Jobs(server)
        queue = [slot(fresh("q"))]
        first = jobs.enqueue(limits=queue, retry_policy=retries(1, delay))
        second = jobs.enqueue(limits=queue)
        task = jobs.lease_one(first)
        jobs.failed(task)
        job = jobs.get(first)
        equal(job.status, SCHEDULED)
        other = jobs.lease_one(second)
        equal(jobs.lease(10, wait_ms=delay + 100), [], "the retry waits for a slot")
        jobs.succeed(other)
        task = jobs.run(first)
        equal((task.attempt_number, task.is_last_attempt), (2, True))
        jobs.queues_are_free(queue[0].concurrency.key)


@case("plain")
def a_retry_holds_no_slot_while_it_waits(server):
    jobs = Jobs(server)
    queue = [slot(fresh("q"))]
    first = jobs.enqueue(limits=queue, retry_policy=retries(1, HOUR_MS))
    jobs.failed(jobs.lease_one(first))
    jobs.queues_are_free(queue[0].concurrency.key)
    jobs.run(jobs.enqueue(limits=queue))
    jobs.on("ExpediteJob", first)
    jobs.run(first)


@case("plain")
def cancelling_a_holder_lets_the_next_one_in(server):
    jobs = Jobs(server)
    queue = [slot(fresh("q"))]
    holder, waiting = jobs.enqueue(limits=queue), jobs.enqueue(limits=queue)
    jobs.on("CancelJob", holder)
    equal(jobs.status(holder), CANCELLED)
    jobs.run(waiting)


@case("plain")
def cancelling_a_waiter_grants_the_next_one(server):
    jobs = Jobs(server)
    queue = [slot(fresh("q"))]
    holder, waiting, next_one = (jobs.enqueue(limits=queue) for _ in range(3))
    task = jobs.lease_one(holder)
    moved = jobs.counting()
    jobs.on("CancelJob", waiting)
    moved(0, 1, "cancel")
    equal(jobs.status(waiting), CANCELLED)
    jobs.lease_none()
    jobs.succeed(task)
    jobs.run(next_one)
    jobs.lease_none()
    equal(jobs.get(waiting, True).attempts[:], [])
    jobs.on("DeleteJob", waiting)
    jobs.queues_are_free(queue[0].concurrency.key)


@case("plain")
def cancelling_a_future_job_leaves_no_slot(server):
    jobs = Jobs(server)
    queue = [slot(fresh("q"))]
    future = jobs.enqueue(limits=queue, start_at_ms=now_ms() + HOUR_MS)
    jobs.on("CancelJob", future)
    jobs.queues_are_free(queue[0].concurrency.key)
    jobs.run(jobs.enqueue(limits=queue))


@case("plain")
def a_marked_run_keeps_its_slot(server):
    jobs = Jobs(server)
    queue = [slot(fresh("q"))]
    holder, waiting = jobs.enqueue(limits=queue), jobs.enqueue(limits=queue)
    task = jobs.lease_one(holder)
    jobs.on("CancelJob", holder)
    equal(jobs.status(holder), RUNNING)
    jobs.lease_none()
    jobs.cancelled(task)
    jobs.run(waiting)


@case("plain")
def cancelling_between_two_queues_frees_the_first(server):
    jobs = Jobs(server)
    first, second = fresh("first"), fresh("second")
    blocker = jobs.enqueue(limits=[slot(second)])
    both = jobs.enqueue(limits=[slot(first), slot(second)])
    task = jobs.lease_one(blocker)
    jobs.on("CancelJob", both)
    jobs.run(jobs.enqueue(limits=[slot(first)]))
    jobs.succeed(task)
    jobs.queues_are_free(first, second)


@case("plain")
def a_restarted_job_goes_through_its_limits(server):
    jobs = Jobs(server)
    queue = [slot(fresh("q"))]
    failed = jobs.enqueue(limits=queue)
    jobs.failed(jobs.lease_one(failed))
    holder = jobs.enqueue(limits=queue)
    task = jobs.lease_one(holder)
    jobs.on("RestartJob", failed)
    jobs.lease_none()
    equal(jobs.status(failed), SCHEDULED)
    jobs.succeed(task)
    task = jobs.lease_one(failed)
    equal((task.attempt_number, task.relative_attempt_number), (2, 1))
    waiting = jobs.enqueue(limits=queue)
    jobs.lease_none()  # and it holds its slot
    jobs.succeed(task)
    jobs.run(waiting)


# --- the operator drops holders ---


@case("tenants")
def dropping_frees_one_tenants_slots(server):
    mine, other = tenant_jobs(server, "a"), tenant_jobs(server, "customer-123")
    queue = [slot("same", 2)]
    ids = [mine.enqueue(limits=queue) for _ in range(7)]
    theirs = [other.enqueue(limits=queue) for _ in range(3)]
    running = mine.lease_one(ids[0])  # one holder runs, one is queued
    their_tasks = other.lease(10)
    equal([t.job_id for t in their_tasks], theirs[:2])
    before = [mine.record(i) for i in ids]
    equal(mine.drop_holders(), 2)
    equal([mine.record(i) for i in ids], before, "jobs")
    equal(mine.beat(running), pb.HeartbeatResponse(), "the lease")
    tasks = mine.lease(10)
    equal([t.job_id for t in tasks], [ids[1], ids[2], ids[3]], "the queued one and two waiters")
    mine.succeed(running)
    mine.succeed(tasks[0])  # neither held a slot any more
    mine.lease_none()
    mine.succeed(tasks[1])
    equal([t.job_id for t in mine.lease(10)], [ids[4]])
    other.lease_none()  # nothing of the other tenant was freed
    for task in their_tasks:
        other.succeed(task)
    other.run(theirs[2])
    equal(other.drop_holders(), 0)
    equal(mine.drop_holders(), 2)
    equal([t.job_id for t in mine.lease(10)], ids[5:])
    equal(mine.drop_holders(), 2)
    equal([mine.drop_holders() for _ in range(2)], [0, 0], "repeated")


@case("tenants")
def queues_belong_to_a_tenant(server):
    mine, other = tenant_jobs(server, "a"), tenant_jobs(server, "customer-123")
    other.group = mine.group  # groups do not
    queue = [slot(fresh("q"))]
    first, second, theirs = mine.enqueue(limits=queue), mine.enqueue(limits=queue), other.enqueue(limits=queue)
    tasks = {t.job_id: t for t in mine.lease(10)}
    equal({i: t.tenant_id for i, t in tasks.items()}, {first: "a", theirs: "customer-123"})
    other.succeed(tasks[theirs])
    mine.lease_none()
    mine.succeed(tasks[first])
    mine.run(second)


@case("tenants")
def calls_of_operators_name_a_tenant(server):
    mine, other = tenant_jobs(server, "a"), tenant_jobs(server, "customer-123")
    job_id = mine.enqueue(start_at_ms=now_ms() + HOUR_MS)
    for method, fields in (("RestartJob", {}), ("ExpediteJob", {}), ("LeaseTask", {"worker_id": "w"})):
        status_is(other.on_fails(method, job_id, **fields), "NOT_FOUND", "job not found")
    mine.on("ExpediteJob", job_id)
    task = mine.lease_this(job_id)
    equal(task.tenant_id, "a")
    mine.failed(task)
    mine.on("RestartJob", job_id)
    equal(mine.lease_this(job_id).attempt_number, 2)


# --- over the end of the process ---


@case("own")
def slots_and_waiters_survive(server):
    jobs = Jobs(server)
    equal(jobs.counters(), (0, 0), "counters of an empty shard")
    queue = fresh("q")
    running, queued, *waiting = (jobs.enqueue(limits=[slot(queue, 2)]) for _ in range(6))
    future = jobs.enqueue(limits=[slot(queue, 2)], start_at_ms=now_ms() + HOUR_MS)
    done = jobs.enqueue(retry_policy=retries(1))
    task = jobs.lease_one(running)
    jobs.on("CancelJob", waiting[0])
    jobs.succeed(jobs.lease_this(done), b"d")
    counters = jobs.counters()
    equal(counters, (8, 2))
    for end in (server.stop, server.kill):
        end()
        server.start()
        jobs.api = server.api
        equal(jobs.counters(), counters, "counters after reopening")
        equal([jobs.status(i) for i in (running, queued, done, future)], [RUNNING, SCHEDULED, SUCCEEDED, SCHEDULED])
        equal(jobs.beat(task), pb.HeartbeatResponse())
    second = jobs.lease_one(queued)
    jobs.lease_none()
    jobs.succeed(task)
    third = jobs.lease_one(waiting[1])
    jobs.lease_none()
    jobs.succeed(second)
    jobs.succeed(third)
    jobs.on("ExpediteJob", future)  # it stands behind those who wait
    equal([t.job_id for t in jobs.lease(10)], waiting[2:4])
    equal(jobs.drop_holders(), 2)
    jobs.run(future)


SERVERS = {
    "plain": SiloServer,
    "tenants": lambda: SiloServer(tenancy=True, shards=1),
    "own": SiloServer,
}

globals().update(cases.classes(SERVERS))

if __name__ == "__main__":
    unittest.main()

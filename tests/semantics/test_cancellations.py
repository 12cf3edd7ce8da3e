#!/usr/bin/env python3
"""AwaitCancellations: a worker hears which of its running jobs were cancelled."""

import os
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from checks import Cases, equal, status_is, until  # noqa: E402
from jobs import Jobs, fresh, near_now  # noqa: E402
from silo_api import pb  # noqa: E402
from silo_server import SiloServer  # noqa: E402

cases = Cases()
case = cases.case

NO_ID = "00000000-0000-4000-8000-000000000000"


def told(jobs, worker, *known, **fields):
    reply = jobs.api.AwaitCancellations(shard=jobs.shard, worker_id=worker, known_task_ids=known, **fields)
    return sorted(task.task_id for task in reply.tasks)


def running(jobs, worker, count=1):
    for _ in range(count):
        jobs.enqueue()
    return jobs.lease(count, worker=worker)


def cancel(jobs, task):
    jobs.api.CancelJob(shard=jobs.shard, id=task.job_id, **jobs.tenant)


@case("plain")
def workers_are_told_of_their_own(server):
    jobs, worker = Jobs(server), fresh("w")
    first, second = running(jobs, worker, 2)
    equal(told(jobs, worker), [])
    cancel(jobs, first)
    task, = jobs.api.AwaitCancellations(shard=jobs.shard, worker_id=worker).tasks
    equal(task.task_id, first.id)
    near_now(task.cancelled_at_ms, "cancelled_at_ms")
    equal(told(jobs, worker + "2"), [])
    cancel(jobs, second)
    equal(told(jobs, worker), sorted([first.id, second.id]))
    equal(told(jobs, worker, first.id), [second.id])
    equal(told(jobs, worker, second.id, first.id, "no id", NO_ID), [])
    jobs.succeed(first)
    equal(told(jobs, worker), [second.id], "what was reported is over")


@case("plain")
def a_worker_that_waits_hears_at_once(server):
    jobs, worker = Jobs(server), fresh("w")
    first, second = running(jobs, worker, 2)
    call = jobs.api.start("AwaitCancellations", shard=jobs.shard, worker_id=worker, wait_ms=60000)
    cancel(jobs, first)
    equal([task.task_id for task in call.result(timeout=30).tasks], [first.id])
    call = jobs.api.start("AwaitCancellations", shard=jobs.shard, worker_id=worker, wait_ms=60000,
                          known_task_ids=[first.id])
    cancel(jobs, second)
    equal([task.task_id for task in call.result(timeout=30).tasks], [second.id])
    equal(told(jobs, worker, first.id, second.id, wait_ms=1), [], "the time is over")
    call = jobs.api.start("AwaitCancellations", timeout=0.5, shard=jobs.shard, worker_id=fresh("w"), wait_ms=60000)
    equal(len(call.result().tasks), 0, "the answer comes before the deadline")


@case("plain")
def waits_of_workers_are_checked(server):
    jobs = Jobs(server)
    for fields, text in (
        ({"worker_id": "w" * 4097}, "worker_id too long"),
        ({"worker_id": "w", "known_task_ids": [NO_ID] * 10001}, "too many known_task_ids: at most 10000"),
    ):
        status_is(jobs.api.fails("AwaitCancellations", shard=jobs.shard, **fields), "INVALID_ARGUMENT", text)
    equal(told(jobs, "w" * 4096, *[NO_ID] * 10000), [])


@case("tenants")
def one_call_serves_all_tenants(server):
    worker = fresh("w")
    tasks = []
    for tenant in ("a", "b"):
        jobs = Jobs(server, tenant=tenant)
        task, = running(jobs, worker)
        cancel(jobs, task)
        tasks.append(task.id)
    equal(told(jobs, worker), sorted(tasks))


@case("restarted")
def cancellations_survive_a_restart(server):
    jobs, worker = Jobs(server), fresh("w")
    task, = running(jobs, worker)
    cancel(jobs, task)
    waiting = jobs.api.start("AwaitCancellations", shard=jobs.shard, worker_id=fresh("w"), wait_ms=60000)
    equal(told(jobs, worker), [task.id], "on the same connection: the one before has arrived")
    server.stop()
    equal(len(waiting.result(timeout=30).tasks), 0, "a shutdown ends the wait")
    server.start()
    equal(told(Jobs(server, shard=jobs.shard), worker), [task.id])


@case("narrow")
def waits_leave_room_for_work(server):
    """Waiting calls with long lists are refused before they take what other calls need."""
    jobs = Jobs(server)
    waits = [jobs.api.start("AwaitCancellations", timeout=60, shard=jobs.shard, worker_id=fresh("w"), wait_ms=60000,
                            known_task_ids=["%s%012d" % (NO_ID[:-12], i) for i in range(10000)]) for _ in range(300)]
    until(lambda: any(wait.done() for wait in waits), "a call that is refused", 60)
    jobs.enqueue()
    refused = [wait for wait in waits if wait.done()]
    equal({wait.code().name for wait in refused}, {"RESOURCE_EXHAUSTED"})
    equal(told(jobs, fresh("w"), wait_ms=1), [], "a short list still gets in")
    for wait in waits:
        wait.cancel()


SERVERS = {"plain": SiloServer, "tenants": lambda: SiloServer(tenancy=True, shards=1), "restarted": SiloServer,
           "narrow": lambda: SiloServer(settings={"server.max_request_bytes": 256 << 20})}

globals().update(cases.classes(SERVERS))

if __name__ == "__main__":
    unittest.main()

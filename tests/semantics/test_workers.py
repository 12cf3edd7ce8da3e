#!/usr/bin/env python3
"""The RPCs of workers: leases, heartbeats, outcomes, and the bulk calls, on a real server."""

import os
import sys
import threading
import time
import unittest
import uuid

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from checks import Cases, equal, status_is, until  # noqa: E402
from jobs import NO_LEASE, Jobs, fresh, now_ms  # noqa: E402
from silo_api import Status, blob, pb  # noqa: E402
from silo_server import SiloServer  # noqa: E402

cases = Cases()
case = cases.case

NO_TASKS = ("00000000-0000-4000-8000-000000000000", "", "no uuid", "\u00e9" * 50)


# --- LeaseTasks ---


@case("plain")
def lease_checks_its_arguments(server):
    shard = server.shard_ids()[0]
    status_is(server.api.fails("LeaseTasks", max_tasks=1), "INVALID_ARGUMENT", "task_group is required")
    status_is(server.api.fails("LeaseTasks", shard="bad", max_tasks=1), "INVALID_ARGUMENT", "task_group is required")
    status_is(server.api.fails("LeaseTasks", shard="", task_group="g"), "INVALID_ARGUMENT", "invalid shard ID")
    status = server.api.fails("LeaseTasks", shard=shard, task_group="g", worker_id="w" * 4097, max_tasks=1)
    status_is(status, "INVALID_ARGUMENT", "worker_id too long")
    jobs = Jobs(server)
    jobs.enqueue()
    equal(jobs.lease(0), [], "max_tasks 0")
    equal(len(jobs.lease(2**32 - 1, worker="w" * 4096)), 1)
    reply = server.api.LeaseTasks(task_group="g" * 4000, max_tasks=1)
    equal(len(reply.tasks) + len(reply.refresh_tasks), 0, "a group that never was")


@case("plain")
def tasks_say_all_there_is(server):
    jobs = Jobs(server)
    job_id = jobs.enqueue(payload=blob(b"p"), priority=7, metadata={"k": "v"})
    before = now_ms()
    task = jobs.lease_one()
    equal(str(uuid.UUID(task.id)), task.id)
    wanted = pb.Task(id=task.id, job_id=job_id, attempt_number=1, relative_attempt_number=1, is_last_attempt=True,
                     metadata={"k": "v"}, payload=blob(b"p"), priority=7, shard=jobs.shard, task_group=jobs.group,
                     lease_ms=10000)
    equal(task, wanted)
    started = jobs.get(job_id, True).attempts[0].started_at_ms
    assert before - 5 <= started <= now_ms() + 5
    equal(jobs.lease(wait_ms=0), [], "a task is handed out once")


@case("plain")
def groups_are_apart(server):
    jobs, other = Jobs(server), Jobs(server)
    job_id = jobs.enqueue()
    other.group = jobs.group + "x"
    equal(other.lease(wait_ms=0), [])
    other.group = jobs.group[:-1]
    equal(other.lease(wait_ms=0), [])
    equal(jobs.lease_one().job_id, job_id)


@case("plain")
def an_idle_poll_answers_quickly(server):
    jobs = Jobs(server)
    began = time.monotonic()
    equal(jobs.lease(wait_ms=0), [])
    assert time.monotonic() - began < 5
    began = time.monotonic()
    equal(jobs.lease(wait_ms=300), [])
    assert 0.25 < time.monotonic() - began < 10


@case("plain")
def a_parked_poll_is_woken(server):
    jobs = Jobs(server)
    poll = server.api.start("LeaseTasks", shard=jobs.shard, task_group=jobs.group, max_tasks=5, wait_ms=30000)
    job_id = jobs.enqueue()
    equal([t.job_id for t in poll.result().tasks], [job_id])


@case("plain")
def a_poll_ends_before_its_deadline(server):
    jobs = Jobs(server)
    reply = server.api.call("LeaseTasks", timeout=1.5, shard=jobs.shard, task_group=jobs.group, max_tasks=1,
                            wait_ms=30000)
    equal(len(reply.tasks), 0)


@case("plain")
def a_cancelled_poll_takes_no_task(server):
    jobs = Jobs(server)
    for shard in (jobs.shard, None):
        fields = {} if shard is None else {"shard": shard}
        polls = [server.api.start("LeaseTasks", task_group=jobs.group, max_tasks=1, wait_ms=30000, **fields)
                 for _ in range(20)]
        for poll in polls:
            poll.cancel()
        job_id = jobs.enqueue()
        task = jobs.lease_one()
        equal((task.job_id, task.attempt_number), (job_id, 1))
        jobs.succeed(task)


@case("plain")
def each_task_goes_to_one_of_many(server):
    jobs = Jobs(server)
    count = 200
    seen = []

    def work():
        while len(seen) < count:
            for task in jobs.lease(3, wait_ms=500):
                jobs.succeed(task)
                seen.append(task.job_id)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    ids = [jobs.enqueue() for _ in range(count)]
    for thread in threads:
        thread.join(60)
    equal(sorted(seen), sorted(ids))
    for job_id in ids[::20]:
        equal(jobs.get(job_id).status, pb.JOB_STATUS_SUCCEEDED)


@case("many")
def a_poll_without_shard_serves_all(server):
    shards = server.shard_ids()
    every = [Jobs(server, shard) for shard in shards]
    for jobs in every:
        jobs.group = every[0].group
        for _ in range(2):
            jobs.enqueue()

    def poll(count, wait_ms=0):
        return server.api.LeaseTasks(task_group=every[0].group, worker_id="w", max_tasks=count, wait_ms=wait_ms).tasks

    first = until(lambda: poll(4), "tasks")
    equal(len(first), 4)
    second = poll(10)
    equal(len(second), 2)
    tasks = list(first) + list(second)
    equal(sorted(t.shard for t in tasks), sorted(shards * 2))
    equal(len({t.id for t in tasks}), 6, "distinct tasks")
    for task in tasks:
        server.api.ReportOutcome(shard=task.shard, task_id=task.id, success=blob())
    equal(len(poll(10)), 0)

    for jobs in every:  # parked on all of them, filled by any
        waiting = server.api.start("LeaseTasks", task_group=jobs.group, worker_id="w", max_tasks=3, wait_ms=30000)
        job_id = jobs.enqueue()
        equal([(t.job_id, t.shard) for t in waiting.result().tasks], [(job_id, jobs.shard)])


@case("plain")
def a_bad_item_fails_alone(server):
    jobs = Jobs(server)
    ids = [fresh("job") for _ in range(20)]
    wanted = [pb.EnqueueRequest(id=job_id, task_group=jobs.group) for job_id in ids]
    wanted[7].id = "a\0b"
    reply = server.api.EnqueueMany(shard=jobs.shard, jobs=wanted)
    equal([r.code for r in reply.results], [0] * 7 + [3] + [0] * 12)
    assert "id of EnqueueRequest must not contain a NUL" in reply.results[7].message, reply.results[7].message

    tasks = []
    while len(tasks) < 19:
        tasks += jobs.lease(19)
    outcomes = [pb.ReportOutcomeRequest(task_id=t.id, failure=pb.Failure(code="E")) for t in tasks]
    outcomes[3].failure.code = "E\0"
    outcomes.insert(11, pb.ReportOutcomeRequest(task_id="\0", success=blob()))
    reply = server.api.ReportOutcomes(shard=jobs.shard, outcomes=outcomes)
    equal([r.code for r in reply.results], [0] * 3 + [3] + [0] * 7 + [3] + [0] * 8)
    equal(jobs.get(tasks[3].job_id).status, pb.JOB_STATUS_RUNNING)
    jobs.succeed(tasks[3])

    imports = [pb.ImportJobRequest(shard=jobs.shard, id=fresh("job"), task_group=jobs.group) for _ in range(3)]
    imports[1].task_group = "\0"
    results = server.api.ImportJobs(jobs=imports).results
    equal([r.success for r in results], [True, False, True])
    assert "NUL" in results[1].error

    # Not even a text: the bytes of an item that are no message.
    head = pb.EnqueueManyRequest(shard=jobs.shard, jobs=[pb.EnqueueRequest(task_group=jobs.group)])
    wire = head.SerializeToString() + b"\x12\x03\x12\x05x" + b"\x12\x02\x42\xff"
    reply = server.api.raw("/silo.v1.Silo/EnqueueMany", wire, pb.EnqueueManyResponse.FromString)
    equal([r.code for r in reply.results], [0, 3, 3])


@case("plain")
def bulk_calls_take_so_many_items(server):
    jobs = Jobs(server)
    no_tasks = [pb.ReturnedTask()] * 10000
    equal(len(server.api.ReturnTasks(shard=jobs.shard, tasks=no_tasks).results), 10000)
    status = server.api.fails("ReturnTasks", shard=jobs.shard, tasks=no_tasks + [pb.ReturnedTask()])
    status_is(status, "INVALID_ARGUMENT", "10001 tasks in one call: at most 10000 are taken")


# --- ReturnTasks ---


def give_back(jobs, *tasks, worker="w"):
    reply = jobs.api.ReturnTasks(shard=jobs.shard, worker_id=worker,
                                 tasks=[pb.ReturnedTask(task_id=t) for t in tasks])
    return [(r.code, r.message) for r in reply.results]


@case("plain")
def returned_tasks_keep_their_attempt(server):
    jobs = Jobs(server)
    ids = [jobs.enqueue(priority=p) for p in (3, 1, 2)]
    first = jobs.lease(3)
    equal(give_back(jobs, *[t.id for t in first]), [(0, "")] * 3)
    for job_id in ids:
        equal(jobs.get(job_id, True).status, pb.JOB_STATUS_SCHEDULED)
        equal(len(jobs.get(job_id, True).attempts), 0)
    again = [jobs.lease_one() for _ in ids]
    equal([t.job_id for t in again], [t.job_id for t in first], "they stand where they stood")
    equal([t.attempt_number for t in again], [1, 1, 1])
    for task in again:
        jobs.succeed(task)


@case("plain")
def each_task_is_returned_alone(server):
    jobs = Jobs(server)
    for _ in range(2):
        jobs.enqueue()
    mine, = jobs.lease(1)
    other, = jobs.lease(1, worker="other")
    no_lease = (5, "lease not found")
    answers = give_back(jobs, mine.id, other.id, mine.id, *NO_TASKS)
    equal(answers[:2], [(0, ""), (9, "lease owner mismatch")])
    equal(answers[2:], [no_lease] * (1 + len(NO_TASKS)))
    equal(give_back(jobs), [])
    status_is(server.api.fails("ReturnTasks", shard="bad"), "INVALID_ARGUMENT", "invalid shard ID")
    equal(jobs.lease_one().job_id, mine.job_id)
    jobs.succeed(other)


@case("plain")
def a_returned_job_that_was_cancelled_ends(server):
    jobs = Jobs(server)
    job_id = jobs.enqueue(retry_policy=pb.RetryPolicy(retry_count=3))
    task = jobs.lease_one()
    server.api.CancelJob(shard=jobs.shard, id=job_id)
    equal(give_back(jobs, task.id), [(0, "")])
    job = jobs.get(job_id, True)
    equal((job.status, len(job.attempts)), (pb.JOB_STATUS_CANCELLED, 0))
    equal(jobs.lease(wait_ms=0), [])


# --- Heartbeat and ReportOutcome ---


@case("plain")
def reports_of_no_lease(server):
    shard = server.shard_ids()[0]
    for task_id in NO_TASKS:
        status_is(server.api.fails("Heartbeat", shard=shard, task_id=task_id, worker_id="w"), *NO_LEASE, exact=True)
        for outcome in ({"success": blob()}, {"failure": pb.Failure()}, {"cancelled": pb.Cancelled()}):
            status_is(server.api.fails("ReportOutcome", shard=shard, task_id=task_id, **outcome), *NO_LEASE, exact=True)
        status = server.api.fails("ReportOutcome", shard=shard, task_id=task_id)
        status_is(status, "INVALID_ARGUMENT", "missing outcome")


@case("plain")
def the_owner_of_a_lease_is_checked(server):
    jobs = Jobs(server)
    jobs.enqueue()
    task = jobs.lease_one()
    beat = {"shard": jobs.shard, "task_id": task.id}
    for worker in ("", "W", "w" * 5000):
        status = server.api.fails("Heartbeat", worker_id=worker, **beat)
        status_is(status, "FAILED_PRECONDITION", "lease owner mismatch", exact=True)
    equal(server.api.Heartbeat(worker_id="w", **beat).cancelled, False)
    jobs.succeed(task)
    status_is(server.api.fails("Heartbeat", worker_id="w", **beat), *NO_LEASE, exact=True)


@case("plain")
def the_first_report_wins(server):
    for report in ("succeed", "failed", "cancelled"):
        jobs = Jobs(server)
        job_id = jobs.enqueue(retry_policy=pb.RetryPolicy(retry_count=1, initial_interval_ms=10**7))
        task = jobs.lease_one()
        getattr(jobs, report)(task)
        after = jobs.get(job_id, True)
        for again in (jobs.succeed, jobs.failed, jobs.cancelled):
            try:
                again(task)
                raise AssertionError("a second report was accepted")
            except Status as status:
                status_is(status, *NO_LEASE, exact=True)
        equal(jobs.get(job_id, True), after, "job after the second report")


@case("plain")
def inner_bytes_may_be_missing(server):
    jobs = Jobs(server)
    job_id = jobs.enqueue()
    task = jobs.lease_one()
    server.api.ReportOutcome(shard=task.shard, task_id=task.id, failure=pb.Failure(code="E"))
    result = jobs.on("GetJobResult", job_id)
    equal(result.failure, pb.JobFailure(error_code="E", error_data=blob()))
    job_id = jobs.enqueue()
    task = jobs.lease_one()
    server.api.ReportOutcome(shard=task.shard, task_id=task.id, success=pb.SerializedBytes())
    equal(jobs.on("GetJobResult", job_id).success_data, blob())


@case("plain")
def large_errors_are_kept(server):
    jobs = Jobs(server)
    job_id = jobs.enqueue(retry_policy=pb.RetryPolicy(retry_count=1))
    data = [os.urandom(5000), os.urandom(300_000)]
    for n in range(2):
        jobs.failed(jobs.lease_one(), "E%d" % n, data[n])
        attempts = jobs.get(job_id, True).attempts
        equal([a.error_data.msgpack == d for a, d in zip(attempts, data)], [True] * (n + 1), "error data")
    equal(jobs.on("GetJobResult", job_id).failure.error_data.msgpack == data[1], True, "error data of the job")


@case("plain")
def retries_end_with_the_policy(server):
    jobs = Jobs(server)
    job_id = jobs.enqueue(retry_policy=pb.RetryPolicy(retry_count=3))
    tasks = []
    for number in range(1, 5):
        task = jobs.lease_one()
        equal((task.job_id, task.attempt_number, task.relative_attempt_number), (job_id, number, number))
        equal(task.is_last_attempt, number == 4)
        equal(jobs.lease(wait_ms=0), [], "one task for each retry")
        jobs.failed(task, "E%d" % number, b"%d" % number)
        tasks.append(task.id)
    equal(len(set(tasks)), 4, "distinct tasks")
    job = jobs.get(job_id, True)
    equal(job.status, pb.JOB_STATUS_FAILED)
    equal([(a.attempt_number, a.task_id, a.error_code, a.error_data.msgpack) for a in job.attempts],
          [(n, tasks[n - 1], "E%d" % n, b"%d" % n) for n in range(1, 5)])
    equal(jobs.lease(wait_ms=0), [])


@case("plain")
def a_worker_may_say_that_no_retry_helps(server):
    jobs = Jobs(server)
    tasks = []
    for _ in range(3):
        jobs.enqueue(retry_policy=pb.RetryPolicy(retry_count=5, initial_interval_ms=1))
        tasks.append(jobs.lease_one())
    failure = pb.Failure(code="E", data=blob(b"d"))
    jobs.report(tasks[0], failure=failure, no_retry=True)
    many = [pb.ReportOutcomeRequest(task_id=tasks[1].id, failure=failure, no_retry=True)]
    equal([r.code for r in server.api.ReportOutcomes(shard=jobs.shard, outcomes=many).results], [0])
    for task in tasks[:2]:
        job = jobs.get(task.job_id, True)
        equal((job.status, len(job.attempts), job.attempts[0].error_code), (pb.JOB_STATUS_FAILED, 1, "E"))
    jobs.report(tasks[2], success=blob(b"r"), no_retry=True)
    equal(jobs.get(tasks[2].job_id).status, pb.JOB_STATUS_SUCCEEDED)


@case("plain")
def retry_delays_follow_the_policy(server):
    table = (
        (pb.RetryPolicy(retry_count=2, initial_interval_ms=1000, backoff_factor=3), [1000, 3000]),
        (pb.RetryPolicy(retry_count=2, initial_interval_ms=1000), [1000, 2000]),
        (pb.RetryPolicy(retry_count=2, initial_interval_ms=1000, max_interval_ms=1500, backoff_factor=3), [1000, 1500]),
    )
    for policy, delays in table:
        jobs = Jobs(server)
        job_id = jobs.enqueue(retry_policy=policy)
        jobs.failed(jobs.lease_one())
        job = jobs.get(job_id, True)
        equal(job.next_attempt_starts_after_ms - job.attempts[-1].finished_at_ms, delays[0], str(policy))
        jobs.failed(jobs.lease_one())
        job = jobs.get(job_id, True)
        equal(job.next_attempt_starts_after_ms - job.attempts[-1].finished_at_ms, delays[1], str(policy))
    jitter = pb.RetryPolicy(retry_count=1, initial_interval_ms=10000, randomize_interval=True)
    jobs = Jobs(server)
    delays = set()
    for _ in range(20):
        job_id = jobs.enqueue(retry_policy=jitter)
        jobs.failed(jobs.lease_one())
        job = jobs.get(job_id, True)
        delays.add(job.next_attempt_starts_after_ms - job.attempts[-1].finished_at_ms)
    assert min(delays) >= 10000 and max(delays) <= 20000 and len(delays) > 10, delays


@case("plain")
def leases_run_out(server):
    jobs = Jobs(server)
    kept = jobs.enqueue(priority=0)
    lost = jobs.enqueue(priority=1)
    retried = jobs.enqueue(priority=2, retry_policy=pb.RetryPolicy(retry_count=1))
    marked = jobs.enqueue(priority=3, retry_policy=pb.RetryPolicy(retry_count=1))
    tasks = {t.job_id: t for t in jobs.lease(4)}
    equal(set(tasks), {kept, lost, retried, marked})
    jobs.on("CancelJob", marked)
    beat = {"shard": jobs.shard, "task_id": tasks[kept].id, "worker_id": "w"}
    began = time.monotonic()

    def again():
        server.api.Heartbeat(**beat)
        return jobs.lease(wait_ms=1000, worker="other")

    task = until(again, "the lease to run out", 30)[0]
    took = time.monotonic() - began
    assert 8 < took < 15, took
    equal((task.job_id, task.attempt_number), (retried, 2))
    first = jobs.get(retried, True).attempts[0]
    equal((first.status, first.error_code), (pb.ATTEMPT_STATUS_FAILED, "WORKER_CRASHED"))
    ended = server.api.start("GetJobResult", shard=jobs.shard, id=lost, wait_ms=5000).result()
    equal(ended.failure.error_code, "WORKER_CRASHED")
    assert 0xA0 <= ended.failure.error_data.msgpack[0] <= 0xDB, "a MessagePack string"
    ended = server.api.start("GetJobResult", shard=jobs.shard, id=marked, wait_ms=5000).result()
    equal(ended.WhichOneof("result"), "cancelled")
    equal(jobs.get(kept).status, pb.JOB_STATUS_RUNNING)
    jobs.succeed(tasks[kept])
    status_is(server.api.fails("ReportOutcome", shard=jobs.shard, task_id=tasks[lost].id, success=blob()), *NO_LEASE,
              exact=True)


# --- bulk calls ---


@case("plain")
def many_jobs_in_one_call(server):
    jobs = Jobs(server)
    items = [pb.EnqueueRequest(task_group=jobs.group, payload=blob(b"%d" % i)) for i in range(5000)]
    named = fresh("named")
    items[10].id = named
    items[11].id = named
    items[12].priority = 100
    items[13].shard = "ignored"
    items[14].tenant = "t"
    results = server.api.EnqueueMany(shard=jobs.shard, jobs=items).results
    equal(len(results), len(items))
    wrong = {11: (6, "job already exists"), 12: (3, "priority"), 14: (9, "tenancy is disabled")}
    for i, result in enumerate(results):
        code, text = wrong.get(i, (0, ""))
        if result.code != code or text not in result.message or bool(result.id) != (code == 0):
            raise AssertionError("item %d: %s" % (i, result))
    equal(results[10].id, named)
    equal(jobs.get(results[4999].id).payload.msgpack, b"4999")
    equal(len(server.api.EnqueueMany(shard=jobs.shard).results), 0)

    tasks = []
    while len(tasks) < 4997:
        got = jobs.lease(2000)
        assert got, "only %d tasks" % len(tasks)
        tasks += got
    equal(len({t.id for t in tasks}), 4997)
    reports = [pb.ReportOutcomeRequest(task_id=t.id, success=blob(t.payload.msgpack)) for t in tasks]
    reports[5].ClearField("success")
    reports[6].task_id = reports[7].task_id
    results = server.api.ReportOutcomes(shard=jobs.shard, outcomes=reports).results
    codes = {i: r.code for i, r in enumerate(results) if r.code != 0}
    equal(codes, {5: 3, 7: 5})
    equal((results[5].message, results[7].message), ("missing outcome", "lease not found"))
    equal(jobs.get(tasks[100].job_id).result.msgpack, tasks[100].payload.msgpack)


SERVERS = {"plain": SiloServer, "many": lambda: SiloServer(shards=3)}

globals().update(cases.classes(SERVERS))

if __name__ == "__main__":
    unittest.main()

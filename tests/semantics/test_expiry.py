#!/usr/bin/env python3
"""What time does by itself: leases that run out, and jobs that are kept only for a while."""

import os
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from checks import Cases, equal, status_is, until  # noqa: E402
from jobs import (  # noqa: E402
    CANCELLED, FAILED, HASHES, HOUR_MS, NO_LEASE, RUNNING, SCHEDULED, SUCCEEDED, Jobs, as_import, failed, floating, fresh,
    now_ms, retries, slot, succeeded, within,
)
from silo_api import Status, blob, pb  # noqa: E402
from silo_server import SiloServer  # noqa: E402

cases = Cases()
case = cases.case

KEPT_S = 1 if os.environ.get("SILO_BUILD", "release") == "release" else 3
GONE_S = 15  # within which what is over has to be gone


# --- leases ---


@case("tenants")
def workers_that_died(server):
    """Ten seconds once, for all that a lease's end does; the tenant is not the default one."""
    jobs = Jobs(server, server.shard_of_hash(HASHES["a"]), "a")
    policy = retries(3, HOUR_MS)
    queue, queue_of_marked, key = fresh("q"), fresh("q"), fresh("f")
    marked = jobs.enqueue(limits=[slot(queue_of_marked)], retry_policy=policy)
    after_marked = jobs.enqueue(limits=[slot(queue_of_marked)])
    holder = jobs.enqueue(limits=[slot(queue)], retry_policy=policy)
    after_holder = jobs.enqueue(limits=[slot(queue)])
    lost = jobs.enqueue()
    alone = jobs.lease_this(jobs.enqueue(start_at_ms=now_ms() + HOUR_MS))
    floater = jobs.enqueue(limits=[floating(key)])
    jobs.enqueue(limits=[floating(key)])
    tasks, refreshes = jobs.lease_both(4)
    tasks = {t.job_id: t for t in tasks}
    equal(set(tasks), {marked, holder, lost, floater})
    began = time.monotonic()
    beats = (tasks[floater],)
    jobs.on("CancelJob", marked)
    moved = jobs.counting()

    granted, again = {}, []

    def all_over():
        for task in beats:
            equal(jobs.beat(task), pb.HeartbeatResponse(), "a lease that is kept")
        reply = jobs.poll(10, 500, "other")
        granted.update({t.job_id: t for t in reply.tasks})
        again.extend(reply.refresh_tasks)
        return len(granted) == 2 and again

    until(all_over, "the leases to run out", 30)
    within(8, 20, time.monotonic() - began, "seconds until then")
    equal(set(granted), {after_marked, after_holder}, "the slots went on")
    assert again[0].id != refreshes[0].id
    equal((again[0].queue_key, again[0].current_max_concurrency, again[0].last_refreshed_at_ms), (key, 1, 0))

    job = jobs.get(marked, True)
    equal((job.status, [a.status for a in job.attempts]), (CANCELLED, [pb.ATTEMPT_STATUS_CANCELLED]), "the marked one")
    equal(jobs.on("GetJobResult", marked).cancelled.cancelled_at_ms, job.attempts[0].finished_at_ms)
    job = jobs.get(holder, True)
    equal((job.status, job.attempts[0].error_code), (SCHEDULED, "WORKER_CRASHED"))
    equal(job.next_attempt_starts_after_ms - job.attempts[0].finished_at_ms, HOUR_MS, "the policy's delay")
    for job_id in (lost, alone.job_id):
        until(lambda: jobs.status(job_id) == FAILED, "the end of a job without retries")
        equal(jobs.on("GetJobResult", job_id).failure.error_code, "WORKER_CRASHED")
    error = jobs.on("GetJobResult", lost).failure.error_data.msgpack
    assert 0xA0 <= error[0] <= 0xDB, "a MessagePack string"
    equal(jobs.status(floater), RUNNING)
    moved(0, 3, "cancelled, and two failed")

    for task in (tasks[marked], tasks[holder], tasks[lost], alone):
        status_is(jobs.beat_fails(task), *NO_LEASE, exact=True)
        before = jobs.record(task.job_id)
        for outcome in ({"success": blob()}, {"failure": pb.Failure()}, {"cancelled": pb.Cancelled()}):
            status_is(jobs.report_fails(task, **outcome), *NO_LEASE, exact=True)
        equal(jobs.record(task.job_id), before, "the job after a late report")
    status_is(jobs.refresh_fails(refreshes[0], success=pb.RefreshSuccess()), *NO_LEASE, exact=True)
    for task in list(granted.values()) + [tasks[floater]]:
        jobs.succeed(task)
    jobs.queues_are_free(queue, queue_of_marked)


# --- retention ---


def gone(jobs, job_id):
    """Awaits that nothing is left of a job."""

    def absent():
        try:
            jobs.get(job_id, True)
            return False
        except Status as status:
            status_is(status, "NOT_FOUND", "job not found")
            return True

    until(absent, "a job to be forgotten", GONE_S)


def ended(jobs, report, **fields):
    """A job that has just ended, and the time it did."""
    job_id = jobs.enqueue(**fields)
    getattr(jobs, report)(jobs.lease_one(job_id))
    return job_id, jobs.get(job_id).status_changed_at_ms


@case("both")
def ended_jobs_are_forgotten(server):
    jobs = Jobs(server)
    moved = jobs.counting()
    kept = [jobs.enqueue(start_at_ms=now_ms() + HOUR_MS), jobs.enqueue(retry_policy=retries(1, HOUR_MS))]
    jobs.failed(jobs.lease_one(kept[1]))
    running = jobs.enqueue()
    task = jobs.lease_one(running)
    jobs.on("CancelJob", running)  # starts no clock
    queue = fresh("q")
    waiting = jobs.enqueue(limits=[slot(queue, 0)])
    ends = [ended(jobs, report, metadata={"k": "v"}, payload=blob(os.urandom(9000))) for report in
            ("succeed", "failed", "cancelled")]
    cancelled = jobs.enqueue()
    jobs.on("CancelJob", cancelled)
    ends.append((cancelled, jobs.get(cancelled).status_changed_at_ms))
    retried, _ = ended(jobs, "failed")
    for _ in range(3):  # its clock starts again with every end
        jobs.on("RestartJob", retried)
        jobs.failed(jobs.lease_one(retried), "E", os.urandom(9000))
    ends.append((retried, jobs.get(retried).status_changed_at_ms))
    for job_id, end in ends:
        gone(jobs, job_id)
        assert now_ms() >= end + KEPT_S * 1000 - 50, "gone too early"
        status_is(jobs.on_fails("GetJobResult", job_id), "NOT_FOUND", "job not found")
        for method in ("CancelJob", "RestartJob", "ExpediteJob"):
            status_is(jobs.on_fails(method, job_id), "NOT_FOUND", "job not found")
        jobs.on("DeleteJob", job_id)
    moved(4, 0, "what is left")
    for job_id, _ in ends:
        equal(jobs.enqueue(id=job_id, start_at_ms=now_ms() + HOUR_MS), job_id, "the id is free")
        equal(jobs.get(job_id, True).attempts[:], [], "attempts of the one before")
    equal([jobs.status(i) for i in kept + [waiting, running]], [SCHEDULED] * 3 + [RUNNING])
    jobs.cancelled(task)
    gone(jobs, running)


@case("both")
def a_restart_stops_the_clock(server):
    jobs = Jobs(server)
    restarted, end = ended(jobs, "failed", payload=blob(b"p"), metadata={"k": "v"})
    reimported, _ = ended(jobs, "failed", payload=blob(b"p"))
    other, _ = ended(jobs, "failed")
    jobs.on("RestartJob", restarted)
    history = [as_import(a) for a in jobs.get(reimported, True).attempts]
    jobs.import_one(id=reimported, attempts=history + [failed()], retry_policy=retries(9), start_at_ms=now_ms() + HOUR_MS)
    gone(jobs, other)
    time.sleep(max(0, end + KEPT_S * 1000 + 500 - now_ms()) / 1000)
    for job_id, count in ((restarted, 1), (reimported, 2)):
        job = jobs.get(job_id, True)
        equal((job.status, job.payload.msgpack, len(job.attempts)), (SCHEDULED, b"p", count), "all of it is there")
    task = jobs.lease_one(restarted)
    equal((task.payload.msgpack, dict(task.metadata)), (b"p", {"k": "v"}))
    jobs.succeed(task)
    gone(jobs, restarted)
    jobs.on("CancelJob", reimported)
    gone(jobs, reimported)


@case("both")
def imported_ends_are_forgotten(server):
    jobs = Jobs(server)
    ids = [fresh("import") for _ in range(2)]
    jobs.import_one(id=ids[0], attempts=[succeeded()])
    jobs.import_one(id=ids[1], attempts=[failed(), failed()])
    equal([jobs.status(i) for i in ids], [SUCCEEDED, FAILED], "the clock starts with the import")
    for job_id in ids:
        gone(jobs, job_id)


@case("both")
def the_clock_goes_on_after_a_restart_of_the_server(server):
    jobs = Jobs(server)
    ids = [ended(jobs, "succeed")[0] for _ in range(3)]
    server.stop()
    server.start()
    jobs.api = server.api
    for job_id in ids:
        gone(jobs, job_id)


@case("succeeded")
def each_kind_has_its_own_time(server):
    jobs = Jobs(server)
    done, _ = ended(jobs, "succeed")
    lost, _ = ended(jobs, "failed")
    stopped = jobs.enqueue()
    jobs.on("CancelJob", stopped)
    gone(jobs, done)
    later, _ = ended(jobs, "succeed")
    gone(jobs, later)
    equal([jobs.status(i) for i in (lost, stopped)], [FAILED, CANCELLED], "kept for ever")


@case("tenants")
def the_log_says_what_is_kept(server):
    """What holds when nobody has said anything."""
    lines = [line for line in server.log().splitlines() if " retention " in line]
    equal(len(lines), 1, "lines about it")
    for text in ('succeeded="7 d"', 'failed_and_cancelled="30 d"', "database.completed_job_expire_s"):
        assert text in lines[0], lines[0]


@case("succeeded")
def what_is_kept_for_ever_is_said(server):
    assert 'failed_and_cancelled="for ever"' in server.log() and "grows for ever" in server.log()


def keeping(**seconds):
    return SiloServer(settings={"database.%s_job_expire_s" % kind: value for kind, value in seconds.items()})


SERVERS = {
    "tenants": lambda: SiloServer(tenancy=True),
    "both": lambda: keeping(completed=KEPT_S, terminal=KEPT_S),
    "succeeded": lambda: keeping(completed=KEPT_S, terminal=0),
}

globals().update(cases.classes(SERVERS))

if __name__ == "__main__":
    unittest.main()

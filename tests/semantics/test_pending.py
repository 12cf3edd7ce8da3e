#!/usr/bin/env python3
"""Why does my job not run: what GetJob says about a scheduled job, for each cause, in fields and in a sentence."""

import os
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from checks import Cases, equal, until  # noqa: E402
from jobs import HOUR_MS, Jobs, floating, fresh, now_ms, rate, retries, slot, within  # noqa: E402
from silo_api import pb  # noqa: E402
from silo_server import SiloServer  # noqa: E402

cases = Cases()
case = cases.case


def why(jobs, job_id, cause, *texts):
    """The job must be pending for this cause; its sentence must have all of the texts."""
    job = jobs.get(job_id)
    assert job.HasField("pending"), job
    pending = job.pending
    equal(pb.PendingCause.Name(pending.cause), "PENDING_CAUSE_" + cause, "cause of: " + pending.text)
    for text in texts:
        assert text in pending.text, (pending.text, text)
    return pending


@case("plain")
def a_start_ahead(server):
    jobs = Jobs(server)
    start = now_ms() + HOUR_MS
    pending = why(jobs, jobs.enqueue(start_at_ms=start, limits=[slot(fresh("q"))]), "START", "It starts at ", "(in ", " min)")
    equal((pending.until_ms, pending.attempt_number, pending.HasField("limit_key")), (start, 1, False))


@case("plain")
def a_retry_ahead(server):
    jobs = Jobs(server)
    job_id = jobs.enqueue(retry_policy=retries(5, HOUR_MS))
    task = jobs.lease_one(job_id)
    assert not jobs.get(job_id).HasField("pending"), "it runs"
    jobs.failed(task)
    pending = why(jobs, job_id, "RETRY", "Attempt 1 failed; attempt 2 (retry 1 of 5) starts at ")
    equal(pending.attempt_number, 2)
    within(now_ms() + HOUR_MS - 60_000, now_ms() + HOUR_MS, pending.until_ms, "the retry")


@case("plain")
def a_full_queue(server):
    jobs, queue = Jobs(server), fresh("q")
    first = [jobs.enqueue(limits=[slot(queue, 2)]) for _ in range(2)]
    waits = [jobs.enqueue(limits=[slot(queue, 2)]) for _ in range(2)]
    pending = why(jobs, waits[1], "CONCURRENCY_LIMIT", '"%s"' % queue, "2 of 2 are taken", "1 job goes first")
    equal((pending.limit_key, pending.max_concurrency, pending.slots_taken), (queue, 2, 2))
    equal((list(pending.holder_job_ids), pending.ahead, pending.ahead_more, pending.in_line), (first, 1, False, 2))
    why(jobs, jobs.enqueue(limits=[slot(fresh("never"), 0)]), "CONCURRENCY_LIMIT", "it never runs")


@case("plain")
def names_in_sentences(server):
    """Whatever a name is made of, the sentence is one line that does nothing to a terminal, in UTF-8."""
    jobs, queue = Jobs(server), fresh("q")
    for name, shown in (("\x1b[31m\n\x7f\u009b\u00a0", "?[31m????\u00a0"),
                        ("\u00e9" * 150, "\u00e9" * 80), ("%s%n", "%s%n")):
        for _ in range(2):
            job_id = jobs.enqueue(limits=[slot(queue + name, 1)])
        why(jobs, job_id, "CONCURRENCY_LIMIT", '"%s%s' % (queue, shown))


@case("plain")
def a_floating_limit_of_nothing(server):
    jobs, queue = Jobs(server), fresh("f")
    job_id = jobs.enqueue(limits=[floating(queue, 0)])
    pending = until(lambda: jobs.get(job_id).pending.task_group and jobs.get(job_id).pending, "a wanted refresh")
    why(jobs, job_id, "FLOATING_LIMIT", "whose value is 0", 'A refresh waits for a worker of task group "%s"' % jobs.group)
    equal((pending.task_group, pending.max_concurrency, pending.HasField("last_polled_at_ms")), (jobs.group, 0, False))
    jobs.refresh(jobs.lease_refresh(), 0)
    assert why(jobs, job_id, "FLOATING_LIMIT", "It is refreshed at ").until_ms > now_ms()


@case("plain")
def in_line_behind_a_rate_limit(server):
    jobs, name = Jobs(server), fresh("r")
    ids = [jobs.enqueue(limits=[rate(name, 1)]) for _ in range(3)]
    why(jobs, ids[2], "NO_WORKER", "nobody polls its task group", name)
    jobs.succeed(jobs.lease_one(ids[0]))
    equal(jobs.lease(1, wait_ms=30), [])
    pending = why(jobs, ids[2], "RATE_LIMIT", '"%s" for "k"' % name, "is used up; 1 job goes first. It is asked again at ")
    equal((pending.limit_key, pending.rate_limit_unique_key, pending.ahead, pending.in_line), (name, "k", 1, 2))
    assert pending.until_ms > now_ms(), pending


@case("plain")
def refused_by_a_rate_limit(server):
    jobs, limits = Jobs(server), [rate(fresh("r"), 1, back_off=(HOUR_MS, HOUR_MS, 1.0, 3))]
    jobs.run(jobs.enqueue(limits=limits))
    job_id = jobs.enqueue(limits=limits)
    equal(jobs.lease(1, wait_ms=30), [])
    pending = until(lambda: jobs.get(job_id).pending.until_ms and jobs.get(job_id).pending, "the refusal")
    why(jobs, job_id, "RATE_LIMIT_REFUSED", "refused it, 1 time so far; next asked at ")
    within(now_ms() + HOUR_MS - 60_000, now_ms() + HOUR_MS, pending.until_ms, "next question")
    jobs.api.ExpediteJob(shard=jobs.shard, id=job_id, **jobs.tenant)
    why(jobs, job_id, "RATE_LIMIT", "It stands before the rate limit ", "asked about it when a worker of task group ")


@case("plain")
def no_worker(server):
    jobs = Jobs(server)
    pending = why(jobs, jobs.enqueue(), "NO_WORKER", 'nobody polls its task group "%s"' % jobs.group, "no worker has asked since")
    assert not pending.HasField("last_polled_at_ms") and 0 < pending.polls_seen_from_ms <= now_ms(), pending


@case("plain")
def others_go_first(server):
    jobs = Jobs(server)
    ids = [jobs.enqueue(priority=priority) for priority in (50, 10, 10)]
    jobs.lease_one(ids[1])
    pending = why(jobs, ids[0], "BEHIND_OTHERS", "job", "first")
    assert pending.ahead >= 1 and pending.task_group == jobs.group, pending
    why(jobs, ids[2], "NEXT", "goes to the next worker")


@case("plain")
def asked_to_cancel(server):
    jobs = Jobs(server)
    job_id = jobs.enqueue()
    task = jobs.lease_one(job_id)
    assert not jobs.get(job_id).HasField("cancel_requested_at_ms")
    before = now_ms()
    jobs.on("CancelJob", job_id)
    asked = jobs.get(job_id).cancel_requested_at_ms
    assert before - 1000 <= asked <= now_ms() + 1000, asked
    jobs.cancelled(task)
    job = jobs.get(job_id)
    assert not job.HasField("cancel_requested_at_ms") and not job.HasField("pending"), job


@case("plain")
def long_names_stay_text(server):
    """A name is cut in the sentence, between two characters; the field has all of it."""
    jobs, queue = Jobs(server), "\u20ac" * 1000
    jobs.enqueue(limits=[slot(queue)])
    pending = why(jobs, jobs.enqueue(limits=[slot(queue)]), "CONCURRENCY_LIMIT", "\u20ac...")
    equal(pending.limit_key, queue)


@case("own")
def after_a_restart(server):
    jobs, queue = Jobs(server), fresh("q")
    ids = [jobs.enqueue(limits=[slot(queue)]) for _ in range(4)]
    server.stop()
    server.start()
    jobs.api = server.api
    why(jobs, ids[3], "CONCURRENCY_LIMIT")
    until(lambda: jobs.get(ids[3]).pending.HasField("ahead"), "the line in memory")
    equal(why(jobs, ids[3], "CONCURRENCY_LIMIT", "2 jobs go first").in_line, 3)


SERVERS = {"plain": SiloServer, "own": SiloServer}

globals().update(cases.classes(SERVERS))

if __name__ == "__main__":
    unittest.main()

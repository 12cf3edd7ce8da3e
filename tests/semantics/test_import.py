#!/usr/bin/env python3
"""ImportJobs: new jobs with a history, one for each way it can end, and what is refused."""

import os
import sys
import unittest
import uuid

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from checks import Cases, equal, status_is  # noqa: E402
from jobs import (  # noqa: E402
    CANCELLED, FAILED, HASHES, HOUR_MS, SCHEDULED, SUCCEEDED, Jobs, cancelled, failed, floating, fresh, near_now, now_ms,
    rate, retries, slot, succeeded,
)
from silo_api import blob, pb  # noqa: E402
from silo_server import SiloServer  # noqa: E402

cases = Cases()
case = cases.case

UNKNOWN_SHARD = "00000000-0000-4000-8000-00000000dead"
BAD_SHARDS = ("", "nonsense", UNKNOWN_SHARD + "0")


def has_history(jobs, job_id, history):
    """The job's attempts are those that were imported, and nothing is made up."""
    attempts = jobs.get(job_id, True).attempts
    equal(len(attempts), len(history), "attempts")
    for number, (attempt, given) in enumerate(zip(attempts, history), 1):
        equal((attempt.job_id, attempt.attempt_number, attempt.status), (job_id, number, given.status))
        equal(str(uuid.UUID(attempt.task_id)), attempt.task_id)
        equal((attempt.started_at_ms, attempt.finished_at_ms), (given.started_at_ms, given.finished_at_ms), "times")
        is_failure = given.status == pb.ATTEMPT_STATUS_FAILED
        equal(attempt.HasField("result"), given.status == pb.ATTEMPT_STATUS_SUCCEEDED, "result")
        equal((attempt.HasField("error_code"), attempt.HasField("error_data")), (is_failure, is_failure), "error")
        equal((attempt.result.msgpack, attempt.error_code, attempt.error_data.msgpack),
              (given.result.msgpack, given.error_code, given.error_data.msgpack))
    equal(len({a.task_id for a in attempts}), len(attempts), "distinct task ids")


# --- how a new job ends up ---

# (attempts, retry policy) -> status
ENDS = (
    ([], None, SCHEDULED),
    ([], retries(3), SCHEDULED),
    ([succeeded()], None, SUCCEEDED),
    ([succeeded(result=b"")], retries(3), SUCCEEDED),
    ([cancelled()], None, CANCELLED),
    ([cancelled()], retries(3), CANCELLED),
    ([failed()], None, FAILED),
    ([failed()], retries(0), FAILED),
    ([failed()], retries(1), SCHEDULED),
    ([failed(), failed()], retries(1), FAILED),
    ([failed(), failed()], retries(2), SCHEDULED),
    ([failed(), failed()], None, FAILED),
    ([failed(), failed(), succeeded()], retries(1), SUCCEEDED),
    ([failed(), failed(), cancelled()], None, CANCELLED),
    ([failed(code="", data=b"")] * 5, retries(2**32 - 1), SCHEDULED),
)


@case("plain")
def the_last_attempt_decides(server):
    for history, policy, status in ENDS:
        jobs = Jobs(server)
        moved = jobs.counting()
        history = [type(a).FromString(a.SerializeToString()) for a in history]
        for n, attempt in enumerate(history):
            attempt.started_at_ms, attempt.finished_at_ms = 1000 + 10 * n, 1005 + 10 * n
        job_id = fresh("import")
        equal(jobs.import_one(id=job_id, attempts=history, retry_policy=policy), status, "status of the result")
        moved(1, 0 if status == SCHEDULED else 1, str(history))
        job = jobs.get(job_id)
        equal(job.status, status)
        has_history(jobs, job_id, history)
        if status == SCHEDULED:
            near_now(job.status_changed_at_ms, "status_changed_at_ms")
            near_now(job.next_attempt_starts_after_ms, "next attempt")
            status_is(jobs.on_fails("GetJobResult", job_id), "FAILED_PRECONDITION", "job is not complete: status is Scheduled")
            task = jobs.run(job_id)
            equal((task.attempt_number, task.relative_attempt_number), (len(history) + 1, len(history) + 1))
            has_history(jobs, job_id, history + [pb.ImportAttempt(
                status=pb.ATTEMPT_STATUS_SUCCEEDED, result=blob(),
                started_at_ms=jobs.get(job_id, True).attempts[-1].started_at_ms,
                finished_at_ms=jobs.get(job_id, True).attempts[-1].finished_at_ms)])
            moved(1, 1, "run")
            continue
        jobs.lease_none()
        equal(job.status_changed_at_ms, history[-1].finished_at_ms, "status_changed_at_ms")
        equal(job.HasField("next_attempt_starts_after_ms"), False, "next attempt")
        result = jobs.on("GetJobResult", job_id)
        equal((result.status, result.finished_at_ms), (status, history[-1].finished_at_ms))
        if status == SUCCEEDED:
            equal((result.success_data, job.result), (history[-1].result, history[-1].result))
        elif status == FAILED:
            equal((result.failure.error_code, result.failure.error_data), (history[-1].error_code, history[-1].error_data))
        else:
            equal(result.cancelled.cancelled_at_ms, history[-1].finished_at_ms)


@case("plain")
def all_fields_come_back(server):
    jobs = Jobs(server)
    job_id = fresh("import")
    limits = [slot(fresh("q"), 2), floating(fresh("f"), 3, 5, k="v"), rate(fresh("r"), 5, back_off=(1, 2, 3, 4))]
    start, enqueued = now_ms() - 5000, 1_600_000_000_123
    policy = retries(7, 11, 1.5, max_interval_ms=12, randomize_interval=True)
    jobs.import_one(id=job_id, priority=42, enqueue_time_ms=enqueued, start_at_ms=start, retry_policy=policy,
                    payload=blob(b"p"), limits=limits, metadata={"a": "1", "b": "2"})
    job = jobs.get(job_id)
    equal((job.id, job.priority, job.enqueue_time_ms, job.payload.msgpack), (job_id, 42, enqueued, b"p"))
    equal((job.next_attempt_starts_after_ms, job.retry_policy, dict(job.metadata)), (start, policy, {"a": "1", "b": "2"}))
    equal((list(job.limits), job.task_group), (limits, jobs.group))
    task = jobs.lease_one(job_id)
    equal((task.priority, task.payload.msgpack, dict(task.metadata), list(task.limits)),
          (42, b"p", {"a": "1", "b": "2"}, limits))
    jobs.succeed(task)


@case("plain")
def times_default_to_now(server):
    jobs = Jobs(server)
    for value in (0, -1, -(2**63)):
        job_id = fresh("import")
        jobs.import_one(id=job_id, enqueue_time_ms=value, start_at_ms=value)
        job = jobs.get(job_id)
        near_now(job.enqueue_time_ms, "enqueue_time_ms")
        near_now(job.next_attempt_starts_after_ms, "start")
        jobs.run(job_id)


@case("plain")
def times_of_attempts_are_stored_as_given(server):
    jobs = Jobs(server)
    future = now_ms() + 10 * HOUR_MS
    for started, finished in ((5, 3), (0, 0), (-7, -8), (future, future + 1), (-(2**63), 2**63 - 1)):
        job_id = fresh("import")
        history = [failed(started, finished), succeeded(started, finished)]
        jobs.import_one(id=job_id, attempts=history)
        has_history(jobs, job_id, history)
        equal(jobs.get(job_id).status_changed_at_ms, finished)


@case("plain")
def a_start_in_the_future_is_waited_for(server):
    jobs = Jobs(server)
    start = now_ms() + HOUR_MS
    fresh_job, retried = fresh("import"), fresh("import")
    jobs.import_one(id=fresh_job, start_at_ms=start)
    jobs.import_one(id=retried, start_at_ms=start, attempts=[failed()], retry_policy=retries(1, 7))
    for job_id in (fresh_job, retried):
        equal(jobs.get(job_id).next_attempt_starts_after_ms, start, "the start, not the policy's delay")
    jobs.lease_none()
    for job_id in (fresh_job, retried):
        jobs.on("ExpediteJob", job_id)
        jobs.run(job_id)


@case("plain")
def large_data_comes_back(server):
    jobs = Jobs(server)
    for size in (5000, 70_000):
        job_id = fresh("import")
        history = [failed(data=os.urandom(size)), failed(data=b"small"), succeeded(result=os.urandom(size))]
        payload = os.urandom(size)
        jobs.import_one(id=job_id, attempts=history, payload=blob(payload))
        has_history(jobs, job_id, history)
        equal(jobs.get(job_id).payload.msgpack == payload, True, "payload")
        equal(jobs.on("GetJobResult", job_id).success_data == history[2].result, True, "result")


@case("plain")
def data_may_be_missing(server):
    jobs = Jobs(server)
    job_id = fresh("import")
    bare = pb.ImportAttempt(status=pb.ATTEMPT_STATUS_FAILED, finished_at_ms=9)
    equal(jobs.import_one(id=job_id, attempts=[bare]), FAILED)
    equal(jobs.on("GetJobResult", job_id).failure, pb.JobFailure(error_code="", error_data=blob()))
    job_id = fresh("import")
    equal(jobs.import_one(id=job_id, attempts=[pb.ImportAttempt(status=pb.ATTEMPT_STATUS_SUCCEEDED)]), SUCCEEDED)
    equal(jobs.on("GetJobResult", job_id).success_data, blob())


# --- what follows ---


@case("plain")
def imported_runs_stop_at_the_budget(server):
    jobs = Jobs(server)
    job_id = fresh("import")
    jobs.import_one(id=job_id, attempts=[failed(), failed()], retry_policy=retries(3))
    numbers = []
    for _ in range(2):
        task = jobs.lease_one(job_id)
        numbers.append((task.attempt_number, task.relative_attempt_number, task.is_last_attempt))
        jobs.failed(task, "AGAIN")
    equal(numbers, [(3, 3, False), (4, 4, True)])
    equal(jobs.status(job_id), FAILED)
    jobs.lease_none()
    equal([a.error_code for a in jobs.get(job_id, True).attempts], ["E", "E", "AGAIN", "AGAIN"])


@case("plain")
def retries_go_on_with_the_policy(server):
    jobs = Jobs(server)
    job_id = fresh("import")
    jobs.import_one(id=job_id, attempts=[failed(), failed()], retry_policy=retries(3, 1000, 3))
    jobs.failed(jobs.lease_one(job_id))
    job = jobs.get(job_id, True)
    equal(job.next_attempt_starts_after_ms - job.attempts[2].finished_at_ms, 9000, "the third delay")


@case("plain")
def imported_jobs_obey_their_operators(server):
    jobs = Jobs(server)

    def imported(**fields):
        job_id = fresh("import")
        jobs.import_one(id=job_id, **fields)
        return job_id

    moved = jobs.counting()
    job_id = imported(attempts=[failed()], retry_policy=retries(1))
    status_is(jobs.on_fails("DeleteJob", job_id), "FAILED_PRECONDITION", "cannot delete job")
    jobs.refused("ExpediteJob", job_id, "task is already ready to run", SCHEDULED)
    jobs.refused("RestartJob", job_id, "job is still in progress", SCHEDULED)
    jobs.on("CancelJob", job_id)
    moved(1, 1, "cancel")
    jobs.lease_none()
    equal(jobs.status(job_id), CANCELLED)
    jobs.on("RestartJob", job_id)
    moved(1, 0, "restart")
    task = jobs.run(job_id)
    equal((task.attempt_number, task.relative_attempt_number), (2, 1))

    for history, number in (([failed(), failed()], 3), ([failed(), cancelled()], 3), ([cancelled()], 2)):
        job_id = imported(attempts=history)
        jobs.on("RestartJob", job_id)
        task = jobs.run(job_id)
        equal((task.attempt_number, task.relative_attempt_number), (number, 1))

    job_id = imported(attempts=[succeeded()])
    jobs.refused("RestartJob", job_id, "job already succeeded", SUCCEEDED)
    status_is(jobs.on_fails("CancelJob", job_id), "FAILED_PRECONDITION", "job is already in terminal state")
    job_id = imported(attempts=[cancelled()])
    status_is(jobs.on_fails("CancelJob", job_id), "FAILED_PRECONDITION", "job is already cancelled")
    jobs.refused("ExpediteJob", job_id, "no pending task to expedite", CANCELLED)
    jobs.refused("LeaseTask", job_id, "no pending task to lease", CANCELLED, worker_id="w")

    moved = jobs.counting()
    for history in ([succeeded()], [failed()], [cancelled()]):
        job_id = imported(attempts=history)
        jobs.on("DeleteJob", job_id)
        status_is(jobs.on_fails("GetJob", job_id), "NOT_FOUND", "job not found")
        equal(jobs.enqueue(id=job_id, start_at_ms=now_ms() + HOUR_MS), job_id, "the id is free")
        equal(len(jobs.get(job_id, True).attempts), 0, "attempts of the deleted job")
        jobs.on("CancelJob", job_id)
        jobs.on("DeleteJob", job_id)
    moved(0, 0, "deleted")


@case("plain")
def imports_go_through_their_limits(server):
    jobs = Jobs(server)
    queue = fresh("q")
    first, second, third, done = (fresh("import") for _ in range(4))
    jobs.import_one(id=first, limits=[slot(queue)])
    jobs.import_one(id=second, limits=[slot(queue)], attempts=[failed()], retry_policy=retries(1))
    jobs.import_one(id=done, limits=[slot(queue)], attempts=[succeeded()])
    jobs.import_one(id=third, limits=[slot(queue)])
    task = jobs.lease_one(first)
    jobs.lease_none()
    equal([jobs.status(i) for i in (second, third)], [SCHEDULED] * 2)
    jobs.succeed(task)
    task = jobs.lease_one(second)
    equal(task.attempt_number, 2)
    jobs.lease_none()
    jobs.succeed(task)
    jobs.run(third)
    jobs.queues_are_free(queue)


@case("plain")
def an_imported_id_is_in_use(server):
    jobs = Jobs(server)
    for history in ([], [succeeded()], [failed()]):
        job_id = fresh("import")
        jobs.import_one(id=job_id, attempts=history)
        status_is(jobs.enqueue_fails(id=job_id), "ALREADY_EXISTS", "job already exists with id " + job_id)


# --- one call, many jobs ---


@case("many")
def an_empty_call_is_answered_empty(server):
    equal(len(server.api.ImportJobs().results), 0)


@case("many")
def results_stand_in_order(server):
    every = [Jobs(server, shard) for shard in server.shard_ids()]
    sent, wanted = [], []
    for n in range(60):
        jobs = every[n % 3]
        history, status = (([], SCHEDULED), ([succeeded()], SUCCEEDED), ([failed()], FAILED), ([cancelled()], CANCELLED))[n % 4]
        bad = n % 5 == 4
        sent.append(jobs.job(id=fresh("import"), attempts=history, priority=100 if bad else 5))
        wanted.append((sent[-1].id, not bad, FAILED if bad else status))
    results = server.api.ImportJobs(jobs=sent).results
    equal([(r.id, r.success, r.status) for r in results], wanted)
    for n, (job, result) in enumerate(zip(sent, results)):
        jobs = every[n % 3]
        if result.success:
            equal((result.HasField("error"), jobs.status(job.id)), (False, result.status))
        else:
            assert "priority must be between 0 and 99" in result.error, result.error
            status_is(jobs.on_fails("GetJob", job.id), "NOT_FOUND", "job not found")


@case("many")
def a_job_fails_alone(server):
    jobs = Jobs(server)
    running = pb.ImportAttempt(status=pb.ATTEMPT_STATUS_RUNNING)
    unknown = pb.ImportAttempt.FromString(b"\x08\x09")
    wrong = (
        ({"id": ""}, "job id is required for import"),
        ({"task_group": ""}, "task_group is required"),
        ({"priority": 100}, "priority must be between 0 and 99"),
        ({"metadata": {"k%d" % i: "v" for i in range(17)}}, "too many entries"),
        ({"metadata": {"k" * 64: "v"}}, "key too long"),
        ({"metadata": {"k": "v" * 65535}}, "value too long"),
        ({"attempts": [running]}, "import attempts must be terminal"),
        ({"attempts": [pb.ImportAttempt()]}, "import attempts must be terminal"),
        ({"attempts": [failed(), running, succeeded()]}, "import attempts must be terminal"),
        ({"attempts": [unknown]}, "invalid attempt status"),
        ({"attempts": [succeeded(), failed()]}, "import attempt 1 must be Failed"),
        ({"attempts": [failed(), cancelled(), failed()]}, "import attempt 2 must be Failed"),
        ({"attempts": [failed(), succeeded(), succeeded()]}, "import attempt 2 must be Failed"),
        ({"id": "i" * 4097}, "id too long"),
        ({"limits": [slot("q")] * 65}, "too many limits"),
        ({"retry_policy": pb.RetryPolicy(initial_interval_ms=-1)}, "initial_interval_ms"),
        ({"retry_policy": pb.RetryPolicy(backoff_factor=float("nan"))}, "backoff_factor"),
        ({"tenant": "t"}, "tenancy is disabled"),
        ({"shard": UNKNOWN_SHARD}, "shard not found"),
    ) + tuple(({"shard": bad}, "invalid shard ID") for bad in BAD_SHARDS)
    moved = jobs.counting()
    sent = [jobs.job(**{"id": fresh("import"), **fields}) for fields, _ in wrong]
    sent.append(jobs.job(id=fresh("import")))
    results = server.api.ImportJobs(jobs=sent).results
    for (fields, text), job, result in zip(wrong, sent, results):
        equal((result.id, result.success, result.status), (job.id, False, FAILED), str(fields))
        if text not in result.error:
            raise AssertionError("%s: got %r, wanted %r" % (fields, result.error, text))
    equal((results[-1].success, results[-1].status), (True, SCHEDULED))
    moved(1, 0, "one of all")
    jobs.run(sent[-1].id)
    jobs.lease_none()


@case("many")
def the_first_failure_wins(server):
    jobs = Jobs(server)
    order = (
        ({"shard": "nonsense"}, "invalid shard ID"),
        ({"tenant": "t"}, "tenancy is disabled"),
        ({"id": ""}, "job id is required"),
        ({"task_group": ""}, "task_group is required"),
        ({"priority": 100}, "priority"),
        ({"metadata": {"k" * 64: "v"}}, "key too long"),
        ({"attempts": [pb.ImportAttempt()]}, "must be terminal"),
        ({"shard": UNKNOWN_SHARD}, "shard not found"),
        ({"attempts": [succeeded(), failed()]}, "must be Failed"),
    )
    for i, (first, text) in enumerate(order):
        for second, _ in order[i + 1:]:
            if not set(first) & set(second):
                jobs.import_fails(text, **{"id": fresh("import"), **second, **first})


@case("many")
def a_task_group_may_be_long(server):
    jobs = Jobs(server)
    jobs.group = "g" * 1000
    job_id = fresh("import")
    jobs.import_one(id=job_id)
    jobs.run(job_id)


@case("many")
def two_entries_of_one_id_are_an_import_and_a_reimport(server):
    jobs = Jobs(server)
    job_id, plain = fresh("import"), fresh("import")
    moved = jobs.counting()
    results = jobs.imports(
        jobs.job(id=job_id, attempts=[failed()], retry_policy=retries(5)),
        jobs.job(id=plain),
        jobs.job(id=job_id, attempts=[failed(), failed(3000, 4000)], retry_policy=retries(5)),
        jobs.job(id=job_id, attempts=[failed(), failed(3000, 4000)], retry_policy=retries(5)),
        jobs.job(id=plain),
        jobs.job(id=job_id, attempts=[failed(), failed(3000, 4000), succeeded(5000, 6000)]),
    )
    equal([(r.success, r.status) for r in results],
          [(True, SCHEDULED)] * 3 + [(False, FAILED)] * 2 + [(True, SUCCEEDED)])
    for n in (3, 4):
        assert "at least one new attempt" in results[n].error, results[n].error
    moved(2, 1, "two jobs")
    equal([t.job_id for t in jobs.lease(10)], [plain])
    has_history(jobs, job_id, [failed(), failed(3000, 4000), succeeded(5000, 6000)])


@case("many")
def many_jobs_in_one_call(server):
    jobs = Jobs(server)
    moved = jobs.counting()
    sent = [jobs.job(id=fresh("import"), attempts=[failed()] * (n % 3), retry_policy=retries(1)) for n in range(1500)]
    results = jobs.imports(*sent)
    equal([(r.id, r.success, r.status) for r in results],
          [(job.id, True, FAILED if n % 3 == 2 else SCHEDULED) for n, job in enumerate(sent)])
    moved(1500, 500, "all of them")
    tasks = []
    while len(tasks) < 1000:
        got = jobs.lease(1000)
        assert got, "only %d tasks" % len(tasks)
        tasks += got
    numbers = {task.job_id: task.attempt_number for task in tasks}
    equal(numbers, {job.id: n % 3 + 1 for n, job in enumerate(sent) if n % 3 != 2})
    codes = {r.code for r in server.api.ReportOutcomes(
        shard=jobs.shard, outcomes=[pb.ReportOutcomeRequest(task_id=t.id, success=blob()) for t in tasks]).results}
    equal(codes, {0})
    moved(1500, 1500, "and they ran")


# --- tenants ---


@case("tenants")
def each_job_names_its_tenant(server):
    jobs = Jobs(server, server.shard_of_hash(HASHES["a"]), "a")
    foreign = next(s for s in server.shard_ids() if s != jobs.shard)
    wrong = (
        ({"tenant": ""}, "tenant id required"),
        ({"tenant": "x" * 65}, "invalid tenant id"),
        ({"tenant": "-"}, "invalid tenant id"),
        ({"shard": foreign}, "is not within shard"),
    )
    job_id = fresh("import")
    sent = [jobs.job(**{"id": job_id, **fields}) for fields, _ in wrong] + [jobs.job(id=job_id)]
    results = server.api.ImportJobs(jobs=sent).results
    for (fields, text), result in zip(wrong, results):
        equal((result.success, result.id), (False, job_id), str(fields))
        assert text in result.error, (fields, result.error)
    equal(results[-1].success, True)
    task = jobs.lease_one(job_id)
    equal(task.tenant_id, "a")
    jobs.succeed(task)


@case("tenants")
def one_call_serves_many_tenants(server):
    every = [Jobs(server, server.shard_of_hash(HASHES[tenant]), tenant) for tenant in HASHES]
    job_id = fresh("import")
    sent = [jobs.job(id=job_id, attempts=[failed(code=list(HASHES)[n])]) for n, jobs in enumerate(every)]
    equal([(r.success, r.status) for r in server.api.ImportJobs(jobs=sent).results], [(True, FAILED)] * 3)
    for tenant, jobs in zip(HASHES, every):
        equal(jobs.on("GetJobResult", job_id).failure.error_code, tenant)


SERVERS = {
    "plain": SiloServer,
    "many": lambda: SiloServer(shards=3),
    "tenants": lambda: SiloServer(tenancy=True),
}

globals().update(cases.classes(SERVERS))

if __name__ == "__main__":
    unittest.main()

#!/usr/bin/env python3
"""Routing, tenancy, validation, and the RPCs about jobs, as a client sees them on a real server."""

import os
import sys
import threading
import time
import unittest
import uuid

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from checks import Cases, equal, status_is, until  # noqa: E402
from jobs import HASHES, Jobs, floating, fresh, now_ms, rate, slot  # noqa: E402
from silo_api import METHODS, Api, Status, blob, pb  # noqa: E402
from silo_server import SiloServer  # noqa: E402

cases = Cases()
case = cases.case

TOKEN = "a-token-of-the-test"
UNKNOWN_SHARD = "00000000-0000-4000-8000-00000000dead"

ROUTED = {
    "Enqueue": {"task_group": "g"},
    "GetJob": {"id": "x"},
    "GetJobResult": {"id": "x"},
    "DeleteJob": {"id": "x"},
    "CancelJob": {"id": "x"},
    "RestartJob": {"id": "x"},
    "ExpediteJob": {"id": "x"},
    "LeaseTask": {"id": "x", "worker_id": "w"},
    "DropTenantHolders": {},
    "LeaseTasks": {"task_group": "g", "max_tasks": 1},
    "ReportOutcome": {"task_id": "x", "success": blob()},
    "ReportRefreshOutcome": {"task_id": "x", "success": pb.RefreshSuccess()},
    "Heartbeat": {"task_id": "x", "worker_id": "w"},
    "EnqueueMany": {},
    "ReportOutcomes": {},
    "ReturnTasks": {},
    "AwaitCancellations": {"worker_id": "w"},
    "ListTenants": {},
}
JOB_CALLS = ("GetJob", "GetJobResult", "DeleteJob", "CancelJob", "RestartJob", "ExpediteJob", "LeaseTask")
CLIENT_CALLS = ("Enqueue", "DropTenantHolders") + JOB_CALLS
WORKER_CALLS = ("ReportOutcome", "ReportRefreshOutcome", "Heartbeat")
UNROUTED = {"GetClusterInfo", "GetNodeInfo", "ResetShards", "ImportJobs", "GetCounters", "WatchTopology",
            "ConfigureShard", "ForceReleaseShard", "ReadRows"}
ABSENT = (
    "Query QueryArrow CpuProfile HeapProfile RequestSplit GetSplitStatus CompactShard "
    "FlushShard GetShardStorageInfo DumpTasks"
).split()


# --- the pipeline ---


@case("plain")
def shard_ids_are_parsed(server):
    for method, fields in ROUTED.items():
        for bad in ("", "nonsense", UNKNOWN_SHARD + "0", UNKNOWN_SHARD[:-1] + "g"):
            status_is(server.api.fails(method, shard=bad, **fields), "INVALID_ARGUMENT", "invalid shard ID")


@case("plain")
def unknown_shards_are_not_found(server):
    for method, fields in ROUTED.items():
        status = server.api.fails(method, shard=UNKNOWN_SHARD, **fields)
        status_is(status, "NOT_FOUND", "shard not found")
        equal([k for k in status.trailers if k.startswith("x-silo")], [], "redirects")


@case("plain")
def shard_ids_may_be_spelled_in_four_ways(server):
    jobs = Jobs(server)
    shard = jobs.shard
    equal(shard, shard.lower(), "canonical form")
    job_id = jobs.enqueue()
    for spelling in (shard.upper(), shard.replace("-", ""), "{%s}" % shard, "urn:uuid:" + shard):
        equal(server.api.GetJob(shard=spelling, id=job_id).id, job_id)


@case("plain")
def the_shard_comes_before_the_fields(server):
    bad = {"priority": 1000, "tenant": "t", "task_group": ""}
    status_is(server.api.fails("Enqueue", shard=UNKNOWN_SHARD, **bad), "NOT_FOUND", "shard not found")
    shard = server.shard_ids()[0]
    status_is(server.api.fails("Enqueue", shard=shard, **bad), "FAILED_PRECONDITION", "tenancy is disabled")


@case("plain")
def what_cannot_be_decoded_is_internal(server):
    for data in (b"\x0a", b"\x0a\x05ab", b"\x0b\x0b", b"\x0a\x02\xc3\x28", b"\x12\x01\xff", b"\xff" * 20):
        try:
            server.api.raw("/silo.v1.Silo/Enqueue", data)
            raise AssertionError("%r was accepted" % data)
        except Status as status:
            status_is(status, "INTERNAL")
    try:
        server.api.raw("/silo.v1.Silo/Nonsense", b"")
        raise AssertionError("an unknown method was accepted")
    except Status as status:
        status_is(status, "UNIMPLEMENTED")


@case("plain")
def unknown_fields_are_ignored(server):
    jobs = Jobs(server)
    message = server.api.request("Enqueue", shard=jobs.shard, task_group=jobs.group)
    reply = server.api.raw("/silo.v1.Silo/Enqueue", message.SerializeToString() + b"\xfa\x7f\x01z",
                           pb.EnqueueResponse.FromString)
    equal(jobs.get(reply.id).task_group, jobs.group)


@case("plain")
def names_with_a_nul_are_refused(server):
    jobs = Jobs(server)
    status_is(jobs.enqueue_fails(id="a\0b"), "INVALID_ARGUMENT", "NUL")


@case("plain")
def absent_methods_name_themselves(server):
    shard = server.shard_ids()[0]
    for method in ABSENT:
        fields = METHODS[method].input_type.fields_by_name
        arguments = {"shard": shard} if "shard" in fields else {}
        status_is(server.api.fails(method, **arguments), "UNIMPLEMENTED", method)
    equal(set(ABSENT) | set(ROUTED) | UNROUTED, set(METHODS))


@case("auth")
def the_token_is_checked_first(server):
    wrong = (
        ([], "missing authorization header"),
        ([("authorization", "Bearer nonsense")], "invalid auth token"),
        ([("authorization", "bearer " + TOKEN)], "invalid auth token"),
        ([("authorization", TOKEN)], "invalid auth token"),
    )
    for headers, text in wrong:
        for path in ("/silo.v1.Silo/GetClusterInfo", "/silo.v1.Silo/Enqueue", "/silo.v1.Silo/Nonsense"):
            try:
                server.api.raw(path, b"\xff", headers=headers)
                raise AssertionError("accepted")
            except Status as status:
                status_is(status, "UNAUTHENTICATED", text)
    equal(len(server.shard_ids()), 1)
    stranger = Api(server.address)
    equal(stranger.serving(""), True, "health without a token")
    equal(stranger.serving("silo.v1.Silo"), True, "health without a token")
    stranger.close()


# --- tenancy ---


@case("plain")
def tenancy_off_refuses_tenants(server):
    shard = server.shard_ids()[0]
    for method in CLIENT_CALLS:
        for tenant in ("t", "-"):
            status = server.api.fails(method, shard=shard, tenant=tenant, **ROUTED[method])
            status_is(status, "FAILED_PRECONDITION", "tenancy is disabled")
    jobs = Jobs(server)
    job_id = jobs.enqueue(tenant="")
    task = jobs.lease_one()
    equal(task.job_id, job_id)
    equal(task.HasField("tenant_id"), False, "tenant_id")
    server.api.Heartbeat(shard=task.shard, task_id=task.id, worker_id="w", tenant_id="whatever")
    server.api.ReportOutcome(shard=task.shard, task_id=task.id, success=blob(), tenant_id="x" * 100)


@case("tenants")
def tenancy_on_wants_tenants(server):
    shard = server.shard_of_hash(HASHES["a"])
    wrong = (
        ({}, "tenant id required"),
        ({"tenant": ""}, "tenant id required"),
        ({"tenant": "x" * 65}, "invalid tenant id"),
        ({"tenant": "-"}, "invalid tenant id"),
    )
    for method in CLIENT_CALLS:
        for fields, text in wrong:
            status = server.api.fails(method, shard=shard, **fields, **ROUTED[method])
            status_is(status, "INVALID_ARGUMENT", text)
    for method in WORKER_CALLS:
        for fields in ({}, {"tenant_id": ""}):
            status = server.api.fails(method, shard=shard, **fields, **ROUTED[method])
            status_is(status, "INVALID_ARGUMENT", "tenant_id")


@case("tenants")
def tenants_live_in_one_shard(server):
    equal(len(server.shard_ids()), 8, "shards")
    for tenant, tenant_hash in HASHES.items():
        home = server.shard_of_hash(tenant_hash)
        foreign = next(s for s in server.shard_ids() if s != home)
        fields = {m: "tenant" for m in CLIENT_CALLS}
        fields.update({m: "tenant_id" for m in WORKER_CALLS})
        for method, field in fields.items():
            status = server.api.fails(method, shard=foreign, **{field: tenant}, **ROUTED[method])
            status_is(status, "FAILED_PRECONDITION", "is not within shard")
            for part in (tenant, foreign):
                status_is(status, "FAILED_PRECONDITION", part)
            assert "lease owner mismatch" not in status.text
        jobs = Jobs(server, home, tenant)
        job_id = jobs.enqueue()
        task = jobs.lease_one()
        equal((task.job_id, task.tenant_id), (job_id, tenant))
        jobs.succeed(task)
        equal(jobs.get(job_id).status, pb.JOB_STATUS_SUCCEEDED)


@case("tenants")
def one_id_in_two_tenants_is_two_jobs(server):
    bounds = server.api.GetClusterInfo().shard_owners
    equal(bounds[0].range_start, "")
    equal(bounds[-1].range_end, "")
    first = Jobs(server, server.shard_of_hash(HASHES["a"]), "a")
    second = Jobs(server, server.shard_of_hash(HASHES["customer-123"]), "customer-123")
    job_id = fresh("same")
    first.enqueue(id=job_id, payload=blob(b"1"))
    second.enqueue(id=job_id, payload=blob(b"2"))
    first.on("CancelJob", job_id)
    first.on("DeleteJob", job_id)
    status_is(first.on_fails("GetJob", job_id), "NOT_FOUND", "not found")
    equal(second.get(job_id).payload.msgpack, b"2")


# --- fields of Enqueue ---

INVALID_JOBS = (
    ("priority", {"priority": 100}, "priority must be between 0 and 99"),
    ("priority", {"priority": 2**32 - 1}, "priority must be between 0 and 99"),
    ("metadata count", {"metadata": {"k%d" % i: "v" for i in range(17)}}, "too many entries"),
    ("metadata key", {"metadata": {"k" * 64: "v"}}, "key too long"),
    ("metadata value", {"metadata": {"k": "v" * 65535}}, "value too long"),
    ("group", {"task_group": ""}, "task_group is required"),
    ("group length", {"task_group": "g" * 65}, "task_group too long"),
    ("id", {"id": "i" * 4097}, "id too long"),
    ("limits", {"limits": [slot("q")] * 65}, "too many limits"),
    ("initial", {"retry_policy": pb.RetryPolicy(initial_interval_ms=-1)}, "initial_interval_ms"),
    ("max", {"retry_policy": pb.RetryPolicy(max_interval_ms=-1)}, "max_interval_ms"),
    ("factor", {"retry_policy": pb.RetryPolicy(backoff_factor=-1)}, "backoff_factor"),
    ("factor", {"retry_policy": pb.RetryPolicy(backoff_factor=float("inf"))}, "backoff_factor"),
    ("factor", {"retry_policy": pb.RetryPolicy(backoff_factor=float("nan"))}, "backoff_factor"),
)
# Of two failures the earlier one in this list wins.
ORDER = (
    ({"priority": 100}, "priority"),
    ({"metadata": {"k" * 64: "v"}}, "key too long"),
    ({"task_group": ""}, "task_group is required"),
    ({"retry_policy": pb.RetryPolicy(initial_interval_ms=-1)}, "initial_interval_ms"),
)


@case("plain")
def invalid_jobs_are_refused(server):
    jobs = Jobs(server)
    before = server.api.GetNodeInfo().owned_shards[0].total_jobs
    for name, fields, text in INVALID_JOBS:
        status = jobs.enqueue_fails(**fields)
        if status.code != "INVALID_ARGUMENT" or text not in status.text:
            raise AssertionError("%s: %s %s" % (name, status.code, status.text))
    for i, (first, text) in enumerate(ORDER):
        for second, _ in ORDER[i + 1:]:
            status_is(jobs.enqueue_fails(**{**second, **first}), "INVALID_ARGUMENT", text)
    equal(server.api.GetNodeInfo().owned_shards[0].total_jobs, before, "jobs")
    equal(jobs.lease(wait_ms=0), [], "tasks")


@case("plain")
def limits_have_bounds(server):
    jobs = Jobs(server)
    for limit, text in (
        (slot("k" * 4097), "limit key too long"),
        (floating("k" * 4097), "limit key too long"),
        (rate("n" * 4097, 1), "rate limit name too long"),
        (rate("n", 1, key="k" * 4097), "rate limit unique_key too long"),
    ):
        status_is(jobs.enqueue_fails(limits=[limit]), "INVALID_ARGUMENT", text)
    most = [slot("%04d" % i + "k" * 4092, 2**32 - 1) for i in range(64)]
    job_id = jobs.enqueue(limits=most + [pb.Limit()])  # one without a member is dropped, and not counted
    equal(list(jobs.get(job_id).limits), most)
    jobs.run(job_id)
    jobs.enqueue(limits=[pb.Limit()])
    equal(len(jobs.lease_one().limits), 0, "limits")


@case("plain")
def jobs_at_the_bounds_round_trip(server):
    jobs = Jobs(server)
    metadata = {("\u00e9" * 60) + "%03d" % i: "v" * 100 for i in range(16)}
    metadata[("\u00e9" * 60) + "000"] = "v" * 65534
    group = "\U0001f600" * 64
    policy = pb.RetryPolicy(retry_count=2**32 - 1, initial_interval_ms=2**62, max_interval_ms=0, backoff_factor=1e300)
    job_id = ("\u0001\u00ff/" * 900)[:1800]
    assert 1800 < len(job_id.encode()) <= 4096
    jobs.group = group
    payload = blob(b"\xc1 not msgpack")
    got = jobs.enqueue(id=job_id, priority=99, metadata=metadata, retry_policy=policy, payload=payload)
    equal(got, job_id)
    job = jobs.get(job_id)
    equal((job.id, job.priority, job.task_group), (job_id, 99, group))
    equal(dict(job.metadata), metadata)
    equal(job.retry_policy, policy)
    equal(job.payload, payload)
    task = jobs.lease_one()
    equal((task.job_id, task.priority, task.task_group, dict(task.metadata)), (job_id, 99, group, metadata))
    equal(task.payload, payload)
    equal(task.is_last_attempt, False)
    jobs.succeed(task)


@case("plain")
def the_last_of_equal_metadata_keys_counts(server):
    jobs = Jobs(server)
    message = server.api.request("Enqueue", shard=jobs.shard, task_group=jobs.group)
    entries = b"".join(b"\x4a\x06\x0a\x01k\x12\x01" + bytes([c]) for c in b"123")
    data = message.SerializeToString() + entries
    reply = server.api.raw("/silo.v1.Silo/Enqueue", data, pb.EnqueueResponse.FromString)
    equal(dict(jobs.get(reply.id).metadata), {"k": "3"})


# --- Enqueue ---


@case("plain")
def ids_are_made_or_kept(server):
    jobs = Jobs(server)
    first, second = jobs.enqueue(), jobs.enqueue()
    assert first != second
    equal(str(uuid.UUID(first)), first)
    equal(uuid.UUID(first).version, 7)
    job_id = fresh("mine")
    equal(jobs.enqueue(id=job_id), job_id)


@case("plain")
def an_id_is_used_once(server):
    jobs = Jobs(server)
    job_id = jobs.enqueue(id=fresh("dup"), payload=blob(b"original"))
    text = "job already exists with id " + job_id
    total = server.api.GetNodeInfo().owned_shards[0].total_jobs
    status_is(jobs.enqueue_fails(id=job_id, payload=blob(b"other")), "ALREADY_EXISTS", text)
    equal(jobs.get(job_id).payload.msgpack, b"original")
    equal(server.api.GetNodeInfo().owned_shards[0].total_jobs, total)
    tasks = jobs.lease(10)
    equal(len(tasks), 1, "tasks")
    jobs.succeed(tasks[0])
    status_is(jobs.enqueue_fails(id=job_id), "ALREADY_EXISTS", text)  # also of a finished job
    jobs.on("DeleteJob", job_id)
    equal(jobs.enqueue(id=job_id, payload=blob(b"again")), job_id)
    equal(len(jobs.get(job_id, True).attempts), 0, "attempts of the deleted job")
    equal(jobs.lease_one().attempt_number, 1)


@case("plain")
def racing_enqueues_have_one_winner(server):
    jobs = Jobs(server)
    job_id = fresh("race")
    outcomes = []

    def enqueue(i):
        try:
            jobs.enqueue(id=job_id, payload=blob(b"%d" % i))
            outcomes.append("OK")
        except Status as status:
            outcomes.append(status.code)

    threads = [threading.Thread(target=enqueue, args=(i,)) for i in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    equal(sorted(outcomes), ["ALREADY_EXISTS"] * 15 + ["OK"])
    equal(len(jobs.lease(10)), 1, "tasks")


@case("plain")
def return_existing_repeats_the_same_job(server):
    jobs = Jobs(server)
    job_id = fresh("again")
    fields = {"id": job_id, "payload": blob(b"p"), "priority": 3, "metadata": {"a": "1", "b": "2"},
              "retry_policy": pb.RetryPolicy(retry_count=1)}
    jobs.enqueue(return_existing=True, **fields)
    equal(jobs.enqueue(return_existing=True, **fields), job_id)
    equal(jobs.enqueue(return_existing=True, start_at_ms=now_ms() + 10**6, **fields), job_id)  # all but the start
    status_is(jobs.enqueue_fails(**fields), "ALREADY_EXISTS")
    changes = ({"payload": blob(b"q")}, {"priority": 4}, {"metadata": {"a": "1"}}, {"task_group": fresh()},
               {"retry_policy": pb.RetryPolicy(retry_count=2)}, {"limits": [slot("q")]})
    for change in changes:
        status_is(jobs.enqueue_fails(return_existing=True, **{**fields, **change}), "ALREADY_EXISTS")
    equal(len(jobs.lease(10)), 1, "tasks")


@case("plain")
def starts_are_kept(server):
    jobs = Jobs(server)
    for start in (0, -7):
        before = now_ms()
        job = jobs.get(jobs.enqueue(start_at_ms=start))
        assert before - 5 <= job.enqueue_time_ms <= now_ms() + 5, job.enqueue_time_ms
        assert before - 5 <= job.next_attempt_starts_after_ms <= now_ms() + 5
        equal(job.status_changed_at_ms, job.enqueue_time_ms)
    equal(len(jobs.lease(10)), 2, "tasks due at once")
    future = now_ms() + 3_600_000
    job = jobs.get(jobs.enqueue(start_at_ms=future))
    equal(job.next_attempt_starts_after_ms, future)
    assert job.enqueue_time_ms < future - 3_000_000, "enqueue time is the server's clock"
    equal(jobs.lease(10, wait_ms=200), [], "tasks of the future")


@case("plain")
def future_jobs_become_due(server):
    jobs = Jobs(server)
    start = now_ms() + 700
    job_id = jobs.enqueue(start_at_ms=start)
    task = jobs.lease_one()
    equal(task.job_id, job_id)
    assert now_ms() >= start, "handed out early"


@case("plain")
def urgent_jobs_go_first(server):
    jobs = Jobs(server)
    ids = {}
    for priority in (50, 10, 99, 10, 0):
        ids.setdefault(priority, []).append(jobs.enqueue(priority=priority))
    wanted = ids[0] + ids[10] + ids[50] + ids[99]
    equal([task.job_id for task in jobs.lease(10)], wanted, "order")


@case("by_start")
def the_order_may_be_by_start(server):
    jobs = Jobs(server)
    base = now_ms() - 10_000
    late = jobs.enqueue(start_at_ms=base + 2, priority=0)
    same = [jobs.enqueue(start_at_ms=base + 1, priority=priority) for priority in (50, 10, 50)]
    early = jobs.enqueue(start_at_ms=base, priority=99)
    wanted = [early, same[1], same[0], same[2], late]
    equal([task.job_id for task in jobs.lease(10)], wanted, "start, then priority, then arrival")
    queue = [slot(fresh("q"))]
    holder, urgent, first = (jobs.enqueue(limits=queue, start_at_ms=start, priority=priority)
                             for start, priority in ((base, 50), (base + 1, 0), (base, 99)))
    for job_id in (holder, first, urgent):
        jobs.run(job_id)


@case("plain")
def large_payloads_round_trip(server):
    jobs = Jobs(server)
    for size in (4096, 4097, 70000, 5_000_000):
        payload = os.urandom(size)
        job_id = jobs.enqueue(payload=blob(payload))
        equal(jobs.get(job_id).payload.msgpack == payload, True, "payload of GetJob, %d bytes" % size)
        task = jobs.lease_one()
        equal(task.payload.msgpack == payload, True, "payload of LeaseTasks")
        jobs.succeed(task, payload[::-1])
        result = jobs.on("GetJobResult", job_id)
        equal(result.success_data.msgpack == payload[::-1], True, "result")
        equal(jobs.get(job_id).result.msgpack == payload[::-1], True, "result of GetJob")
        attempts = jobs.get(job_id, True).attempts
        equal(attempts[0].result.msgpack == payload[::-1], True, "result of the attempt")


# --- GetJob, GetJobResult ---


@case("plain")
def get_follows_a_job_to_success(server):
    jobs = Jobs(server)
    job_id = jobs.enqueue()
    job = jobs.get(job_id, True)
    equal(job.status, pb.JOB_STATUS_SCHEDULED)
    equal(job.HasField("payload"), True, "payload")
    equal(job.payload.WhichOneof("encoding"), "msgpack")
    equal(job.HasField("retry_policy"), False, "retry_policy")
    equal(job.HasField("result"), False, "result")
    equal(len(job.attempts), 0, "attempts")

    task = jobs.lease_one()
    job = jobs.get(job_id, True)
    equal(job.status, pb.JOB_STATUS_RUNNING)
    equal(job.HasField("next_attempt_starts_after_ms"), False, "next attempt while running")
    equal(len(job.attempts), 1)
    attempt = job.attempts[0]
    equal((attempt.job_id, attempt.attempt_number, attempt.task_id), (job_id, 1, task.id))
    equal(attempt.status, pb.ATTEMPT_STATUS_RUNNING)
    equal(attempt.HasField("finished_at_ms"), False)
    equal(attempt.started_at_ms, job.status_changed_at_ms)
    equal(len(jobs.get(job_id).attempts), 0, "attempts unasked for")

    jobs.succeed(task, b"done")
    for with_attempts in (False, True):
        job = jobs.get(job_id, with_attempts)
        equal(job.status, pb.JOB_STATUS_SUCCEEDED)
        equal(job.result.msgpack, b"done")
        equal(job.HasField("next_attempt_starts_after_ms"), False)
    attempt = job.attempts[0]
    equal((attempt.status, attempt.result.msgpack), (pb.ATTEMPT_STATUS_SUCCEEDED, b"done"))
    equal(attempt.finished_at_ms, job.status_changed_at_ms)
    equal(attempt.HasField("error_code") or attempt.HasField("error_data"), False, "error of a success")


@case("plain")
def get_shows_failures_and_retries(server):
    jobs = Jobs(server)
    policy = pb.RetryPolicy(retry_count=1, initial_interval_ms=300, backoff_factor=7)
    job_id = jobs.enqueue(retry_policy=policy)
    first = jobs.lease_one()
    equal((first.attempt_number, first.relative_attempt_number, first.is_last_attempt), (1, 1, False))
    jobs.failed(first, "", b"")
    job = jobs.get(job_id, True)
    equal(job.status, pb.JOB_STATUS_SCHEDULED)
    attempt = job.attempts[0]
    equal(attempt.status, pb.ATTEMPT_STATUS_FAILED)
    equal(attempt.HasField("error_code") and attempt.HasField("error_data"), True, "error though empty")
    equal(attempt.HasField("result"), False)
    equal(job.next_attempt_starts_after_ms, attempt.finished_at_ms + 300, "the first retry waits the initial interval")
    second = jobs.lease_one()
    equal((second.attempt_number, second.relative_attempt_number, second.is_last_attempt), (2, 2, True))
    assert second.id != first.id
    jobs.failed(second, "FINAL", b"why")
    job = jobs.get(job_id, True)
    equal(job.status, pb.JOB_STATUS_FAILED)
    equal(job.HasField("result") or job.HasField("next_attempt_starts_after_ms"), False)
    equal([a.attempt_number for a in job.attempts], [1, 2])
    result = jobs.on("GetJobResult", job_id)
    equal(result.WhichOneof("result"), "failure")
    equal((result.failure.error_code, result.failure.error_data.msgpack), ("FINAL", b"why"))
    equal(result.finished_at_ms, job.status_changed_at_ms)


@case("plain")
def results_have_their_shapes(server):
    jobs = Jobs(server)
    job_id = jobs.enqueue()
    text = "job is not complete: status is "
    status_is(jobs.on_fails("GetJobResult", job_id), "FAILED_PRECONDITION", text + "Scheduled")
    task = jobs.lease_one()
    status_is(jobs.on_fails("GetJobResult", job_id), "FAILED_PRECONDITION", text + "Running")
    jobs.succeed(task)
    result = jobs.on("GetJobResult", job_id)
    equal((result.id, result.status), (job_id, pb.JOB_STATUS_SUCCEEDED))
    equal(result.WhichOneof("result"), "success_data")
    equal(result.success_data.WhichOneof("encoding"), "msgpack")

    job_id = jobs.enqueue()
    jobs.on("CancelJob", job_id)
    result = jobs.on("GetJobResult", job_id)
    equal((result.status, result.WhichOneof("result")), (pb.JOB_STATUS_CANCELLED, "cancelled"))
    equal(result.cancelled.cancelled_at_ms, jobs.get(job_id).status_changed_at_ms)

    policy = pb.RetryPolicy(retry_count=3, initial_interval_ms=10**7)
    job_id = jobs.enqueue(retry_policy=policy)
    jobs.failed(jobs.lease_one())
    jobs.on("CancelJob", job_id)  # between retries: the outcome is the job's own
    equal(jobs.on("GetJobResult", job_id).WhichOneof("result"), "cancelled")


@case("plain")
def results_can_be_awaited(server):
    jobs = Jobs(server)
    job_id = jobs.enqueue()
    began = time.monotonic()
    status = jobs.on_fails("GetJobResult", job_id, wait_ms=200)
    status_is(status, "FAILED_PRECONDITION", "not complete")
    assert 0.15 < time.monotonic() - began < 5
    waiting = server.api.start("GetJobResult", shard=jobs.shard, id=job_id, wait_ms=30000)
    task = jobs.lease_one()
    jobs.succeed(task, b"at last")
    equal(waiting.result().success_data.msgpack, b"at last")


@case("plain")
def unknown_jobs_are_not_found(server):
    jobs = Jobs(server)
    for method in ("GetJob", "GetJobResult", "CancelJob", "RestartJob", "ExpediteJob", "LeaseTask"):
        worker = {"worker_id": "w"} if method == "LeaseTask" else {}
        for job_id in ("nothing", "", "x" * 4096):
            status = jobs.on_fails(method, job_id, **worker)
            status_is(status, "NOT_FOUND", "not found")
            assert "shard not found" not in status.text and "lease not found" not in status.text
        status_is(jobs.on_fails(method, "x" * 4097, **worker), "INVALID_ARGUMENT", "id too long")
    jobs.on("DeleteJob", "nothing")


# --- DeleteJob, CancelJob ---


@case("plain")
def only_finished_jobs_are_deleted(server):
    jobs = Jobs(server)
    job_id = jobs.enqueue()
    status_is(jobs.on_fails("DeleteJob", job_id), "FAILED_PRECONDITION", "cannot delete job " + job_id)
    task = jobs.lease_one()
    status_is(jobs.on_fails("DeleteJob", job_id), "FAILED_PRECONDITION", "cannot delete job")
    jobs.on("CancelJob", job_id)
    status_is(jobs.on_fails("DeleteJob", job_id), "FAILED_PRECONDITION", "cannot delete job")
    jobs.succeed(task)
    jobs.on("DeleteJob", job_id)
    jobs.on("DeleteJob", job_id)
    status_is(jobs.on_fails("GetJob", job_id), "NOT_FOUND", "not found")
    status_is(jobs.on_fails("GetJobResult", job_id), "NOT_FOUND", "not found")


@case("plain")
def scheduled_jobs_are_cancelled_at_once(server):
    jobs = Jobs(server)
    start = now_ms() + 10**6
    for fields in ({}, {"start_at_ms": start}):
        job_id = jobs.enqueue(**fields)
        due = jobs.get(job_id).next_attempt_starts_after_ms
        jobs.on("CancelJob", job_id)
        job = jobs.get(job_id, True)
        equal(job.status, pb.JOB_STATUS_CANCELLED)
        equal(job.next_attempt_starts_after_ms, due, "kept")
        equal(len(job.attempts), 0)
        equal(jobs.lease(wait_ms=0), [], "tasks")
        status_is(jobs.on_fails("CancelJob", job_id), "FAILED_PRECONDITION", "job is already cancelled")
        jobs.on("DeleteJob", job_id)


@case("plain")
def running_jobs_are_marked(server):
    ends = (
        ("succeed", pb.JOB_STATUS_SUCCEEDED, pb.ATTEMPT_STATUS_SUCCEEDED),
        ("failed", pb.JOB_STATUS_CANCELLED, pb.ATTEMPT_STATUS_FAILED),
        ("cancelled", pb.JOB_STATUS_CANCELLED, pb.ATTEMPT_STATUS_CANCELLED),
    )
    for report, job_status, attempt_status in ends:
        jobs = Jobs(server)
        job_id = jobs.enqueue(retry_policy=pb.RetryPolicy(retry_count=5))
        task = jobs.lease_one()
        beat = {"shard": jobs.shard, "task_id": task.id, "worker_id": "w"}
        equal(server.api.Heartbeat(**beat), pb.HeartbeatResponse())
        before = now_ms()
        jobs.on("CancelJob", job_id)
        equal(jobs.get(job_id).status, pb.JOB_STATUS_RUNNING)
        status_is(jobs.on_fails("CancelJob", job_id), "FAILED_PRECONDITION", "job is already cancelled")
        for _ in range(2):
            reply = server.api.Heartbeat(**beat)
            equal(reply.cancelled, True)
            assert before - 5 <= reply.cancelled_at_ms <= now_ms() + 5
        getattr(jobs, report)(task)
        job = jobs.get(job_id, True)
        equal((report, job.status), (report, job_status))
        equal(job.attempts[0].status, attempt_status)
        equal(job.HasField("next_attempt_starts_after_ms"), False, "next attempt")
        status_is(jobs.on_fails("CancelJob", job_id), "FAILED_PRECONDITION", "already")


@case("plain")
def finished_jobs_are_not_cancelled(server):
    jobs = Jobs(server)
    for report in (jobs.succeed, jobs.failed):
        job_id = jobs.enqueue()
        report(jobs.lease_one())
        status_is(jobs.on_fails("CancelJob", job_id), "FAILED_PRECONDITION", "job is already in terminal state")
    job_id = jobs.enqueue()
    jobs.cancelled(jobs.lease_one())  # unprompted
    equal(jobs.get(job_id).status, pb.JOB_STATUS_CANCELLED)
    status_is(jobs.on_fails("CancelJob", job_id), "FAILED_PRECONDITION", "already cancelled")


# --- topology and operations ---


@case("many")
def the_cluster_is_this_node(server):
    info = server.api.GetClusterInfo()
    equal((info.num_shards, len(info.shard_owners), len(info.members)), (3, 3, 1))
    equal(info.this_grpc_addr, server.address)
    equal({o.node_id for o in info.shard_owners} | {info.members[0].node_id}, {info.this_node_id})
    equal({o.grpc_addr for o in info.shard_owners} | {info.members[0].grpc_addr}, {server.address})
    starts = [o.range_start for o in info.shard_owners]
    equal(starts, ["", "5555555555555555", "aaaaaaaaaaaaaaaa"])
    equal([o.range_end for o in info.shard_owners], starts[1:] + [""])
    equal(any(o.HasField("placement_ring") for o in info.shard_owners), False)
    node = server.api.GetNodeInfo()
    equal(node.node_id, info.this_node_id)
    ids = [s.shard_id for s in node.owned_shards]
    equal(ids, sorted(o.shard_id for o in info.shard_owners))
    for shard in node.owned_shards:
        equal((shard.cleanup_status, shard.cleanup_completed_at_ms), ("CompactionDone", 0))
        assert abs(shard.created_at_ms - now_ms()) < 600_000


@case("many")
def counters_follow_the_jobs(server):
    jobs = Jobs(server)

    def counters():
        shard = next(s for s in server.api.GetNodeInfo().owned_shards if s.shard_id == jobs.shard)
        return shard.total_jobs, shard.completed_jobs

    total, completed = counters()

    def expect(more, done, what):
        equal(counters(), (total + more, completed + done), what)

    ids = [jobs.enqueue(retry_policy=pb.RetryPolicy(retry_count=1)) for _ in range(4)]
    expect(4, 0, "enqueued")
    tasks = {t.job_id: t for t in jobs.lease(4)}
    expect(4, 0, "leased")
    jobs.succeed(tasks[ids[0]])
    expect(4, 1, "succeeded")
    jobs.failed(tasks[ids[1]])
    expect(4, 1, "retried")
    jobs.failed(jobs.lease_one())
    expect(4, 2, "failed")
    jobs.on("CancelJob", ids[2])
    expect(4, 2, "cancel while running")
    jobs.cancelled(tasks[ids[2]])
    expect(4, 3, "cancelled")
    jobs.on("DeleteJob", ids[0])
    expect(3, 2, "deleted")
    jobs.succeed(tasks[ids[3]])
    scheduled = jobs.enqueue(start_at_ms=now_ms() + 10**6)
    jobs.on("CancelJob", scheduled)
    expect(4, 4, "cancelled while scheduled")


@case("plain")
def resets_need_dev_mode(server):
    jobs = Jobs(server)
    job_id = jobs.enqueue()
    status_is(server.api.fails("ResetShards"), "PERMISSION_DENIED", "dev mode")
    equal(jobs.get(job_id).id, job_id)


def resets_empty_every_shard(server):
    shards = server.shard_ids()
    for _ in range(5):
        leased = []
        for shard in shards:
            jobs = Jobs(server, shard)
            jobs.enqueue(id="the-same")
            jobs.enqueue(start_at_ms=now_ms() + 10**6)
            leased.append((jobs, jobs.lease_one()))
            jobs.enqueue(limits=[slot("q")])
            jobs.enqueue(limits=[slot("q")])
            jobs.lease_one()
            done = jobs.enqueue()
            jobs.succeed(jobs.lease_one())
            equal(jobs.get(done).status, pb.JOB_STATUS_SUCCEEDED)
        equal(server.api.ResetShards().shards_reset, len(shards))
        equal(server.shard_ids(), shards, "shard ids")
        equal([(s.total_jobs, s.completed_jobs) for s in server.api.GetNodeInfo().owned_shards], [(0, 0)] * len(shards))
        for jobs, task in leased:
            status_is(jobs.on_fails("GetJob", "the-same"), "NOT_FOUND", "not found")
            beat = {"shard": task.shard, "task_id": task.id, "worker_id": "w"}
            status_is(server.api.fails("Heartbeat", **beat), "NOT_FOUND", "lease not found", exact=True)
            jobs.lease_none()
            jobs.queues_are_free("q")
        server.api.ResetShards()


case("dev")(resets_empty_every_shard)
case("dev_in_memory")(resets_empty_every_shard)


@case("plain")
def shards_survive_a_restart(server):
    with SiloServer() as own:
        jobs = Jobs(own)
        first, second = jobs.enqueue(payload=blob(b"kept")), jobs.enqueue()
        task = jobs.lease_one()
        equal(task.job_id, first)
        shard = jobs.shard
        equal(own.stop(), 0, "exit status")
        own.start()
        equal(own.shard_ids(), [shard])
        jobs.api = own.api
        equal(jobs.get(first).status, pb.JOB_STATUS_RUNNING)
        jobs.succeed(task, b"after")
        until(lambda: jobs.on("GetJobResult", first).success_data.msgpack == b"after", "the result")
        equal(jobs.lease_one().job_id, second)


SERVERS = {
    "plain": SiloServer,
    "many": lambda: SiloServer(shards=3),
    "tenants": lambda: SiloServer(tenancy=True),
    "auth": lambda: SiloServer(token=TOKEN),
    "by_start": lambda: SiloServer(settings={"database.dispatch_order": "start"}),
    "dev": lambda: SiloServer(shards=2, settings={"server.dev_mode": True}),
    "dev_in_memory": lambda: SiloServer(
        shards=8, settings={"server.dev_mode": True, "database.backend": "memory", "database.path": "test"}
    ),
}

globals().update(cases.classes(SERVERS))

if __name__ == "__main__":
    unittest.main()

"""What must hold when a server is killed with SIGKILL: the checks, for any storage.

Each check takes a SiloServer that serves an empty store, kills it and starts it again on the same store, and compares what
it finds with a ledger of what the server had acknowledged. A call that failed has an unknown outcome: both are right.
"""

import random
import threading
import time

from checks import equal, until
from silo_api import Status, blob, pb

GROUP = "crash"
LEASE_S = 10
RETRIES = dict(retry_count=1000, initial_interval_ms=1, backoff_factor=1.0, max_interval_ms=1)

SCHEDULED, RUNNING, SUCCEEDED, FAILED, CANCELLED = range(5)  # of a job
ATTEMPT_RUNNING, ATTEMPT_SUCCEEDED, ATTEMPT_FAILED = range(3)


def restart(server):
    server.kill()
    server.start()


def enqueue(api, shard, job_id="", payload=b"", retries=None):
    policy = pb.RetryPolicy(**retries) if retries else None
    return api.Enqueue(shard=shard, id=job_id, task_group=GROUP, payload=blob(payload), retry_policy=policy).id


def lease(api, worker="worker", count=1, wait_ms=5000):
    return list(api.LeaseTasks(worker_id=worker, max_tasks=count, task_group=GROUP, wait_ms=wait_ms).tasks)


def lease_one(api, worker="worker", seconds=30):
    return until(lambda: lease(api, worker), "a task", seconds)[0]


def attempts_of(api, shard, job_id):
    return list(api.GetJob(shard=shard, id=job_id, include_attempts=True).attempts)


def totals(api):
    """Jobs stored and jobs ended, over all shards."""
    shards = api.GetNodeInfo().owned_shards
    return sum(s.total_jobs for s in shards), sum(s.completed_jobs for s in shards)


# ---- one acknowledged call, then the kill -----------------------------------------------------------------------


def check_enqueue(server, rounds):
    shard = server.shard_ids()[0]
    payloads = {}
    for n in range(rounds):
        own_id = "job-%d" % n if n % 2 else ""
        payload = b"payload of %d " % n + bytes(random.randrange(256) for _ in range(random.choice((0, 10, 5000))))
        payloads[enqueue(server.api, shard, own_id, payload)] = payload
        restart(server)
        equal(server.shard_ids()[0], shard, "shard id after a restart")
        for job_id, stored in payloads.items():
            job = server.api.GetJob(shard=shard, id=job_id)
            equal(job.payload.msgpack, stored, "payload of " + job_id)
            equal(job.status, SCHEDULED, "status of " + job_id)
        equal(totals(server.api), (len(payloads), 0), "totals")


def check_lease(server):
    """A lease outlives the crash. Its worker may report; a worker that is gone loses it to the next one."""
    shard = server.shard_ids()[0]
    kept = enqueue(server.api, shard, "kept", b"k", RETRIES)
    kept_task = lease_one(server.api, "survivor")
    equal(kept_task.job_id, kept)
    enqueue(server.api, shard, "lost", b"l", RETRIES)
    lost_task = lease_one(server.api, "crashed")
    enqueue(server.api, shard, "final", b"f")
    final_task = lease_one(server.api, "crashed")
    restart(server)

    began = time.monotonic()
    api = server.api
    for job_id in ("kept", "lost", "final"):
        equal(api.GetJob(shard=shard, id=job_id).status, RUNNING, "status of leased job " + job_id)
    equal(lease(api, "thief", 10, 0), [], "tasks on offer while leased")
    api.Heartbeat(shard=shard, worker_id="survivor", task_id=kept_task.id)
    api.ReportOutcome(shard=shard, task_id=kept_task.id, success=blob(b"done"))
    equal(api.GetJobResult(shard=shard, id=kept).success_data.msgpack, b"done")

    again = lease_one(api, "next", 3 * LEASE_S)
    if time.monotonic() - began < LEASE_S - 1:
        raise AssertionError("a lease ended %.1f s after the restart" % (time.monotonic() - began))
    equal((again.job_id, again.attempt_number), ("lost", 2), "the task delivered again")
    first, second = attempts_of(api, shard, "lost")
    equal((first.task_id, first.status, first.error_code), (lost_task.id, ATTEMPT_FAILED, "WORKER_CRASHED"), "attempt 1")
    equal((second.task_id, second.status), (again.id, ATTEMPT_RUNNING), "attempt 2")
    failure = until(lambda: result_or_none(api, shard, "final"), "the end of a job without retries", 3 * LEASE_S)
    equal((failure.status, failure.failure.error_code), (FAILED, "WORKER_CRASHED"), "the job without retries")
    equal(attempts_of(api, shard, "final")[0].task_id, final_task.id)
    for task in (lost_task, final_task):
        equal(api.fails("ReportOutcome", shard=shard, task_id=task.id, success=blob(b"late")).code, "NOT_FOUND")


def result_or_none(api, shard, job_id):
    try:
        return api.GetJobResult(shard=shard, id=job_id)
    except Status as status:
        equal(status.code, "FAILED_PRECONDITION")
        return None


def check_report(server, rounds):
    shard = server.shard_ids()[0]
    results = {}
    for n in range(rounds):
        job_id = enqueue(server.api, shard, "reported-%d" % n, b"", RETRIES if n % 3 == 2 else None)
        task = lease_one(server.api)
        equal(task.job_id, job_id)
        kind, outcome = report_of(n)
        server.api.ReportOutcome(shard=shard, task_id=task.id, **outcome)
        restart(server)
        results[job_id] = kind, outcome
        for job_id, (kind, outcome) in results.items():
            check_reported(server.api, shard, job_id, kind, outcome)


def report_of(n):
    data = b"data of %d " % n * random.choice((1, 1000))
    if n % 3 == 0:
        return SUCCEEDED, {"success": blob(data)}
    if n % 3 == 1:
        return FAILED, {"failure": pb.Failure(code="BOOM", data=blob(data))}
    return CANCELLED, {"cancelled": pb.Cancelled()}


def check_reported(api, shard, job_id, kind, outcome):
    result = api.GetJobResult(shard=shard, id=job_id)
    equal(result.status, kind, "status of " + job_id)
    if kind == SUCCEEDED:
        equal(result.success_data.msgpack, outcome["success"].msgpack, "result of " + job_id)
    elif kind == FAILED:
        equal((result.failure.error_code, result.failure.error_data.msgpack),
              ("BOOM", outcome["failure"].data.msgpack), "error of " + job_id)


# ---- the kill in the middle of a load ---------------------------------------------------------------------------


class Ledger:
    """What producers and workers were told."""

    def __init__(self):
        self.lock = threading.Lock()
        self.tried = []  # ids handed to Enqueue
        self.enqueued = set()
        self.leased = {}  # job id -> task ids, in order of delivery
        self.succeeded = {}  # job id -> task id of the acknowledged report
        self.errors = []


def produce(api, shard, ledger, stop, name):
    n = 0
    while not stop.is_set():
        job_id = "%s-%d" % (name, n)
        n += 1
        with ledger.lock:
            ledger.tried.append(job_id)
        try:
            enqueue(api, shard, job_id, job_id.encode() * 20, RETRIES)
        except Status as status:
            note_failure(ledger, status)
            return
        with ledger.lock:
            ledger.enqueued.add(job_id)


def work(api, ledger, stop, name, wait_ms=500):
    while not stop.is_set():
        try:
            for task in lease(api, name, 8, wait_ms):
                with ledger.lock:
                    ledger.leased.setdefault(task.job_id, []).append(task.id)
                api.ReportOutcome(shard=task.shard, task_id=task.id, success=blob(task.job_id.encode()))
                with ledger.lock:
                    if task.job_id in ledger.succeeded:
                        ledger.errors.append("%s succeeded twice" % task.job_id)
                    ledger.succeeded[task.job_id] = task.id
        except Status as status:
            note_failure(ledger, status)
            return


def note_failure(ledger, status):
    if status.code not in ("UNAVAILABLE", "CANCELLED", "DEADLINE_EXCEEDED", "UNKNOWN"):
        with ledger.lock:
            ledger.errors.append(str(status))


def run_load(server, shard, ledger, round_number, producers, workers, seconds):
    """A load that ends with the kill, `seconds` after its first acknowledged call."""
    stop = threading.Event()
    api = server.api
    threads = [threading.Thread(target=produce, args=(api, shard, ledger, stop, "p%d-%d" % (round_number, i)))
               for i in range(producers)]
    threads += [threading.Thread(target=work, args=(api, ledger, stop, "w%d" % i)) for i in range(workers)]
    before = len(ledger.enqueued)
    for thread in threads:
        thread.start()
    until(lambda: len(ledger.enqueued) > before, "the first enqueue of a round", 30)
    time.sleep(seconds)  # the load itself, not a wait for something
    server.process.kill()
    stop.set()
    for thread in threads:
        thread.join()
    server.kill()


def exists(api, shard, job_id):
    try:
        api.GetJob(shard=shard, id=job_id)
        return True
    except Status as status:
        equal(status.code, "NOT_FOUND")
        return False


def check_under_load(server, rounds, producers=8, workers=4, seconds=0.7):
    shard = server.shard_ids()[0]
    ledger = Ledger()
    for n in range(rounds):
        run_load(server, shard, ledger, n, producers, workers, random.uniform(0.1, seconds))
        server.start()
        equal(server.shard_ids()[0], shard, "shard id")
        sample = random.sample(sorted(ledger.enqueued), min(200, len(ledger.enqueued)))
        for job_id in sample:
            if not exists(server.api, shard, job_id):
                raise AssertionError("acknowledged job %s is gone after kill %d" % (job_id, n))
    drain(server, shard, ledger)
    audit(server.api, shard, ledger)
    restart(server)
    audit(server.api, shard, ledger)
    return ledger


def drain(server, shard, ledger):
    """Runs workers until no job is open; leases of the dead ones have to expire first."""
    stop = threading.Event()
    threads = [threading.Thread(target=work, args=(server.api, ledger, stop, "d%d" % i, 200)) for i in range(4)]
    for thread in threads:
        thread.start()
    try:
        until(lambda: len(set(totals(server.api))) == 1, "all jobs to end", 120)
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def audit(api, shard, ledger):
    """Every acknowledged job is there, ended once, with the outcome that was acknowledged; the totals agree."""
    equal(ledger.errors, [], "unexpected errors")
    present = 0
    for job_id in ledger.tried:
        if not exists(api, shard, job_id):
            if job_id in ledger.enqueued:
                raise AssertionError("acknowledged job %s is gone" % job_id)
            continue
        present += 1
        audit_job(api, shard, ledger, job_id)
    equal(totals(api), (present, present), "totals")


def audit_job(api, shard, ledger, job_id):
    job = api.GetJob(shard=shard, id=job_id, include_attempts=True)
    equal(job.status, SUCCEEDED, "status of " + job_id)
    equal(job.result.msgpack, job_id.encode(), "result of " + job_id)
    equal([a.attempt_number for a in job.attempts], list(range(1, len(job.attempts) + 1)), "attempts of " + job_id)
    *earlier, last = job.attempts
    equal(last.status, ATTEMPT_SUCCEEDED, "last attempt of " + job_id)
    for attempt in earlier:
        equal((attempt.status, attempt.error_code), (ATTEMPT_FAILED, "WORKER_CRASHED"), "an attempt of " + job_id)
    if job_id in ledger.succeeded:
        equal(last.task_id, ledger.succeeded[job_id], "the acknowledged attempt of " + job_id)
    task_ids = {attempt.task_id for attempt in job.attempts}
    missing = [task_id for task_id in ledger.leased.get(job_id, []) if task_id not in task_ids]
    equal(missing, [], "attempts handed out and not recorded for " + job_id)

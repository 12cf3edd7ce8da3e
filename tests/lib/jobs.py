"""Short ways to say what tests of jobs say: a shard and a task group of one test's own, limits, imported attempts, counters.

    jobs = Jobs(server)
    job_id = jobs.enqueue(limits=[slot("queue", 1)])
    task = jobs.lease_one()
    jobs.succeed(task)
    equal(jobs.get(job_id).status, pb.JOB_STATUS_SUCCEEDED)

Times are Unix ms.
"""

import time
import uuid

from checks import equal, status_is
from silo_api import blob, pb

SCHEDULED, RUNNING = pb.JOB_STATUS_SCHEDULED, pb.JOB_STATUS_RUNNING
SUCCEEDED, FAILED, CANCELLED = pb.JOB_STATUS_SUCCEEDED, pb.JOB_STATUS_FAILED, pb.JOB_STATUS_CANCELLED
KINDS = {SCHEDULED: "Scheduled", RUNNING: "Running", SUCCEEDED: "Succeeded", FAILED: "Failed", CANCELLED: "Cancelled"}

HOUR_MS = 3600 * 1000
NO_LEASE = ("NOT_FOUND", "lease not found")
NOT_OWNER = ("FAILED_PRECONDITION", "lease owner mismatch")
# Hashes of tenants, from the wire contract.
HASHES = {"a": "d24ec4f1a98c6e5b", "test-tenant": "7bda10a719882c53", "customer-123": "0bb632d435317a69"}


def now_ms():
    return int(time.time() * 1000)


def fresh(prefix="g"):
    return "%s-%s" % (prefix, uuid.uuid4().hex[:12])


# --- limits and policies ---


def slot(key, maximum=1):
    """A fixed concurrency limit."""
    return pb.Limit(concurrency=pb.ConcurrencyLimit(key=key, max_concurrency=maximum))


def floating(key, default=1, interval_ms=HOUR_MS, **metadata):
    return pb.Limit(
        floating_concurrency=pb.FloatingConcurrencyLimit(
            key=key, default_max_concurrency=default, refresh_interval_ms=interval_ms, metadata=metadata
        )
    )


def rate(name, limit, duration_ms=HOUR_MS, key="k", hits=1, back_off=None, **fields):
    """A rate limit; back_off: (initial ms, maximum ms, multiplier, retries)."""
    policy = {}
    if back_off is not None:
        initial, longest, multiplier, retries = back_off
        policy["retry_policy"] = pb.RateLimitRetryPolicy(
            initial_backoff_ms=initial, max_backoff_ms=longest, backoff_multiplier=multiplier, max_retries=retries
        )
    return pb.Limit(
        rate_limit=pb.GubernatorRateLimit(
            name=name, unique_key=key, limit=limit, duration_ms=duration_ms, hits=hits, **policy, **fields
        )
    )


def retries(count, initial_ms=0, factor=2.0, **fields):
    return pb.RetryPolicy(retry_count=count, initial_interval_ms=initial_ms, backoff_factor=factor, **fields)


# --- imported attempts ---


def succeeded(started=1000, finished=2000, result=b"r"):
    return pb.ImportAttempt(status=pb.ATTEMPT_STATUS_SUCCEEDED, started_at_ms=started, finished_at_ms=finished,
                            result=blob(result))


def failed(started=1000, finished=2000, code="E", data=b"d"):
    return pb.ImportAttempt(status=pb.ATTEMPT_STATUS_FAILED, started_at_ms=started, finished_at_ms=finished,
                            error_code=code, error_data=blob(data))


def cancelled(started=1000, finished=2000):
    return pb.ImportAttempt(status=pb.ATTEMPT_STATUS_CANCELLED, started_at_ms=started, finished_at_ms=finished)


def as_import(attempt):
    """A recorded attempt as an import would bring it."""
    again = pb.ImportAttempt(status=attempt.status, started_at_ms=attempt.started_at_ms,
                             finished_at_ms=attempt.finished_at_ms)
    for field in ("result", "error_data"):
        if attempt.HasField(field):
            getattr(again, field).CopyFrom(getattr(attempt, field))
    if attempt.HasField("error_code"):
        again.error_code = attempt.error_code
    return again


class Jobs:
    """A shard and a task group of one test's own."""

    def __init__(self, server, shard=None, tenant=None, group=None):
        self.api = server.api
        self.shard = shard or server.shard_ids()[0]
        self.group = group or fresh()
        self.tenant = {} if tenant is None else {"tenant": tenant}
        self.worker_tenant = {} if tenant is None else {"tenant_id": tenant}

    # Producers.

    def enqueue(self, **fields):
        fields.setdefault("task_group", self.group)
        return self.api.Enqueue(shard=self.shard, **self.tenant, **fields).id

    def enqueue_fails(self, **fields):
        fields.setdefault("task_group", self.group)
        return self.api.fails("Enqueue", shard=self.shard, **self.tenant, **fields)

    def job(self, **fields):
        """One job of an import."""
        fields.setdefault("task_group", self.group)
        fields.setdefault("shard", self.shard)
        return pb.ImportJobRequest(**{**self.tenant, **fields})

    def imports(self, *jobs):
        return list(self.api.ImportJobs(jobs=jobs).results)

    def import_one(self, **fields):
        """Imports a job, which must work; returns its status."""
        result = self.imports(self.job(**fields))[0]
        if not result.success or result.HasField("error"):
            raise AssertionError("import failed: %s" % result)
        equal(result.id, fields["id"], "id of the result")
        return result.status

    def import_fails(self, *texts, **fields):
        """A job that must be refused by itself, with all of the texts."""
        result = self.imports(self.job(**fields))[0]
        equal((result.success, result.status, result.id), (False, FAILED, fields.get("id", "")), "result of a refused job")
        for text in texts:
            if text not in result.error:
                raise AssertionError("got %r, wanted %r" % (result.error, text))

    def get(self, job_id, attempts=False):
        return self.api.GetJob(shard=self.shard, id=job_id, include_attempts=attempts, **self.tenant)

    def record(self, job_id):
        """The job with its attempts, without what others do to it meanwhile: how long it waits, and for whom."""
        job = self.get(job_id, True)
        job.ClearField("pending")
        return job

    def status(self, job_id):
        return self.get(job_id).status

    def on(self, method, job_id, **fields):
        return self.api.call(method, shard=self.shard, id=job_id, **self.tenant, **fields)

    def on_fails(self, method, job_id, **fields):
        return self.api.fails(method, shard=self.shard, id=job_id, **self.tenant, **fields)

    def refused(self, method, job_id, reason, status, **fields):
        """Restart, expedite or lease must be refused in exactly these words."""
        verb = {"RestartJob": "restart", "ExpediteJob": "expedite", "LeaseTask": "lease"}[method]
        text = "cannot %s job %s: %s (status: %s)" % (verb, job_id, reason, KINDS[status])
        status_is(self.on_fails(method, job_id, **fields), "FAILED_PRECONDITION", text, exact=True)

    # Workers.

    def poll(self, count=1, wait_ms=0, worker="w", group=None):
        return self.api.LeaseTasks(shard=self.shard, worker_id=worker, max_tasks=count, task_group=group or self.group,
                                   wait_ms=wait_ms)

    def lease(self, count=1, wait_ms=5000, worker="w"):
        return list(self.poll(count, wait_ms, worker).tasks)

    def lease_one(self, job_id=None, worker="w"):
        tasks = self.lease(worker=worker)
        equal(len(tasks), 1, "tasks")
        if job_id is not None:
            equal(tasks[0].job_id, job_id, "job of the task")
        return tasks[0]

    def lease_none(self):
        """Nothing of the group can be leased."""
        reply = self.poll(10)
        equal(([task.job_id for task in reply.tasks], len(reply.refresh_tasks)), ([], 0), "tasks")

    def lease_refresh(self, worker="w"):
        """Polls until there is a refresh task: one that came with no job task."""
        reply = self.poll(1, 5000, worker)
        equal((len(reply.tasks), len(reply.refresh_tasks)), (0, 1), "tasks and refresh tasks")
        return reply.refresh_tasks[0]

    def lease_both(self, count, refreshes=1):
        """Leases exactly so many job tasks and refresh tasks, in as many polls as it takes; returns both lists."""
        tasks, wanted = [], []
        while len(tasks) < count or len(wanted) < refreshes:
            reply = self.poll(max(count - len(tasks), 1), 5000)
            if not reply.tasks and not reply.refresh_tasks:
                raise AssertionError("only %d tasks and %d refresh tasks" % (len(tasks), len(wanted)))
            tasks += reply.tasks
            wanted += reply.refresh_tasks
        equal((len(tasks), len(wanted)), (count, refreshes), "tasks and refresh tasks")
        return tasks, wanted

    def lease_this(self, job_id, worker="w"):
        """LeaseTask."""
        return self.on("LeaseTask", job_id, worker_id=worker).task

    def beat(self, task, worker="w"):
        return self.api.Heartbeat(shard=task.shard, task_id=task.id, worker_id=worker, **self.worker_tenant)

    def beat_fails(self, task, worker="w"):
        return self.api.fails("Heartbeat", shard=task.shard, task_id=task.id, worker_id=worker, **self.worker_tenant)

    def report(self, task, **outcome):
        self.api.ReportOutcome(shard=task.shard, task_id=task.id, **self.worker_tenant, **outcome)

    def report_fails(self, task, **outcome):
        return self.api.fails("ReportOutcome", shard=task.shard, task_id=task.id, **self.worker_tenant, **outcome)

    def succeed(self, task, data=b""):
        self.report(task, success=blob(data))

    def failed(self, task, code="E", data=b""):
        self.report(task, failure=pb.Failure(code=code, data=blob(data)))

    def cancelled(self, task):
        self.report(task, cancelled=pb.Cancelled())

    def run(self, job_id, data=b""):
        """The job is the next one of the group, and runs to success."""
        task = self.lease_one(job_id)
        self.succeed(task, data)
        equal(self.status(job_id), SUCCEEDED, "status")
        return task

    def queues_are_free(self, *keys):
        """No slot of these queues is held, and nobody waits who would take it."""
        group = fresh("probe")
        for key in keys:
            job_id = self.enqueue(task_group=group, limits=[slot(key)])
            tasks = self.poll(1, 5000, group=group).tasks
            equal([task.job_id for task in tasks], [job_id], "a job that needs a free slot of " + key)
            self.succeed(tasks[0])

    def refresh(self, task, value):
        self.api.ReportRefreshOutcome(shard=task.shard, task_id=task.id, **self.worker_tenant,
                                      success=pb.RefreshSuccess(new_max_concurrency=value))

    def refresh_failed(self, task, code="E", message="m"):
        self.api.ReportRefreshOutcome(shard=task.shard, task_id=task.id, **self.worker_tenant,
                                      failure=pb.RefreshFailure(code=code, message=message))

    def refresh_fails(self, task, **outcome):
        return self.api.fails("ReportRefreshOutcome", shard=task.shard, task_id=task.id, **self.worker_tenant, **outcome)

    # What the shard counts.

    def counters(self):
        """(total_jobs, completed_jobs) of the shard."""
        for shard in self.api.GetNodeInfo().owned_shards:
            if shard.shard_id == self.shard:
                return shard.total_jobs, shard.completed_jobs
        raise AssertionError("the shard is not owned")

    def counting(self):
        """A function that checks how the counters have moved since now."""
        total, completed = self.counters()

        def moved(more, done, what=""):
            now = self.counters()
            equal((now[0] - total, now[1] - completed), (more, done), "counters: " + what)

        return moved

    def drop_holders(self):
        return self.api.DropTenantHolders(shard=self.shard, **self.tenant).holders_dropped


def within(low, high, value, what="value"):
    if not low <= value <= high:
        raise AssertionError("%s: %r is not in [%r, %r]" % (what, value, low, high))


def near_now(value, what="time", slack_ms=2000):
    now = now_ms()
    within(now - slack_ms, now + 50, value, what)

"""The clients of a soak: producers, operators and workers, each a thread with a connection and a log of its own.

With tenancy the names of jobs and queues begin with their tenant's and a slash. A process runs several clients. They go on while the server is killed and started again: a call that failed with a status
that leaves its outcome open is logged as such and, where a good client would, sent again.

The log has one JSON object a line, in the order in which things ended; `at` is [sent, answered] or [begin, end] on the
monotonic clock of the machine, in seconds, which all processes share. A job's limits are [kind, key, maximum] with kind c
(fixed), f (floating, with its default) or r (rate); `sum` is the CRC-32 of the bytes that went along.

  {"op": "enqueue", "at", "jobs": [{"id", "sum", "limits", "code", "again"}]}   id "" = the server's, unknown so far
  {"op": "lease", "at", "code", "tasks": [{"task", "job", "attempt", "last", "sum", "limits"}]}
  {"op": "run", "at", "task", "job"}                                            the worker was at it from .. to
  {"op": "heartbeat", "at", "code", "task"}
  {"op": "report", "at", "items": [{"task", "job", "kind", "error", "sum", "code"}]}
  {"op": "refresh", "at", "code", "key", "value"}                               value null = reported as failed
  {"op": "return", "at", "items": [{"task", "job", "code"}]}                      given back, not begun
  {"op": "cancel" | "restart" | "expedite" | "delete", "at", "code", "job"}
"""

import collections
import heapq
import itertools
import json
import os
import random
import sys
import threading
import time
import traceback
import zlib

import grpc

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from routes import Routes, enter, named  # noqa: E402
from silo_api import blob, pb  # noqa: E402

RUN, DRAIN, STOP = range(3)  # phases of a soak, set by its driver
OPEN_OUTCOME = {"UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED", "UNKNOWN"}
CODES = {code.value[0]: code.name for code in grpc.StatusCode}

GROUPS = ("soak-0", "soak-1")
NODE_GROUP = "soak-node"  # its workers are those of the TypeScript client: payloads have to be MessagePack
NODE_SHARE = 0.15
FIXED = [("one-%d" % n, 1) for n in range(10)] + [("two-%d" % n, 2) for n in range(8)] + [("five-%d" % n, 5) for n in range(6)]
WIDER = FIXED[10:]
MIXED = "mixed"  # its jobs see 2 or 5 slots
FLOATING = [("floating-%d" % n, 3) for n in range(3)]
FLOATING_MAX = 8
REFRESH_MS = 700
RATES = [("rate-0", 40, 0), ("rate-1", 40, 0), ("rate-2", 5, 2)]  # name, hits a second, checks before the job fails

RETRY_SECONDS = 0.1
BACKLOG_LIMITED = 1500  # open jobs from which on none with limits is added: queues whose holders are gone fill up with kills
BACKLOG_MAX = 4000  # and from which on none at all
BEAT_SECONDS = 3
POLL_MS = 250
OPERATIONS_PER_JOB = 0.05
RARE = 0.2


class Client:
    """Connections of its own, one log, one thread that calls `work` until it returns."""

    def __init__(self, name, world, directory, phase, seed):
        self.name = name
        self.world = world
        self.phase = phase
        self.rng = random.Random("%s/%s" % (seed, name))
        self.log = open(os.path.join(directory, name + ".jsonl"), "w", encoding="utf-8")
        self.routes = Routes(world, self.rng)
        self.thread = threading.Thread(target=self.main, name=name)

    def main(self):
        try:
            self.work()
        except BaseException:
            self.write(op="broken", at=[time.monotonic()] * 2, text=traceback.format_exc())
            raise
        finally:
            self.log.close()
            self.routes.close()

    def write(self, **fields):
        self.log.write(json.dumps(fields, separators=(",", ":")) + "\n")

    def call(self, method, message, shard):
        """(status name, reply or None, [sent, answered])."""
        return self.routes.call(method, message, shard)

    def any_shard(self):
        return self.routes.shard_of(self.rng.choice(self.world.tenants))


# ---- producers --------------------------------------------------------------------------------------------------


def concurrency(key, maximum):
    return pb.Limit(concurrency=pb.ConcurrencyLimit(key=key, max_concurrency=maximum)), ["c", key, maximum]


def floating(key, default):
    limit = pb.FloatingConcurrencyLimit(key=key, default_max_concurrency=default, refresh_interval_ms=REFRESH_MS)
    return pb.Limit(floating_concurrency=limit), ["f", key, default]


def rate(name, hits, checks):
    retry = pb.RateLimitRetryPolicy(initial_backoff_ms=50, max_backoff_ms=500, backoff_multiplier=2, max_retries=checks)
    limit = pb.GubernatorRateLimit(name=name, unique_key="all", limit=hits, duration_ms=1000, hits=1, retry_policy=retry)
    return pb.Limit(rate_limit=limit), ["r", name, hits]


def draw_limits(rng):
    """Half of the jobs have none."""
    dice = rng.random()
    if dice < 0.50:
        return []
    if dice < 0.68:
        return [concurrency(*rng.choice(FIXED))]
    if dice < 0.71:
        return [concurrency(MIXED, rng.choice((2, 5)))]
    if dice < 0.81:
        return [concurrency(*queue) for queue in rng.sample(WIDER, 2)]  # in either order
    if dice < 0.83:
        return [concurrency(*rng.choice(FIXED)), floating(*rng.choice(FLOATING))]
    if dice < 0.92:
        return [floating(*rng.choice(FLOATING))]
    if dice < 0.99:
        return [rate(*rng.choice(RATES))]
    return [concurrency(*rng.choice(WIDER)), rate(*RATES[0])]


class Producer(Client):
    """Enqueues at a steady rate, one by one and many at once."""

    def __init__(self, *common, per_second, known):
        super().__init__(*common)
        self.per_second = per_second
        self.known = known  # ids that were acknowledged, for the operator of this process
        self.numbers = itertools.count()
        self.open = 0  # jobs, when it was last asked

    def draw(self, tenant):
        """(request, what is logged of it)."""
        rng = self.rng
        number = next(self.numbers)
        payload = b"%s %d " % (self.name.encode(), number)
        if rng.random() < 0.02:
            payload += bytes(rng.randrange(4000, 20000))  # with a row of its own
        group = NODE_GROUP if rng.random() < NODE_SHARE else rng.choice(GROUPS)
        if group == NODE_GROUP:
            payload = b"\xc6" + len(payload).to_bytes(4, "big") + payload  # MessagePack: bytes
        drawn = draw_limits(rng) if self.open < BACKLOG_LIMITED else []
        request = pb.EnqueueRequest(
            shard=self.routes.shard_of(tenant), tenant=tenant or None, priority=rng.choice((10, 50, 50, 50, 90)), payload=blob(payload),
            task_group=group, limits=[limit for limit, _ in drawn])
        if rng.random() < 0.6:
            request.id = "%s-%d" % (self.name, number)
        if rng.random() < 0.1:
            request.start_at_ms = int(time.time() * 1000) + rng.randrange(100, 4000)
        if rng.random() < 0.7:
            request.retry_policy.CopyFrom(pb.RetryPolicy(
                retry_count=rng.choice((1, 3, 10)), initial_interval_ms=rng.choice((1, 20, 200)), max_interval_ms=2000,
                backoff_factor=2, randomize_interval=rng.random() < 0.5))
        limits = [[kind, named(tenant, key), maximum] for _, (kind, key, maximum) in drawn]
        return request, {"id": named(tenant, request.id) if request.id else "", "sum": zlib.crc32(payload), "limits": limits}

    def work(self):
        began = time.monotonic()
        made = 0
        looked = 0.0
        while self.phase.value == RUN:
            now = time.monotonic()
            if now - looked > 1:
                looked = now
                self.look()
                while self.open > BACKLOG_MAX and self.phase.value == RUN:
                    time.sleep(0.3)
                    began += 0.3
                    self.look()
            ahead = began + made / self.per_second - now
            if ahead > 0:
                time.sleep(min(ahead, 0.2))
                continue
            began = max(began, now - made / self.per_second - 1)  # what an outage cost is not made up for at once
            count = self.rng.randrange(2, 40) if self.rng.random() < 0.15 else 1
            tenant = self.rng.choice(self.world.tenants)
            if self.routes.shard_of(tenant) is None:
                continue
            self.enqueue([self.draw(tenant) for _ in range(count)])
            made += count

    def look(self):
        totals = self.routes.totals()
        if totals is not None:
            self.open = totals

    def enqueue(self, jobs):
        """Sends them until each has an outcome. A job without an id of ours is not sent again: it might exist twice."""
        again = False
        while jobs:
            codes = self.send(jobs, again)
            jobs = [job for job, code in zip(jobs, codes) if code in OPEN_OUTCOME and job[0].id]
            if jobs and self.phase.value == STOP:
                return
            if jobs:
                again = True
                time.sleep(RETRY_SECONDS)
                for request, _ in jobs:
                    request.return_existing = True

    def send(self, jobs, again):
        if len(jobs) == 1:
            code, reply, at = self.call("Enqueue", jobs[0][0], jobs[0][0].shard)
            results = [(code, reply.id if reply else "")]
        else:
            shard = jobs[0][0].shard
            message = pb.EnqueueManyRequest(shard=shard, jobs=[request for request, _ in jobs])
            code, reply, at = self.call("EnqueueMany", message, shard)
            results = [(CODES[r.code], r.id) for r in reply.results] if reply else [(code, "")] * len(jobs)
        logged = []
        for (request, text), (code, got) in zip(jobs, results):
            name = got or request.id
            logged.append(dict(text, code=code, id=named(request.tenant, name) if name else "", again=again))
            if code == "OK":
                self.known.append((request.tenant, got))
        self.write(op="enqueue", at=at, jobs=logged)
        return [code for code, _ in results]


class Operator(Client):
    """Meddles with jobs of the producers of its process: most calls come too late or too early, and that is the point."""

    METHODS = {"cancel": "CancelJob", "restart": "RestartJob", "expedite": "ExpediteJob", "delete": "DeleteJob"}

    def __init__(self, *common, per_second, known):
        super().__init__(*common)
        self.per_second = per_second
        self.known = known
        self.cancelled = collections.deque(maxlen=200)

    def work(self):
        while self.phase.value == RUN:
            time.sleep(self.rng.expovariate(self.per_second))
            if not self.known:
                continue
            op = self.rng.choice(("cancel", "cancel", "restart", "expedite", "delete"))
            recent = self.rng.random() < 0.5
            job = self.known[-1 - self.rng.randrange(min(len(self.known), 20 if recent else 2000))]
            if op == "restart" and self.cancelled and self.rng.random() < 0.7:
                job = self.rng.choice(self.cancelled)
            self.operate(op, job)

    def operate(self, op, job):
        method = self.METHODS[op]
        tenant, name = job
        shard = self.routes.shard_of(tenant)
        if shard is None:
            return
        code, _, at = self.call(method, getattr(pb, method + "Request")(shard=shard, tenant=tenant or None, id=name), shard)
        self.write(op=op, at=at, code=code, job=named(tenant, name))
        if op == "cancel" and code == "OK":
            self.cancelled.append(job)


# ---- workers ----------------------------------------------------------------------------------------------------


class Running:
    """A task that this worker is at."""

    def __init__(self, task, begin, kind, seconds, beats):
        self.task = task
        self.begin = begin
        self.kind = kind  # success, failure, cancelled, or silence
        self.end = begin + seconds
        self.beats = beats


class Worker(Client):
    """Leases tasks, is busy with several at a time, and reports them, each in its own way and time."""

    def __init__(self, *common, group, slots):
        super().__init__(*common)
        self.group = group
        self.slots = slots
        self.running = {}  # task id -> Running
        self.events = []  # heap of (when, number, function, argument)
        self.numbers = itertools.count()
        self.reports = []  # outcomes to send now

    def later(self, when, function, argument):
        heapq.heappush(self.events, (when, next(self.numbers), function, argument))

    def work(self):
        while True:
            now = time.monotonic()
            while self.events and self.events[0][0] <= now:
                _, _, function, argument = heapq.heappop(self.events)
                function(argument)
            self.send_reports()
            stopping = self.phase.value == STOP
            if stopping and not self.running and not self.events:
                return
            wait = POLL_MS / 1000
            if self.events:
                wait = max(0.0, min(wait, self.events[0][0] - time.monotonic()))
            if stopping or len(self.running) >= self.slots:
                time.sleep(wait)
            else:
                self.poll(int(wait * 1000))

    def poll(self, wait_ms):
        message = pb.LeaseTasksRequest(worker_id=self.name, max_tasks=min(16, self.slots - len(self.running)),
                                       task_group=self.group, wait_ms=wait_ms)
        shard = self.any_shard() if self.rng.random() < 0.5 else None
        if shard is not None:
            message.shard = shard
            code, reply, at = self.call("LeaseTasks", message, shard)
        else:
            code, reply, at = self.routes.poll(message, self.routes.any_address())
        if code != "OK":
            self.write(op="lease", at=at, code=code, tasks=[])
            time.sleep(RETRY_SECONDS)
            return
        if reply.tasks:
            self.write(op="lease", at=at, code=code, tasks=[
                {"task": t.id, "job": named(t.tenant_id, t.job_id), "attempt": t.attempt_number, "last": t.is_last_attempt,
                 "sum": zlib.crc32(t.payload.msgpack), "limits": [limit_text(limit, t.tenant_id) for limit in t.limits]}
                for t in reply.tasks])
        for task in reply.tasks:
            self.begin(task, at[1])
        for task in reply.refresh_tasks:
            self.refresh(task)

    def begin(self, task, now):
        rng = self.rng
        dice = rng.random()
        kind, seconds, beats = "success", rng.uniform(0, 0.004), False
        if self.phase.value == RUN:
            if dice < 0.12:
                kind = "failure"
            elif dice < 0.13:
                kind = "cancelled"
            dice = rng.random()
            dice /= RARE if task.limits else 1  # who holds a slot and is silent blocks a queue until the lease ends
            if dice < 0.001:
                seconds, beats = rng.uniform(10.5, 14), True  # longer than a lease, kept by heartbeats
            elif dice < 0.002:
                seconds = rng.uniform(10.5, 12)  # forgets to say that it is alive
            elif dice < 0.004:
                kind = "silence"
            elif rng.random() < 0.1:
                seconds = rng.uniform(0.05, 0.4)
            elif task.limits:
                seconds = rng.uniform(0.005, 0.03) * max(slots_of(limit) for limit in task.limits)  # so that wide queues fill
        running = Running(task, now, kind, seconds, beats)
        self.running[task.id] = running
        if beats:
            self.later(now + BEAT_SECONDS, self.beat, running)
        self.later(running.end, self.end, running)

    def beat(self, running):
        task = running.task
        if task.id not in self.running:
            return
        message = pb.HeartbeatRequest(shard=task.shard, tenant_id=task.tenant_id or None, worker_id=self.name, task_id=task.id)
        code, reply, at = self.call("Heartbeat", message, task.shard)
        self.write(op="heartbeat", at=at, code=code, task=task.id)
        if code == "NOT_FOUND":
            running.kind = "silence"  # somebody else may be at the job by now
            self.end(running)
        elif code == "OK" and reply.cancelled:
            running.kind = "cancelled"
            self.end(running)
        else:
            self.later(at[1] + (BEAT_SECONDS if code == "OK" else RETRY_SECONDS), self.beat, running)

    def end(self, running):
        task = running.task
        if self.running.pop(task.id, None) is None:
            return
        self.write(op="run", at=[running.begin, time.monotonic()], task=task.id, job=named(task.tenant_id, task.job_id))
        if running.kind != "silence":
            self.reports.append((task, self.outcome(running)))

    def outcome(self, running):
        """(request, what is logged of it)."""
        task = running.task
        data = task.id.encode() + bytes(self.rng.choice((0, 0, 0, 5000)) if self.rng.random() < 0.1 else 0)
        request = pb.ReportOutcomeRequest(shard=task.shard, tenant_id=task.tenant_id or None, task_id=task.id)
        text = {"task": task.id, "job": named(task.tenant_id, task.job_id), "kind": running.kind, "error": None, "sum": zlib.crc32(data)}
        if running.kind == "success":
            request.success.CopyFrom(blob(data))
        elif running.kind == "failure":
            text["error"] = "E%d" % self.rng.randrange(10)
            request.failure.CopyFrom(pb.Failure(code=text["error"], data=blob(data)))
        else:
            request.cancelled.CopyFrom(pb.Cancelled())
        return request, text

    def send_reports(self):
        while self.reports:
            count = 32 if self.rng.random() < 0.7 else 1
            shard = self.reports[0][0].shard
            here = [item for item in self.reports if item[0].shard == shard]
            elsewhere = [item for item in self.reports if item[0].shard != shard]
            batch, self.reports = here[:count], here[count:] + elsewhere
            count = len(batch)
            if count == 1:
                code, _, at = self.call("ReportOutcome", batch[0][1][0], shard)
                codes = [code]
            else:
                message = pb.ReportOutcomesRequest(shard=shard, outcomes=[request for _, (request, _) in batch])
                code, reply, at = self.call("ReportOutcomes", message, shard)
                codes = [CODES[r.code] for r in reply.results] if reply else [code] * count
            self.write(op="report", at=at, items=[dict(text, code=code) for (_, (_, text)), code in zip(batch, codes)])
            for item, code in zip(batch, codes):
                if code in OPEN_OUTCOME:
                    self.later(at[1] + RETRY_SECONDS, self.reports.append, item)

    def refresh(self, task):
        dice = self.rng.random() if self.phase.value == RUN else 1
        if dice < 0.05:
            return  # the lease of the refresh runs out
        request = pb.ReportRefreshOutcomeRequest(shard=task.shard, tenant_id=task.tenant_id or None, task_id=task.id)
        if dice < 0.10:
            value = None
            request.failure.CopyFrom(pb.RefreshFailure(code="NO", message="not now"))
        else:
            value = self.rng.randrange(1, FLOATING_MAX + 1)
            request.success.CopyFrom(pb.RefreshSuccess(new_max_concurrency=value))
        self.send_refresh((request, named(task.tenant_id, task.queue_key), value))

    def send_refresh(self, item):
        request, key, value = item
        code, _, at = self.call("ReportRefreshOutcome", request, request.shard)
        self.write(op="refresh", at=at, code=code, key=key, value=value)
        if code in OPEN_OUTCOME:
            self.later(at[1] + RETRY_SECONDS, self.send_refresh, item)


def slots_of(limit):
    kind, _, maximum = limit_text(limit, "")
    return 1 if kind == "r" else maximum


def limit_text(limit, tenant):
    kind = limit.WhichOneof("limit")
    if kind == "concurrency":
        return ["c", named(tenant, limit.concurrency.key), limit.concurrency.max_concurrency]
    if kind == "floating_concurrency":
        return ["f", named(tenant, limit.floating_concurrency.key), limit.floating_concurrency.default_max_concurrency]
    return ["r", named(tenant, limit.rate_limit.name), limit.rate_limit.limit]


# ---- processes --------------------------------------------------------------------------------------------------


def run_clients(clients):
    for client in clients:
        client.thread.start()
    for client in clients:
        client.thread.join()


def producer_process(number, world, directory, phase, seed, threads, per_second):
    enter(world.network)
    known = collections.deque(maxlen=20000)

    def common(name):
        return "%s%d" % (name, number), world, directory, phase, seed

    clients = [Producer(*common("producer-%d-" % n), per_second=per_second / threads, known=known) for n in range(threads)]
    clients.append(Operator(*common("operator-"), per_second=per_second * OPERATIONS_PER_JOB, known=known))
    run_clients(clients)


def worker_process(number, world, directory, phase, seed, threads, slots):
    enter(world.network)
    run_clients([Worker("worker-%d-%d" % (n, number), world, directory, phase, seed,
                        group=GROUPS[(number + n) % len(GROUPS)], slots=slots) for n in range(threads)])

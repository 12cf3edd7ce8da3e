"""Work that can run is found at once, however much waits that cannot: full queues and long lines are never walked over.

The times are far above what is needed and far below what walking over a line would show on a busy machine; what counts is that
the first poll returns the work, all of it and nothing else.
"""

import os
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))

import runner  # noqa: E402
from checks import Cases, equal, until  # noqa: E402
from silo_api import blob, pb  # noqa: E402
from silo_server import SiloServer  # noqa: E402

SANITIZED = os.environ.get("SILO_BUILD") in ("asan", "tsan")
POLL_SECONDS = 5 if SANITIZED else 1
LINE = 4300
SATURATED = 120

cases = Cases()
case = cases.case


class Group:
    """Jobs of several tenants in a task group of one test's own."""

    count = 0

    def __init__(self, server):
        Group.count += 1
        self.name = "fair-%d" % Group.count
        self.api = server.api
        self.shard = server.shard_ids()[0]

    def queue(self, name):
        return "%s-%s" % (self.name, name)

    def enqueue(self, tenant, count, queue=None, slots=1, start_at_ms=0, priority=50):
        """Ids, in order."""
        ids = []
        job = pb.EnqueueRequest(tenant=tenant, task_group=self.name, priority=priority, start_at_ms=start_at_ms)
        if queue is not None:
            key = self.queue(queue)
            job.limits.append(pb.Limit(concurrency=pb.ConcurrencyLimit(key=key, max_concurrency=slots)))
        while len(ids) < count:
            reply = self.api.EnqueueMany(shard=self.shard, jobs=[job] * min(500, count - len(ids)))
            equal({result.code for result in reply.results}, {0}, "codes of EnqueueMany")
            ids += [result.id for result in reply.results]
        return ids

    def poll(self, count=64, wait_ms=0):
        """Job ids that one poll returns, and their tasks."""
        began = time.monotonic()
        tasks = self.api.LeaseTasks(worker_id="w", task_group=self.name, max_tasks=count, wait_ms=wait_ms).tasks
        taken = time.monotonic() - began
        if taken > POLL_SECONDS:
            raise AssertionError("a poll took %.2f s" % taken)
        return [task.job_id for task in tasks], list(tasks)

    def succeed(self, task):
        self.api.ReportOutcome(shard=task.shard, tenant_id=task.tenant_id, task_id=task.id, success=blob())


@case("tenants")
def a_live_queue_among_saturated_ones(server):
    group = Group(server)
    for n in range(SATURATED):
        group.enqueue("a", 12, "full-%d" % n)
    holders, _ = group.poll(1000)
    equal(len(holders), SATURATED, "one holder for each queue")
    equal(group.poll()[0], [], "tasks while every queue is full")
    live = group.enqueue("a", 3, "live", slots=3, priority=99)
    equal(group.poll()[0], live, "the first poll after")


@case("tenants")
def a_slot_that_comes_free_among_saturated_queues(server):
    """The one released queue's next waiter is what the next poll returns, over and over."""
    group = Group(server)
    lines = {group.queue("full-%d" % n): group.enqueue("a", 12, "full-%d" % n) for n in range(SATURATED)}
    _, tasks = group.poll(1000)
    for task in tasks[:10]:
        waiting = lines[task.limits[0].concurrency.key]
        equal(waiting.pop(0), task.job_id, "the holder")
        for _ in range(3):
            group.succeed(task)
            ids, next_tasks = group.poll()
            equal(ids, [waiting.pop(0)], "tasks after one release")
            task = next_tasks[0]


@case("tenants")
def jobs_of_another_tenant_behind_a_line(server):
    group = Group(server)
    line = group.enqueue("a", LINE, "full", priority=0)
    equal(group.poll()[0], line[:1], "the holder")
    others = group.enqueue("b", 3)
    equal(group.poll()[0], others, "the first poll after")


@case("tenants")
def jobs_of_another_tenant_behind_due_tickets(server):
    """Jobs with a future start take no slot and stand in no line before they are due; then all of them do at once."""
    group = Group(server)
    holder = group.enqueue("a", 1, "full")
    equal(group.poll()[0], holder)
    start = int(time.time() * 1000) + 1500
    group.enqueue("a", LINE, "full", start_at_ms=start, priority=0)
    until(lambda: time.time() * 1000 > start + 5, "the start of the tickets")
    others = group.enqueue("b", 3)
    equal(group.poll(wait_ms=1000)[0], others, "the first poll after")


@case("tenants")
def jobs_of_another_tenant_after_a_restart(server):
    """The line lies in storage and nothing of it is in memory."""
    group = Group(server)
    line = group.enqueue("a", LINE, "full", priority=0)
    equal(group.poll()[0], line[:1], "the holder")
    others = group.enqueue("b", 3)
    server.stop()
    server.start()
    group.api = server.api
    equal(group.poll()[0], others, "the first poll after")


@case("tenants")
def a_parked_worker_gets_the_runnable_job(server):
    group = Group(server)
    line = group.enqueue("a", LINE, "full", priority=0)
    equal(group.poll()[0], line[:1], "the holder")
    parked = server.api.start("LeaseTasks", worker_id="w", task_group=group.name, max_tasks=8, wait_ms=20000)
    job = group.enqueue("b", 1)
    began = time.monotonic()
    equal([task.job_id for task in parked.result().tasks], job)
    if time.monotonic() - began > POLL_SECONDS:
        raise AssertionError("a worker that waited got the job after %.2f s" % (time.monotonic() - began))


globals().update(cases.classes({
    "tenants": lambda: SiloServer(tenancy=True, shards=1),
}))

if __name__ == "__main__":
    sys.exit(runner.main())

#!/usr/bin/env python3
"""ListTenants: whose jobs a shard has, page by page, beside its work. ReadRows of one server: what rows say."""

import os
import sys
import threading
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from checks import Cases, equal, status_is  # noqa: E402
from jobs import Jobs, fresh, slot  # noqa: E402
from silo_api import blob, pb  # noqa: E402
from silo_server import SiloServer  # noqa: E402

cases = Cases()
case = cases.case


def pages(api, shard, limit, **fields):
    """All pages, each of at most `limit` tenants."""
    cursor, found = b"", []
    while True:
        reply = api.ListTenants(shard=shard, limit=limit, cursor=cursor, **fields)
        assert len(reply.tenants) <= limit, len(reply.tenants)
        found += reply.tenants
        cursor = reply.cursor
        if not cursor:
            return found


def numbers(row):
    return (row.open, row.running, row.succeeded, row.failed, row.cancelled)


@case("tenants")
def tenants_are_listed_with_their_jobs(server):
    wanted = {}
    for i in range(5):
        jobs = Jobs(server, tenant=fresh("t"))
        ids = [jobs.enqueue() for _ in range(i + 3)]
        first, second = jobs.lease(2)
        jobs.succeed(first)
        jobs.on("CancelJob", next(each for each in ids if each not in (first.job_id, second.job_id)))
        wanted[jobs.tenant["tenant"]] = (i + 1, 1, 1, 0, 1)
    shard = jobs.shard
    for limit in (1, 2, 1000):
        rows = pages(server.api, shard, limit, with_running=True)
        equal(len(rows), len({row.tenant for row in rows}), "each is listed once")
        equal({row.tenant: numbers(row) for row in rows if row.tenant in wanted}, wanted, "limit %d" % limit)
    without = {row.tenant: row.running for row in pages(server.api, shard, 100)}
    equal({without[tenant] for tenant in wanted}, {0}, "running jobs are counted when asked for")


@case("plain")
def what_was_acknowledged_is_listed(server):
    """Under load: whoever lists after an answer finds what it acknowledged."""
    jobs, stop = Jobs(server), threading.Event()
    others = [Jobs(server) for _ in range(3)]

    def work(other):
        while not stop.is_set():
            other.enqueue()

    threads = [threading.Thread(target=work, args=(other,)) for other in others]
    for thread in threads:
        thread.start()
    try:
        last = 0
        for _ in range(30):
            jobs.enqueue()
            row, = server.api.ListTenants(shard=jobs.shard).tenants
            equal(row.tenant, "-")
            assert row.open > last, (row.open, last)
            last = row.open
    finally:
        stop.set()
        for thread in threads:
            thread.join()


@case("plain")
def listings_are_checked(server):
    jobs = Jobs(server)
    jobs.enqueue()
    status_is(server.api.fails("ListTenants", shard=jobs.shard, cursor=b"nonsense"), "INVALID_ARGUMENT")
    equal(len(server.api.ListTenants(shard=jobs.shard, limit=4000000000).tenants), 1)


def rows(server, table, **fields):
    """What ReadRows brings of one server, page by page; the whole of it."""
    found = []
    for message in server.api.stream("ReadRows", timeout=30, table=table, page_bytes=1, **fields):
        part = message.WhichOneof("part")
        if part == "page":
            found += [row for _, rows in message.page.ListFields() if not isinstance(rows, (str, bytes, bool)) for row in rows]
    equal((part, message.end.rows, message.end.shards_unread), ("end", len(found), 0))
    return found


@case("tenants")
def queues_are_read_with_who_holds_and_who_waits(server):
    jobs = Jobs(server, tenant=fresh("t"))
    ids = [jobs.enqueue(limits=[slot("q", 2)]) for _ in range(5)]
    jobs.enqueue(limits=[slot("other")])
    held = {task.job_id for task in jobs.lease(2) if task.job_id in ids}
    tenant = jobs.tenant["tenant"]
    queue, = rows(server, pb.ROW_TABLE_QUEUES, tenant=tenant, queue="q")
    holders = rows(server, pb.ROW_TABLE_HOLDERS, tenant=tenant, queue="q")
    waiters = rows(server, pb.ROW_TABLE_WAITERS, tenant=tenant, queue="q")
    equal((queue.holders, queue.waiters, queue.max_concurrency), (2, 3, 2))
    equal(sorted(row.job_id for row in holders + waiters), sorted(ids), "each holds or waits")
    assert held <= {row.job_id for row in holders}, held
    equal({row.queue for row in rows(server, pb.ROW_TABLE_QUEUES, tenant=tenant)}, {"q", "other"})
    assert tenant in {row.tenant for row in rows(server, pb.ROW_TABLE_HOLDERS)}


@case("tenants")
def running_jobs_are_read_with_who_has_them(server):
    jobs = Jobs(server, tenant=fresh("t"))
    for _ in range(3):
        jobs.enqueue(metadata={"k": "v"}, limits=[slot("w")], payload=blob(b"p" * 5000))
    task = jobs.lease_one(worker="me")
    row, = rows(server, pb.ROW_TABLE_JOBS, tenant=jobs.tenant["tenant"], statuses=[pb.SHOWN_STATUS_RUNNING],
                with_payload=True, with_metadata=True, with_limits=True)
    equal((row.id, row.worker_id, row.task_id, row.attempt_number), (task.job_id, "me", task.id, 1))
    equal((dict(row.metadata), row.limits[0].concurrency.key, row.payload_omitted), ({"k": "v"}, "w", True))


@case("plain")
def without_tenancy_rows_name_no_tenant(server):
    jobs = Jobs(server)
    job = jobs.enqueue()
    row, = [row for row in rows(server, pb.ROW_TABLE_JOBS) if row.id == job]
    equal(row.tenant, "-")


SERVERS = {"plain": lambda: SiloServer(shards=1), "tenants": lambda: SiloServer(tenancy=True, shards=1)}

globals().update(cases.classes(SERVERS))

if __name__ == "__main__":
    unittest.main()

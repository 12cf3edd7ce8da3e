#!/usr/bin/env python3
"""GetCounters: what the node says it has counted is what was done."""

import os
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from checks import Cases, equal, until  # noqa: E402
from jobs import Jobs  # noqa: E402
from silo_api import ROOT, blob  # noqa: E402
from silo_server import SiloServer  # noqa: E402

cases = Cases()
case = cases.case
PAGE = os.path.join(ROOT, "docs/reference/counters.md")


def counters(api, prefix=""):
    """All that is told: (name, labels as sorted pairs) to the number."""
    told = {}
    for counter in api.GetCounters(name_prefix=prefix).counters:
        key = (counter.name, tuple((label.name, label.value) for label in counter.labels))
        assert key not in told, "twice: %s" % (key,)
        told[key] = counter.value
    return told


def total(api, name, value=None):
    """The sum over all that count; of a family with a label of its own, the series with that value."""
    return sum(number for (each, labels), number in counters(api, name).items()
               if each == name and (value is None or labels[-1][1] == value))


def grows(api, wanted, what):
    """Runs `what`; each (name, value) of `wanted` grows by just so much."""
    before = {key: total(api, *key) for key in wanted}
    what()
    grown = lambda: {key: total(api, *key) - before[key] for key in wanted}  # noqa: E731
    until(lambda: all(grown()[key] >= by for key, by in wanted.items()), "counters: %s of %s" % (grown(), wanted))
    equal(grown(), wanted)


@case("counted")
def commands_are_counted(server):
    jobs = Jobs(server)
    commands = "silo_executor_commands_total"

    def life():
        for _ in range(7):
            jobs.enqueue()
        for task in jobs.lease(5):
            jobs.succeed(task)

    grows(server.api, {(commands, "enqueue"): 7, (commands, "report"): 5, (commands, "heartbeat"): 0}, life)


@case("counted")
def jobs_and_leases_are_gauged(server):
    jobs = Jobs(server)
    names = ("silo_shard_jobs", "silo_shard_leases")
    before = {state: total(server.api, names[0], state) for state in ("open", "succeeded", "failed", "cancelled")}
    leases = total(server.api, names[1])
    for _ in range(4):
        jobs.enqueue()
    first, second = jobs.lease(2)
    until(lambda: total(server.api, names[1]) == leases + 2, "two leases")
    jobs.succeed(first)
    jobs.api.CancelJob(shard=jobs.shard, id=jobs.enqueue())
    until(lambda: {state: total(server.api, names[0], state) - was for state, was in before.items()} ==
          {"open": 3, "succeeded": 1, "failed": 0, "cancelled": 1}, "jobs by state")
    until(lambda: total(server.api, names[1]) == leases + 1, "one lease")
    equal({labels[0] for name, labels in counters(server.api, "silo_shard_")} , {("shard", jobs.shard)})
    jobs.succeed(second)


@case("counted")
def what_is_written_is_counted(server):
    """A large payload shows in the bytes, and what was acknowledged was flushed."""
    jobs, api = Jobs(server), server.api
    names = ("silo_executor_batches_total", "silo_executor_bytes_written_total", "silo_executor_rows_written_total")
    before = [total(api, name) for name in names]
    flushes = total(api, "silo_executor_store_calls_total", "flush_wal")
    durable, time_us = (total(api, "silo_shard_batches_durable_total"),
                        total(api, "silo_shard_batch_microseconds_total"))
    size = 300000
    for _ in range(3):
        jobs.enqueue(payload=blob(os.urandom(size)))
    until(lambda: total(api, "silo_shard_batches_durable_total") >= durable + 3, "three durable batches")
    batches, written, rows = [total(api, name) - was for name, was in zip(names, before)]
    assert batches >= 3 and rows >= 3 * batches, (batches, rows)
    assert 3 * size <= written < 4 * size, written
    assert total(api, "silo_executor_store_calls_total", "flush_wal") > flushes
    assert total(api, "silo_shard_batch_microseconds_total") > time_us
    equal(total(api, "silo_shard_undurable_bytes"), 0)


@case("counted")
def calls_are_counted_by_their_status(server):
    jobs, api = Jobs(server), server.api
    ended = "silo_loop_calls_ended_total"

    def calls():
        for _ in range(3):
            api.fails("GetJob", shard=jobs.shard, id="none")
        api.fails("GetJob", shard="nonsense", id="none")

    # Those that ask for counters are calls, too, and end well.
    grows(api, {(ended, "refused"): 4, (ended, "failed"): 0, (ended, "busy"): 0}, calls)
    assert total(api, "silo_loop_connections") >= 1
    assert total(api, "silo_loop_bytes_received_total") > 0
    sent = total(api, "silo_loop_bytes_sent_total")
    until(lambda: total(api, "silo_loop_bytes_sent_total") > sent, "bytes sent")
    begun, over = 0, 0
    for (name, _), number in counters(api, "silo_loop_calls_").items():
        begun, over = (begun, over + number) if name == ended else (begun + number, over)
    assert 0 < over <= begun, (begun, over)


@case("counted")
def the_page_names_what_is_told(server):
    with open(PAGE, encoding="utf-8") as page:
        named = {line.split("`")[1] for line in page if line.startswith("| `silo_")}
    equal({name for name, _ in counters(server.api)}, named)
    told = counters(server.api, "silo_loop_")
    equal({name for name, _ in told}, {name for name in named if name.startswith("silo_loop_")})
    equal(counters(server.api, "nothing"), {})


SERVERS = {"counted": lambda: SiloServer(shards=1)}

globals().update(cases.classes(SERVERS))

if __name__ == "__main__":
    unittest.main()

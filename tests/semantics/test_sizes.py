#!/usr/bin/env python3
"""Payloads and results that are large: what a poll takes of memory, and how the status of such a job is read."""

import os
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from checks import Cases, equal, status_is  # noqa: E402
from jobs import Jobs  # noqa: E402
from silo_api import blob, pb  # noqa: E402
from silo_server import SiloServer  # noqa: E402

cases = Cases()
case = cases.case

MIB = 1 << 20


def memory(pid, field):
    """VmRSS or VmHWM, in bytes."""
    with open("/proc/%d/status" % pid, encoding="ascii") as status:
        for line in status:
            if line.startswith(field + ":"):
                return int(line.split()[1]) << 10
    raise AssertionError("no %s" % field)


@case("plain")
def a_poll_reads_no_more_than_its_reply_holds(server):
    jobs = Jobs(server)
    payload = blob(b"p" * (24 * MIB))
    count = 12
    ids = [jobs.enqueue(payload=payload) for _ in range(count)]
    first = jobs.lease(1)
    pid = server.process.pid
    before = memory(pid, "VmRSS")
    with open("/proc/%d/clear_refs" % pid, "w", encoding="ascii") as refs:
        refs.write("5")  # the peak is counted from here
    tasks = jobs.lease(count)
    peak = memory(pid, "VmHWM") - before
    equal(len(tasks), 5, "tasks of 24 MiB in a reply of 128 MiB")
    # The reply, what the engine reads it from and flushes meanwhile; all payloads, each of them thrice, are 800 MiB.
    assert peak < 480 * MIB, "%d MiB" % (peak // MIB)
    rest = jobs.lease(count) + jobs.lease(count)
    got = first + tasks + rest
    equal([t.job_id for t in got], ids)
    equal({t.attempt_number for t in got}, {1})
    for task in got:
        equal(len(task.payload.msgpack), 24 * MIB)
        jobs.succeed(task)


@case("plain")
def a_job_too_large_for_one_reply_is_read_in_parts(server):
    jobs = Jobs(server)
    job_id = jobs.enqueue(payload=blob(b"p" * (70 * MIB)))
    task = jobs.lease_one()
    server.api.ReportOutcome(shard=jobs.shard, task_id=task.id, success=blob(b"r" * (70 * MIB)))
    about = {"shard": jobs.shard, "id": job_id}
    status = server.api.fails("GetJob", **about)
    status_is(status, "OUT_OF_RANGE", "omit_payload and omit_results")

    job = server.api.GetJob(omit_payload=True, omit_results=True, include_attempts=True, **about)
    equal(job.status, pb.JOB_STATUS_SUCCEEDED)
    equal((job.payload_omitted, job.result_omitted), (True, True))
    equal((job.HasField("payload"), job.HasField("result")), (False, False))
    equal([(a.data_omitted, a.HasField("result")) for a in job.attempts], [(True, False)])

    job = server.api.GetJob(omit_payload=True, **about)
    equal((job.payload_omitted, job.result_omitted, len(job.result.msgpack)), (True, False, 70 * MIB))
    job = server.api.GetJob(omit_results=True, **about)
    equal((job.payload_omitted, job.result_omitted, len(job.payload.msgpack)), (False, True, 70 * MIB))
    equal(len(server.api.GetJobResult(**about).success_data.msgpack), 70 * MIB)
    status_is(server.api.fails("GetJob", omit_payload=True, include_attempts=True, **about), "OUT_OF_RANGE",
              "omit_results")


globals().update(cases.classes({"plain": SiloServer}))

if __name__ == "__main__":
    unittest.main()

#!/usr/bin/env python3
"""Payloads and results that are large: what a poll takes of memory, how the status of such a job is read, and slow links."""

import os
import socket
import sys
import threading
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from checks import Cases, equal, status_is, until  # noqa: E402
from jobs import Jobs  # noqa: E402
from silo_api import Api, blob, pb  # noqa: E402
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
    jobs.succeed(first[0])  # its lease may end while the others are read
    pid = server.process.pid
    before = memory(pid, "VmRSS")
    with open("/proc/%d/clear_refs" % pid, "w", encoding="ascii") as refs:
        refs.write("5")  # the peak is counted from here
    tasks = jobs.lease(count)
    peak = memory(pid, "VmHWM") - before
    equal(len(tasks), 5, "tasks of 24 MiB in a reply of 128 MiB")
    # The reply, what the engine reads it from and flushes meanwhile; all payloads, each of them thrice, are 800 MiB.
    assert peak < 600 * MIB, "%d MiB" % (peak // MIB)
    got = first
    while tasks:
        for task in tasks:
            equal(len(task.payload.msgpack), 24 * MIB)
            jobs.succeed(task)  # before others are read, which may take as long as its lease
        got += tasks
        tasks = jobs.lease(count) if len(got) < count else []
    equal([t.job_id for t in got], ids)
    equal({t.attempt_number for t in got}, {1})


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


class SlowLink:
    """A way to the server on which replies come at so many bytes a second."""

    def __init__(self, address, rate):
        host, port = address.split(":")
        self.target, self.rate = (host, int(port)), rate
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]
        self.sockets = []
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.cut()

    def cut(self):
        for each in [self.listener] + self.sockets:
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            each.close()

    def _accept(self):
        try:
            while True:
                client = self.listener.accept()[0]
                server = socket.socket()
                server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)  # what waits, waits at the server
                server.connect(self.target)
                self.sockets += [client, server]
                threading.Thread(target=self._pump, args=(client, server, None), daemon=True).start()
                threading.Thread(target=self._pump, args=(server, client, self.rate), daemon=True).start()
        except OSError:
            pass  # closed

    @staticmethod
    def _pump(source, sink, rate):
        try:
            while True:
                data = source.recv(65536)
                if not data:
                    break
                if rate:
                    time.sleep(len(data) / rate)
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass


@case("plain")
def a_slow_link_does_not_cost_the_lease(server):
    jobs = Jobs(server)
    job_id = jobs.enqueue(payload=blob(b"p" * (40 * MIB)))
    with SlowLink(server.address, 3 * MIB) as link:
        api = Api(link.address)
        began = time.monotonic()
        task, = api.call("LeaseTasks", timeout=60, shard=jobs.shard, task_group=jobs.group, worker_id="w",
                         max_tasks=1).tasks
        assert time.monotonic() - began > 11, "the link is not slow enough for this test"
        api.Heartbeat(shard=jobs.shard, task_id=task.id, worker_id="w")
        api.close()
    equal((task.job_id, task.attempt_number), (job_id, 1))
    jobs.succeed(task)
    equal(jobs.get(job_id).status, pb.JOB_STATUS_SUCCEEDED)


@case("plain")
def what_was_on_its_way_goes_back(server):
    jobs = Jobs(server)
    job_id = jobs.enqueue(payload=blob(b"p" * (40 * MIB)))

    def job():
        return server.api.GetJob(shard=jobs.shard, id=job_id, include_attempts=True, omit_payload=True)

    for leave in ("cancel", "break"):
        with SlowLink(server.address, 3 * MIB) as link:
            api = Api(link.address)
            fields = {"shard": jobs.shard, "worker_id": "w"}
            if leave == "cancel":
                call = api.start("LeaseTasks", task_group=jobs.group, max_tasks=1, **fields)
            else:
                call = api.start("LeaseTask", id=job_id, **fields)
            until(lambda: job().status == pb.JOB_STATUS_RUNNING, "the lease")
            time.sleep(1)  # some of it is sent
            if leave == "cancel":
                call.cancel()
            else:
                link.cut()
            until(lambda: job().status == pb.JOB_STATUS_SCHEDULED, "the way back")
            api.close()
        equal(len(job().attempts), 0, leave)
    task = jobs.lease_one()
    equal((task.job_id, task.attempt_number), (job_id, 1))
    jobs.succeed(task)


globals().update(cases.classes({"plain": SiloServer}))

if __name__ == "__main__":
    unittest.main()

#!/usr/bin/env python3
"""The auditor's eyes: asks a server that is at rest how every job of the logs ended, and whether every slot is free.

    collect.py --server HOST:PORT LOGS

Writes LOGS/final.jsonl, one JSON object a line; `sum` and `result` are CRC-32 of bytes:

  {"job", "found", "status", "sum", "result", "attempts": [[number, task, status, error code, sum, started]],
   "outcome": [status, error code, sum]}          outcome: of GetJobResult, absent while it says "not complete"
  {"totals": [jobs, jobs that ended]}
  {"probe": key, "kind": "c" | "f", "slots": wanted, "leased": got}
  {"dropped": slots that DropTenantHolders found taken}

A probe enqueues one job more than the queue has slots, of the queue's largest maximum, and leases what it can at once.
A floating limit is first set to a maximum of the probe's own, by answering the refresh that the waiting job asks for.
"""

import argparse
import glob
import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
import zlib

import grpc

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
IN_FLIGHT = 200
GROUP = "probe"
FLOATING_SLOTS = 12  # more than any refresh of the load answered
PROBE_SECONDS = 30
SUCCEEDED = 2


def compile_messages():
    with tempfile.TemporaryDirectory() as out:
        source = os.path.join(ROOT, "proto", "silo", "v1")
        subprocess.run(["protoc", "-I", source, "--python_out=" + out, "silo.proto"], check=True)
        sys.path.insert(0, out)
        return importlib.import_module("silo_pb2")


pb = compile_messages()


class Server:
    def __init__(self, address):
        self.channel = grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)])
        self.shard = self.call("GetClusterInfo", pb.GetClusterInfoRequest()).shard_owners[0].shard_id

    def stub(self, method):
        service = pb.DESCRIPTOR.services_by_name["Silo"]
        reply = getattr(pb, service.methods_by_name[method].output_type.name)
        return self.channel.unary_unary("/silo.v1.Silo/" + method, lambda m: m.SerializeToString(), reply.FromString)

    def call(self, method, message):
        return self.stub(method)(message, timeout=30)

    def calls(self, method, messages):
        """(code name, reply or None) of each, in order, many on their way at a time."""
        stub = self.stub(method)
        flying = []
        for message in messages:
            flying.append(stub.future(message, timeout=60))
            if len(flying) >= IN_FLIGHT:
                for future in flying[: IN_FLIGHT // 2]:
                    yield answer(future)
                del flying[: IN_FLIGHT // 2]
        for future in flying:
            yield answer(future)


def answer(future):
    error = future.exception()
    return ("OK", future.result()) if error is None else (error.code().name, None)


# ---- what the logs name -----------------------------------------------------------------------------------------


def read_names(directory):
    """(job ids, (kind, key) -> largest maximum)."""
    jobs = {}
    queues = {}
    for path in sorted(glob.glob(os.path.join(directory, "*.jsonl"))):
        with open(path, encoding="utf-8") as file:
            for line in file:
                event = json.loads(line)
                for job in event.get("jobs", ()):
                    if job["id"]:
                        jobs[job["id"]] = None
                    note_queues(queues, job["limits"])
                for task in event.get("tasks", ()):
                    jobs[task["job"]] = None
                    note_queues(queues, task["limits"])
    return list(jobs), queues


def note_queues(queues, limits):
    for kind, key, maximum in limits:
        if kind != "r":
            queues[kind, key] = max(maximum, queues.get((kind, key), 0))


# ---- jobs -------------------------------------------------------------------------------------------------------


def crc(blob):
    return zlib.crc32(blob.msgpack)


def state(job, code, reply):
    if code == "NOT_FOUND":
        return {"job": job, "found": False}
    if code != "OK":
        raise RuntimeError("GetJob of %s: %s" % (job, code))
    attempts = []
    for a in reply.attempts:
        data = a.result if a.HasField("result") else a.error_data if a.HasField("error_data") else None
        attempts.append([a.attempt_number, a.task_id, a.status, a.error_code or None, None if data is None else crc(data),
                         a.started_at_ms])
    return {"job": job, "found": True, "status": reply.status, "sum": crc(reply.payload),
            "result": crc(reply.result) if reply.HasField("result") else None, "attempts": attempts}


def outcome(job, code, reply):
    """None while the job has not ended."""
    if code in ("FAILED_PRECONDITION", "NOT_FOUND"):
        return None
    if code != "OK":
        raise RuntimeError("GetJobResult of %s: %s" % (job, code))
    if reply.WhichOneof("result") == "success_data":
        return [reply.status, None, crc(reply.success_data)]
    if reply.WhichOneof("result") == "failure":
        return [reply.status, reply.failure.error_code, crc(reply.failure.error_data)]
    return [reply.status, None, None]


def collect_jobs(server, jobs, write):
    gets = server.calls("GetJob", (pb.GetJobRequest(shard=server.shard, id=job, include_attempts=True) for job in jobs))
    results = server.calls("GetJobResult", (pb.GetJobResultRequest(shard=server.shard, id=job) for job in jobs))
    for job, got, result in zip(jobs, gets, results):
        write(dict(state(job, *got), outcome=outcome(job, *result)))
    shards = server.call("GetNodeInfo", pb.GetNodeInfoRequest()).owned_shards
    write({"totals": [sum(s.total_jobs for s in shards), sum(s.completed_jobs for s in shards)]})


# ---- slots ------------------------------------------------------------------------------------------------------


def probe_limit(kind, key, slots):
    if kind == "c":
        return pb.Limit(concurrency=pb.ConcurrencyLimit(key=key, max_concurrency=slots))
    limit = pb.FloatingConcurrencyLimit(key=key, default_max_concurrency=slots, refresh_interval_ms=1)
    return pb.Limit(floating_concurrency=limit)


def lease(server, wait_ms):
    """Tasks of the probe; refreshes are answered."""
    message = pb.LeaseTasksRequest(shard=server.shard, worker_id=GROUP, max_tasks=1000, task_group=GROUP, wait_ms=wait_ms)
    reply = server.call("LeaseTasks", message)
    for task in reply.refresh_tasks:
        success = pb.RefreshSuccess(new_max_concurrency=FLOATING_SLOTS)
        server.call("ReportRefreshOutcome",
                    pb.ReportRefreshOutcomeRequest(shard=server.shard, task_id=task.id, success=success))
    return list(reply.tasks), len(reply.refresh_tasks)


def finish(server, tasks):
    outcomes = [pb.ReportOutcomeRequest(shard=server.shard, task_id=t.id, success=pb.SerializedBytes()) for t in tasks]
    reply = server.call("ReportOutcomes", pb.ReportOutcomesRequest(shard=server.shard, outcomes=outcomes))
    if any(result.code for result in reply.results):
        raise RuntimeError("a report of a probe was refused: %s" % reply)


def enqueue_probes(server, kind, key, slots, count):
    limit = probe_limit(kind, key, slots)
    jobs = [pb.EnqueueRequest(task_group=GROUP, priority=50, limits=[limit]) for _ in range(count)]
    reply = server.call("EnqueueMany", pb.EnqueueManyRequest(shard=server.shard, jobs=jobs))
    if any(result.code for result in reply.results):
        raise RuntimeError("a probe was not enqueued: %s" % reply)


def probe_fixed(server, key, slots):
    """All slots at one look, and after them none."""
    enqueue_probes(server, "c", key, slots, slots + 1)
    tasks, _ = lease(server, 0)
    more, _ = lease(server, 0)
    leased = len(tasks) + len(more)
    finish_all(server, tasks + more, slots + 1)
    return leased


def probe_floating(server, key):
    """The same, once the refresh has been answered and no more slots come."""
    count = FLOATING_SLOTS + 1
    enqueue_probes(server, "f", key, FLOATING_SLOTS, count)
    tasks = []
    refreshed = 0
    deadline = time.monotonic() + PROBE_SECONDS  # an unanswered refresh of the load keeps its lease, or a back-off, so long
    while time.monotonic() < deadline and (refreshed == 0 or len(tasks) < FLOATING_SLOTS):
        new, refreshes = lease(server, 200)
        keep_alive(server, tasks)
        tasks += new
        refreshed += refreshes
    tasks += lease(server, 0)[0]
    leased = len(tasks)
    finish_all(server, tasks, count)
    return leased


def keep_alive(server, tasks):
    for task in tasks:
        server.call("Heartbeat", pb.HeartbeatRequest(shard=server.shard, worker_id=GROUP, task_id=task.id))


def finish_all(server, tasks, count):
    """Ends the jobs of a probe, those that waited too."""
    done = 0
    deadline = time.monotonic() + PROBE_SECONDS
    while True:
        if tasks:
            finish(server, tasks)
        done += len(tasks)
        if done >= count or time.monotonic() > deadline:
            return
        tasks, _ = lease(server, 200)


def collect_slots(server, queues, write):
    for (kind, key), maximum in sorted(queues.items()):
        slots = maximum if kind == "c" else FLOATING_SLOTS
        leased = probe_fixed(server, key, slots) if kind == "c" else probe_floating(server, key)
        write({"probe": key, "kind": kind, "slots": slots, "leased": leased})
    reply = server.call("DropTenantHolders", pb.DropTenantHoldersRequest(shard=server.shard))
    write({"dropped": reply.holders_dropped})


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--server", required=True)
    parser.add_argument("logs")
    args = parser.parse_args()
    final = os.path.join(args.logs, "final.jsonl")
    if os.path.exists(final):
        os.unlink(final)
    jobs, queues = read_names(args.logs)
    server = Server(args.server)
    with open(final, "w", encoding="utf-8") as file:

        def write(line):
            file.write(json.dumps(line, separators=(",", ":")) + "\n")

        collect_jobs(server, jobs, write)
        collect_slots(server, queues, write)
    return 0


if __name__ == "__main__":
    sys.exit(main())

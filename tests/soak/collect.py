#!/usr/bin/env python3
"""The auditor's eyes: asks servers that are at rest how every job of the logs ended, and whether every slot is free.

    collect.py --server HOST:PORT [--server ...] [--tenancy] LOGS

With tenancy the names of jobs and queues in the logs begin with their tenant's and a slash. Each shard is asked at its owner.

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
import xxhash

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
IN_FLIGHT = 200
GROUP = "probe"
FLOATING_SLOTS = 12  # more than any refresh of the load answered
PROBE_SECONDS = 30
PATIENCE_SECONDS = 30  # with a shard that moves
WRONG_SHARD = "shard not found"
SUCCEEDED = 2


def compile_messages():
    with tempfile.TemporaryDirectory() as out:
        source = os.path.join(ROOT, "proto", "silo", "v1")
        subprocess.run(["protoc", "-I", source, "--python_out=" + out, "silo.proto"], check=True)
        sys.path.insert(0, out)
        return importlib.import_module("silo_pb2")


pb = compile_messages()


def on_its_way(error):
    """Whether the shard moves, after the last of the nodes came back; asking again does no harm but to a probe, which then
    finds too much."""
    return WRONG_SHARD in (error.details() or "") or error.code() == grpc.StatusCode.UNAVAILABLE


class Servers:
    """Who owns which shard is asked again whenever one says that it has not the shard it was asked for."""

    def __init__(self, addresses, tenancy):
        self.addresses = addresses
        self.tenancy = tenancy
        self.channels = {address: grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)])
                         for address in addresses}
        self.owners = []  # (first hash, shard, address), the last first
        self.refresh()

    def refresh(self):
        info = self.stub("GetClusterInfo", self.addresses[0])(pb.GetClusterInfoRequest(), timeout=30)
        self.owners = sorted(((owner.range_start, owner.shard_id, owner.grpc_addr) for owner in info.shard_owners), reverse=True)

    def tenant_of(self, name):
        """(tenant or None, the name that the servers know)."""
        return name.split("/", 1) if self.tenancy else (None, name)

    def place(self, tenant):
        """(shard, address) of a tenant."""
        wanted = xxhash.xxh64_hexdigest(tenant.encode()) if tenant is not None else ""
        return next((shard, address) for first, shard, address in self.owners if first <= wanted)

    def stub(self, method, address):
        service = pb.DESCRIPTOR.services_by_name["Silo"]
        reply = getattr(pb, service.methods_by_name[method].output_type.name)
        channel = self.channels.get(address)
        if channel is None:
            channel = self.channels[address] = grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)])
        return channel.unary_unary("/silo.v1.Silo/" + method, lambda m: m.SerializeToString(), reply.FromString)

    def call(self, method, whose, **fields):
        """One call on the shard of a tenant, which is told the shard, but not the tenant."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            shard, address = self.place(whose)
            message = getattr(pb, method + "Request")(shard=shard, **fields)
            try:
                return self.stub(method, address)(message, timeout=30)
            except grpc.RpcError as error:
                if not on_its_way(error) or time.monotonic() > deadline:
                    raise
            time.sleep(0.1)
            self.refresh()

    def calls(self, method, names, **fields):
        """(code name, reply or None) of a call for each job, in order, many on their way at a time."""
        flying = []
        for name in names:
            flying.append((name, self.start(method, name, fields)))
            if len(flying) >= IN_FLIGHT:
                for named, future in flying[: IN_FLIGHT // 2]:
                    yield self.answer(method, named, fields, future)
                del flying[: IN_FLIGHT // 2]
        for named, future in flying:
            yield self.answer(method, named, fields, future)

    def start(self, method, name, fields):
        tenant, job = self.tenant_of(name)
        shard, address = self.place(tenant)
        message = getattr(pb, method + "Request")(shard=shard, tenant=tenant, id=job, **fields)
        return self.stub(method, address).future(message, timeout=60)

    def answer(self, method, name, fields, future):
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            error = future.exception()
            if error is None:
                return "OK", future.result()
            if not on_its_way(error):
                return error.code().name, None
            if time.monotonic() > deadline:
                raise error
            time.sleep(0.1)
            self.refresh()
            future = self.start(method, name, fields)

    def open_shards(self):
        """What every server says of the shards that are open at it."""
        for address in self.addresses:
            yield from self.stub("GetNodeInfo", address)(pb.GetNodeInfoRequest(), timeout=30).owned_shards


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


def collect_jobs(servers, jobs, write):
    gets = servers.calls("GetJob", jobs, include_attempts=True)
    results = servers.calls("GetJobResult", jobs)
    for job, got, result in zip(jobs, gets, results):
        write(dict(state(job, *got), outcome=outcome(job, *result)))
    shards = list(servers.open_shards())
    write({"totals": [sum(s.total_jobs for s in shards), sum(s.completed_jobs for s in shards)]})


# ---- slots ------------------------------------------------------------------------------------------------------


def probe_limit(kind, key, slots):
    if kind == "c":
        return pb.Limit(concurrency=pb.ConcurrencyLimit(key=key, max_concurrency=slots))
    limit = pb.FloatingConcurrencyLimit(key=key, default_max_concurrency=slots, refresh_interval_ms=1)
    return pb.Limit(floating_concurrency=limit)


class Probe:
    """What is done with jobs of one tenant, in a task group that nobody else has."""

    def __init__(self, servers, tenant):
        self.servers = servers
        self.tenant = tenant

    def lease(self, wait_ms):
        """Tasks of the probe; refreshes are answered."""
        reply = self.servers.call("LeaseTasks", self.tenant, worker_id=GROUP, max_tasks=1000, task_group=GROUP, wait_ms=wait_ms)
        for task in reply.refresh_tasks:
            success = pb.RefreshSuccess(new_max_concurrency=FLOATING_SLOTS)
            self.servers.call("ReportRefreshOutcome", self.tenant, tenant_id=self.tenant, task_id=task.id, success=success)
        return list(reply.tasks), len(reply.refresh_tasks)

    def finish(self, tasks):
        shard, _ = self.servers.place(self.tenant)
        outcomes = [pb.ReportOutcomeRequest(shard=shard, tenant_id=self.tenant, task_id=t.id, success=pb.SerializedBytes())
                    for t in tasks]
        reply = self.servers.call("ReportOutcomes", self.tenant, outcomes=outcomes)
        if any(result.code for result in reply.results):
            raise RuntimeError("a report of a probe was refused: %s" % reply)

    def enqueue(self, kind, key, slots, count):
        limit = probe_limit(kind, key, slots)
        jobs = [pb.EnqueueRequest(tenant=self.tenant, task_group=GROUP, priority=50, limits=[limit]) for _ in range(count)]
        reply = self.servers.call("EnqueueMany", self.tenant, jobs=jobs)
        if any(result.code for result in reply.results):
            raise RuntimeError("a probe was not enqueued: %s" % reply)

    def fixed(self, key, slots):
        """All slots at one look, and after them none."""
        self.enqueue("c", key, slots, slots + 1)
        tasks, _ = self.lease(0)
        more, _ = self.lease(0)
        leased = len(tasks) + len(more)
        self.finish_all(tasks + more, slots + 1)
        return leased

    def floating(self, key):
        """The same, once the refresh has been answered and no more slots come."""
        count = FLOATING_SLOTS + 1
        self.enqueue("f", key, FLOATING_SLOTS, count)
        tasks = []
        refreshed = 0
        deadline = time.monotonic() + PROBE_SECONDS  # an unanswered refresh of the load keeps its lease, or a back-off, so long
        while time.monotonic() < deadline and (refreshed == 0 or len(tasks) < FLOATING_SLOTS):
            new, refreshes = self.lease(200)
            self.keep_alive(tasks)
            tasks += new
            refreshed += refreshes
        tasks += self.lease(0)[0]
        leased = len(tasks)
        self.finish_all(tasks, count)
        return leased

    def keep_alive(self, tasks):
        for task in tasks:
            self.servers.call("Heartbeat", self.tenant, tenant_id=self.tenant, worker_id=GROUP, task_id=task.id)

    def finish_all(self, tasks, count):
        """Ends the jobs of a probe, those that waited too."""
        done = 0
        deadline = time.monotonic() + PROBE_SECONDS
        while True:
            if tasks:
                self.finish(tasks)
            done += len(tasks)
            if done >= count or time.monotonic() > deadline:
                return
            tasks, _ = self.lease(200)


def collect_slots(servers, queues, write):
    tenants = {}
    for (kind, name), maximum in sorted(queues.items()):
        tenant, key = servers.tenant_of(name)
        probe = tenants.setdefault(tenant, Probe(servers, tenant))
        slots = maximum if kind == "c" else FLOATING_SLOTS
        leased = probe.fixed(key, slots) if kind == "c" else probe.floating(key)
        write({"probe": name, "kind": kind, "slots": slots, "leased": leased})
    dropped = [servers.call("DropTenantHolders", tenant, tenant=tenant).holders_dropped
               for tenant in tenants or ([] if servers.tenancy else [None])]
    write({"dropped": sum(dropped)})


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--server", action="append", required=True)
    parser.add_argument("--tenancy", action="store_true")
    parser.add_argument("logs")
    args = parser.parse_args()
    final = os.path.join(args.logs, "final.jsonl")
    if os.path.exists(final):
        os.unlink(final)
    jobs, queues = read_names(args.logs)
    servers = Servers(args.server, args.tenancy)
    with open(final, "w", encoding="utf-8") as file:

        def write(line):
            file.write(json.dumps(line, separators=(",", ":")) + "\n")

        collect_jobs(servers, jobs, write)
        collect_slots(servers, queues, write)
    return 0


if __name__ == "__main__":
    sys.exit(main())

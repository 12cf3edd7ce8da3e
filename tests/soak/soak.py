#!/usr/bin/env python3
"""Load on a real server to which bad things happen, then an audit of what it had promised.

    soak.py [SECONDS] [--faults KIND,...] [--rate JOBS_PER_SECOND] [--seed N] [--keep DIRECTORY] [--lose N]
    soak.py [SECONDS] --nodes N [--brief] [--etcd VERSION] [--etcd-members N] ...

SECONDS is the length of the load; faults.py says what happens meanwhile, cluster_faults.py what happens to several nodes. After it comes the drain, in which workers end
all that is left, one more kill, and the audit, by programs that share nothing with this one: collect.py reads the final state
of all jobs and probes every queue, audit.py compares it with the logs of the clients. The status is 0 only if the audit finds
nothing. --lose shows that it would find something: each kill takes the last N records of the write-ahead log with it.
"""

import argparse
import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(HERE, "..", "lib"))

import cluster_faults  # noqa: E402
import faults  # noqa: E402
import load  # noqa: E402
import network  # noqa: E402
from etcd_server import VERSIONS  # noqa: E402

DRAIN_SECONDS = 180
STOP_SECONDS = 60
PRODUCERS = 2  # processes, and threads in each
PRODUCER_THREADS = 3
WORKERS = 2
WORKER_THREADS = 4
WORKER_SLOTS = 64
NODE_WORKERS = 2
SKIPPED = 77  # the status when this machine cannot do it


class Soak:
    """Load on a subject, strikes at it, a drain, an audit. The subject is a server or a cluster: what faults.Victim shows."""

    def __init__(self, subject, seconds, rate, seed, directory):
        self.subject = subject
        self.seconds = seconds
        self.rate = rate
        self.seed = seed
        self.directory = directory
        self.logs = os.path.join(directory, "logs")
        os.makedirs(self.logs)
        self.began = None
        self.phase = None
        self.producers = []
        self.workers = []
        self.nodes = []

    # ---- clients ----

    def set_phase(self, phase):
        """For clients of Python, and for those of node, which look into a file."""
        self.phase.value = phase
        with open(self.phase_file + ".new", "w", encoding="ascii") as file:
            file.write(str(phase))
        os.replace(self.phase_file + ".new", self.phase_file)

    @property
    def phase_file(self):
        return os.path.join(self.directory, "phase")

    def start_clients(self):
        context = multiprocessing.get_context("spawn")
        self.phase = context.Value("i", load.RUN)
        self.set_phase(load.RUN)
        world = self.subject.world()
        common = (world, self.logs, self.phase, self.seed)
        self.producers = [
            context.Process(target=load.producer_process, args=(n, *common, PRODUCER_THREADS, self.rate / PRODUCERS))
            for n in range(PRODUCERS)]
        self.workers = [
            context.Process(target=load.worker_process, args=(n, *common, WORKER_THREADS, WORKER_SLOTS))
            for n in range(WORKERS)]
        for process in self.producers + self.workers:
            process.start()
        for number in range(NODE_WORKERS):
            with open(os.path.join(self.directory, "node-%d.out" % number), "wb") as out:
                self.nodes.append(subprocess.Popen(
                    [*self.subject.within, "node", os.path.join(HERE, "worker.cjs"), ",".join(world.addresses), load.NODE_GROUP,
                     "node-worker-%d" % number, self.logs, self.phase_file],
                    stdin=subprocess.DEVNULL, stdout=out, stderr=out))

    # ---- the run ----

    def run(self):
        self.subject.start()
        self.start_clients()
        self.began = time.monotonic()
        end = time.monotonic() + self.seconds
        with open(os.path.join(self.logs, "server.jsonl"), "w", encoding="utf-8") as log:
            for pause, kind in self.subject.schedule():
                time.sleep(max(0.0, min(end - time.monotonic(), pause)))
                if time.monotonic() >= end:
                    break
                self.strike(log, lambda kind=kind: (kind, self.subject.strike(kind)))
            self.set_phase(load.DRAIN)
            self.join(self.producers)
            self.drain()
            self.set_phase(load.STOP)
            self.join(self.workers)
            self.join_nodes()
            self.strike(log, self.subject.last_strike)

    def strike(self, log, blow):
        self.check_alive()
        began = time.monotonic()
        kind, did = blow()
        did = dict({"at": [began, time.monotonic()]}, **did)
        log.write(json.dumps(dict(did, op="fault", kind=kind, wall=time.time() - time.monotonic() + did["at"][1])) + "\n")
        log.flush()
        self.say(kind, did)

    def say(self, kind, did):
        """What a long run shows of itself."""
        if self.subject.talks:
            told = {key: round(value, 2) if isinstance(value, float) else value for key, value in did.items() if key != "at"}
            began, ended = did["at"]
            print("  %7.1f s  %-12s %5.1f s  %s" % (began - self.began, kind, ended - began, told), flush=True)

    def check_alive(self):
        self.subject.check_alive()
        for number, node in enumerate(self.nodes):
            if node.poll() is not None and self.phase.value != load.STOP:
                self.node_failed(number)

    def node_failed(self, number):
        with open(os.path.join(self.directory, "node-%d.out" % number), encoding="utf-8", errors="replace") as out:
            raise RuntimeError("a node worker ended with %s:\n%s" % (self.nodes[number].poll(), out.read()[-4000:]))

    def join_nodes(self):
        for number, node in enumerate(self.nodes):
            try:
                ended = node.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                ended = None
            if ended != 0:
                self.node_failed(number)

    def drain(self):
        """Jobs that are open after this are the auditor's to report."""
        deadline = time.monotonic() + DRAIN_SECONDS
        totals = None
        while time.monotonic() < deadline:
            self.check_alive()
            totals = self.subject.totals()
            if totals is not None and totals[0] == totals[1]:
                return
            time.sleep(0.2)
        print("after a drain of %d s jobs and those that ended are %s" % (DRAIN_SECONDS, totals), flush=True)

    @staticmethod
    def join(processes):
        for process in processes:
            process.join(STOP_SECONDS)
            if process.exitcode != 0:
                raise RuntimeError("a process of clients ended with %s" % process.exitcode)

    def audit(self):
        collect = ["collect.py", self.logs]
        for address in self.subject.addresses():
            collect += ["--server", address]
        if self.subject.world().tenants != [""]:
            collect.append("--tenancy")
        status = 0
        for program, *arguments in (collect, ["audit.py", self.logs]):
            command = [sys.executable, "-B", os.path.join(HERE, program), *arguments]
            status = subprocess.run(command, check=False).returncode
            if status != 0:
                break
        wrong = self.subject.end()
        if wrong:
            print(wrong, flush=True)
        return status or int(bool(wrong))

    def close(self):
        """Whatever happened: no process of ours is left behind."""
        for process in self.producers + self.workers:
            if process.is_alive():
                process.kill()
            if process.pid is not None:
                process.join()
        for node in self.nodes:
            if node.poll() is None:
                node.kill()
            node.wait()
        self.subject.close()


def kinds_of(text, known):
    """The faults that --faults names; without it all that this machine can do."""
    if text is None:
        return [kind for kind in known if kind != "clock" or faults.clock_can_step()]
    kinds = text.split(",")
    unknown = set(kinds) - set(known)
    if unknown:
        raise SystemExit("no such fault: %s; there are %s" % (", ".join(unknown), ", ".join(known)))
    return kinds


def subject_of(args, kinds, rng, directory):
    if args.nodes == 1:
        return faults.Victim(directory, rng, kinds, args.lose)
    return cluster_faults.ClusterVictim(directory, rng, kinds, args.nodes, args.etcd_members, args.brief, args.etcd)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("seconds", nargs="?", type=float, help="of load: 600, with several nodes 1800")
    parser.add_argument("--faults", metavar="KIND,...", help="only these: %s; with several nodes %s" % (
        ", ".join(faults.KINDS), ", ".join(cluster_faults.KINDS)))
    parser.add_argument("--rate", type=float, help="jobs enqueued in a second: 800, with several nodes 100")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--keep", metavar="DIRECTORY", help="new directory for logs and data, which are then kept")
    parser.add_argument("--lose", metavar="N", type=int, default=0, help="records of the log that each kill destroys")
    parser.add_argument("--nodes", type=int, default=1, help="more than one: a cluster on an S3 server, with etcd, each in a network of its own")
    parser.add_argument("--etcd", choices=VERSIONS, default="3.4")
    parser.add_argument("--etcd-members", type=int, default=3)
    parser.add_argument("--brief", action="store_true", help="of several nodes: faults that last a third, and follow each other so")
    args = parser.parse_args()
    many = args.nodes > 1
    if many:
        reason = network.why_not() if network.INSIDE not in os.environ else None
        if reason is not None:
            print("soak: %s" % reason, flush=True)
            return SKIPPED
        network.isolate()
    seconds = args.seconds or (1800 if many else 600)
    rate = args.rate or (100 if many else 800)
    seed = random.randrange(1 << 32) if args.seed is None else args.seed
    kinds = kinds_of(args.faults, cluster_faults.KINDS if many else faults.KINDS)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    print("soak: %.0f s at %.0f jobs/s, seed %d, faults %s" % (seconds, rate, seed, ", ".join(kinds)), flush=True)
    with tempfile.TemporaryDirectory(prefix="silo-soak-", ignore_cleanup_errors=True) as temporary:
        if args.keep:
            os.makedirs(args.keep)
        directory = args.keep or temporary
        soak = Soak(subject_of(args, kinds, random.Random(seed), directory), seconds, rate, seed, directory)
        began = time.monotonic()
        try:
            soak.run()
            print("soak: load and drain took %.1f s" % (time.monotonic() - began), flush=True)
            return soak.audit()
        finally:
            soak.close()


if __name__ == "__main__":
    sys.exit(main())

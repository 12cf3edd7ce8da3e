#!/usr/bin/env python3
"""Load on a real server that is killed with SIGKILL again and again, then an audit of what it had promised.

    soak.py [SECONDS] [--rate JOBS_PER_SECOND] [--seed N] [--keep DIRECTORY] [--lose N]

SECONDS (600) is the length of the load; after it comes the drain, in which workers end all that is left, one more kill, and
the audit, by programs that share nothing with this one: collect.py reads the final state of all jobs and probes every
queue, audit.py compares it with the logs of the clients. The status is 0 only if the audit finds nothing. --lose shows that it
would find something: each kill takes the last N records of the write-ahead log with it.
"""

import argparse
import glob
import itertools
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

import load  # noqa: E402
from silo_server import SiloServer  # noqa: E402

KILL_SECONDS = (2, 6)
QUIET_SECONDS = (12, 14)  # longer than a lease: each start of the server prolongs the leases of workers that are gone
KILLS_BETWEEN_QUIET = 5
DRAIN_SECONDS = 180
STOP_SECONDS = 60
PRODUCERS = 2  # processes, and threads in each
PRODUCER_THREADS = 3
WORKERS = 2
WORKER_THREADS = 4
WORKER_SLOTS = 64
LOG_HEADER_BYTES = 64
LOG_RECORD_HEADER_BYTES = 40


def lose_records(segment, count):
    """Cuts the last records off a segment of the log: what a disk does that says "synced" and is not."""
    with open(segment, "r+b") as file:
        starts = [LOG_HEADER_BYTES]
        while True:
            file.seek(starts[-1])
            header = file.read(LOG_RECORD_HEADER_BYTES)
            if not header.startswith(b"SLR1"):
                break
            starts.append(starts[-1] + LOG_RECORD_HEADER_BYTES + int.from_bytes(header[8:12], "little"))
        if len(starts) > 1:
            file.seek(starts[max(len(starts) - 1 - count, 0)])
            file.write(bytes(LOG_RECORD_HEADER_BYTES))


class Soak:
    def __init__(self, seconds, rate, seed, directory, lose=0):
        self.seconds = seconds
        self.rate = rate
        self.seed = seed
        self.rng = random.Random(seed)
        self.lose = lose
        self.directory = directory
        self.logs = os.path.join(directory, "logs")
        os.makedirs(self.logs)
        self.server = SiloServer(directory=directory, settings={"database.fsync": True})
        self.phase = None
        self.producers = []
        self.workers = []

    def start_clients(self):
        context = multiprocessing.get_context("spawn")
        self.phase = context.Value("i", load.RUN)
        common = (self.server.address, self.server.shard_ids()[0], self.logs, self.phase, self.seed)
        self.producers = [
            context.Process(target=load.producer_process, args=(n, *common, PRODUCER_THREADS, self.rate / PRODUCERS))
            for n in range(PRODUCERS)]
        self.workers = [
            context.Process(target=load.worker_process, args=(n, *common, WORKER_THREADS, WORKER_SLOTS))
            for n in range(WORKERS)]
        for process in self.producers + self.workers:
            process.start()

    def run(self):
        self.server.start()
        self.start_clients()
        end = time.monotonic() + self.seconds
        with open(os.path.join(self.logs, "server.jsonl"), "w", encoding="utf-8") as log:
            for number in itertools.count(1):
                quiet = number % (KILLS_BETWEEN_QUIET + 1) == 0
                pause = self.rng.uniform(*(QUIET_SECONDS if quiet else KILL_SECONDS))
                time.sleep(max(0.0, min(end - time.monotonic(), pause)))
                if time.monotonic() >= end:
                    break
                self.kill(log)
            self.phase.value = load.DRAIN
            self.join(self.producers)
            self.drain()
            self.phase.value = load.STOP
            self.join(self.workers)
            self.kill(log)

    def kill(self, log):
        self.check_alive()
        killed = time.monotonic()
        self.server.kill()
        self.lose_wal()
        self.server.start()
        log.write(json.dumps({"op": "kill", "at": [killed, time.monotonic()]}) + "\n")
        log.flush()

    def lose_wal(self):
        if self.lose > 0:
            for log in glob.glob(os.path.join(self.directory, "data", "*", "log")):
                lose_records(sorted(glob.glob(os.path.join(log, "*.log")))[-1], self.lose)

    def check_alive(self):
        status = self.server.process.poll()
        if status is not None:
            raise RuntimeError("the server ended by itself with %d:\n%s" % (status, self.server.log()[-4000:]))

    def totals(self):
        shards = self.server.api.GetNodeInfo().owned_shards
        return sum(s.total_jobs for s in shards), sum(s.completed_jobs for s in shards)

    def drain(self):
        """Jobs that are open after this are the auditor's to report."""
        deadline = time.monotonic() + DRAIN_SECONDS
        while time.monotonic() < deadline:
            self.check_alive()
            total, completed = self.totals()
            if total == completed:
                return
            time.sleep(0.2)
        print("after a drain of %d s %d jobs are open" % (DRAIN_SECONDS, total - completed), flush=True)

    @staticmethod
    def join(processes):
        for process in processes:
            process.join(STOP_SECONDS)
            if process.exitcode != 0:
                raise RuntimeError("a process of clients ended with %s" % process.exitcode)

    def audit(self):
        programs = (["collect.py", "--server", self.server.address, self.logs], ["audit.py", self.logs])
        status = 0
        for program, *arguments in programs:
            command = [sys.executable, "-B", os.path.join(HERE, program), *arguments]
            status = subprocess.run(command, check=False).returncode
            if status != 0:
                break
        ended = self.server.stop()
        if ended != 0:
            print("the server ended with %d:\n%s" % (ended, self.server.log()[-4000:]), flush=True)
        return status or ended

    def close(self):
        """Whatever happened: no process of ours is left behind."""
        for process in self.producers + self.workers:
            if process.is_alive():
                process.kill()
            if process.pid is not None:
                process.join()
        self.server.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("seconds", nargs="?", type=float, default=600)
    parser.add_argument("--rate", type=float, default=800, help="jobs enqueued in a second")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--keep", metavar="DIRECTORY", help="new directory for logs and data, which are then kept")
    parser.add_argument("--lose", metavar="N", type=int, default=0, help="WAL objects that each kill destroys")
    args = parser.parse_args()
    seed = random.randrange(1 << 32) if args.seed is None else args.seed
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    print("soak: %.0f s at %.0f jobs/s, seed %d" % (args.seconds, args.rate, seed), flush=True)
    with tempfile.TemporaryDirectory(prefix="silo-soak-", ignore_cleanup_errors=True) as temporary:
        if args.keep:
            os.makedirs(args.keep)
        soak = Soak(args.seconds, args.rate, seed, args.keep or temporary, args.lose)
        began = time.monotonic()
        try:
            soak.run()
            print("soak: load and drain took %.1f s" % (time.monotonic() - began), flush=True)
            return soak.audit()
        finally:
            soak.close()


if __name__ == "__main__":
    sys.exit(main())

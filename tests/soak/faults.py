"""What a soak does to its server: each fault begins, lasts, and ends with a server that serves.

  kill      SIGKILL, then a new start
  restart   an orderly stop, then a new start
  pause     SIGSTOP, SIGCONT after seconds, sometimes after longer than a lease
  takeover  SIGSTOP; a second server opens the same directory and serves; SIGCONT: the first has to stay out
  clock     the server's wall clock steps ahead or back for some seconds (libfaketime), then is right again
  slow      every connection passes some 10 KB a second
  silence   connections pass nothing and are not closed
  cut       every connection is reset

Clients reach the server through a relay, so its address stays.
"""

import glob
import os
import signal
import time

from relay import Relay
from routes import World
from silo_server import SiloServer

KINDS = ("kill", "restart", "pause", "takeover", "clock", "slow", "silence", "cut")
FAKETIME = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1"
STEPS_SECONDS = (3600, 10 * 24 * 3600, 30, -30, -3600)
LOG_HEADER_BYTES = 64
LOG_RECORD_HEADER_BYTES = 48
SLOW_BYTES_PER_SECOND = 10 * 1024
FAULT_SECONDS = (2, 6)
QUIET_SECONDS = (12, 14)  # longer than a lease: each start of the server prolongs the leases of workers that are gone
FAULTS_BETWEEN_QUIET = 5
CALL_SECONDS = 30


def clock_can_step():
    return os.path.exists(FAKETIME)


class Victim:
    """The server and the link to it. Every fault returns what there is to say of it."""

    within = []  # a command that clients are run by
    talks = False  # whether each fault is worth a line while it runs

    def __init__(self, directory, rng, kinds, lose):
        self.directory = directory
        self.rng = rng
        self.kinds = kinds
        self.lose = lose  # records of the log that each kill destroys
        self.steps_clock = "clock" in kinds
        self.relay = Relay().start()
        self.servers = 0
        self.server = self.new_server()

    def new_server(self):
        """All of them have the same data and the same address for clients."""
        directory = os.path.join(self.directory, "server-%d" % self.servers)
        self.servers += 1
        os.makedirs(directory)
        return SiloServer(directory=directory, environment=self.clock_environment(), settings={
            "database.fsync": True,
            "database.lock": False,  # of a takeover's two servers the first one only stands still
            "database.path": os.path.join(self.directory, "data", "%shard%"),
            "coordination.advertised_grpc_addr": self.relay.address,
        })

    def world(self):
        return World([self.relay.address], [""], None, CALL_SECONDS)

    def addresses(self):
        """Those that the auditor asks, when all is at rest."""
        return [self.server.address]

    # ---- the clock ----

    @property
    def clock_file(self):
        return os.path.join(self.directory, "clock")

    def clock_environment(self):
        if not self.steps_clock:
            return {}
        self.set_clock(0)
        return {"LD_PRELOAD": FAKETIME, "FAKETIME_TIMESTAMP_FILE": self.clock_file, "FAKETIME_DONT_FAKE_MONOTONIC": "1",
                "FAKETIME_CACHE_DURATION": "1"}

    def set_clock(self, ahead_seconds):
        with open(self.clock_file + ".new", "w", encoding="ascii") as file:
            file.write("%+d\n" % ahead_seconds)
        os.replace(self.clock_file + ".new", self.clock_file)

    # ---- life ----

    def start(self):
        self.server.start()
        self.relay.to(self.server.address)

    def check_alive(self):
        status = self.server.process.poll()
        if status is not None:
            raise RuntimeError("the server ended by itself with %d:\n%s" % (status, self.server.log()[-4000:]))

    def close(self):
        self.relay.stop()
        self.server.close()

    def end(self):
        """An orderly end of all, after the audit; what was wrong with it, or nothing."""
        server = self.server
        status = server.stop()
        return "" if status == 0 else "the server ended with %d:\n%s" % (status, server.log()[-4000:])

    def totals(self):
        """(jobs, jobs that ended), None while that cannot be said."""
        shards = self.server.api.GetNodeInfo().owned_shards
        return sum(s.total_jobs for s in shards), sum(s.completed_jobs for s in shards)

    # ---- when it is struck, and with what ----

    def schedule(self):
        """(seconds until it is struck, kind) without end: every kind once, in some order, and again; every second is a kill."""
        number = 0
        while True:
            for kind in self.rng.sample(self.kinds, len(self.kinds)):
                for strike in [kind, "kill"] if kind != "kill" and "kill" in self.kinds else [kind]:
                    number += 1
                    quiet = number % (FAULTS_BETWEEN_QUIET + 1) == 0
                    yield self.rng.uniform(*(QUIET_SECONDS if quiet else FAULT_SECONDS)), strike

    def strike(self, kind):
        return getattr(self, kind)()

    def last_strike(self):
        """After the drain: what nobody waits for any more has to be there nevertheless. (kind, what there is to say)."""
        return "kill", self.kill()

    # ---- faults ----

    def kill(self):
        self.server.kill()
        if self.lose > 0:
            self.lose_records(self.lose)
        self.start()
        return {}

    def lose_records(self, count):
        for log in glob.glob(os.path.join(self.directory, "data", "*", "log")):
            lose_records(sorted(glob.glob(os.path.join(log, "*.log")))[-1], count)

    def restart(self):
        status = self.server.stop()
        if status != 0:
            raise RuntimeError("the server ended with %d:\n%s" % (status, self.server.log()[-4000:]))
        self.start()
        return {}

    def pause(self):
        seconds = self.rng.uniform(11, 14) if self.rng.random() < 0.3 else self.rng.uniform(0.3, 4)
        self.server.process.send_signal(signal.SIGSTOP)
        time.sleep(seconds)
        self.server.process.send_signal(signal.SIGCONT)
        return {"seconds": seconds}

    def takeover(self):
        first = self.server
        first.process.send_signal(signal.SIGSTOP)
        time.sleep(self.rng.uniform(0, 1))
        self.server = self.new_server()
        try:
            self.start()
            served = time.monotonic()
            time.sleep(self.rng.uniform(0, 2))
            first.process.send_signal(signal.SIGCONT)
            time.sleep(self.rng.uniform(1, 4))
            self.check_alive()
        finally:
            first.process.send_signal(signal.SIGCONT)
            first.kill()
        return {"served": served}

    def clock(self):
        ahead = self.rng.choice(STEPS_SECONDS)
        self.set_clock(ahead)
        time.sleep(self.rng.uniform(1.5, 5))
        self.set_clock(0)
        time.sleep(1.5)  # the library looks once a second
        return {"ahead": ahead}

    def slow(self):
        self.relay.rate(SLOW_BYTES_PER_SECOND)
        time.sleep(self.rng.uniform(1, 4))
        self.relay.rate(0)
        return {}

    def silence(self):
        self.relay.hold(True)
        time.sleep(self.rng.uniform(0.5, 6))
        self.relay.hold(False)
        return {}

    def cut(self):
        self.relay.cut()
        return {}


def lose_records(segment, count):
    """Cuts the last records off a segment of the log: what a disk does that says "synced" and is not."""
    with open(segment, "r+b") as file:
        starts = [LOG_HEADER_BYTES]
        while True:
            file.seek(starts[-1])
            header = file.read(LOG_RECORD_HEADER_BYTES)
            if not header.startswith(b"SLR2"):
                break
            starts.append(starts[-1] + LOG_RECORD_HEADER_BYTES + int.from_bytes(header[8:12], "little"))
        if len(starts) > 1:
            file.truncate(starts[max(len(starts) - 1 - count, 0)])  # to the end: one that is left proves those before it

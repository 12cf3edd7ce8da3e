"""Two servers on one store: the one that was there first stays out, says so, and does not take the shards back.

The store is a directory here, which stands for one that nobody locks: an object store, or `database.lock = false`."""

import os
import signal
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import runner  # noqa: E402
from checks import equal, until  # noqa: E402
from silo_api import Status, blob, pb  # noqa: E402
from silo_server import SiloServer  # noqa: E402

SERVICE = "silo.v1.Silo"
SHARDS = 3
CALLS = 40
UNLOCKED = {"database.lock": False}
AWAY = "another process opened it"


def second(first, **settings):
    """A server of its own on the first one's data."""
    place = {"database.path": first.settings["database.path"]}
    return SiloServer(shards=SHARDS, settings=dict(UNLOCKED, **place, **settings))


def events(silo, name):
    return [line for line in silo.log().splitlines() if " %s " % name in line]


def failure(call, **arguments):
    """The status of a call that is refused, None if it is answered."""
    try:
        call(**arguments)
    except Status as status:
        return status
    return None


def refused(silo, shard):
    return failure(silo.api.Enqueue, shard=shard, task_group="g", payload=blob(b"x"), timeout=20)


def work(silo, shards):
    """All calls of a busy while work: enqueued, handed out, reported."""
    jobs = {silo.api.Enqueue(shard=shards[i % len(shards)], task_group="work", payload=blob(b"x")).id
            for i in range(CALLS)}
    done = set()
    while done != jobs:
        for task in silo.api.LeaseTasks(worker_id="w", max_tasks=10, task_group="work", wait_ms=5000).tasks:
            silo.api.ReportOutcome(shard=task.shard, task_id=task.id, success=blob(b"y"))
            done.add(task.job_id)


class Takeover(unittest.TestCase):
    def settle(self, **settings):
        with SiloServer(shards=SHARDS, settings=dict(UNLOCKED, **settings)) as first:
            shards = first.shard_ids()
            work(first, shards)
            first.process.send_signal(signal.SIGSTOP)
            try:
                with second(first, **settings) as other:
                    equal(sorted(other.shard_ids()), sorted(shards), "shards")
                    work(other, shards)
                    first.process.send_signal(signal.SIGCONT)
                    for shard in shards:
                        until(lambda shard=shard: AWAY in str(refused(first, shard)), "the first to be out of a shard", 30)
                    until(lambda: not first.api.serving(SERVICE), "its health to say so", 30)
                    equal(first.api.serving(""), True, "the process itself")
                    work(other, shards)
                    status = failure(first.api.LeaseTasks, worker_id="w", max_tasks=1, task_group="work")
                    equal((status.code, AWAY in status.text), ("UNAVAILABLE", True), str(status))
                    owners = first.api.GetClusterInfo().shard_owners
                    equal([(owner.node_id, owner.state) for owner in owners], [("", pb.SHARD_STATE_UNASSIGNED)] * SHARDS,
                          "shards it says it has")
                    equal(len(events(first, "shard_taken_over")), SHARDS, "lines of the first's log")
                    equal(len(events(first, "no_shard_left")), 1, "lines of the first's log")
                    for silo in (first, other):
                        equal(len(events(silo, "shard_opened")), SHARDS, "openings")
                    equal(events(other, "shard_failed"), [], "failures of the second")
            finally:
                first.process.send_signal(signal.SIGCONT)
            # Started again it has them back.
            equal(first.stop(), 0, "exit status")
            first.start()
            work(first, shards)

    def test_log_on_disk(self):
        self.settle()

    def test_objects_on_disk(self):
        self.settle(**{"database.local_log": False})

    def test_without_a_pause(self):
        """Both are alive all the time, under calls."""
        with SiloServer(shards=SHARDS, settings=UNLOCKED) as first:
            shards = first.shard_ids()
            work(first, shards)
            with second(first) as other:
                for shard in shards:
                    until(lambda shard=shard: AWAY in str(refused(first, shard)), "the first to be out of a shard", 30)
                work(other, shards)
                for silo in (first, other):
                    equal(len(events(silo, "shard_opened")), SHARDS, "openings")


if __name__ == "__main__":
    sys.exit(runner.main())

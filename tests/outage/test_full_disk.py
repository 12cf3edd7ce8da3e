"""A disk that is full: changes are refused with the cause, nothing grows, and all goes on when there is room again."""

import contextlib
import os
import socket
import sys
import tempfile
import threading
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import runner  # noqa: E402
import small_disk  # noqa: E402
from checks import equal, until  # noqa: E402
from outage_checks import Outage, SERVICE  # noqa: E402
from silo_api import blob  # noqa: E402
from silo_server import SiloServer  # noqa: E402

FULL = "no space left on device: "
MANIFESTS = 3  # the database's, its writer's, and the one by which merging begins
MEGABYTES = 56  # two segments of the log, and room for sorted files
WHY_NOT = small_disk.reason_to_skip()
if WHY_NOT and os.environ.get("CI"):
    raise RuntimeError(WHY_NOT)


def names(path):
    return sorted(os.path.join(where, file) for where, _, files in os.walk(path) for file in files)


@unittest.skipIf(WHY_NOT, WHY_NOT or "")
class FullDisk(unittest.TestCase):
    def setUp(self):
        self.disk = self.enterContext(small_disk.SmallDisk(MEGABYTES))
        self.data = os.path.join(self.disk.path, "data")

    def server(self, environment=None, **settings):
        return SiloServer(settings=dict({"database.path": self.data + "/%shard%"}, **settings), environment=environment)

    @contextlib.contextmanager
    def serving(self, environment=None, **settings):
        """A server that has nothing left to write by itself: a file of its own that finds no room would leave some to others."""
        with self.server(environment, **settings) as silo:
            until(lambda: len([name for name in names(self.data) if name.endswith(".manifest")]) >= MANIFESTS, "merging", 30)
            yield silo

    def check(self, cause, **settings):
        with self.serving(**settings) as silo:
            outage = Outage(silo)
            equal(outage.enqueue("leased", group="work"), None)
            task = silo.api.LeaseTasks(shard=outage.shard, worker_id="w", task_group="work", max_tasks=1).tasks[0]
            self.disk.fill()
            outage.begin(cause, size=900)
            before, used = names(self.data), self.disk.used()
            self.assertFalse([name for name in before if name.endswith((".new", "#1"))], "unfinished files")
            # Who works is heard. A read rests on what waits for room, too: it ends at once, with the cause.
            silo.api.Heartbeat(shard=outage.shard, worker_id="w", task_id=task.id)
            read = silo.api.fails("GetJob", shard=outage.shard, id="leased")
            equal(read.code, "UNAVAILABLE", str(read))
            self.assertIn(cause, read.text)
            for _ in range(200):
                self.assertIsNotNone(outage.enqueue("refused-0"))
            self.assertLessEqual(len(names(self.data)), len(before) + 2, "files")
            self.assertLess(self.disk.used() - used, 65536, "bytes")
            self.disk.free()
            outage.end()
            outage.said_once(cause)
            silo.api.ReportOutcome(shard=outage.shard, task_id=task.id, success=blob(b"done"))
            silo.kill()
            silo.start()
            outage.all_there()

    def test_the_log_is_full(self):
        self.check(FULL + self.data)

    def test_objects_are_full(self):
        self.check(FULL + self.data, **{"database.local_log": False})

    def test_the_service_manager_is_told(self):
        """What `systemctl status` shows: the outage as long as it lasts, then that the server serves."""
        place = self.enterContext(tempfile.TemporaryDirectory(prefix="silo-notify-"))
        manager = self.enterContext(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        manager.bind(os.path.join(place, "notify"))
        manager.settimeout(60)
        with self.serving(environment={"NOTIFY_SOCKET": os.path.join(place, "notify")}) as silo:
            equal([manager.recv(4096), manager.recv(4096)], [b"READY=1", b"STATUS=serving"])
            outage = Outage(silo)
            self.disk.fill()
            outage.begin(FULL, size=900)
            equal(manager.recv(4096), b"STATUS=the storage takes no changes")
            self.disk.free()
            outage.end()
            equal(manager.recv(4096), b"STATUS=serving")
        equal(manager.recv(4096), b"STOPPING=1")

    def test_a_stop_says_why_it_takes_long(self):
        """What is stuck stays so: the stop ends in time, and says that it was the disk."""
        with self.serving(**{"server.shutdown_timeout_ms": 3000}) as silo:
            outage = Outage(silo)
            self.disk.fill()
            outage.begin(FULL, size=900)
            silo.process.terminate()
            equal(silo.process.wait(60), 1, "exit status")
            said = [line for line in silo.log().splitlines() if "close_timeout" in line]
            equal(len(said), 1, silo.log())
            self.assertIn('cause="%s' % FULL, said[0])
            self.assertNotIn("shard_close_failed", silo.log())
            self.disk.free()
            silo.start()
            outage.all_there()

    def test_calls_that_wait_are_ended_and_tasks_come_back(self):
        """A poll that waits and is handed a job that cannot become durable ends; the job is leased again afterwards."""
        with self.serving() as silo:
            outage = Outage(silo)
            silo.api.Enqueue(shard=outage.shard, id="later", task_group="work", priority=10, payload=blob(b"x"),
                             start_at_ms=int(time.time() * 1000) + 4000)
            polls = []
            poll = threading.Thread(target=lambda: polls.append(silo.api.fails(
                "LeaseTasks", shard=outage.shard, worker_id="w", task_group="work", max_tasks=1, wait_ms=40000, timeout=60)))
            poll.start()
            self.disk.fill()
            outage.begin(FULL, size=900)
            poll.join()
            equal(polls[0].code, "UNAVAILABLE", str(polls[0]))
            self.assertIn(FULL, polls[0].text)
            self.disk.free()
            outage.end()
            task = silo.api.LeaseTasks(shard=outage.shard, worker_id="w", task_group="work", max_tasks=1,
                                       wait_ms=20000).tasks[0]
            equal((task.job_id, task.attempt_number), ("later", 1))
            silo.api.ReportOutcome(shard=outage.shard, task_id=task.id, success=blob(b"done"))

    def test_started_on_a_full_disk(self):
        """It says what is wrong, waits, and serves as soon as there is room; with and without data from before."""
        for before in (False, True):
            self.disk.fill()
            silo = self.server()
            starting = threading.Thread(target=silo.start)
            starting.start()
            try:
                until(lambda: os.path.exists(silo.log_path) and FULL in silo.log(), "the cause in the log", 30)
                self.assertTrue(starting.is_alive(), "it serves on a full disk")
            finally:
                self.disk.free()
                starting.join()
            try:
                until(lambda: silo.api.serving(SERVICE), "the health to say SERVING", 60)
                outage = Outage(silo)
                if before:
                    equal(silo.api.GetJob(shard=outage.shard, id="kept").id, "kept")
                else:
                    equal(outage.enqueue("kept"), None)
            finally:
                silo.close()

    def test_started_with_room_for_small_files_only(self):
        """Whatever finds no room first: the cause is said in plain words, and all goes on when there is some."""
        with self.server() as silo:
            equal(Outage(silo).enqueue("kept"), None)
        for pages in (1, 2, 3):
            self.disk.fill(but=pages)
            silo = self.server()
            starting = threading.Thread(target=silo.start)
            starting.start()
            try:
                until(lambda: os.path.exists(silo.log_path) and FULL in silo.log(), "the cause in the log", 30)
                self.assertNotIn("os error", silo.log())
            finally:
                self.disk.free()
                starting.join()
            try:
                until(lambda: silo.api.serving(SERVICE), "the health to say SERVING", 60)
                equal(silo.api.GetJob(shard=silo.shard_ids()[0], id="kept").id, "kept")
            finally:
                silo.close()


if __name__ == "__main__":
    sys.exit(runner.main())

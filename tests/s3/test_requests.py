"""What an object store charges for: how many requests a shard makes at rest, with one client, and under load. The figures of
docs/guides/sizing.md come from here; SILO_SECONDS says how long each part counts."""

import os
import sys
import threading
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import runner  # noqa: E402
from checks import equal, until  # noqa: E402
from forgetful_s3 import ForgetfulS3  # noqa: E402
from silo_api import blob, pb  # noqa: E402
from silo_server import SiloServer  # noqa: E402

SECONDS = float(os.environ.get("SILO_SECONDS", "4"))
FLUSH_S = 0.05  # database.slatedb.flush_interval of object stores
CLIENTS = 8


class Requests(unittest.TestCase):
    def count(self, name, work=None):
        """Requests a second by method while work(n) is done again and again, or nothing is."""
        before, begin, rounds = self.store.requests.copy(), time.monotonic(), 0
        while time.monotonic() - begin < SECONDS:
            if work is None:
                time.sleep(SECONDS / 20)  # the time that is counted, not a wait for something
            else:
                work(rounds)
            rounds += 1
        took = time.monotonic() - begin
        rates = {method: count / took for method, count in (self.store.requests - before).items()}
        print("%s: %s; %d rounds in %.1f s" % (name, ", ".join("%s %.2f/s" % rate for rate in sorted(rates.items())) or "none",
                                               rounds, took), flush=True)
        return rates

    def quiet(self):
        """Waits until what the start had to write is written."""
        seen = [self.store.requests["PUT"], time.monotonic()]

        def still():
            if self.store.requests["PUT"] != seen[0]:
                seen[:] = self.store.requests["PUT"], time.monotonic()
            return time.monotonic() - seen[1] > 2

        until(still, "the start's writes to end", 60)

    def life(self, _):
        api = self.server.api
        api.Enqueue(shard=self.shard, task_group="one", payload=blob(b"x" * 100))
        for task in api.LeaseTasks(worker_id="w", task_group="one", max_tasks=1, wait_ms=1000).tasks:
            api.ReportOutcome(shard=self.shard, task_id=task.id, success=blob())

    def test_requests(self):
        with ForgetfulS3() as self.store:
            settings = {"database.backend": "s3", "database.path": "s3://bucket/silo/%shard%"}
            with SiloServer(settings=settings, environment=self.store.environment()) as self.server:
                self.shard = self.server.shard_ids()[0]
                self.quiet()
                rest = self.count("at rest")
                equal(rest.get("PUT", 0), 0, "writes at rest")
                self.assertLess(sum(rest.values()), 2, "requests a second at rest")
                self.uploads(self.count("one client", self.life))
                stop = threading.Event()
                crowd = [threading.Thread(target=self.produce, args=(stop,)) for _ in range(CLIENTS)]
                for thread in crowd:
                    thread.start()
                self.uploads(self.count("%d clients in bulk" % CLIENTS))
                stop.set()
                for thread in crowd:
                    thread.join()

    def produce(self, stop):
        while not stop.is_set():
            self.server.api.EnqueueMany(shard=self.shard, jobs=[pb.EnqueueRequest(task_group="many") for _ in range(50)])

    def uploads(self, rates):
        """No more than one in each interval, whoever calls; some more for sorted files and manifests."""
        self.assertGreater(rates.get("PUT", 0), 0, "writes a second")
        self.assertLess(rates["PUT"], 1 / FLUSH_S + 3, "writes a second")
        self.assertLess(sum(rates.values()) - rates["PUT"], 10, "other requests a second")


if __name__ == "__main__":
    sys.exit(runner.main())

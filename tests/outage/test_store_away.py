"""An object store that is away: killed, or swallowing requests. Nothing is lost, and all goes on by itself."""

import os
import sys
import threading
import unittest
import unittest.mock

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import runner  # noqa: E402
from checks import equal, until  # noqa: E402
from outage_checks import Outage, SERVICE  # noqa: E402
from s3_server import BUCKET, S3Server, SECRET_KEY  # noqa: E402
from silo_api import blob  # noqa: E402
from silo_server import SiloServer  # noqa: E402

AWAY = "the object store does not answer: "


class StoreAway(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.store = cls.enterClassContext(S3Server())
        cls.enterClassContext(unittest.mock.patch.dict(os.environ, cls.store.environment()))

    def server(self):
        place = "s3://%s/%s/%%shard%%" % (BUCKET, self.id().rsplit(".", 1)[-1])
        return SiloServer(settings={"database.backend": "s3", "database.path": place})

    def check(self, go, come):
        with self.server() as silo:
            outage = Outage(silo)
            equal(outage.enqueue("leased", group="work"), None)
            task = silo.api.LeaseTasks(shard=outage.shard, worker_id="w", task_group="work", max_tasks=1).tasks[0]
            go()
            try:
                outage.begin(AWAY)
            finally:
                come()
            outage.end()
            outage.said_once(AWAY)
            # The lease did not expire: its worker could do nothing about it.
            silo.api.ReportOutcome(shard=outage.shard, task_id=task.id, success=blob(b"done"))
            equal(silo.api.GetJobResult(shard=outage.shard, id="leased").success_data.msgpack, b"done")
            self.assertNotIn(SECRET_KEY, silo.log())

    def test_killed_and_started_again(self):
        self.check(self.store.stop, self.store.start)

    def test_it_swallows_requests(self):
        self.check(self.store.pause, self.store.resume)

    def test_started_without_it(self):
        """It says what is wrong, waits, and serves as soon as the store is there."""
        self.store.stop()
        silo = self.server()
        starting = threading.Thread(target=silo.start)
        starting.start()
        try:
            until(lambda: os.path.exists(silo.log_path) and AWAY in silo.log(), "the cause in the log", 40)
            self.assertTrue(starting.is_alive(), "it serves without its store")
        finally:
            self.store.start()
            starting.join()
        try:
            until(lambda: silo.api.serving(SERVICE), "the health to say SERVING", 60)
            equal(Outage(silo).enqueue("first"), None)
        finally:
            silo.close()

    def test_started_with_keys_that_the_store_refuses(self):
        """Waiting would not help: the start ends and says what the store said."""
        with unittest.mock.patch.dict(os.environ, {"AWS_SECRET_ACCESS_KEY": "another-secret"}):
            silo = self.server()
            with self.assertRaisesRegex(RuntimeError, "the server ended with 1") as ended:
                silo.start()
            self.assertIn("start_failed", str(ended.exception))
            self.assertNotIn("another-secret", str(ended.exception))
            silo.close()


if __name__ == "__main__":
    sys.exit(runner.main())

"""Silo on a real S3 server: the crash checks, an outage of the store, and the refusal of a store that is no good."""

import os
import sys
import unittest
import unittest.mock

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import crash_checks  # noqa: E402
import quick_start  # noqa: E402
import runner  # noqa: E402
import s3_server  # noqa: E402
import silo_server  # noqa: E402
from careless_s3 import CarelessS3  # noqa: E402
from checks import equal, until  # noqa: E402
from silo_api import Status, blob  # noqa: E402

SANITIZED = os.environ.get("SILO_BUILD") in ("asan", "tsan")


class S3(unittest.TestCase):
    """One S3 server; each test has a prefix of its own in its bucket."""

    @classmethod
    def setUpClass(cls):
        cls.s3 = s3_server.S3Server().start()
        cls.environment = unittest.mock.patch.dict(os.environ, cls.s3.environment())
        cls.environment.start()

    @classmethod
    def tearDownClass(cls):
        cls.environment.stop()
        cls.s3.__exit__()

    def server(self, **settings):
        self.prefix = self.id().rsplit(".", 1)[-1]
        place = {"database.backend": "s3", "database.path": "s3://%s/%s/%%shard%%" % (s3_server.BUCKET, self.prefix)}
        return silo_server.SiloServer(settings=dict(place, **settings))

    def test_the_store_refuses_to_create_twice(self):
        once = {"if-none-match": "*"}
        equal(self.s3.request("PUT", "probe/1", b"first", headers=once)[0], 200)
        equal(self.s3.request("PUT", "probe/1", b"second", headers=once)[0], 412)
        equal(self.s3.request("GET", "probe/1"), (200, b"first"))

    def test_record_lies_beside_the_shards(self):
        with self.server(**{"coordination.initial_shard_count": 2}) as silo:
            shards = silo.shard_ids()
            keys = [key for key in self.s3.keys() if key.startswith(self.prefix + "/")]
            tops = {key.split("/")[1] for key in keys}
            equal(tops, {"cluster", *shards}, "what lies in the bucket")
            equal([key for key in keys if "/cluster/" in key], [self.prefix + "/cluster/1.json"])
            crash_checks.restart(silo)
            equal(silo.shard_ids(), shards, "shard ids after a restart")

    def test_a_careless_store_is_refused(self):
        with CarelessS3() as careless, unittest.mock.patch.dict(os.environ, {"AWS_ENDPOINT": careless.url}):
            silo = self.server()
            with self.assertRaises(RuntimeError) as failure:
                silo.start()
            silo.process = None
            silo.close()
            self.assertIn("ended with 1", str(failure.exception))
            self.assertIn("this object store cannot be used", str(failure.exception))
            equal([key for key in careless.server.objects if "cluster/" in key], [], "records written")

    def test_enqueue_is_kept(self):
        with self.server() as silo:
            crash_checks.check_enqueue(silo, rounds=4)

    def test_lease_is_kept_and_expires(self):
        with self.server() as silo:
            crash_checks.check_lease(silo)

    def test_outcome_is_kept(self):
        with self.server() as silo:
            crash_checks.check_report(silo, rounds=3)

    def test_kills_under_load(self):
        with self.server() as silo:
            crash_checks.check_under_load(silo, rounds=2 if SANITIZED else 5, producers=16, workers=4, seconds=1.0)

    def test_outage(self):
        """The store goes away: changes are refused, naming its error. It comes back: nothing is lost."""
        with self.server() as silo:
            shard = silo.shard_ids()[0]
            kept = crash_checks.enqueue(silo.api, shard, "before", b"b", crash_checks.RETRIES)
            task = crash_checks.lease_one(silo.api, "patient")
            equal(task.job_id, kept)
            self.s3.stop()
            try:
                refused = until(lambda: refusal(silo.api, shard), "changes to be refused", 60)
                self.assertGreater(len(refused.text), 10, refused)
            finally:
                self.s3.start()
            until(lambda: not refusal(silo.api, shard), "changes to be accepted again", 60)
            # The lease was not lost to an outage that its worker could do nothing about.
            silo.api.ReportOutcome(shard=shard, task_id=task.id, success=blob(b"late"))
            equal(silo.api.GetJobResult(shard=shard, id=kept).success_data.msgpack, b"late")

    def test_quick_start(self):
        with quick_start.claim_port(self.server()) as silo:
            quick_start.check(silo)


def refusal(api, shard):
    """The status a new job is refused with, None if it is accepted."""
    try:
        api.Enqueue(shard=shard, task_group="other", payload=blob(b"x"), timeout=15)
    except Status as status:
        equal(status.code in ("UNAVAILABLE", "DEADLINE_EXCEEDED"), True, str(status))
        return status if status.code == "UNAVAILABLE" else None
    return None


if __name__ == "__main__":
    sys.exit(runner.main())

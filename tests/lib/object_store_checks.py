"""What must hold on every object store: the crash checks, an outage of the store, and where things lie."""

import os
import unittest.mock

import crash_checks
import quick_start
import silo_server
from checks import equal, until
from silo_api import Status, blob

SANITIZED = os.environ.get("SILO_BUILD") in ("asan", "tsan")
BUCKET = "silo-test"


def refusal(api, shard):
    """The status a new job is refused with, None if it is accepted."""
    try:
        api.Enqueue(shard=shard, task_group="other", payload=blob(b"x"), timeout=15)
    except Status as status:
        equal(status.code in ("UNAVAILABLE", "DEADLINE_EXCEEDED"), True, str(status))
        return status if status.code == "UNAVAILABLE" else None
    return None


class ObjectStoreChecks:
    """Mixed into a TestCase that says which store (store_class). One store; each test has a prefix of its own in its bucket."""

    store_class = None

    @classmethod
    def setUpClass(cls):
        cls.store = cls.store_class().start()
        cls.environment = unittest.mock.patch.dict(os.environ, cls.store.environment())
        cls.environment.start()

    @classmethod
    def tearDownClass(cls):
        cls.environment.stop()
        cls.store.__exit__()

    def server(self, **settings):
        self.prefix = self.id().rsplit(".", 1)[-1]
        place = {"database.backend": self.store.backend,
                 "database.path": "%s://%s/%s/%%shard%%" % (self.store.scheme, BUCKET, self.prefix)}
        return silo_server.SiloServer(settings=dict(place, **settings))

    def test_the_store_refuses_to_create_twice(self):
        equal(self.store.create_once("probe/1", b"first"), 200)
        equal(self.store.create_once("probe/1", b"second"), 412)
        equal(self.store.read("probe/1"), b"first")

    def test_record_lies_beside_the_shards(self):
        with self.server(**{"coordination.initial_shard_count": 2}) as silo:
            shards = silo.shard_ids()
            keys = [key for key in self.store.keys() if key.startswith(self.prefix + "/")]
            tops = {key.split("/")[1] for key in keys}
            equal(tops, {"cluster", *shards}, "what lies in the bucket")
            equal([key for key in keys if "/cluster/" in key], [self.prefix + "/cluster/1.json"])
            crash_checks.restart(silo)
            equal(silo.shard_ids(), shards, "shard ids after a restart")

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
            self.store.stop()
            try:
                refused = until(lambda: refusal(silo.api, shard), "changes to be refused", 60)
                self.assertGreater(len(refused.text), 10, refused)
            finally:
                self.store.start()
            until(lambda: not refusal(silo.api, shard), "changes to be accepted again", 60)
            # The lease was not lost to an outage that its worker could do nothing about.
            silo.api.ReportOutcome(shard=shard, task_id=task.id, success=blob(b"late"))
            equal(silo.api.GetJobResult(shard=shard, id=kept).success_data.msgpack, b"late")

    def test_quick_start(self):
        with quick_start.at_the_default_address(self.server()) as silo:
            quick_start.check(silo)

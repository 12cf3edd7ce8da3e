"""A store that does what it is asked and loses the answer looks like another writer, and is none: the shard stays ours."""

import os
import signal
import sys
import unittest
import unittest.mock

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import runner  # noqa: E402
import silo_server  # noqa: E402
from checks import equal, until  # noqa: E402
from forgetful_s3 import ForgetfulS3  # noqa: E402
from silo_api import Status, blob  # noqa: E402

LOST_MIN = 12
AWAY = "another process opened it"


class Forgetful(unittest.TestCase):
    def setUp(self):
        self.s3 = ForgetfulS3()
        self.addCleanup(self.s3.__exit__)
        self.s3.__enter__()
        patch = unittest.mock.patch.dict(os.environ, self.s3.environment())
        patch.start()
        self.addCleanup(patch.stop)

    def server(self, **settings):
        place = {"database.backend": "s3", "database.path": "s3://bucket/lost/%shard%"}
        return silo_server.SiloServer(settings=dict(place, **settings))

    def test_lost_answers(self):
        with self.server() as silo:
            shard, kept = silo.shard_ids()[0], []
            self.s3.losing = 4
            until(lambda: self.try_enqueue(silo, shard, kept) and self.s3.lost >= LOST_MIN, "answers to get lost", 30)
            self.s3.losing = 0
            until(lambda: self.try_enqueue(silo, shard, kept), "the store to answer again", 60)
            for job in kept:
                equal(silo.api.GetJob(shard=shard, id=job).id, job)
            self.assertNotIn("shard_taken_over", silo.log())
            self.assertGreater(self.s3.refused, 0, "repeats that were refused")

    def test_another_writer_is_told_from_them(self):
        with self.server() as silo:
            shard, kept = silo.shard_ids()[0], []
            equal(self.try_enqueue(silo, shard, kept), True)
            silo.process.send_signal(signal.SIGSTOP)
            try:
                with self.server() as other:
                    equal(self.try_enqueue(other, shard, kept), True)
                    silo.process.send_signal(signal.SIGCONT)
                    until(lambda: AWAY in self.refusal(silo, shard), "the first to be out", 60)
                    equal(self.try_enqueue(other, shard, kept), True)
                    for job in kept:
                        equal(other.api.GetJob(shard=shard, id=job).id, job)
            finally:
                silo.process.send_signal(signal.SIGCONT)

    def refusal(self, silo, shard):
        try:
            silo.api.Enqueue(shard=shard, task_group="g", payload=blob(b"x"), timeout=20)
        except Status as status:
            return status.text
        return ""

    def try_enqueue(self, silo, shard, kept):
        try:
            kept.append(silo.api.Enqueue(shard=shard, task_group="g", payload=blob(b"x"), timeout=20).id)
            return True
        except Status as status:
            self.assertIn(status.code, ("UNAVAILABLE", "DEADLINE_EXCEEDED"), str(status))
            return False


if __name__ == "__main__":
    sys.exit(runner.main())

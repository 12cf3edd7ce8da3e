"""Silo on s3s-fs, a real S3 server, and the refusal of a store that is no good."""

import os
import sys
import unittest
import unittest.mock

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import runner  # noqa: E402
import s3_server  # noqa: E402
from careless_s3 import CarelessS3  # noqa: E402
from checks import equal  # noqa: E402
from object_store_checks import ObjectStoreChecks  # noqa: E402


class S3(ObjectStoreChecks, unittest.TestCase):
    store_class = s3_server.S3Server

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


if __name__ == "__main__":
    sys.exit(runner.main())

"""Silo on MinIO."""

import os
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import s3_server  # noqa: E402
import runner  # noqa: E402
from object_store_checks import ObjectStoreChecks  # noqa: E402


class Minio(ObjectStoreChecks, unittest.TestCase):
    store_class = s3_server.MinioServer


if __name__ == "__main__":
    sys.exit(runner.main())

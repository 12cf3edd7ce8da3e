"""Silo on Google Cloud Storage's API."""

import os
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import gcs_server  # noqa: E402
import runner  # noqa: E402
from object_store_checks import ObjectStoreChecks  # noqa: E402


class Gcs(ObjectStoreChecks, unittest.TestCase):
    store_class = gcs_server.GcsServer


if __name__ == "__main__":
    sys.exit(runner.main())

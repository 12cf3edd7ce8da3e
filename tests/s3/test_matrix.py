"""The cases of src/store/matrix_test.c, which the unit tests run in memory and on disk, on MinIO, a real S3 server.

Not on s3s-fs: of two requests at the same moment that create one object it grants both, so it can fence nobody."""

import os
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import runner  # noqa: E402
import s3_server  # noqa: E402
from silo_server import program  # noqa: E402

PROGRAM = os.path.join(os.path.dirname(program()), "..", "tests", "store_matrix_test")
TIMEOUT_S = 300


class Matrix(unittest.TestCase):
    @unittest.skipIf(not os.path.exists(PROGRAM) and not os.environ.get("CI"), "no unit tests beside the program")
    def test_processes_die_and_others_take_over(self):
        with s3_server.MinioServer() as s3:
            environment = dict(os.environ, SILO_MATRIX_URL="s3://%s/matrix" % s3_server.BUCKET, **s3.environment())
            done = subprocess.run([PROGRAM], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                  timeout=TIMEOUT_S, check=False)
        self.assertEqual(done.returncode, 0, done.stdout.decode(errors="replace"))


if __name__ == "__main__":
    sys.exit(runner.main())

#!/usr/bin/env python3
"""Tests of derive_proto.py. Needs protoc in the PATH; run it as it is."""

import os
import re
import subprocess
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

import derive_proto  # noqa: E402  (the path above comes first)

SILO_PROTO = os.path.join(HERE, "..", "..", "proto", "silo", "v1", "silo.proto")

HEAD = 'syntax = "proto3";\npackage t;\n'

# Text-format messages of silo.v1, with and without each kind of optional field, set to zero or not.
SAMPLES = [
    ("EnqueueRequest", 'shard: "s" task_group: "g"'),
    ("EnqueueRequest", 'shard: "s" tenant: "" task_group: "g"'),
    ("EnqueueRequest", 'tenant: "acme" retry_policy { retry_count: 3 backoff_factor: 2.0 }'),
    ("EnqueueRequest", "retry_policy { } return_existing: true"),
    ("EnqueueRequest", 'metadata { key: "a" value: "b" } limits { concurrency { key: "q" } }'),
    ("GetJobResponse", 'id: "j" next_attempt_starts_after_ms: 0 status: JOB_STATUS_FAILED'),
    ("GetJobResponse", 'id: "j" next_attempt_starts_after_ms: -5 result { msgpack: "" }'),
    ("GetJobResponse", 'attempts { job_id: "j" error_code: "" error_data { msgpack: "x" } }'),
    ("LeaseTasksRequest", 'shard: "" worker_id: "w" max_tasks: 4 wait_ms: 30000'),
    ("LeaseTasksRequest", 'worker_id: "w" task_group: "g"'),
    ("HeartbeatResponse", "cancelled: true cancelled_at_ms: 1700000000000"),
    ("ConfigureShardRequest", 'shard: "s" placement_ring: "" tenant: "t"'),
    ("ReportOutcomesRequest", 'shard: "s" outcomes { task_id: "t" success { msgpack: "\\300" } }'),
    ("ImportJobsRequest", 'jobs { tenant: "t" attempts { status: ATTEMPT_STATUS_FAILED } }'),
]


def run_protoc(arguments, data=b""):
    command = ["protoc"] + arguments
    return subprocess.run(command, input=data, capture_output=True, check=True).stdout


class DeriveText(unittest.TestCase):
    def body(self, text):
        return derive_proto.derive(HEAD + text)[len(HEAD):]

    def test_scalar_and_message_fields_become_oneofs(self):
        self.assertEqual(
            self.body("message M {\n  optional string a = 1;\n  optional .t.M b=2 ;\n}\n"),
            "message M {\n  oneof a_opt { string a = 1; }\n  oneof b_opt { .t.M b=2 ; }\n}\n",
        )

    def test_options_and_comments_stay(self):
        self.assertEqual(
            self.body(
                "message M {\n  // optional int32 x = 9;\n"
                "  optional int32 a = 1 [lazy = true]; // optional\n}\n"
            ),
            "message M {\n  // optional int32 x = 9;\n"
            "  oneof a_opt { int32 a = 1 [lazy = true]; } // optional\n}\n",
        )

    def test_strings_and_longer_words_stay(self):
        text = (
            'message M {\n  reserved "optional int32 q = 4;";\n'
            "  string optional_name = 2;\n  /* optional\n */\n}\n"
        )
        self.assertEqual(self.body(text), text)

    def test_line_count_is_kept(self):
        text = "message M {\n  optional\n    int64\n    a = 1;\n}\n"
        self.assertEqual(self.body(text).count("\n"), text.count("\n"))

    def test_taken_name_is_refused(self):
        with self.assertRaisesRegex(derive_proto.DeriveError, "a_opt is taken"):
            self.body("message M { optional int32 a = 1; int32 a_opt = 2; }")

    def test_what_cannot_be_derived_is_refused(self):
        with self.assertRaisesRegex(derive_proto.DeriveError, "line 3"):
            self.body("message M { optional group G = 1 { } }")

    def test_other_syntax_is_refused(self):
        with self.assertRaisesRegex(derive_proto.DeriveError, "proto3"):
            derive_proto.derive('syntax = "proto2"; message M { optional int32 a = 1; }')


class DeriveSilo(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.directory = tempfile.TemporaryDirectory()
        cls.derived = os.path.join(cls.directory.name, "derived")
        os.mkdir(cls.derived)
        cls.derived_file = os.path.join(cls.derived, "silo.proto")
        assert derive_proto.main(["derive_proto.py", SILO_PROTO, cls.derived_file]) == 0

    @classmethod
    def tearDownClass(cls):
        cls.directory.cleanup()

    def encode(self, directory, message, text):
        return run_protoc(
            ["-I", directory, "--encode=silo.v1." + message, "silo.proto"], text.encode("utf-8")
        )

    def test_same_bytes(self):
        for message, text in SAMPLES:
            with self.subTest(message=message, text=text):
                original = self.encode(os.path.dirname(SILO_PROTO), message, text)
                self.assertEqual(original, self.encode(self.derived, message, text))
                self.assertNotEqual(original, b"")

    def test_every_optional_is_replaced_and_nothing_else(self):
        with open(SILO_PROTO, encoding="utf-8") as file:
            original = file.read().splitlines()
        with open(self.derived_file, encoding="utf-8") as file:
            derived = file.read().splitlines()
        self.assertEqual(len(original), len(derived))
        changed = [(a, b) for a, b in zip(original, derived) if a != b]
        self.assertGreater(len(changed), 30)
        for before, after in changed:
            name = re.match(r"  optional [\w.]+ (\w+) = \d+;$", before).group(1)
            self.assertEqual(after, before.replace("optional", "oneof %s_opt {" % name) + " }")

    def test_unchanged_output_is_not_written_again(self):
        before = os.stat(self.derived_file).st_mtime_ns
        self.assertEqual(derive_proto.main(["derive_proto.py", SILO_PROTO, self.derived_file]), 0)
        self.assertEqual(os.stat(self.derived_file).st_mtime_ns, before)

    def test_unreadable_input_fails(self):
        missing = os.path.join(self.directory.name, "missing.proto")
        result = subprocess.run(
            [sys.executable, os.path.join(HERE, "derive_proto.py"), missing, missing + ".out"],
            stderr=subprocess.PIPE,
            check=False,
        )
        self.assertEqual(result.returncode, 1)
        self.assertIn(b"missing.proto", result.stderr)
        self.assertFalse(os.path.exists(missing + ".out"))


if __name__ == "__main__":
    unittest.main()

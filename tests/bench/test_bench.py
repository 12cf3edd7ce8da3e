"""Every scenario of silo-bench for a moment, on tiny sizes: that it runs, checks what it should and tells its figures."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import etcd_server  # noqa: E402
import runner  # noqa: E402
from silo_server import program  # noqa: E402

BENCH = os.path.join(os.environ.get("SILO_BIN_DIR") or os.path.dirname(program()), "silo-bench")
SECONDS = 240
COMMON = ["--serve", "--server", program(), "--fsync", "0", "--interval-ms", "200"]

# scenario -> (options, series that must have values, facts that must be above 0)
SCENARIOS = {
    "life": (["--seconds", "1", "--clients", "8", "--engine", "0"], ["enqueue", "lease", "report", "life"],
             ["jobs_per_s", "jobs_per_wal_object"]),
    "bulk-life": (["--seconds", "1", "--clients", "2", "--bulk", "20", "--batch", "15"], ["life"], ["jobs_per_s"]),
    "enqueue": (["--seconds", "1", "--clients", "8", "--rate", "200"], ["enqueue"], ["jobs_per_s"]),
    "bulk-enqueue": (["--seconds", "1", "--clients", "2", "--bulk", "10"], ["enqueue"], ["jobs_per_s"]),
    "stalls": (["--seconds", "1", "--clients", "4"], ["enqueue"], ["p999_against_p50"]),
    "shard": (["--jobs", "200", "--clients", "4"], ["1x enqueue", "8x lease"], ["drain_8_against_1"]),
    "mixed": (["--seconds", "2", "--workers", "6", "--enqueuers", "24", "--max-concurrency", "4", "--float-default", "2",
               "--refresh-ms", "200", "--imbalance", "3", "--shards", "2"], ["refresh"], ["completed_per_s", "refreshes"]),
    "noisy": (["--rounds", "1", "--workers", "2"], ["b alone lease"], ["b_retained_percent"]),
    "grant": (["--jobs", "80", "--rounds", "3", "--latency-read-ms", "1"], ["release to leased"], ["grant_pass_ms"]),
    "large": (["--jobs", "1000", "--rounds", "5", "--warmup", "1"],
              ["get job", "enqueue with an id", "lease 1", "heartbeat", "report success", "cancel", "expedite",
               "restart a failed job", "delete a succeeded job", "import call of 50", "cancel a deep-queue waiter",
               "deep queue: release to lease"], ["imported_per_s", "grant_500_of_1000_ms"]),
    "drain": (["--jobs", "1000", "--bulk", "50"], ["lease"], ["tenth_1_jobs_per_s", "tenth_10_jobs_per_s"]),
    "dispatch": (["--seconds", "1", "--rate", "30"], ["enqueue to lease", "enqueue to result"], ["results"]),
    "queue1": (["--jobs", "60"], ["release sent to next start"], ["wal_objects_per_job"]),
    "idle": (["--seconds", "1", "--jobs", "50", "--shards", "2"], ["lease"], ["idle_seconds"]),
    "workers": (["--workers", "200", "--connections", "20", "--rate", "50", "--seconds", "1", "--warmup", "1"],
                ["enqueue to lease"], ["completed", "server_rss_of_workers_mb"]),
    "cold-start": (["--jobs", "200", "--rounds", "2", "--kill", "1"], ["start to first lease"], ["stop_2_s"]),
    "tenants": (["--tenants", "100", "--jobs", "2", "--bulk", "20"], ["lease"], ["drained_per_s"]),
    "queues": (["--keys", "100", "--bulk", "20"], ["lease"], ["drained_per_s"]),
    "throttled": (["--seconds", "2", "--jobs", "200", "--rate", "20", "--rest-seconds", "0"],
                  ["plain alone: enqueue to lease", "plain beside: enqueue to lease"], ["throttled_passed_per_s"]),
    "engine": (["--seconds", "1", "--batch-rows", "50"], ["engine: batch applied"], ["engine_rows_per_s"]),
    "moves": (["--nodes", "2", "--shards", "4", "--rounds", "1", "--rate", "100", "--settle-ms", "200", "--leases", "5",
               "--jobs", "20"], ["hole of a moved shard", "until all is as it should"], ["moves", "jobs_acknowledged"]),
}


def run(arguments, seconds=SECONDS):
    return subprocess.run([BENCH] + arguments, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=seconds)


class Scenarios(unittest.TestCase):
    def one(self, name):
        options, series, facts = SCENARIOS[name]
        if "--nodes" in options:
            options = options + ["--etcd", etcd_server.program("3.4")]
        with tempfile.TemporaryDirectory(prefix="silo-test-") as directory:
            file = os.path.join(directory, "out.json")
            done = run([name] + COMMON + ["--dir", directory, "--json", file] + options)
            self.assertEqual(done.returncode, 0, done.stdout[-4000:] + done.stderr[-4000:])
            with open(file, encoding="utf-8") as opened:
                told = json.load(opened)
            self.assertEqual((told["scenario"], told["ok"]), (name, True))
            for one in series:
                self.assertGreater(told["latency_us"][one]["count"], 0, one)
                self.assertLessEqual(told["latency_us"][one]["p50"], told["latency_us"][one]["max"], one)
            for one in facts:
                self.assertGreater(told["facts"][one], 0, one)
            self.assertEqual(os.listdir(directory), ["out.json"], "what it leaves behind")

    def test_all_are_here(self):
        told = run(["--help"]).stdout.split("Scenarios:\n")[1].split("\n\n")[0]
        self.assertEqual(sorted(line.split()[0] for line in told.splitlines()), sorted(SCENARIOS))


def add_tests():
    for name in SCENARIOS:
        setattr(Scenarios, "test_" + name.replace("-", "_"), lambda self, name=name: self.one(name))


add_tests()


class CommandLine(unittest.TestCase):
    def test_help_of_each_scenario(self):
        for name in SCENARIOS:
            done = run([name, "--help"])
            self.assertEqual(done.returncode, 0, name)
            self.assertIn("silo-bench %s - " % name, done.stdout)

    def test_bad_options(self):
        for arguments in (["nonsense"], ["life", "--nonsense"], ["life", "--clients", "0"], ["life", "--clients", "x"],
                          ["life", "--tenants", "3"], ["life", "--set", "x"], ["life", "more"]):
            self.assertEqual(run(arguments).returncode, 2, arguments)

    def test_nobody_there(self):
        done = run(["life", "--target", "127.0.0.1:1", "--seconds", "1"])
        self.assertEqual(done.returncode, 1)
        self.assertIn("127.0.0.1:1", done.stderr)

    def test_a_server_that_does_not_start(self):
        done = run(["life"] + COMMON + ["--set", "no.such.key=1"])
        self.assertEqual(done.returncode, 1)
        self.assertIn("Config error", done.stderr)

    def test_interrupt_prints_what_there_is(self):
        process = subprocess.Popen([BENCH, "life", "--clients", "4", "--seconds", "600"] + COMMON, stdin=subprocess.DEVNULL,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            line = process.stderr.readline()
            self.assertIn("jobs", line)
            begin = time.monotonic()
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
        self.assertEqual(process.returncode, 0, err)
        self.assertLess(time.monotonic() - begin, 60)
        self.assertIn("jobs_per_s", out)


if __name__ == "__main__":
    sys.exit(runner.main())

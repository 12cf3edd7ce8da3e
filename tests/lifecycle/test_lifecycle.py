"""How the server process starts, stops and takes signals, and what it refuses to start on."""

import glob
import json
import os
import signal
import subprocess
import sys
import threading
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import runner  # noqa: E402
from checks import equal, until  # noqa: E402
from silo_api import Api, blob  # noqa: E402
from silo_server import SiloServer, program  # noqa: E402

SERVICE = "silo.v1.Silo"


def run_to_end(silo, seconds=60):
    """Starts the program as configured and waits for its end: (exit status, stderr)."""
    done = subprocess.run([program(), "--config", os.path.join(silo.directory, "silo.toml")], cwd=silo.directory,
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=seconds)
    return done.returncode, done.stderr


def rewrite(silo, **settings):
    """Changes settings of a server that is stopped, as far as its next start sees them."""
    silo.settings.update(settings)
    try:
        silo.start()
    except RuntimeError as failure:
        silo.process = None
        silo.api = None
        return str(failure)
    raise AssertionError("the server started with %s" % settings)


class Start(unittest.TestCase):
    def test_version_and_help(self):
        for flag, text in (("--version", "silo"), ("--help", "--config")):
            done = subprocess.run([program(), flag], capture_output=True, text=True, timeout=60)
            equal((done.returncode, text in done.stdout), (0, True), flag)

    def test_bad_configuration(self):
        with SiloServer() as silo:
            silo.stop()
            with open(os.path.join(silo.directory, "silo.toml"), "a", encoding="utf-8") as file:
                file.write("server.grpc_adr = \"127.0.0.1:1\"\n")
            status, text = run_to_end(silo)
            equal(status, 1, "exit status")
            self.assertIn("Config error:", text)
            self.assertIn("grpc_adr", text)
            missing = subprocess.run([program(), "--config", "nowhere.toml"], capture_output=True, text=True, timeout=60)
            equal(missing.returncode, 1, "exit status")
            self.assertIn("Config error:", missing.stderr)

    def test_fixed_settings(self):
        with SiloServer() as silo:
            equal(silo.stop(), 0, "exit status")
            text = rewrite(silo, **{"database.dispatch_order": "start"}).replace('\\"', '"')
            self.assertIn("ended with 1", text)
            self.assertIn('dispatch_order = "start" is configured', text)
            self.assertIn('created with "priority"', text)
            silo.settings["database.dispatch_order"] = "priority"
            silo.settings["coordination.initial_shard_count"] = 7  # a stored map wins
            silo.start()
            equal(len(silo.shard_ids()), 1, "shards")

    def test_corrupt_record(self):
        with SiloServer() as silo:
            equal(silo.stop(), 0, "exit status")
            with open(os.path.join(silo.directory, "data", "cluster", "2.json"), "w", encoding="utf-8") as file:
                file.write('{"format": 1, "cluster')
            status, text = run_to_end(silo)
            equal(status, 1, "exit status")
            self.assertIn("cluster/2.json", text)

    def test_record_is_what_clients_see(self):
        with SiloServer(shards=3) as silo:
            with open(os.path.join(silo.directory, "data", "cluster", "1.json"), encoding="utf-8") as file:
                record = json.load(file)
            owners = silo.api.GetClusterInfo().shard_owners
            equal([(s["id"], s["range_start"], s["range_end"]) for s in record["shards"]],
                  [(o.shard_id, o.range_start, o.range_end) for o in owners], "shards")
            equal([o.range_end for o in owners], ["5555555555555555", "aaaaaaaaaaaaaaaa", ""], "bounds")
            equal({o.grpc_addr for o in owners}, {silo.address}, "address")
            equal({s["dispatch_order"] for s in record["shards"]}, {"priority"})

    def test_defaults_of_the_shard_count(self):
        for tenancy, count in ((False, 1), (True, 8)):
            with SiloServer(tenancy=tenancy) as silo:
                equal(len(silo.shard_ids()), count, "shards with tenancy %s" % tenancy)

    def test_unwritable_directory(self):
        with SiloServer() as silo:
            silo.stop()
            silo.settings["database.path"] = "/proc/no/such/%shard%"
            text = rewrite(silo)
            self.assertIn("ended with 1", text)
            self.assertIn("/proc/no", text)

    def test_port_0(self):
        with SiloServer() as silo:
            silo.stop()
            silo.settings["server.grpc_addr"] = "127.0.0.1:0"
            config = os.path.join(silo.directory, "silo.toml")
            with open(config, encoding="utf-8") as file:
                text = file.read().replace(silo.address, "127.0.0.1:0")
            with open(config, "w", encoding="utf-8") as file:
                file.write(text)
            process = subprocess.Popen([program(), "--config", config], cwd=silo.directory, text=True,
                                       stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
            try:
                line = next(line for line in process.stderr if "listening" in line)
                address = [word[5:] for word in line.split() if word.startswith("grpc=")][0]
                api = Api(address)
                until(lambda: api.serving(SERVICE), "the server", 60)
                equal(api.GetClusterInfo().this_grpc_addr, address, "address")
                api.close()
            finally:
                process.send_signal(signal.SIGTERM)
                equal(process.wait(40), 0, "exit status")
                process.stderr.close()


class Stop(unittest.TestCase):
    def test_prompt_without_clients(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            with SiloServer() as silo:
                silo.api.close()
                began = time.monotonic()
                silo.process.send_signal(number)
                equal(silo.process.wait(40), 0, "exit status")
                self.assertLess(time.monotonic() - began, 4)
                silo._ended()

    def test_idle_client_does_not_hold_it_up(self):
        """A connection that does not say a word, not even HTTP/2's."""
        import socket

        with SiloServer() as silo:
            host, port = silo.address.split(":")
            with socket.create_connection((host, int(port))) as idle:
                idle.settimeout(60)
                began = time.monotonic()
                equal(silo.stop(), 0, "exit status")
                self.assertLess(time.monotonic() - began, 12)

    def test_parked_polls_are_answered(self):
        with SiloServer() as silo:
            polls = [silo.api.start("LeaseTasks", worker_id="w", max_tasks=1, task_group="g", wait_ms=60000)
                     for _ in range(20)]
            job = silo.api.Enqueue(shard=silo.shard_ids()[0], task_group="other").id
            waiting = silo.api.start("GetJobResult", shard=silo.shard_ids()[0], id=job, wait_ms=60000)
            silo.api.GetJob(shard=silo.shard_ids()[0], id=job)  # by the same way as those before: they wait inside by now
            process = silo.process
            began = time.monotonic()
            process.send_signal(signal.SIGTERM)
            for poll in polls:
                equal(len(poll.result().tasks), 0, "tasks")
            self.assertLess(time.monotonic() - began, 4)
            equal(waiting.exception().code().name, "FAILED_PRECONDITION", "an awaited result")
            equal(process.wait(40), 0, "exit status")
            silo._ended()

    def test_calls_under_way_are_finished(self):
        """Enqueues that race with the stop are either refused or kept."""
        with SiloServer() as silo:
            api, shard, kept, stop = silo.api, silo.shard_ids()[0], [], threading.Event()

            def produce():
                while not stop.is_set():
                    calls = [api.start("Enqueue", shard=shard, task_group="g", payload=blob(b"x")) for _ in range(20)]
                    for call in calls:
                        if call.exception() is None:
                            kept.append(call.result().id)
                        else:
                            equal(call.exception().code().name in ("UNAVAILABLE", "CANCELLED"), True,
                                  call.exception())
                            stop.set()

            threads = [threading.Thread(target=produce) for _ in range(4)]
            for thread in threads:
                thread.start()
            until(lambda: len(kept) > 100, "some jobs", 30)
            process = silo.process
            process.send_signal(signal.SIGTERM)
            for thread in threads:
                thread.join()
            equal(process.wait(40), 0, "exit status")
            silo._ended()
            silo.start()
            for job in kept:
                equal(silo.api.GetJob(shard=silo.shard_ids()[0], id=job).id, job)

    def test_second_signal_ends_it_at_once(self):
        with SiloServer(settings={"database.latency_write_ms": 400}) as silo:
            call = silo.api.start("Enqueue", shard=silo.shard_ids()[0], task_group="g")
            process = silo.process
            process.send_signal(signal.SIGTERM)
            until(lambda: "stopping" in silo.log(), "the stop to begin")
            process.send_signal(signal.SIGTERM)
            equal(process.wait(5) in (128 + signal.SIGTERM, 0), True, "exit status %s" % process.returncode)
            call.cancel()
            silo._ended()

    def test_health_while_stopping(self):
        with SiloServer() as silo:
            api = Api(silo.address)
            states = []
            poll = api.start("LeaseTasks", worker_id="w", max_tasks=1, task_group="g", wait_ms=60000)
            equal((api.serving(SERVICE), api.serving("")), (True, True), "health")
            silo.process.send_signal(signal.SIGTERM)
            poll.exception()
            states.append(api.serving(SERVICE))
            equal(silo.process.wait(40), 0, "exit status")
            equal(states, [False], "health once the stop began")
            api.close()
            silo._ended()


class Reload(unittest.TestCase):
    def test_log_level(self):
        with SiloServer() as silo:
            config = os.path.join(silo.directory, "silo.toml")
            with open(config, "a", encoding="utf-8") as file:
                file.write('logging.level = "error"\n')
            silo.process.send_signal(signal.SIGHUP)
            until(lambda: "reloaded" in silo.log() or "reload_failed" in silo.log(), "the reload")
            equal(silo.api.GetClusterInfo().num_shards, 1)
            equal(silo.stop(), 0, "exit status")


class Shards(unittest.TestCase):
    def test_one_that_does_not_open(self):
        """The others serve; it is tried again until it opens."""
        with SiloServer(shards=2) as silo:
            shards = silo.shard_ids()
            for shard in shards:
                silo.api.Enqueue(shard=shard, id="there", task_group="g")
            equal(silo.stop(), 0, "exit status")
            kept = spoil(silo, shards[0])
            with open(silo.log_path, "ab") as log:
                silo.process = subprocess.Popen(
                    [program(), "--config", os.path.join(silo.directory, "silo.toml")], cwd=silo.directory,
                    stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log)
            until(silo._accepts, "the server to listen", 60)
            silo.api = Api(silo.address)
            until(lambda: silo.api.serving(""), "the server", 60)
            until(lambda: job_status(silo.api, shards[1]) == "OK", "the good shard", 60)
            equal(job_status(silo.api, shards[0]), "UNAVAILABLE", "the bad shard")
            equal(silo.api.serving(SERVICE), False, "health with a shard missing")
            repair(kept)
            until(lambda: job_status(silo.api, shards[0]) == "OK", "the shard to open after its repair", 90)
            until(lambda: silo.api.serving(SERVICE), "health", 30)


def spoil(silo, shard):
    """Cuts every manifest of a shard; what they held, for repair."""
    kept = {}
    for path in glob.glob(os.path.join(silo.directory, "data", shard, "manifest", "*")):
        with open(path, "rb") as file:
            kept[path] = file.read()
        with open(path, "wb") as file:
            file.write(kept[path][:10])
    equal(len(kept) > 0, True, "manifests")
    return kept


def repair(kept):
    for path, data in kept.items():
        with open(path, "wb") as file:
            file.write(data)


def job_status(api, shard):
    try:
        api.GetJob(shard=shard, id="there")
        return "OK"
    except Exception as error:
        return getattr(error, "code", repr(error))


if __name__ == "__main__":
    sys.exit(runner.main())

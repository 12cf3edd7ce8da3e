"""The programs of docs/guides/other-languages.md, built and run as they stand there: one language enqueues, another one works."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import guide  # noqa: E402
import real_parts  # noqa: E402
import runner  # noqa: E402
from checks import equal, until  # noqa: E402
from silo_api import ROOT, pb  # noqa: E402
from silo_server import SiloServer, free_port, program  # noqa: E402

PAGE = guide.Page("docs/guides/other-languages.md")
DEPLOYMENT = guide.Page("docs/guides/deployment.md")
BUILD_SECONDS = 600
RUN_SECONDS = 120
TENANT = "acme"
TOKEN = "a-long-secret"


def sh(script, directory, environment):
    """Runs a script of the page and returns what it printed."""
    done = subprocess.run(["bash", "-c", script], cwd=directory, env=environment, capture_output=True, text=True,
                          timeout=BUILD_SECONDS)
    if done.returncode != 0:
        raise AssertionError("the page's commands failed:\n%s\n%s%s" % (script, done.stdout, done.stderr))
    return done.stdout


def write(directory, name, text):
    with open(os.path.join(directory, name), "w", encoding="utf-8") as file:
        file.write(text)


def python_program(directory):
    """The command of the page's Python program."""
    sh(PAGE.script("--grpc_python_out"), directory, dict(os.environ, SILO=ROOT))
    write(directory, "emails.py", PAGE.block("python"))
    return [sys.executable, "-B", os.path.join(directory, "emails.py")]


def go_program(directory):
    """The command of the page's Go program; its modules are cached outside the checkout."""
    if shutil.which("go") is None:
        raise real_parts.missing("there is no Go here")
    path = os.pathsep.join([*PAGE.go_tools("protoc-gen-go", "protoc-gen-go-grpc"), os.environ["PATH"]])
    environment = dict(os.environ, SILO=ROOT, PATH=path, CGO_ENABLED="0", GOWORK="off")
    write(directory, "main.go", PAGE.block("go"))
    try:
        sh(PAGE.script("go mod init"), directory, environment)
    except AssertionError as error:
        if "dial tcp" in str(error) or "no such host" in str(error):
            raise real_parts.missing("the Go modules are not to be had: %s" % error) from None
        raise
    # The page says `go run .`; the program is the same, and can be stopped by its own process id.
    sh("go vet . && go build -o emails .", directory, environment)
    return [os.path.join(directory, "emails")]


class Worker:
    """A program of the page that works until the block ends."""

    def __init__(self, command, environment):
        self.process = subprocess.Popen([*command, "work"], env=environment, stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        ended = self.process.poll()
        self.process.terminate()
        said = self.process.communicate()[0]
        if ended is not None and kind is None:
            raise AssertionError("the worker ended with %d:\n%s" % (ended, said))


def enqueue(command, environment, seconds=0):
    return subprocess.Popen([*command, "enqueue", str(seconds)], env=environment, stdin=subprocess.DEVNULL,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finish(process):
    """The program's last line, after `enqueued ID`."""
    said, _ = process.communicate(timeout=RUN_SECONDS)
    if process.returncode != 0:
        raise AssertionError("the producer ended with %d:\n%s" % (process.returncode, said))
    return said.strip().splitlines()[-1]


def succeeded(line):
    words = line.replace("'", "").replace("{", "").replace("}", "").replace("map[", "").replace("]", "").replace(":", " ")
    equal(words.split(), ["JOB_STATUS_SUCCEEDED", "sent", "user@example.com"], "the end of the job")


def cancelled_while_it_runs(server, command, environment):
    """A job that would take minutes ends as soon as a heartbeat tells its worker that it was cancelled."""
    process = enqueue(command, environment, 600)
    job_id = process.stdout.readline().split()[1]
    shard = server.shard_ids()[0]
    until(lambda: server.api.GetJob(shard=shard, id=job_id).status == pb.JOB_STATUS_RUNNING, "the job to run", 60)
    server.api.CancelJob(shard=shard, id=job_id)
    equal(finish(process).split()[0], "JOB_STATUS_CANCELLED", "the end of the job")


def listens(process, port, directory):
    if process.poll() is not None:
        with open(os.path.join(directory, "server.log"), encoding="utf-8") as log:
            raise AssertionError("the server ended:\n" + log.read())
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def secured(directory):
    """A server with mutual TLS and a token, made by the commands and settings of the guide on deployment, and with tenants on
    several shards. Returns its process and the environment of clients."""
    sh(DEPLOYMENT.script("openssl").replace("/etc/silo/tls", directory), directory, os.environ)
    port = free_port()
    text = next(block for block in DEPLOYMENT.blocks("toml") if "tls_client_ca" in block)
    for shown, here in (("/etc/silo/tls", directory), ("/var/lib/silo", os.path.join(directory, "data")),
                        ("0.0.0.0:50051", "127.0.0.1:%d" % port), ("silo.example.com:50051", "localhost:%d" % port)):
        if shown not in text:
            raise LookupError("%s is not in the settings of %s" % (shown, DEPLOYMENT.name))
        text = text.replace(shown, here)
    write(directory, "silo.toml", text + "[tenancy]\nenabled = true\n")
    with open(os.path.join(directory, "server.log"), "ab") as log:
        process = subprocess.Popen([program(), "--config", os.path.join(directory, "silo.toml")], cwd=directory,
                                   env=dict(os.environ, SILO_AUTH_TOKEN=TOKEN), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    until(lambda: listens(process, port, directory), "the server to listen", RUN_SECONDS)
    files = {"SILO_TLS_" + name: os.path.join(directory, file)
             for name, file in (("CA", "ca.pem"), ("CERT", "client.pem"), ("KEY", "client.key"))}
    return process, dict(os.environ, SILO_SERVERS="localhost:%d" % port, SILO_TOKEN=TOKEN, SILO_TENANT=TENANT, **files)


class Programs:
    """What both programs do; maker(directory) builds one and returns its command."""

    @classmethod
    def setUpClass(cls):
        cls.directory = tempfile.mkdtemp(prefix="silo-guide-")
        cls.addClassCleanup(shutil.rmtree, cls.directory, ignore_errors=True)
        cls.command = cls.maker(cls.directory)
        cls.server = SiloServer().start()
        cls.addClassCleanup(cls.server.close)
        cls.environment = dict(os.environ, SILO_SERVERS=cls.server.address)

    def test_a_job_runs_and_another_one_is_cancelled(self):
        with Worker(self.command, self.environment):
            succeeded(finish(enqueue(self.command, self.environment)))
            cancelled_while_it_runs(self.server, self.command, self.environment)

    def test_with_mutual_tls_a_token_and_tenants(self):
        with tempfile.TemporaryDirectory(prefix="silo-guide-tls-") as directory:
            process, environment = secured(directory)
            try:
                with Worker(self.command, environment):
                    succeeded(finish(enqueue(self.command, environment)))
            finally:
                process.terminate()
                equal(process.wait(60), 0, "the server's exit status")


class Python(Programs, unittest.TestCase):
    maker = staticmethod(python_program)


class Go(Programs, unittest.TestCase):
    maker = staticmethod(go_program)

    def test_python_runs_what_go_enqueued(self):
        with tempfile.TemporaryDirectory(prefix="silo-guide-py-") as directory:
            with Worker(python_program(directory), self.environment):
                succeeded(finish(enqueue(self.command, self.environment)))


class Grpcurl(unittest.TestCase):
    def test_by_hand(self):
        """The page's commands as one script; at its end the attempt has succeeded and the result is the one reported."""
        for tool in ("go", "jq"):
            if shutil.which(tool) is None:
                raise real_parts.missing("there is no %s here" % tool)
        path = os.pathsep.join([*PAGE.go_tools("grpcurl"), os.environ["PATH"]])
        with SiloServer() as server, tempfile.TemporaryDirectory(prefix="silo-guide-sh-") as directory:
            environment = dict(os.environ, PATH=path, SILO_SERVERS=server.address)
            said = sh("set -o pipefail\n" + PAGE.script("silo()"), directory, environment)
            self.assertIn('"status": "JOB_STATUS_SUCCEEDED"', said)
            self.assertIn('"ATTEMPT_STATUS_SUCCEEDED"', said)
            equal(said.split()[-1], "gaRzZW50ww==", "the result")
            self.assertIn('nobody polls its task group "by-hand"', said.splitlines()[0])
            listed = sh("grpcurl -plaintext %s list silo.v1.Silo" % server.address, directory, environment)
            self.assertIn("silo.v1.Silo.Enqueue\n", listed)


if __name__ == "__main__":
    sys.exit(runner.main())

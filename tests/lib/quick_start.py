"""Runs the Quick Start program as it is, against a server that the test starts where the program looks for one."""

import contextlib
import fcntl
import os
import socket
import subprocess
import tempfile

from checks import equal
from silo_server import ROOT

ADDRESS = "127.0.0.1:50051"
PROGRAM = os.path.join(ROOT, "examples", "quickstart", "build", "run.js")
SECONDS = 120


@contextlib.contextmanager
def turn():
    """One test at a time has the default address: suites run side by side."""
    with open(os.path.join(tempfile.gettempdir(), "silo-quick-start.lock"), "w", encoding="ascii") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def at_the_default_address(silo):
    """The server, started where the program looks for one."""
    with turn(), claim_port(silo):
        yield silo


def claim_port(silo):
    """Makes the server listen at the default address; fails with a clear text when somebody else does."""
    host, port = ADDRESS.split(":")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, int(port)))
        except OSError as error:
            raise AssertionError("the Quick Start needs %s, which is taken: %s" % (ADDRESS, error)) from None
    silo.address = ADDRESS
    silo.settings["server.grpc_addr"] = ADDRESS
    return silo


def run(silo):
    """The program's output; it must have ended well."""
    if not os.path.exists(PROGRAM):
        raise AssertionError("%s is not built: npm ci && npm run build in its directory" % PROGRAM)
    done = subprocess.run(["node", PROGRAM], cwd=silo.directory, stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, timeout=SECONDS)
    equal(done.returncode, 0, "exit status of the Quick Start program\n%s\n%s\n" % (done.stdout, done.stderr))
    return done.stdout


def check(silo):
    """Twice, the second time after a restart: what the first left behind does no harm."""
    for _ in range(2):
        output = run(silo)
        for text in ("Enqueued job: ", 'Sending "Welcome!" to user@example.com', '{"sent":true}'):
            if text not in output:
                raise AssertionError("%r is missing in the output:\n%s" % (text, output))
        totals = silo.api.GetNodeInfo().owned_shards
        equal(sum(s.total_jobs for s in totals), sum(s.completed_jobs for s in totals), "jobs that did not end")
        equal(silo.stop(), 0, "exit status of the server")
        silo.start()

"""Starts an echo server for one test program and talks to it; plain python3 with Debian's grpcio."""

import os
import resource
import subprocess
import sys
import time
import traceback

# Servers are started beside live channels; what gRPC does around a fork is not needed for that, and has crashed.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

import grpc  # noqa: E402

ROOT = os.environ.get("SILO_ROOT") or os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
SERVER = os.environ.get("RPC_ECHO_SERVER") or os.path.join(os.environ["SILO_BIN_DIR"], "rpc_echo_server")
BIG = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
]


class Server:
    def __init__(self, *args, open_files=None, stderr=None):
        def limit():
            resource.setrlimit(resource.RLIMIT_NOFILE, (open_files, open_files))

        self.process = subprocess.Popen(
            [SERVER, *args], stdout=subprocess.PIPE, stderr=stderr, text=True,
            preexec_fn=limit if open_files is not None else None,
        )
        line = self.process.stdout.readline()
        assert line.startswith("port "), f"the server did not start: {line!r}"
        self.port = int(line.split()[1])
        self.target = f"127.0.0.1:{self.port}"

    def channel(self, *options):
        """A connection of its own, never shared with another channel."""
        own = ("grpc.use_local_subchannel_pool", 1)
        return grpc.insecure_channel(self.target, options=[*BIG, own, *options])

    def rss(self):
        """Memory the server holds, in bytes."""
        return self.memory("VmRSS:")

    def peak(self):
        """The most that it ever held."""
        return self.memory("VmHWM:")

    def memory(self, what):
        """A line of the process's status, in bytes. A sanitizer keeps what was freed and says nothing about that: 0."""
        with open(f"/proc/{self.process.pid}/maps") as maps:
            if any(name in line for line in maps for name in ("libasan", "libtsan")):
                return 0
        with open(f"/proc/{self.process.pid}/status") as status:
            return next(int(line.split()[1]) for line in status if line.startswith(what)) * 1024

    def stop(self):
        """Drains; returns what the server printed last. Fails on a bad exit (a sanitizer's, too)."""
        self.process.terminate()
        rest = self.process.stdout.read()
        code = self.process.wait(timeout=30)
        assert code == 0, f"the server exited with {code}"
        return rest.strip()


def unary(channel, method, message=b"", **kw):
    kw.setdefault("timeout", 60)
    return channel.unary_unary(method)(message, **kw)


def stats(channel):
    text = unary(channel, "/test.Echo/Stats").decode()
    return {k: int(v) for k, v in (pair.split("=") for pair in text.split())}


def fails(code, call):
    """Runs call, which must fail with the status; returns the error."""
    try:
        call()
    except grpc.RpcError as error:
        assert error.code() == code, f"{error.code()} {error.details()}, not {code}"
        return error
    raise AssertionError(f"no error; wanted {code}")


def wait_for(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def run(tests):
    """Runs each test, prints how it went, and ends the program."""
    failed = 0
    for test in tests:
        start = time.monotonic()
        try:
            test()
            print(f"ok {test.__name__} ({time.monotonic() - start:.2f} s)", flush=True)
        except Exception:  # whatever it was, the others still run
            failed += 1
            print(f"FAILED {test.__name__}\n{traceback.format_exc()}", flush=True)
    print(f"{len(tests) - failed} passed, {failed} failed", flush=True)
    sys.exit(1 if failed else 0)

"""A real server for tests: its own directory, its own ports, readiness by its health service.

    with SiloServer(tenancy=True) as server:
        server.api.GetClusterInfo()

The program is $SILO_BIN, by default build/bin/silo. Output goes to server.log in its directory, which is kept when the
environment has SILO_KEEP.
"""

import os
import random
import resource
import shutil
import signal
import socket
import subprocess
import tempfile
import time

from silo_api import ROOT, Api

READY_SECONDS = 60
LAST_WORDS = 8000  # characters
STOP_SECONDS = 40


def program():
    return os.environ.get("SILO_BIN") or os.path.join(ROOT, "build", "bin", "silo")


def free_port():
    """A port that nothing listens on, below the range that outgoing connections take theirs from."""
    for _ in range(1000):
        port = random.randrange(10000, 32000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue
    raise RuntimeError("no free port")


def toml_value(value):
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return "[%s]" % ", ".join(map(toml_value, value))
    return str(value) if isinstance(value, int) else '"%s"' % value


class SiloServer:
    """Settings are dotted keys of the configuration, for example {"server.dev_mode": True}. open_files is (soft, hard);
    environment comes beside that of the test. `host` and `within` (a command to run it by) serve those who give it a network
    of its own."""

    def __init__(self, tenancy=False, shards=None, token=None, settings=None, directory=None, open_files=None,
                 environment=None, host="127.0.0.1", within=()):
        self.directory = directory or tempfile.mkdtemp(prefix="silo-test-")
        self.owns_directory = directory is None
        self.address = "%s:%d" % (host, free_port())
        self.within = list(within)
        self.token = token
        self.open_files = open_files
        self.environment = environment or {}
        self.process = None
        self.api = None
        self.settings = {
            "server.grpc_addr": self.address,
            "server.shutdown_timeout_ms": 20000,
            "tenancy.enabled": tenancy,
            "webui.enabled": False,
            "metrics.enabled": False,
            "database.path": os.path.join(self.directory, "data", "%shard%"),
            "database.fsync": False,
        }
        if shards is not None:
            self.settings["coordination.initial_shard_count"] = shards
        if token is not None:
            self.settings["server.auth_token"] = token
        self.settings.update(settings or {})

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.close()

    @property
    def log_path(self):
        return os.path.join(self.directory, "server.log")

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as file:
            return file.read()

    def write_config(self):
        config = os.path.join(self.directory, "silo.toml")
        with open(config, "w", encoding="utf-8") as file:
            for key, value in sorted(self.settings.items()):
                file.write("%s = %s\n" % (key, toml_value(value)))
        return config

    def start(self):
        config = self.write_config()
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                self.within + [program(), "--config", config], cwd=self.directory, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                preexec_fn=self._limit_files if self.open_files is not None else None,
                env=dict(os.environ, **self.environment),
            )
        self.wait_ready()
        return self

    def _limit_files(self):
        resource.setrlimit(resource.RLIMIT_NOFILE, self.open_files)

    def _accepts(self):
        host, port = self.address.rsplit(":", 1)
        try:
            socket.create_connection((host, int(port)), 1).close()
            return True
        except OSError:
            return False

    def wait_ready(self):
        """The channel is made when the port accepts: one that was refused comes back only after seconds."""
        deadline = time.monotonic() + READY_SECONDS
        while True:
            if self.process.poll() is not None:
                status = self.process.returncode
                self._ended()
                raise RuntimeError("the server ended with %d:\n%s" % (status, self.log()))
            if time.monotonic() > deadline:
                self.kill()
                raise RuntimeError("the server was not ready in time:\n" + self.log())
            if self.api is None and self._accepts():
                self.api = Api(self.address, self.token)
            if self.api is not None and self.api.serving("silo.v1.Silo"):
                return
            time.sleep(0.01)

    def _ended(self):
        if self.api is not None:
            self.api.close()
        self.api = None
        self.process = None

    def stop(self):
        """An orderly end. Returns the exit status."""
        if self.process is None:
            return None
        self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise RuntimeError("the server did not stop:\n" + self.log()) from None
        finally:
            self._ended()
        return status

    def kill(self):
        """SIGKILL: nothing is flushed."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self._ended()

    def close(self):
        """Stops it, and says so if it had ended by itself or does not end well: a sanitizer speaks up here."""
        try:
            alive = self.process is None or self.process.poll() is None
            status = self.stop() if alive else self.process.returncode
            if status not in (None, 0):
                raise RuntimeError("the server ended %swith %d; its last words:\n%s"
                                   % ("" if alive else "by itself ", status, self.log()[-LAST_WORDS:]))
        finally:
            if self.owns_directory and not os.environ.get("SILO_KEEP"):
                shutil.rmtree(self.directory, ignore_errors=True)

    def shard_ids(self):
        return [owner.shard_id for owner in self.api.GetClusterInfo().shard_owners]

    def shard_of_hash(self, tenant_hash):
        """The shard whose range holds a tenant's hash (16 hex digits)."""
        for owner in self.api.GetClusterInfo().shard_owners:
            if owner.range_start <= tenant_hash and (not owner.range_end or tenant_hash < owner.range_end):
                return owner.shard_id
        raise LookupError(tenant_hash)

"""Real etcd servers on loopback: one member or several, each a program of its own, and a client to look into them.

    with Etcd("3.4") as etcd:                     # Debian's package
    with Etcd("3.6", members=3) as etcd:          # built from its Go module
        etcd.endpoints                            # for coordination.etcd_endpoints
        etcd.members[0].pause()                   # SIGSTOP; resume(), kill(), stop(), start()
        etcd.members[etcd.leader()].kill()
        etcd.keys("silo/")                        # {key: Row(value, mod_revision, lease)}
        etcd.compact()

Members keep ports and data when they are started again. They are ended by their process ids. Tests that need a version which
is not to be had here are skipped; with CI in the environment they fail (real_parts.py).
"""

import base64
import collections
import json
import os
import shutil
import signal
import ssl
import subprocess
import tempfile
import urllib.error
import urllib.request

import real_parts
from checks import until
from silo_server import free_port

VERSIONS = ("3.4", "3.6")
PACKAGE = "etcd-server"
MODULE = "go.etcd.io/etcd/server/v3"
MODULE_VERSION = "v3.6.16"
READY_SECONDS = 30
CALL_SECONDS = 5
STOP_SECONDS = 10

Row = collections.namedtuple("Row", "value mod_revision lease")


def program(version):
    """The path of the server of a version: "3.4" or "3.6"."""
    if version == "3.4":
        return real_parts.debian_program("etcd", PACKAGE, "usr/bin/etcd")
    if version == "3.6":
        return real_parts.go_module_program("etcd", MODULE, MODULE_VERSION)
    raise ValueError("etcd %s: one of %s" % (version, ", ".join(VERSIONS)))


def text64(text):
    return base64.b64encode(text.encode()).decode()


def bytes_of(text):
    return base64.b64decode(text or "")


def range_end(prefix):
    """The first key after all that begin with a prefix."""
    return prefix[:-1] + chr(ord(prefix[-1]) + 1)


class Refused(Exception):
    """A call that etcd answered with an error, or not at all."""


class Member:
    """One server. `host` and `within` (a command to run it by) serve those who give it a network of its own."""

    def __init__(self, binary, number, host="127.0.0.1", within=(), options=()):
        self.binary = binary
        self.number = number
        self.name = "etcd-%d" % number
        self.host = host
        self.within = list(within)
        self.options = list(options)
        self.client_port, self.peer_port = free_port(), free_port()
        self.directory = tempfile.mkdtemp(prefix="silo-etcd-")
        self.scheme = "http"
        self.context = None  # for TLS
        self.cluster = None  # the text that names all members
        self.process = None

    @property
    def endpoint(self):
        return "%s://%s:%d" % (self.scheme, self.host, self.client_port)

    @property
    def peer(self):
        return "http://%s:%d" % (self.host, self.peer_port)

    @property
    def log_path(self):
        return os.path.join(self.directory, "etcd.log")

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as file:
            return file.read()

    def start(self):
        """Starts it and does not wait: a member alone serves nobody before its peers are there."""
        command = self.within + [
            self.binary, "--name", self.name, "--data-dir", os.path.join(self.directory, "data"),
            "--listen-client-urls", self.endpoint, "--advertise-client-urls", self.endpoint,
            "--listen-peer-urls", self.peer, "--initial-advertise-peer-urls", self.peer,
            "--initial-cluster", self.cluster, "--initial-cluster-state", "new",
            "--log-level", "warn", "--logger", "zap", *self.options,
        ]
        # etcd takes settings from the environment, too, and refuses those that it knows twice.
        env = {key: value for key, value in os.environ.items() if not key.startswith("ETCD_")}
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(command, cwd=self.directory, env=env, stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=log)
        return self

    def check_alive(self):
        if self.process is not None and self.process.poll() is not None:
            raise RuntimeError("%s ended with %d:\n%s" % (self.name, self.process.returncode, self.log()[-4000:]))

    @property
    def running(self):
        return self.process is not None

    def kill(self):
        """SIGKILL. What it had acknowledged is on its disk."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def stop(self):
        """An orderly end: a leader gives its office away first."""
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.process = None

    def pause(self):
        self.process.send_signal(signal.SIGSTOP)

    def resume(self):
        self.process.send_signal(signal.SIGCONT)

    def forget(self):
        """Ends it and removes its data: what a member with a lost disk, or a new cluster at the same address, is."""
        self.kill()
        shutil.rmtree(os.path.join(self.directory, "data"), ignore_errors=True)

    def call(self, path, **fields):
        """One call of etcd's JSON gateway on this very member; bytes are base64, numbers come as text."""
        request = urllib.request.Request(self.endpoint + "/v3/" + path, json.dumps(fields).encode())
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}),
                                             urllib.request.HTTPSHandler(context=self.context))
        try:
            with opener.open(request, timeout=CALL_SECONDS) as reply:
                return json.loads(reply.read())
        except urllib.error.HTTPError as error:
            raise Refused("%s: %d %s" % (path, error.code, error.read().decode(errors="replace"))) from None
        except (OSError, ValueError) as error:
            raise Refused("%s: %s" % (path, error)) from None

    def healthy(self):
        """Whether it can read through its leader."""
        if self.process is None:
            return False
        self.check_alive()
        try:
            self.call("kv/range", key=text64("health"))
            return True
        except Refused as refused:
            return "user name is empty" in str(refused)  # it asks who we are: it serves

    def status(self):
        return self.call("maintenance/status")

    def close(self):
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)


class Etcd:
    """A cluster of one member or several. `hosts` and `within` have one entry for each member (Member)."""

    def __init__(self, version="3.4", members=1, hosts=None, within=None, options=()):
        binary = program(version)
        self.version = version
        hosts = hosts or ["127.0.0.1"] * members
        within = within or [()] * members
        self.members = [Member(binary, n, host, run, options) for n, (host, run) in enumerate(zip(hosts, within))]
        text = ",".join("%s=%s" % (m.name, m.peer) for m in self.members)
        for member in self.members:
            member.cluster = text

    def use_tls(self, cert, key, ca, client_ca=None):
        """To be said before start(). With client_ca only clients with a certificate of that authority are let in, and
        call() uses the server's own."""
        for member in self.members:
            member.scheme = "https"
            member.options += ["--cert-file", cert, "--key-file", key]
            member.context = ssl.create_default_context(cafile=ca)
            if client_ca is not None:
                member.options += ["--trusted-ca-file", client_ca, "--client-cert-auth"]
                member.context.load_cert_chain(cert, key)
        return self

    @property
    def endpoints(self):
        return [member.endpoint for member in self.members]

    def start(self):
        """Starts members that do not run and awaits that all serve."""
        try:
            for member in self.members:
                if not member.running:
                    member.start()
            self.wait_ready()
        except BaseException:
            for member in self.members:
                member.kill()
            raise
        return self

    def wait_ready(self):
        until(lambda: all(m.healthy() for m in self.members if m.running), "etcd " + self.version, READY_SECONDS)

    def stop(self):
        for member in self.members:
            member.stop()

    def kill(self):
        for member in self.members:
            member.kill()

    def pause(self):
        for member in self.members:
            member.pause()

    def resume(self):
        for member in self.members:
            member.resume()

    def close(self):
        for member in self.members:
            member.close()

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.close()

    # ---- what is in it ----

    def call(self, path, **fields):
        """A call on the first member that answers."""
        error = Refused("no member runs")
        for member in self.members:
            if member.running:
                try:
                    return member.call(path, **fields)
                except Refused as refused:
                    error = refused
        raise error

    def leader(self):
        """The number of the member that leads; None while there is none."""
        for member in self.members:
            if member.running:
                try:
                    status = member.status()
                except Refused:
                    continue
                if status.get("leader", "0") != "0" and status["leader"] == status["header"]["member_id"]:
                    return member.number
        return None

    def revision(self):
        """Counts every write: what does not change while nothing happens."""
        return int(self.call("kv/range", key=text64("revision"))["header"]["revision"])

    def get(self, key):
        return self.keys(key, end=None).get(key)

    def keys(self, prefix, end=""):
        """Every row whose key begins with prefix."""
        fields = {"key": text64(prefix)}
        if end is not None:
            fields["range_end"] = text64(end or range_end(prefix))
        reply = self.call("kv/range", **fields)
        return {bytes_of(kv["key"]).decode(): Row(bytes_of(kv.get("value")), int(kv["mod_revision"]), int(kv.get("lease", 0)))
                for kv in reply.get("kvs", ())}

    def put(self, key, value, lease=0):
        self.call("kv/put", key=text64(key), value=text64(value), lease=lease)

    def delete(self, key):
        self.call("kv/deleterange", key=text64(key))

    def revoke(self, lease):
        """Ends a lease, and with it the keys that hang on it: what happens to a member that was away for too long."""
        self.call("lease/revoke", ID=lease)

    def leases(self):
        return [int(lease["ID"]) for lease in self.call("lease/leases").get("leases", ())]

    def compact(self, revision=None):
        """Forgets all history before a revision, by default before now: a watch that is behind has to begin anew."""
        self.call("kv/compaction", revision=revision or self.revision(), physical=True)

    def enable_users(self, user, password, prefix=None):
        """From here on only those who name a user are let in: root, and one who may do all below a prefix."""
        for name, word in (("root", password), (user, password)):
            self.call("auth/user/add", name=name, password=word)
        self.call("auth/role/add", name="root")
        self.call("auth/user/grant", user="root", role="root")
        self.call("auth/role/add", name="silo")
        start, end = (prefix, range_end(prefix)) if prefix else ("\0", "\0")
        self.call("auth/role/grant", name="silo",
                  perm={"permType": "READWRITE", "key": text64(start), "range_end": text64(end)})
        self.call("auth/user/grant", user=user, role="silo")
        self.call("auth/enable")

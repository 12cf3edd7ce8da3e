"""A real Gubernator on loopback, a program of its own, and a client to ask it directly.

    with GubernatorServer() as gubernator:
        gubernator.address                                  # for gubernator.address
        gubernator.check("name", "key", hits=1, limit=5, duration=1000).remaining

The program is built once (real_parts.py), which takes a minute or two and needs Go.
"""

import importlib
import os
import shutil
import subprocess
import sys
import tempfile

import grpc

import real_parts
from checks import until
from silo_api import ROOT
from silo_server import free_port

MODULE = "github.com/gubernator-io/gubernator/v2"
VERSION = "v2.13.0"
READY_SECONDS = 30


def _compile():
    """protoc's Python for the file that the server's own client is made from."""
    out = tempfile.mkdtemp(prefix="silo-pb-")
    try:
        include = os.path.join(ROOT, "proto", "gubernator")
        subprocess.run(["protoc", "-I", include, "--python_out=" + out, "gubernator.proto"], check=True, cwd=out)
        sys.path.insert(0, out)
        try:
            return importlib.import_module("gubernator_pb2")
        finally:
            sys.path.remove(out)
    finally:
        shutil.rmtree(out, ignore_errors=True)


pb = _compile()


def program():
    """The path of Gubernator's daemon."""
    return real_parts.go_program("gubernator", MODULE + "/cmd/gubernator", VERSION)


class GubernatorServer:
    """It forgets everything when it stops; the ports stay."""

    def __init__(self):
        self.directory = tempfile.mkdtemp(prefix="silo-gubernator-")
        self.port, self.http_port, self.gossip_port = free_port(), free_port(), free_port()
        self.process = None
        self.channel = None

    @property
    def address(self):
        return "http://127.0.0.1:%d" % self.port

    def start(self):
        gossip = "127.0.0.1:%d" % self.gossip_port
        env = dict(
            os.environ,
            GUBER_GRPC_ADDRESS="127.0.0.1:%d" % self.port,
            GUBER_HTTP_ADDRESS="127.0.0.1:%d" % self.http_port,
            # A cluster of one has to find itself: without discovery there is no peer that owns a key.
            GUBER_PEER_DISCOVERY_TYPE="member-list",
            GUBER_MEMBERLIST_ADDRESS=gossip,
            GUBER_MEMBERLIST_BIND_ADDRESS=gossip,
            GUBER_MEMBERLIST_KNOWN_NODES=gossip,
            GUBER_LOG_LEVEL="error",
            OTEL_TRACES_EXPORTER="none",
        )
        with open(os.path.join(self.directory, "gubernator.log"), "ab") as log:
            self.process = subprocess.Popen([program()], cwd=self.directory, env=env, stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log)
        try:
            until(self._answers, "Gubernator", READY_SECONDS)
        except BaseException:
            self.stop()
            raise
        return self

    def _call(self, method, request, reply):
        if self.channel is None:
            self.channel = grpc.insecure_channel(
                "127.0.0.1:%d" % self.port,
                options=[("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0)])
        call = self.channel.unary_unary("/pb.gubernator.V1/" + method, request_serializer=lambda m: m.SerializeToString(),
                                        response_deserializer=reply.FromString)
        return call(request, timeout=10)

    def _answers(self):
        """Whether a check works: it is healthy before it knows of itself."""
        if self.process.poll() is not None:
            with open(os.path.join(self.directory, "gubernator.log"), encoding="utf-8", errors="replace") as file:
                raise RuntimeError("Gubernator ended with %d:\n%s" % (self.process.returncode, file.read()))
        try:
            self.check("silo-ready", "probe", hits=0, limit=1, duration=1000)
            return True
        except (grpc.RpcError, RuntimeError):
            self._hang_up()  # a channel that was refused waits longer and longer
            return False

    def checks(self, *fields):
        """One call with a check for each dictionary of fields; the answers."""
        request = pb.GetRateLimitsReq(requests=[pb.RateLimitReq(**each) for each in fields])
        return list(self._call("GetRateLimits", request, pb.GetRateLimitsResp).responses)

    def check(self, name, unique_key, **fields):
        """One check; an answer with an error is raised."""
        answer = self.checks(dict(fields, name=name, unique_key=unique_key))[0]
        if answer.error:
            raise RuntimeError(answer.error)
        return answer

    def health(self):
        return self._call("HealthCheck", pb.HealthCheckReq(), pb.HealthCheckResp)

    def _hang_up(self):
        if self.channel is not None:
            self.channel.close()
            self.channel = None

    def stop(self):
        """At once, without a farewell."""
        self._hang_up()
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

"""The wire interface for tests: messages compiled from proto/ when a test starts, and a thin caller.

    api = Api("127.0.0.1:1234")
    reply = api.Enqueue(shard=..., task_group="g")          # a reply message, or Status is raised
    status = api.fails("Enqueue", shard="nonsense")         # the Status it must have failed with
"""

import importlib
import os
import shutil
import subprocess
import sys
import tempfile

import grpc

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
MESSAGE_BYTES_MAX = 128 << 20


def _compile():
    """protoc's Python for our own file and for health, in a directory that lives as long as we need it."""
    out = tempfile.mkdtemp(prefix="silo-pb-")
    try:
        proto = os.path.join(ROOT, "proto")
        health = os.path.join(proto, "grpc", "health", "v1")
        for include, name in ((os.path.join(proto, "silo", "v1"), "silo.proto"), (health, "health.proto")):
            subprocess.run(["protoc", "-I", include, "--python_out=" + out, name], check=True, cwd=out)
        sys.path.insert(0, out)
        try:
            return importlib.import_module("silo_pb2"), importlib.import_module("health_pb2")
        finally:
            sys.path.remove(out)
    finally:
        shutil.rmtree(out, ignore_errors=True)


pb, health_pb = _compile()
METHODS = {m.name: m for m in pb.DESCRIPTOR.services_by_name["Silo"].methods}


class Status(Exception):
    """A call that failed. `code` is the name of the gRPC status, for example "NOT_FOUND"."""

    def __init__(self, method, error):
        self.code = error.code().name
        self.text = error.details() or ""
        self.trailers = dict(error.trailing_metadata() or ())
        super().__init__("%s: %s: %s" % (method, self.code, self.text))


class Api:
    """One connection to a server."""

    def __init__(self, address, token=None, options=()):
        self.channel = grpc.insecure_channel(
            address,
            options=[
                ("grpc.max_send_message_length", MESSAGE_BYTES_MAX + (1 << 20)),
                ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
                ("grpc.use_local_subchannel_pool", 1),
                ("grpc.enable_retries", 0),
                ("grpc.enable_http_proxy", 0),
                *options,
            ],
        )
        self.headers = [] if token is None else [("authorization", "Bearer " + token)]

    def close(self):
        self.channel.close()

    def __getattr__(self, method):
        if method not in METHODS:
            raise AttributeError(method)
        return lambda **fields: self.call(method, **fields)

    def request(self, method, **fields):
        return getattr(pb, METHODS[method].input_type.name)(**fields)

    def raw(self, path, data, reply=bytes, headers=None, timeout=30):
        """Sends bytes; `reply` makes something of the answer's bytes."""
        call = self.channel.unary_unary(path)
        try:
            return reply(call(data, metadata=self.headers if headers is None else headers, timeout=timeout))
        except grpc.RpcError as error:
            raise Status(path, error) from None

    def call(self, method, timeout=30, headers=None, message=None, **fields):
        message = message if message is not None else self.request(method, **fields)
        reply = getattr(pb, METHODS[method].output_type.name)
        return self.raw("/silo.v1.Silo/" + method, message.SerializeToString(), reply.FromString, headers, timeout)

    def start(self, method, timeout=90, **fields):
        """A call on its way: .result(), .cancel()."""
        reply = getattr(pb, METHODS[method].output_type.name)
        call = self.channel.unary_unary(
            "/silo.v1.Silo/" + method,
            request_serializer=lambda m: m.SerializeToString(),
            response_deserializer=reply.FromString,
        )
        return call.future(self.request(method, **fields), metadata=self.headers, timeout=timeout)

    def stream(self, method, timeout=None, **fields):
        """The answers of a call that has many, as they come; an iterator with .cancel()."""
        reply = getattr(pb, METHODS[method].output_type.name)
        call = self.channel.unary_stream(
            "/silo.v1.Silo/" + method,
            request_serializer=lambda m: m.SerializeToString(),
            response_deserializer=reply.FromString,
        )
        return call(self.request(method, **fields), metadata=self.headers, timeout=timeout)

    def fails(self, method, **fields):
        try:
            self.call(method, **fields)
        except Status as status:
            return status
        raise AssertionError("%s(%s) succeeded" % (method, fields))

    def serving(self, service, timeout=1):
        """Whether the health service says SERVING; False when nobody answers."""
        request = health_pb.HealthCheckRequest(service=service)
        try:
            reply = self.raw("/grpc.health.v1.Health/Check", request.SerializeToString(),
                             health_pb.HealthCheckResponse.FromString, [], timeout)
        except Status:
            return False
        return reply.status == health_pb.HealthCheckResponse.SERVING


def blob(data=b""):
    return pb.SerializedBytes(msgpack=data)

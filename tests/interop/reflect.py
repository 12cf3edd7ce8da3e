"""A client that knows nothing of Silo but its address: all it calls it learned by server reflection."""

import os
import subprocess
import sys
import tempfile

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from silo_api import MESSAGE_BYTES_MAX, ROOT


def _reflection_module(version):
    """protoc's Python for the reflection service; the descriptor pool is the process's, so once per version."""
    include = os.path.join(ROOT, "proto", "grpc", "reflection", version)
    out = tempfile.mkdtemp(prefix="silo-reflect-")
    name = "reflection_%s" % version
    copy = os.path.join(out, name + ".proto")
    with open(os.path.join(include, "reflection.proto"), encoding="utf-8") as source, open(copy, "w") as target:
        target.write(source.read())
    subprocess.run(["protoc", "-I", out, "--python_out=" + out, copy], check=True)
    sys.path.insert(0, out)
    try:
        return __import__(name + "_pb2")
    finally:
        sys.path.remove(out)


_modules = {}


class Reflected:
    def __init__(self, address, version="v1", options=()):
        if version not in _modules:
            _modules[version] = _reflection_module(version)
        self.pb = _modules[version]
        self.channel = grpc.insecure_channel(address, options=[
            ("grpc.max_send_message_length", MESSAGE_BYTES_MAX + (1 << 20)),
            ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
            ("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0), *options])
        self.info = self.channel.stream_stream(
            "/grpc.reflection.%s.ServerReflection/ServerReflectionInfo" % version,
            request_serializer=lambda m: m.SerializeToString(),
            response_deserializer=self.pb.ServerReflectionResponse.FromString)
        self.pool = descriptor_pool.DescriptorPool()
        self.loaded = set()

    def close(self):
        self.channel.close()

    def ask(self, **fields):
        return next(iter(self.info(iter([self.pb.ServerReflectionRequest(**fields)]), timeout=20)))

    def ask_many(self, requests):
        return list(self.info(iter([self.pb.ServerReflectionRequest(**r) for r in requests]), timeout=20))

    def services(self):
        return [service.name for service in self.ask(list_services="*").list_services_response.service]

    def _add(self, raw):
        file = descriptor_pb2.FileDescriptorProto.FromString(raw)
        if file.name in self.loaded:
            return
        self.loaded.add(file.name)
        for dependency in file.dependency:
            self.load(file_by_filename=dependency)
        self.pool.Add(file)

    def load(self, **fields):
        for raw in self.ask(**fields).file_descriptor_response.file_descriptor_proto:
            self._add(raw)

    def call(self, service, method, /, timeout=30, **fields):
        """One unary call, with messages made from what the server said of itself."""
        self.load(file_containing_symbol=service)
        found = self.pool.FindServiceByName(service).methods_by_name[method]
        factory = message_factory.MessageFactory(self.pool)
        request = factory.GetPrototype(found.input_type)(**fields)
        reply = factory.GetPrototype(found.output_type)
        call = self.channel.unary_unary("/%s/%s" % (service, method))
        return reply.FromString(call(request.SerializeToString(), timeout=timeout))

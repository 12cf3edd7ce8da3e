"""TLS and mutual TLS with gRPC C core and Python's ssl. usage: tls_test.py"""

import ctypes
import ctypes.util
import os
import socket
import ssl
import struct
import subprocess
import tempfile

import grpc

import h2
from harness import BIG, Server, fails, run, stats, unary

Code = grpc.StatusCode
folder = tempfile.TemporaryDirectory(prefix="rpc-tls-")


def path(name):
    return os.path.join(folder.name, name)


def read(name):
    with open(path(name), "rb") as file:
        return file.read()


def openssl(*args):
    subprocess.run(["openssl", *args], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def authority(name):
    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
            "-subj", f"/CN={name}", "-keyout", path(f"{name}.key"), "-out", path(f"{name}.pem"))


def certificate(name, ca):
    with open(path(f"{name}.ext"), "w") as file:
        file.write("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
    openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={name}",
            "-keyout", path(f"{name}.key"), "-out", path(f"{name}.csr"))
    openssl("x509", "-req", "-in", path(f"{name}.csr"), "-CA", path(f"{ca}.pem"), "-CAkey", path(f"{ca}.key"),
            "-CAcreateserial", "-days", "2", "-extfile", path(f"{name}.ext"), "-out", path(f"{name}.pem"))


for ca in ["ca", "other"]:
    authority(ca)
certificate("server", "ca")
certificate("client", "ca")
certificate("stranger", "other")
SERVER_TLS = ["--tls-cert", path("server.pem"), "--tls-key", path("server.key")]
plain_tls = Server(*SERVER_TLS, "--loops", "2")
mutual = Server(*SERVER_TLS, "--tls-client-ca", path("ca.pem"))


def connect(server, own=None, ca="ca"):
    keys = (read(f"{own}.key"), read(f"{own}.pem")) if own else (None, None)
    credentials = grpc.ssl_channel_credentials(read(f"{ca}.pem"), *keys)
    options = [*BIG, ("grpc.use_local_subchannel_pool", 1)]
    return grpc.secure_channel(server.target, credentials, options=options)


def test_unary_and_streams():
    channel = connect(plain_tls)
    assert unary(channel, "/test.Echo/Unary", b"secret") == b"secret"
    assert unary(channel, "/test.Echo/Thread", b"secret") == b"secret"
    for size in [5 << 20, 50 << 20]:
        message = os.urandom(size)
        assert unary(channel, "/test.Echo/Pieces", message) == message
    stream = channel.unary_stream("/test.Echo/Stream")
    assert [len(m) for m in stream(b"20 1000000", timeout=60)] == [1000000] * 20
    calls = [channel.unary_unary("/test.Echo/Unary").future(b"%d" % i, timeout=60) for i in range(500)]
    assert [call.result() for call in calls] == [b"%d" % i for i in range(500)]
    channel.close()


def test_mutual():
    channel = connect(mutual, own="client")
    assert unary(channel, "/test.Echo/Unary", b"known") == b"known"
    channel.close()
    for own in [None, "stranger"]:
        channel = connect(mutual, own=own)
        fails(Code.UNAVAILABLE, lambda: unary(channel, "/test.Echo/Unary", b"unknown", timeout=5))
        channel.close()


def test_wrong_authority():
    channel = connect(plain_tls, ca="other")
    fails(Code.UNAVAILABLE, lambda: unary(channel, "/test.Echo/Unary", b"x", timeout=5))
    channel.close()


def test_alpn():
    """Without h2 there is no connection, whatever else the client offers."""
    for protocols in [["http/1.1"], []]:
        context = ssl.create_default_context(cafile=path("ca.pem"))
        if protocols:
            context.set_alpn_protocols(protocols)
        try:
            with socket.create_connection(("127.0.0.1", plain_tls.port), timeout=10) as raw:
                with context.wrap_socket(raw, server_hostname="localhost") as tls:
                    tls.sendall(b"GET / HTTP/1.1\r\n\r\n")
                    assert tls.recv(100) == b""
        except (ssl.SSLError, ConnectionError):
            pass


def test_plaintext_is_refused():
    channel = plain_tls.channel()
    fails(Code.UNAVAILABLE, lambda: unary(channel, "/test.Echo/Unary", b"x", timeout=5))
    channel.close()
    with socket.create_connection(("127.0.0.1", plain_tls.port), timeout=10) as raw:
        raw.sendall(os.urandom(4000))
        try:
            while raw.recv(4096):
                pass
        except ConnectionError:
            pass


class KeyChanger:
    """A TLS 1.3 client of OpenSSL itself, which can ask for new keys; Python's ssl cannot."""

    def __init__(self, server):
        self.lib = lib = ctypes.CDLL(ctypes.util.find_library("ssl"))
        for name in ("TLS_client_method", "SSL_CTX_new", "SSL_new", "BIO_new", "BIO_s_mem"):
            getattr(lib, name).restype = ctypes.c_void_p
        self.socket = socket.create_connection(("127.0.0.1", server.port), timeout=20)
        self.socket.setblocking(True)  # as OpenSSL needs it, but not for ever
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 10, 0))
        context = ctypes.c_void_p(lib.SSL_CTX_new(ctypes.c_void_p(lib.TLS_client_method())))
        assert lib.SSL_CTX_set_alpn_protos(context, b"\2h2", 3) == 0
        self.ssl = ctypes.c_void_p(lib.SSL_new(context))
        assert lib.SSL_set_fd(self.ssl, self.socket.fileno()) == 1
        assert lib.SSL_connect(self.ssl) == 1

    def write(self, data):
        assert self.lib.SSL_write(self.ssl, data, len(data)) == len(data)

    def keys(self, count):
        """Records that change our keys so many times, not sent yet."""
        memory = ctypes.c_void_p(self.lib.BIO_new(ctypes.c_void_p(self.lib.BIO_s_mem())))
        self.lib.SSL_set0_wbio(self.ssl, memory)
        for _ in range(count):
            assert self.lib.SSL_key_update(self.ssl, 0) == 1 and self.lib.SSL_do_handshake(self.ssl) == 1
        records = ctypes.create_string_buffer(count * 64)
        size = self.lib.BIO_read(memory, records, len(records))
        self.lib.SSL_set_fd(self.ssl, self.socket.fileno())
        return records.raw[:size]

    def read(self):
        """Some bytes of what the server says; none at the end."""
        data = ctypes.create_string_buffer(65536)
        size = self.lib.SSL_read(self.ssl, data, len(data))
        return data.raw[:size] if size > 0 else b""


def cpu_seconds(server):
    with open(f"/proc/{server.process.pid}/stat") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_a_few_new_keys_are_no_harm():
    client = KeyChanger(plain_tls)
    client.write(h2.PREFACE + h2.frame(h2.SETTINGS, 0, 0))
    client.socket.sendall(client.keys(100))
    client.write(h2.frame(h2.PING, 0, 0, b"12345678"))
    answer = b""
    while h2.frame(h2.PING, h2.ACK, 0, b"12345678") not in answer:
        more = client.read()
        assert more, answer
        answer += more


def test_new_keys_without_end():
    """27 bytes ask for a dozen microseconds of work, and a read that went on until there are other bytes would never end."""
    client = KeyChanger(plain_tls)
    client.write(h2.PREFACE + h2.frame(h2.SETTINGS, 0, 0))
    records = client.keys(100000)
    before = cpu_seconds(plain_tls)
    try:
        client.socket.sendall(records)
        answer, more = b"", client.read()
        while more:
            answer, more = answer + more, client.read()
    except ConnectionError:
        pass
    assert cpu_seconds(plain_tls) - before < 0.4
    channel = connect(plain_tls)
    assert unary(channel, "/test.Echo/Unary", b"others") == b"others"
    channel.close()


def test_bad_files():
    program = [os.environ.get("RPC_ECHO_SERVER") or os.path.join(os.environ["SILO_BIN_DIR"], "rpc_echo_server")]
    for cert, key in [("server.pem", "client.key"), ("absent.pem", "server.key"), ("server.pem", "server.pem")]:
        done = subprocess.run(
            [*program, "--tls-cert", path(cert), "--tls-key", path(key)], stderr=subprocess.PIPE, text=True
        )
        assert done.returncode == 1 and "TLS" in done.stderr, done


def test_end():
    channel = connect(plain_tls)
    assert stats(channel)["calls"] == 1
    channel.close()
    assert plain_tls.stop() == "drained"
    assert mutual.stop() == "drained"


run([
    test_unary_and_streams,
    test_mutual,
    test_wrong_authority,
    test_alpn,
    test_plaintext_is_refused,
    test_a_few_new_keys_are_no_harm,
    test_new_keys_without_end,
    test_bad_files,
    test_end,
])

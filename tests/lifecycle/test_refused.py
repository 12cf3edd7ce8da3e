"""Who runs the server hears of callers that it turns away: one line for a burst of them."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from checks import equal, status_is, until  # noqa: E402
from silo_api import Api  # noqa: E402
from silo_server import SiloServer, free_port, program  # noqa: E402


def lines(log, event):
    return [line for line in log.splitlines() if event in line]


class Token(unittest.TestCase):
    def test_a_burst_is_one_line(self):
        with SiloServer(token="right", settings={"server.io_loops": 1}) as server:
            for token in (None, "wrong", "wrong"):
                api = Api(server.address, token)
                status_is(api.fails("GetClusterInfo"), "UNAUTHENTICATED")
                api.close()
            until(lambda: lines(server.log(), "calls_unauthenticated"), "the line")
            said = lines(server.log(), "calls_unauthenticated")
            equal(len(said), 1, "lines")
            self.assertRegex(said[0], r'reason="missing authorization header" last="?127\.0\.0\.1:\d+"? calls=1')
            self.assertNotIn("wrong", said[0])


class Tls(unittest.TestCase):
    def test_a_handshake_that_fails_is_told(self):
        place = tempfile.mkdtemp(prefix="silo-refused-")
        self.addCleanup(shutil.rmtree, place, ignore_errors=True)
        cert, key, config, log = (os.path.join(place, name) for name in ("cert.pem", "key.pem", "silo.toml", "log"))
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key,
                        "-out", cert, "-subj", "/CN=localhost", "-days", "2"], check=True, capture_output=True, timeout=60)
        port = free_port()
        with open(config, "w", encoding="utf-8") as file:
            file.write('server.grpc_addr = "127.0.0.1:%d"\nserver.tls_cert = "%s"\nserver.tls_key = "%s"\n'
                       'database.backend = "memory"\n' % (port, cert, key))
        with open(log, "wb") as file:
            server = subprocess.Popen([program(), "--config", config], stdout=file, stderr=file)
        self.addCleanup(server.wait, 60)
        self.addCleanup(server.terminate)

        def said():
            with open(log, encoding="utf-8") as file:
                return lines(file.read(), "tls_refused")

        def connect():
            try:
                return socket.create_connection(("127.0.0.1", port), 5)
            except OSError:
                return None

        first = until(connect, "the server's port")
        first.close()  # as health checks do: no failure
        with connect() as plain:
            plain.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            until(said, "the line")
        equal(len(said()), 1, "lines")
        self.assertIn('reason="wrong version number"', said()[0])


if __name__ == "__main__":
    unittest.main()

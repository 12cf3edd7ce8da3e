"""The security section of docs/guides/deployment.md, by its own commands, configuration and program: mutual TLS and a token."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import tomllib
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import guide  # noqa: E402
import runner  # noqa: E402
from checks import equal, until  # noqa: E402
from silo_api import ROOT  # noqa: E402
from silo_server import free_port, program  # noqa: E402

PAGE = guide.Page("docs/guides/deployment.md")
PACKAGE = os.path.join(ROOT, "clients", "typescript")
STOP_SECONDS = 40
CLIENT_SECONDS = 60


def block(language, holding):
    found = [text for text in PAGE.blocks(language) if holding in text]
    equal(len(found), 1, "blocks with " + holding)
    return found[0]


class Security(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.place = tempfile.mkdtemp(prefix="silo-security-")
        cls.addClassCleanup(shutil.rmtree, cls.place, ignore_errors=True)
        cls.address = "127.0.0.1:%d" % free_port()
        subprocess.run(["bash", "-c", cls.here(PAGE.script("openssl req"))], check=True, capture_output=True, timeout=60)
        cls.serve()

    @classmethod
    def here(cls, text):
        """The page's text with directories and an address of this test's own."""
        for there, own in (("/etc/silo", cls.place), ("/var/lib/silo", cls.place + "/data"), ("0.0.0.0:50051", cls.address),
                           ("silo.example.com:50051", cls.address)):
            text = text.replace(there, own)
        return text

    @classmethod
    def serve(cls):
        config = os.path.join(cls.place, "silo.toml")
        with open(config, "w", encoding="utf-8") as file:
            file.write(cls.here(block("toml", "tls_client_ca")))
        with open(config, "rb") as file:
            equal(sorted(tomllib.load(file)["server"]), ["auth_token", "grpc_addr", "tls_cert", "tls_client_ca", "tls_key"], "keys")
        cls.log = os.path.join(cls.place, "server.log")
        with open(cls.log, "wb") as log:
            server = subprocess.Popen([program(), "--config", config], stdout=log, stderr=log,
                                      env=dict(os.environ, SILO_AUTH_TOKEN="secret"))
        cls.addClassCleanup(server.wait, STOP_SECONDS)
        cls.addClassCleanup(server.terminate)
        until(cls.is_open, "the server's port")

    @classmethod
    def is_open(cls):
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", int(cls.address.split(":")[1]))) == 0

    def run_client(self, text, **environment):
        """Runs a program of the page's. Returns what it prints: the number of shards, or why there are none."""
        text = self.here(text).replace('import { SiloGRPCClient } from "@silo-ai/client";', "")
        body = ("const { SiloGRPCClient } = require(%r);\n(async () => {\n%s\nconsole.log(client.getTopology().shards.length);\n"
                "client.close();\n})().catch((error) => { console.log(error.code, error.problem); });\n" % (PACKAGE, text))
        done = subprocess.run(["node", "-e", body], env=dict(os.environ, **environment), capture_output=True, text=True,
                              timeout=CLIENT_SECONDS)
        return done.stdout.strip() or done.stderr

    def exports(self):
        lines = self.here(block("sh", "export SILO_TLS_CA")).replace("export ", "").replace('"$SILO_AUTH_TOKEN"', "secret")
        return dict(line.split("=", 1) for line in lines.split("\n") if line)

    def test_the_program(self):
        equal(self.run_client(block("typescript", "caFile"), SILO_AUTH_TOKEN="secret"), "1", "shards")

    def test_the_environment(self):
        short = "const client = new SiloGRPCClient();\nawait client.refreshTopology();"
        equal(self.run_client(short, **self.exports()), "1", "shards")

    def test_what_is_left_out_is_missed(self):
        """So that the two above cannot pass without a token and certificates."""
        short = "const client = new SiloGRPCClient();\nawait client.refreshTopology();"
        whole = self.exports()
        bare = {name: whole[name] for name in ("SILO_SERVERS", "SILO_TOKEN", "SILO_TLS_CA")}
        equal(self.run_client(short, **bare), "SILO_TLS client-certificate", "without a client certificate")
        whole["SILO_TOKEN"] = ""
        equal(self.run_client(short, **whole), "SILO_UNAUTHENTICATED undefined", "without a token")


if __name__ == "__main__":
    sys.exit(runner.main())

"""What the program says of itself and of a configuration, without serving: --version, --help, --check-config, and the starts
that end at once because a setting is wrong."""

import contextlib
import os
import re
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import runner  # noqa: E402
from checks import equal  # noqa: E402
from silo_server import SiloServer, program  # noqa: E402

WITHOUT_CREDENTIALS = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}


def run(*arguments, directory=None, **environment):
    """(exit status, standard output, standard error)"""
    done = subprocess.run([program(), *arguments], cwd=directory, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=60, env=dict(WITHOUT_CREDENTIALS, **environment))
    return done.returncode, done.stdout, done.stderr


class Settings(unittest.TestCase):
    def check(self, *lines, **environment):
        """--check-config of a file in a directory of its own, where it leaves nothing behind."""
        with self.file(*lines) as (directory, config):
            answer = run("--config", config, "--check-config", directory=directory, **environment)
            equal(os.listdir(directory), ["silo.toml"], "what there is afterwards")
            return answer

    @contextlib.contextmanager
    def file(self, *lines):
        with tempfile.TemporaryDirectory(prefix="silo-settings-") as directory:
            config = os.path.join(directory, "silo.toml")
            with open(config, "w", encoding="utf-8") as file:
                file.write("\n".join(lines) + "\n")
            yield directory, config

    def test_version(self):
        status, text, _ = run("--version")
        equal(status, 0, "exit status")
        self.assertRegex(text, r"\Asilo \d+\.\d+\.\d+\ncommit ([0-9a-f]{12}(-dirty)?|unknown)\nengine slatedb \S+\nbuild \w+\n\Z")

    def test_start_log(self):
        """The first line of the log says what --version says."""
        number, commit, engine, build = [line.split(" ", 1)[1] for line in run("--version")[1].splitlines()]
        with SiloServer() as silo:
            line = silo.log().splitlines()[0]
            for part in ("starting", "version=%s" % number, "commit=%s" % commit, 'engine="%s"' % engine, "build=%s" % build,
                         "silo.toml"):
                self.assertIn(part, line)

    def test_good(self):
        status, text, errors = self.check('database.path = "data/%shard%"', "server.max_connections = 77")
        equal((status, errors), (0, ""), "a good file")
        self.assertIn("max_connections = 77", text)
        self.assertNotIn("[webui]", text)

    def test_without_effect(self):
        status, _, errors = self.check("webui.enabled = true", 'metrics.addr = "0.0.0.0:9090"', "database.grant_scanner_batch_size = 1")
        equal(status, 2, "exit status")
        for line, key in enumerate(("webui.enabled", "metrics.addr", "database.grant_scanner_batch_size"), 1):
            self.assertRegex(errors, r"silo\.toml:%d: %s has no effect in this version" % (line, re.escape(key)))
        self.assertIn("Settings without effect: 3", errors)

    def test_files_and_directories(self):
        """All that is wrong is said at once."""
        status, _, errors = self.check('server.tls_cert = "/absent.pem"', 'server.tls_key = "/absent.key"',
                                       'database.path = "/dev/null/data/%shard%"',
                                       'database.slatedb.object_store_cache_options.root_folder = "silo.toml/cache"', 'gubernator.address = "nowhere"')
        equal(status, 1, "exit status")
        self.assertIn("/absent.pem: No such file or directory", errors)
        self.assertIn("database.path: the directory /dev/null/data cannot be made: /dev/null: Not a directory", errors)
        self.assertIn("root_folder: the directory silo.toml/cache cannot be made: silo.toml: Not a directory", errors)
        self.assertIn("gubernator.address: ", errors)

    def test_link_that_leads_nowhere(self):
        """It is in the way of what would be made below it: the start fails, and the check says so."""
        with self.file('database.path = "link/data/%shard%"') as (directory, config):
            os.symlink("/nonexistent/silo", os.path.join(directory, "link"))
            equal(run("--config", config, directory=directory)[0], 1, "a start")
            status, _, errors = run("--config", config, "--check-config", directory=directory)
            equal(status, 1, errors)
            self.assertRegex(errors, "database.path: the directory .*/link/data cannot be made: .*/link: No such file or directory")

    def test_credentials(self):
        lines = ('database.backend = "s3"', 'database.path = "s3://bucket/%shard%"')
        status, _, errors = self.check(*lines)
        equal((status, "AWS_ACCESS_KEY_ID is not set" in errors), (0, True), errors)
        equal(self.check(*lines, AWS_ACCESS_KEY_ID="k", AWS_SECRET_ACCESS_KEY="s")[2], "", "with credentials")

    def test_starts_that_end_at_once(self):
        """Each says what to change, and has made no data."""
        for word, *lines in (
                ("silo.toml:1: database.slatedb.l0_max_sst is not a key of the storage engine, did you mean l0_max_ssts?",
                 "database.slatedb.l0_max_sst = 9"),
                ("did you mean [server]?", "servers.dev_mode = true"),
                ("silo.toml:1: server.auth_token must not be empty; leave the key out for its default (the variable "
                 "SILO_TEST_ABSENT in it is not set", 'server.auth_token = "${SILO_TEST_ABSENT}"'),
                ('coordination.backend = "k8s" is not in this version', 'coordination.backend = "k8s"'),
                ("advertised_grpc_addr must be an address that clients can dial", 'coordination.advertised_grpc_addr = "0.0.0.0:1"')):
            with self.file(*lines) as (directory, config):
                status, _, errors = run("--config", config, directory=directory)
                equal((status, word in errors), (1, True), errors)
                equal(os.listdir(directory), ["silo.toml"], "what there is afterwards")


if __name__ == "__main__":
    sys.exit(runner.main())

"""What `cmake --install` puts where: stripped programs and their symbols, unit, configuration, man page, completion, notices."""

import glob
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import runner  # noqa: E402
from silo_api import ROOT  # noqa: E402
from silo_server import free_port, program  # noqa: E402

BUILD = os.path.dirname(os.environ.get("SILO_BIN_DIR") or os.path.join(ROOT, "build", "bin"))
COMPONENTS = ("server", "bench", "debug")
STRIPPED_BYTES_MAX = 40 << 20
PROGRAMS = ("silo", "silo-bench")


def command(*words, **options):
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, **options)
    if done.returncode != 0:
        raise AssertionError("%s ended with %d:\n%s%s" % (" ".join(words), done.returncode, done.stdout, done.stderr))
    return done.stdout


def install(prefix, destdir=None, components=COMPONENTS):
    env = dict(os.environ, DESTDIR=destdir or "")
    return "".join(command("cmake", "--install", BUILD, "--prefix", prefix, "--component", component, env=env)
                   for component in components)


def read(*path):
    with open(os.path.join(*path), encoding="utf-8") as file:
        return file.read()


def values(unit, key):
    return re.findall(r"^%s=(.*)$" % re.escape(key), unit, re.M)


def seconds(text):
    number, unit = re.match(r"(\d+)(s|min)$", text).groups()
    return int(number) * {"s": 1, "min": 60}[unit]


def check_config(text):
    """What the program says of such a file, with the state directory in a place that is there."""
    with tempfile.TemporaryDirectory(prefix="silo-config-") as directory:
        path = os.path.join(directory, "check.toml")
        with open(path, "w", encoding="utf-8") as file:
            file.write(text.replace("/var/lib/silo/", os.path.join(directory, "state") + "/"))
        return subprocess.run([program(), "--config", path, "--check-config"], capture_output=True, text=True, timeout=60)


class Example(unittest.TestCase):
    def test_the_example_configurations_are_good(self):
        for name in ("silo.toml", os.path.join("docker", "silo.toml")):
            done = check_config(read(ROOT, "packaging", name))
            self.assertEqual((done.returncode, done.stderr), (0, ""), name)
        self.assertIn('grpc_addr = "127.0.0.1:50051"', check_config(read(ROOT, "packaging", "silo.toml")).stdout)


@unittest.skipUnless(os.environ.get("SILO_BUILD", "release") == "release", "sanitized builds are not installed")
class Install(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.root = tempfile.mkdtemp(prefix="silo-install-")
        cls.prefix = os.path.join(cls.root, "prefix")
        install(cls.prefix)
        cls.silo = os.path.join(cls.prefix, "bin", "silo")
        cls.config = os.path.join(cls.prefix, "etc", "silo", "silo.toml")
        cls.unit = read(cls.prefix, "lib", "systemd", "system", "silo.service")

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.root)

    # --- programs ---

    def test_programs_are_stripped_and_run(self):
        for name in PROGRAMS:
            path = os.path.join(self.prefix, "bin", name)
            self.assertLess(os.path.getsize(path), STRIPPED_BYTES_MAX)
            sections = command("readelf", "-SW", path)
            self.assertNotIn(".debug_info", sections)
            self.assertNotIn(".symtab", sections)
            self.assertIn("Usage: %s" % name, command(path, "--help"))

    def test_symbols_are_found_by_build_id(self):
        for name in PROGRAMS:
            notes = command("readelf", "-n", os.path.join(self.prefix, "bin", name))
            identity = re.search(r"Build ID: ([0-9a-f]{40})\b", notes).group(1)
            path = os.path.join(self.prefix, "lib", "debug", ".build-id", identity[:2], identity[2:] + ".debug")
            sections = command("readelf", "-SW", path)
            self.assertIn(".debug_info", sections)
            self.assertIn(".symtab", sections)
            self.assertIn(identity, command("readelf", "-n", path))

    def test_usr_is_configured_in_etc(self):
        destdir = os.path.join(self.root, "destdir")
        install("/usr", destdir, ["server"])
        unit = read(destdir, "usr", "lib", "systemd", "system", "silo.service")
        self.assertEqual(values(unit, "ExecStart"), ["/usr/bin/silo --config /etc/silo/silo.toml"])
        self.assertTrue(os.path.isfile(os.path.join(destdir, "etc", "silo", "silo.toml")))
        self.assertFalse(os.path.exists(os.path.join(destdir, "usr", "bin", "silo-bench")), "that is another component")

    def test_a_configuration_is_kept(self):
        prefix = os.path.join(self.root, "again")
        install(prefix, components=["server"])
        config = os.path.join(prefix, "etc", "silo", "silo.toml")
        with open(config, "w", encoding="utf-8") as file:
            file.write("# mine\n")
        self.assertIn("Kept: %s" % config, install(prefix, components=["server"]))
        self.assertEqual(read(config), "# mine\n")

    # --- configuration ---

    def test_what_it_shows_in_comments_are_settings(self):
        """Each "#key = value" stands for a setting of the table that it is in."""
        known = read(ROOT, "docs", "reference", "configuration.md")
        table, shown = None, 0
        for line in read(self.config).splitlines():
            table = (re.match(r"^\[([\w.]+)\]$", line) or [None, table])[1]
            key = re.match(r"^#?(\w+) = ", line)
            if key:
                shown += 1
                self.assertRegex(known, r"(?m)^\| `%s` " % re.escape(table + "." + key.group(1)))
        self.assertGreater(shown, 10)

    # --- the service ---

    def test_the_unit_fits_the_server(self):
        self.assertEqual(values(self.unit, "ExecStart"), ["%s --config %s" % (self.silo, self.config)])
        effective = check_config("").stdout
        timeout_ms = int(re.search(r"shutdown_timeout_ms = (\d+)", effective).group(1))
        self.assertGreater(seconds(values(self.unit, "TimeoutStopSec")[0]) * 1000, timeout_ms)
        connections = int(re.search(r"max_connections = (\d+)", effective).group(1))
        self.assertGreater(int(values(self.unit, "LimitNOFILE")[0]), connections)
        burst = int(values(self.unit, "StartLimitBurst")[0])
        self.assertGreater(seconds(values(self.unit, "StartLimitIntervalSec")[0] + "s"),
                           burst * seconds(values(self.unit, "RestartSec")[0]), "or a wrong configuration is tried for ever")
        user = values(self.unit, "User")[0]
        self.assertRegex(read(self.prefix, "lib", "sysusers.d", "silo.conf"), r"(?m)^u %s " % user)

    @unittest.skipUnless(shutil.which("systemd-analyze"), "systemd is not installed")
    def test_the_unit_is_valid(self):
        done = subprocess.run(["systemd-analyze", "verify", "--man=no", "--recursive-errors=no",
                               os.path.join(self.prefix, "lib", "systemd", "system", "silo.service")],
                              capture_output=True, text=True, timeout=60)
        self.assertEqual([line for line in (done.stdout + done.stderr).splitlines() if "silo" in line], [])

    def test_the_service_manager_is_told(self):
        manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        manager.bind(os.path.join(self.root, "notify"))
        manager.settimeout(60)
        config = os.path.join(self.root, "serve.toml")
        with open(config, "w", encoding="utf-8") as file:
            file.write('server.grpc_addr = "127.0.0.1:%d"\ndatabase.backend = "memory"\n' % free_port())
        server = subprocess.Popen([self.silo, "--config", config], stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL,
                                  env=dict(os.environ, NOTIFY_SOCKET=os.path.join(self.root, "notify")))
        try:
            self.assertEqual([manager.recv(4096), manager.recv(4096)], [b"READY=1", b"STATUS=serving"])
            server.terminate()
            self.assertEqual(manager.recv(4096), b"STOPPING=1")
            self.assertEqual(server.wait(60), 0)
        finally:
            server.kill()
            server.wait()
            manager.close()

    # --- man pages and completion ---

    def test_man_pages_say_what_help_says(self):
        for name in PROGRAMS:
            page = read(self.prefix, "share", "man", "man1", name + ".1").replace("\\-", "-")
            shown = re.findall(r"(?m)^ {2,6}(?:-\w, )?(--?[\w-]+|[a-z]+\.[\w.]+)", command(os.path.join(self.prefix, "bin", name), "--help"))
            self.assertGreater(len(shown), 5)
            for word in shown:
                self.assertIn(word, page, name)

    def complete(self, *words):
        """What bash offers after those words."""
        name = words[0]
        script = os.path.join(self.prefix, "share", "bash-completion", "completions", name)
        lines = 'source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _%s; printf "%%s\\n" "${COMPREPLY[@]}"' % name.replace("-", "_")
        return command("bash", "-c", lines, "bash", script, *words, cwd=self.root).split()

    def test_bash_completes(self):
        self.assertEqual(self.complete("silo", "--ch"), ["--check-config"])
        self.assertEqual(self.complete("silo", "--config", "pre"), ["prefix"])
        self.assertIn("bulk-life", self.complete("silo-bench", "bulk"))
        self.assertEqual(self.complete("silo-bench", "life", "--cli"), ["--clients"])
        self.assertEqual(self.complete("silo-bench", "life", "--seconds", ""), [])

    def test_zsh_and_fish_can_read_theirs(self):
        for shell, pattern in (("zsh", "share/zsh/site-functions/*"), ("fish", "share/fish/vendor_completions.d/*")):
            files = glob.glob(os.path.join(self.prefix, pattern))
            self.assertEqual(len(files), len(PROGRAMS))
            for file in files:
                self.assertIn("check-config" if "bench" not in file else "clients", read(file))
                if shutil.which(shell):
                    command(shell, "-n", file)

    # --- licences ---

    def test_licences_and_notices(self):
        documents = os.path.join(self.prefix, "share", "doc", "silo")
        self.assertEqual(read(documents, "LICENSE"), read(ROOT, "LICENSE"))
        notices = command("gzip", "-dc", os.path.join(documents, "NOTICES.gz"))
        for name in ("slatedb", "tokio", "aws-lc-sys", "libnghttp2", "libuv"):
            self.assertRegex(notices, r"(?m)^%s [\d.]+" % name)


if __name__ == "__main__":
    sys.exit(runner.main())

"""The Debian package and the portable archive, installed, used, upgraded, removed in a fresh Debian of their own.

Long form, `./dev test --long`: it makes packages and a root directory. It needs root and debootstrap; without them it is
skipped, or fails when CI is set. SILO_TEST_NOBLE=1 does the same in Ubuntu 24.04, whose packages are not verified then.
"""

import glob
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "packaging"))

import archive  # noqa: E402
import chroot  # noqa: E402
import runner  # noqa: E402
from silo_api import ROOT, Api, blob, pb  # noqa: E402
from silo_server import free_port  # noqa: E402

BUILD = os.path.dirname(os.environ.get("SILO_BIN_DIR") or os.path.join(ROOT, "build", "bin"))
PORTABLE = os.path.join(ROOT, "build-portable")
READY_SECONDS = 60


def package(output, *words):
    done = subprocess.run([sys.executable, "-B", os.path.join(ROOT, "packaging", "package.py"), "--output", output, *words],
                          capture_output=True, text=True, timeout=900)
    if done.returncode != 0:
        raise AssertionError(done.stdout + done.stderr)


def one(pattern):
    found = glob.glob(pattern)
    assert len(found) == 1, (pattern, found)
    return found[0]


def why_not():
    """Why the long form is left out; None when it runs. Where CI is set it fails for what it lacks."""
    if os.environ.get("SILO_BUILD", "release") != "release" or not os.environ.get("SILO_LONG"):
        return "a long test: ./dev test --long"
    return None if os.environ.get("CI") else chroot.missing()


WHY_NOT = why_not()


class Portable(unittest.TestCase):
    def test_a_program_that_needs_more_is_refused(self):
        """Of Debian's own: true needs libc alone, ls another library."""
        self.assertEqual(archive.misfits("/bin/true"), [])
        self.assertEqual(archive.misfits("/bin/ls"), ["needs libselinux.so.1"])


class Purge(unittest.TestCase):
    """What the package does when it is purged, in a mount namespace with an empty /var/lib and /etc of its own."""

    def purge(self, *prepare):
        script = os.path.join(ROOT, "packaging", "deb", "silo.postrm")
        steps = ["mount -t tmpfs none /var/lib", "mount -t tmpfs none /etc", "mkdir /etc/silo", "touch /etc/silo/silo.env", *prepare,
                 "sh %s purge" % script, "ls /var/lib /var/lib/silo /var/lib/disk /etc 2>/dev/null || true"]
        if subprocess.run(["unshare", "-m", "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, timeout=60).returncode != 0:
            self.skipTest("this machine lets nobody mount")
        done = subprocess.run(["unshare", "-m", "sh", "-ec", "\n".join(steps)], capture_output=True, text=True, timeout=60)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertNotIn("silo.env", done.stdout)
        return done.stdout

    def test_a_disk_of_its_own_is_emptied(self):
        left = self.purge("mkdir /var/lib/silo", "mount -t tmpfs none /var/lib/silo", "touch /var/lib/silo/job")
        self.assertNotIn("job\n", left)

    def test_where_a_link_leads_to_stays(self):
        left = self.purge("mkdir /var/lib/disk", "touch /var/lib/disk/job", "ln -s disk /var/lib/silo")
        self.assertIn("the jobs where it leads to stay", left)
        self.assertIn("job\n", left)


class Service:
    """The server as its unit starts it: that command, user and directory. Started when it has said READY."""

    def __init__(self, root):
        unit = root.read("/usr/lib/systemd/system/silo.service")
        start, user = (re.search(r"(?m)^%s=(.*)$" % key, unit).group(1) for key in ("ExecStart", "User"))
        self.told = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.told.bind(root.inside("/run/notify"))
        os.chmod(root.inside("/run/notify"), 0o777)
        self.told.settimeout(READY_SECONDS)
        self.log = tempfile.TemporaryFile("w+", encoding="utf-8")
        self.process = subprocess.Popen(root.words("env", "-C", "/var/lib/silo", "NOTIFY_SOCKET=/run/notify", *start.split(), user=user),
                                        stdout=self.log, stderr=self.log, stdin=subprocess.DEVNULL)
        self.path = root.inside("/run/notify")
        try:
            said = self.told.recv(4096).decode()
        except OSError:
            self.log.seek(0)
            said = self.log.read()
            self.kill()
            raise AssertionError("the server was not ready:\n" + said)
        assert said.startswith("READY=1"), said

    def stop(self):
        """In an orderly way; its exit status."""
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(60)
        self.kill()
        return status

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.told.close()
        self.log.close()
        if os.path.exists(self.path):
            os.unlink(self.path)


class Packages:
    """The steps are one story, in one root: names give their order. A test that fails leaves the rest to fail as well."""

    suite = None

    @classmethod
    def setUpClass(cls):
        cls.output = tempfile.mkdtemp(prefix="silo-packages-")
        cls.addClassCleanup(shutil.rmtree, cls.output)
        for revision in ("1", "2"):
            package(os.path.join(cls.output, revision), "--build", BUILD, "--package", "silo", "--package", "silo-bench", "--revision", revision)
        package(os.path.join(cls.output, "portable"), "--portable", PORTABLE, "--without-symbols")
        cls.root = chroot.Root(cls.suite)
        cls.addClassCleanup(cls.root.close)
        cls.port = free_port()
        cls.service = None

    @classmethod
    def tearDownClass(cls):
        if cls.service is not None:
            cls.service.kill()

    def api(self):
        api = Api("127.0.0.1:%d" % self.port)
        self.addCleanup(api.close)
        return api

    def install(self, revision, name):
        """By apt, which keeps a configuration that was changed."""
        file = one(os.path.join(self.output, revision, name + "_*.deb"))
        shutil.copy(file, self.root.inside("/tmp"))
        return self.root.run("apt-get", "install", "-y", "--no-install-recommends", "-o", "Dpkg::Options::=--force-confdef",
                             "-o", "Dpkg::Options::=--force-confold", "/tmp/" + os.path.basename(file))

    def start(self):
        type(self).service = Service(self.root)

    def stop(self):
        service, type(self).service = self.service, None
        self.assertEqual(service.stop(), 0)

    def enqueue(self, api, job_id):
        shard = api.GetClusterInfo().shard_owners[0].shard_id
        api.Enqueue(shard=shard, id=job_id, task_group="mail", payload=blob(b"\x81\xa1n\x01"), priority=10)
        return shard

    def work(self, api, shard):
        """Leases what there is and succeeds it: ids."""
        done = []
        for task in api.LeaseTasks(shard=shard, worker_id="w", max_tasks=10, task_group="mail").tasks:
            api.ReportOutcome(shard=shard, task_id=task.id, success=blob(b"\xa4done"))
            done.append(task.job_id)
        return done

    def test_1_the_archive_runs_in_a_bare_system(self):
        archive = one(os.path.join(self.output, "portable", "silo-*-linux-*64.tar.xz"))
        target = self.root.inside("/opt/silo")
        os.makedirs(target)
        subprocess.run(["tar", "-C", target, "--strip-components=1", "-xf", archive], check=True)
        self.assertIn("silo", self.root.run("/opt/silo/bin/silo", "--version"))
        self.root.run("/opt/silo/bin/silo-bench", "life", "--serve", "--server", "/opt/silo/bin/silo", "--dir", "/tmp", "--seconds", "1",
                      "--clients", "2", "--target", "127.0.0.1:%d" % free_port())
        shutil.rmtree(target)

    def test_2_lintian_has_nothing_to_say(self):
        if shutil.which("lintian") is None:
            self.skipTest("lintian is not installed")
        files = glob.glob(os.path.join(self.output, "1", "*.deb"))
        self.assertEqual(len(files), 2)
        done = subprocess.run(["lintian", "--allow-root", "--fail-on", "error,warning", *files], capture_output=True, text=True, timeout=600)
        self.assertEqual((done.returncode, done.stdout), (0, ""), done.stderr)

    def test_3_install(self):
        self.install("1", "silo")
        user = next(line for line in self.root.read("/etc/passwd").splitlines() if line.startswith("silo:")).split(":")
        state = os.stat(self.root.inside("/var/lib/silo"))
        self.assertEqual((state.st_uid, state.st_mode & 0o777), (int(user[2]), 0o700))
        self.assertRegex(user[6], r"/nologin$")
        self.assertTrue(self.root.exists("/etc/systemd/system/multi-user.target.wants/silo.service"), "on, as Debian's services are")
        self.assertEqual(self.root.run("silo", "--config", "/etc/silo/silo.toml", "--check-config", user="silo").count("Warning"), 0)

    def test_4_use(self):
        config = self.root.inside("/etc/silo/silo.toml")
        text = self.root.read("/etc/silo/silo.toml")
        self.assertIn("127.0.0.1:50051", text)
        with open(config, "w", encoding="utf-8") as file:
            file.write(text.replace("127.0.0.1:50051", "127.0.0.1:%d" % self.port))
        self.start()
        api = self.api()
        shard = self.enqueue(api, "first")
        self.assertEqual(self.work(api, shard), ["first"])
        self.assertEqual(api.GetJob(shard=shard, id="first").status, pb.JOB_STATUS_SUCCEEDED)
        self.enqueue(api, "waits")
        self.install("1", "silo-bench")
        self.assertIn("jobs", self.root.run("silo-bench", "life", "--target", "127.0.0.1:%d" % self.port, "--seconds", "1", "--clients", "2"))
        self.stop()

    def test_5_upgrade(self):
        before = self.root.read("/etc/silo/silo.toml")
        self.install("2", "silo")
        self.assertRegex(self.root.run("dpkg-query", "-W", "silo"), r"-2$")
        self.assertEqual(self.root.read("/etc/silo/silo.toml"), before)
        self.start()
        api = self.api()
        shard = api.GetClusterInfo().shard_owners[0].shard_id
        self.assertEqual(self.work(api, shard), ["waits"])
        self.stop()

    def test_6_remove(self):
        said = self.root.run("apt-get", "remove", "-y", "silo")
        self.assertIn("The jobs in /var/lib/silo stay", said)
        self.assertFalse(self.root.exists("/usr/bin/silo"))
        self.assertTrue(os.listdir(self.root.inside("/var/lib/silo")))
        self.assertTrue(self.root.exists("/etc/silo/silo.toml"))

    def test_7_purge(self):
        said = self.root.run("apt-get", "purge", "-y", "silo")
        self.assertIn("Removing /var/lib/silo with all jobs", said)
        for path in ("/var/lib/silo", "/etc/silo", "/etc/systemd/system/multi-user.target.wants/silo.service",
                     "/etc/systemd/system/silo.service"):
            self.assertFalse(self.root.exists(path), path)


@unittest.skipIf(WHY_NOT, WHY_NOT)
class Debian12(Packages, unittest.TestCase):
    suite = "bookworm"


@unittest.skipIf(WHY_NOT, WHY_NOT)
@unittest.skipUnless(os.environ.get("SILO_TEST_NOBLE"), "only with SILO_TEST_NOBLE=1")
class Ubuntu2404(Packages, unittest.TestCase):
    suite = "noble"


if __name__ == "__main__":
    sys.exit(runner.main())

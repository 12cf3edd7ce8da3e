"""Real servers that tests talk to, built once from their registries into ${XDG_CACHE_HOME:-~/.cache}/silo/tools.

    binary = real_parts.go_program("minio", "github.com/minio/minio", VERSION)

A build is made beside its place and then moved there: one that was cut short leaves nothing that looks whole. A part that
cannot be built here, for want of a compiler or of a network, skips the tests that need it; with CI in the environment it
fails them.
"""

import fcntl
import getpass
import os
import shutil
import subprocess
import tempfile
import unittest


def _place(name, version):
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(cache, "silo", "tools", "%s-%s" % (name, version))


def _built(name, version, build):
    """The path of the program; build(directory) must leave it there or in directory/bin."""
    root = _place(name, version)
    binary = os.path.join(root, name)
    if os.path.exists(binary):
        return binary
    os.makedirs(root, exist_ok=True)
    with open(os.path.join(root, "build.lock"), "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # suites run side by side
        if os.path.exists(binary):
            return binary
        target = tempfile.mkdtemp(prefix="build-", dir=root)
        try:
            build(target)
            made = [os.path.join(target, at, name) for at in (".", "bin")]
            os.replace(next(path for path in made if os.path.exists(path)), binary)
        except (OSError, ValueError, subprocess.CalledProcessError, StopIteration) as error:
            raise missing("%s %s could not be built: %s" % (name, version, error)) from error
        finally:
            shutil.rmtree(target, ignore_errors=True)
    return binary


def missing(reason):
    """What to raise when a part is not to be had."""
    return RuntimeError(reason) if os.environ.get("CI") else unittest.SkipTest(reason)


def go_program(name, package, version):
    """A command of a Go module; `name` is the last part of its path."""
    def build(target):
        env = dict(os.environ, GOBIN=target, CGO_ENABLED="0")
        subprocess.run(["go", "install", "%s@%s" % (package, version)], check=True, env=env)

    return _built(name, version, build)


def go_module_program(name, module, version):
    """The command at the root of a Go module that cannot be installed by its path, because it replaces modules of its own
    repository while it is developed. It is built as what another module needs."""
    def build(target):
        env = dict(os.environ, CGO_ENABLED="0", GOFLAGS="-mod=mod", GOWORK="off")
        for command in (["mod", "init", "silo.invalid/" + name], ["get", "%s@%s" % (module, version)],
                        ["build", "-o", name, module]):
            subprocess.run(["go", *command], check=True, env=env, cwd=target)

    return _built(name, version, build)


def debian_program(name, package, path):
    """A program of a Debian package which is not installed: an installed one would run as a service of this machine."""
    def fetch(target):
        apt = ["apt-get", "-q", "-o", "APT::Sandbox::User=" + getpass.getuser()]
        if subprocess.run([*apt, "download", package], cwd=target, stdin=subprocess.DEVNULL).returncode != 0:
            # Without lists of packages, or with old ones: with lists of our own.
            apt += ["-o", "Dir::State=" + os.path.join(target, "state"), "-o", "Dir::Cache=" + os.path.join(target, "cache"),
                    "-o", "Dir::State::Status=/var/lib/dpkg/status"]
            for part in ("state/lists/partial", "cache/archives/partial"):
                os.makedirs(os.path.join(target, part))
            for command in (["update"], ["download", package]):
                subprocess.run([*apt, *command], check=True, cwd=target, stdin=subprocess.DEVNULL)
        archive, = (os.path.join(target, file) for file in os.listdir(target) if file.endswith(".deb"))
        subprocess.run(["dpkg-deb", "-x", archive, os.path.join(target, "files")], check=True)
        os.replace(os.path.join(target, "files", path), os.path.join(target, name))

    return _built(name, "debian", fetch)


def cargo_program(name, version, *options):
    """A program of a crate of the same name."""
    def build(target):
        env = dict(os.environ, CARGO_TARGET_DIR=os.path.join(target, "target"))
        subprocess.run(["cargo", "install", "--quiet", "--locked", "--root", target, name, "--version", "=" + version,
                        *options], check=True, env=env)

    return _built(name, version, build)

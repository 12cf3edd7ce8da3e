"""A small Debian or Ubuntu in a directory, made by debootstrap, to install packages into.

    with Root("bookworm") as root:
        root.run("apt-get", "install", "-y", "/silo.deb")

What debootstrap made is kept as ${XDG_CACHE_HOME:-~/.cache}/silo/root-SUITE.tar, with the packages that ours depend on in
apt's cache: with it, no network is needed. Programs in the root share the network of the test and nothing of its files.
"""

import os
import shutil
import subprocess
import tempfile

SUITES = {
    "bookworm": ("http://deb.debian.org/debian", ["libssl3"], []),
    # Debian has no keyring of Ubuntu, so what is unpacked is not checked: only for those who ask for it.
    "noble": ("http://archive.ubuntu.com/ubuntu", ["libssl3t64"], ["--no-check-gpg", "--components=main,universe"]),
}
# Ubuntu's releases are all made by one script, of which older programs do not know that it is for the newer ones.
SCRIPTS = {"noble": ["/usr/share/debootstrap/scripts/gutsy"]}
NEEDS = ["libjansson4", "libnghttp2-14", "libprotobuf-c1", "libuv1", "libxxhash0", "systemd-standalone-sysusers"]
MAKE_SECONDS = 900
RUN_SECONDS = 300


def missing():
    """Why there can be no root on this machine; None when there can."""
    if os.geteuid() != 0:
        return "only root can make a root directory"
    if shutil.which("debootstrap") is None:
        return "debootstrap is not installed"
    return None


def _run(*words, seconds=RUN_SECONDS, **options):
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True,
                          errors="replace", timeout=seconds, **options)
    if done.returncode != 0:
        raise AssertionError("%s ended with %d:\n%s" % (" ".join(words), done.returncode, done.stdout))
    return done.stdout


def _base(suite):
    """The tar file of that suite, made if it is not there."""
    cache = os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "silo")
    path = os.path.join(cache, "root-%s.tar" % suite)
    if os.path.exists(path):
        return path
    os.makedirs(cache, exist_ok=True)
    mirror, include, more = SUITES[suite]
    with tempfile.TemporaryDirectory(prefix="silo-root-") as root:
        _run("debootstrap", "--variant=minbase", "--include=" + ",".join(include), *more, suite, root, mirror, *SCRIPTS.get(suite, []), seconds=MAKE_SECONDS)
        # So that the cached packages can be installed without asking the network again.
        _run("chroot", root, "apt-get", "update", seconds=MAKE_SECONDS)
        _run("chroot", root, "apt-get", "install", "-y", "--no-install-recommends", "--download-only", *NEEDS, seconds=MAKE_SECONDS)
        _run("tar", "-C", root, "--one-file-system", "-cf", path + ".new", ".")
    os.replace(path + ".new", path)
    return path


class Root:
    def __init__(self, suite):
        base = _base(suite)
        self.path = tempfile.mkdtemp(prefix="silo-root-")
        _run("tar", "-C", self.path, "-xpf", base)
        os.chmod(self.path, 0o755)  # a root that its users may enter

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        shutil.rmtree(self.path)

    def inside(self, path):
        """The place of a file of the root, seen from outside."""
        return os.path.join(self.path, path.lstrip("/"))

    def read(self, path):
        with open(self.inside(path), encoding="utf-8") as file:
            return file.read()

    def exists(self, path):
        return os.path.lexists(self.inside(path))

    def words(self, *words, user=None):
        """How a command of the root is started from outside."""
        return ["chroot"] + (["--userspec=%s:%s" % (user, user)] if user else []) + [self.path, *words]

    def run(self, *words, user=None):
        env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
        return _run(*self.words(*words, user=user), env=env)

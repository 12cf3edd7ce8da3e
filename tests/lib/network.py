"""A network of its own for each party of a test: what passes between two of them can be cut, one way or both.

    isolate()                                    # first thing in a program: runs it again, alone in new namespaces
    with Network(["n0", "n1", "store"]) as net:
        net.within("n0")                         # the command to run a program of that party by
        net.address("n0")                        # its host
        net.cut("n0", "n1")                      # n1 hears nothing from n0; the other way all is well
        net.cut("n0", "n1", both=True)
        net.spoil("n0", "n1")                    # a part of what n0 sends to n1 is lost, so it comes late
        net.heal()

Parties hang on one bridge. The program itself has an address on it, too, and is never cut off. isolate() gives the program a
network, a mount table and a process table of its own: whatever happens to it, all its processes and networks end with it.
"""

import os
import shutil
import subprocess
import sys
import unittest

BRIDGE = "parties"
LOST_PERCENT = 30
PREFIX = "10.77.0."
OWN = 254
INSIDE = "SILO_ISOLATED"
UNSHARE = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child=SIGKILL", "--mount-proc"]
TRIAL = "ip link add trial type bridge && ip netns add trial && ip netns exec trial nft add table inet trial"


def run(*command):
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


def own_names():
    """Names of namespaces that nobody else sees."""
    os.makedirs("/run/netns", exist_ok=True)
    run("mount", "-t", "tmpfs", "tmpfs", "/run/netns")


def why_not():
    """Why parties cannot have networks on this machine; None when they can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    for program in ("ip", "nft", "unshare"):
        if shutil.which(program) is None:
            return "there is no %s here" % program
    script = "mkdir -p /run/netns && mount -t tmpfs tmpfs /run/netns && " + TRIAL
    tried = subprocess.run([*UNSHARE, "sh", "-c", script], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                           stderr=subprocess.STDOUT, text=True)
    return None if tried.returncode == 0 else "this machine makes no network namespaces: " + tried.stdout.strip()


def require():
    """Skips the test that asks where there are no networks to be had."""
    reason = why_not()
    if reason is not None:
        raise unittest.SkipTest(reason)


def isolate():
    """Runs this program again in namespaces of its own, with the same arguments, unless it is there already."""
    if os.environ.get(INSIDE) is None:
        os.environ[INSIDE] = "1"
        os.execvp(UNSHARE[0], [*UNSHARE, sys.executable, "-B", *sys.argv])
    own_names()
    run("ip", "link", "set", "lo", "up")


class Network:
    def __init__(self, parties):
        self.parties = list(parties)
        self.faults = set()  # (speaker, listener, which set of the listener the speaker is in)

    def __enter__(self):
        run("ip", "link", "add", BRIDGE, "type", "bridge")
        run("ip", "address", "add", "%s%d/24" % (PREFIX, OWN), "dev", BRIDGE)
        run("ip", "link", "set", BRIDGE, "up")
        for party in self.parties:
            self._join(party)
        return self

    def __exit__(self, *_):
        """Namespaces go with their last process; those of this program go with it."""

    def _join(self, party):
        inner, outer = "eth0", "to-" + party
        run("ip", "netns", "add", party)
        run("ip", "link", "add", outer, "type", "veth", "peer", "name", inner, "netns", party)
        run("ip", "link", "set", outer, "master", BRIDGE, "up")
        within = self.within(party)
        run(*within, "ip", "address", "add", self.address(party) + "/24", "dev", inner)
        run(*within, "ip", "link", "set", inner, "up")
        run(*within, "ip", "link", "set", "lo", "up")
        run(*within, "nft", "add table inet lab; add set inet lab deaf { type ipv4_addr; }; add set inet lab dull { type ipv4_addr; }; "
            "add chain inet lab in { type filter hook input priority 0; }; add rule inet lab in ip saddr @deaf drop; "
            "add rule inet lab in ip saddr @dull numgen random mod 100 < %d drop" % LOST_PERCENT)

    def within(self, party):
        return ["ip", "netns", "exec", party]

    def address(self, party):
        return PREFIX + str(1 + self.parties.index(party))

    def _set(self, verb, listener, speaker, how):
        run(*self.within(listener), "nft", "%s element inet lab %s { %s }" % (verb, how, self.address(speaker)))

    def _disturb(self, pairs, how):
        for speaker, listener in pairs:
            if (speaker, listener, how) not in self.faults:
                self.faults.add((speaker, listener, how))
                self._set("add", listener, speaker, how)

    def cut(self, speaker, listener, both=False):
        """What speaker sends to listener is lost from now on."""
        self._disturb([(speaker, listener), (listener, speaker)][: 1 + both], "deaf")

    def spoil(self, speaker, listener):
        """Some of the packets that speaker sends to listener are lost from now on, at random."""
        self._disturb([(speaker, listener)], "dull")

    def heal(self):
        while self.faults:
            speaker, listener, how = self.faults.pop()
            self._set("delete", listener, speaker, how)

#!/usr/bin/env python3
"""A cluster on this machine to look at: etcd, an S3 server and some nodes, and where the shards are while nodes come and go.

    ./dev cluster [--nodes N] [--shards N] [--store s3|fs] [--etcd VERSION] [--etcd-members N]  runs until "quit" or Ctrl-C
    ./dev cluster COMMAND ...                                             tells the one that runs, from another terminal

Commands, which can also be typed where it runs:

    kill n1       SIGKILL, as a machine does that loses its power
    stop n1       an orderly end: its shards move first
    pause n1      SIGSTOP: it is there and does nothing; resume n1
    start n1      again, under its old name
    add           one node more
    etcd kill     all of etcd ends; etcd start
    release 3f2a  ForceReleaseShard of the shard whose id begins so; release 3f2a force: also from a living node
    status        where everything is, once
    quit          ends everything and removes its data

On a terminal the picture is drawn anew with every change; elsewhere each change is a line.
"""

import argparse
import collections
import itertools
import os
import select
import shutil
import signal
import socket
import sys
import termios
import threading
import time
import tty
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests", "lib"))

import grpc  # noqa: E402

from cluster import Cluster  # noqa: E402
from etcd_server import VERSIONS, Etcd, Refused  # noqa: E402
from s3_server import MinioServer  # noqa: E402
from silo_api import Status, pb  # noqa: E402

CONTROL = os.path.join("build", "cluster.sock")  # from the root: a longer path may not fit into an address
TICK_SECONDS = 0.05
EVENTS_KEPT = 200
WATCH_AGAIN_SECONDS = 0.1
SERVING = "serving"
DELETE = b"\x7f"


class Wrong(Exception):
    """A command that cannot be obeyed."""


class Shard:
    """What is known of one, and since when nobody serves it."""

    def __init__(self, shard_id):
        self.id = shard_id
        self.owner = ""
        self.state = ""
        self.served_by = ""  # the last node that did
        self.away_since = None


class Picture:
    """Where the shards are, and what became of them. It is told of changes and tells what is worth a line."""

    def __init__(self):
        self.shards = {}
        self.events = collections.deque(maxlen=EVENTS_KEPT)

    def hear(self, info, now, dead):
        """What a node says. dead: ids of nodes that this program knows to be away."""
        for owner in info.shard_owners:
            shard = self.shards.setdefault(owner.shard_id, Shard(owner.shard_id))
            shard.owner = owner.moving_to_node_id and "%s > %s" % (owner.node_id, owner.moving_to_node_id) or owner.node_id
            shard.state = pb.ShardState.Name(owner.state)[len("SHARD_STATE_"):].lower()
            if shard.state == SERVING and owner.node_id not in dead:
                yield from self.serves(shard, owner.node_id, now)
            else:
                self.goes(shard, now)

    def serves(self, shard, node, now):
        if shard.served_by and (shard.served_by != node or shard.away_since is not None):
            took = "" if shard.away_since is None else " after %d ms" % round(1000 * (now - shard.away_since))
            yield "%s  %s" % (shard.id[:8], node + " again" + took if shard.served_by == node
                              else "%s -> %s%s" % (shard.served_by, node, took))
        shard.served_by, shard.away_since = node, None

    @staticmethod
    def goes(shard, now):
        if shard.away_since is None and shard.served_by:
            shard.away_since = now

    def ended(self, node, now):
        """A node is away, whatever others say of its shards until they know."""
        for shard in self.shards.values():
            if shard.served_by == node:
                self.goes(shard, now)

    def all_serve(self):
        return bool(self.shards) and all(s.served_by and s.away_since is None for s in self.shards.values())


class Show:
    def __init__(self, cluster, out):
        self.cluster = cluster
        self.out = out
        self.began = time.monotonic()
        self.picture = Picture()
        self.said = {}  # node id -> (number, the newest GetClusterInfo of it)
        self.shown = None  # what the picture was told last, and of whom it knew that they were away
        self.alive = {}
        self.quiet = None  # whether every shard was served when that was last said
        self.over = False
        self.drawn = None
        self.watched = set()

    # ---- what the nodes say ----

    def watch(self, node):
        """Keeps what a node says of the cluster, as long as this program runs."""
        numbers = itertools.count()
        while not self.over:
            try:
                for info in node.api.stream("WatchTopology") if node.answering else ():
                    self.said[node.node_id] = next(numbers), info
            except (grpc.RpcError, AttributeError, ValueError):
                pass  # it ended, or is about to
            time.sleep(WATCH_AGAIN_SECONDS)

    def watch_all(self):
        for node in list(self.cluster.nodes.values()):
            if node.node_id not in self.watched:
                self.watched.add(node.node_id)
                threading.Thread(target=self.watch, args=(node,), daemon=True).start()

    def away(self):
        return frozenset(node.node_id for node in self.cluster.nodes.values() if not node.answering)

    def listen(self, now):
        """The picture follows one node that is there: two need not know the same at the same time."""
        speaker = next((name for name, node in self.cluster.nodes.items() if node.answering and name in self.said), None)
        if speaker is None:
            self.shown = None
            return
        number, info = self.said[speaker]
        shown = speaker, number, self.away()
        if shown != self.shown:
            self.shown = shown
            for line in self.picture.hear(info, now, self.away()):
                self.say(line)

    def look(self):
        """Notes what changed since the last look."""
        now = time.monotonic()
        for node in self.cluster.nodes.values():
            if node.running and node.process.poll() is not None:
                node.kill()
            state = "paused" if node.paused else "running" if node.running else "ended"
            if self.alive.get(node.node_id, state) != state:
                self.say("%s is %s" % (node.node_id, state))
                if state != "running":
                    self.picture.ended(node.node_id, now)
            self.alive[node.node_id] = state
        self.watch_all()
        self.listen(now)
        served = self.picture.all_serve()
        if self.picture.shards and served != self.quiet:
            self.say("every shard is served" if served else "some shards are not served")
            self.quiet = served

    def say(self, line):
        self.picture.events.append("%8.3f s  %s" % (time.monotonic() - self.began, line))
        if not self.out.isatty():
            print(self.picture.events[-1], file=self.out, flush=True)

    # ---- what it shows ----

    def lines(self):
        nodes = self.cluster.nodes.values()
        etcd = self.cluster.etcd
        running = sum(member.running for member in etcd.members)
        yield "etcd %s: %d of %d members run, %s" % (etcd.version, running, len(etcd.members), ", ".join(etcd.endpoints))
        yield "data: %s" % self.cluster.directory
        yield ""
        yield "node   address            process   state     shards"
        for node in nodes:
            process = str(node.process.pid) if node.running else "-"
            has = sum(shard.served_by == node.node_id and shard.away_since is None for shard in self.picture.shards.values())
            yield "%-6s %-18s %-9s %-9s %d" % (node.node_id, node.address, process, self.alive.get(node.node_id, ""), has)
        yield ""
        yield "shard     " + "".join("%-5s" % node.node_id for node in nodes) + "state"
        for shard in self.picture.shards.values():
            at = shard.served_by if shard.away_since is None else ""
            marks = "".join("%-5s" % ("#" if at == node.node_id else ".") for node in nodes)
            state = shard.state if shard.away_since is None else "%s, away for %.1f s" % (
                "owner ended" if shard.state == SERVING else shard.state, time.monotonic() - shard.away_since)
            yield "%-10s%s%s%s" % (shard.id[:8], marks, state, "  " + shard.owner if ">" in shard.owner else "")

    def draw(self, typed):
        if not self.out.isatty():
            return
        size = shutil.get_terminal_size()
        lines = [*self.lines(), "", "type here, or `./dev cluster ...` in another terminal:",
                 "kill n1   stop n1   pause n1   resume n1   start n1   add   etcd kill   etcd start   status   quit", ""]
        room = max(0, size.lines - len(lines) - 2)
        lines += list(self.picture.events)[-room:] if room else []
        text = "\033[H" + "".join(line[: size.columns] + "\033[K\n" for line in lines[: size.lines - 2]) + "\033[J> " + typed
        if text != self.drawn:
            self.out.write(text)
            self.out.flush()
            self.drawn = text

    # ---- what it is told ----

    def node(self, name):
        if name not in self.cluster.nodes:
            raise Wrong("there is no node %s" % name)
        return self.cluster.nodes[name]

    def obey(self, line):
        """Does what a command says; the lines of the answer."""
        words = line.split()
        command, arguments = (words or [""])[0], words[1:]
        method = getattr(self, "do_" + command, None)
        if method is None:
            known = sorted(name[3:] for name in dir(self) if name.startswith("do_"))
            raise Wrong("no such command: %s; there are %s" % (command, ", ".join(known)))
        try:
            return list(method(*arguments) or [])
        except TypeError:
            raise Wrong("wrong number of words: %s" % line) from None
        except (Refused, RuntimeError, Status, OSError, AssertionError) as error:
            raise Wrong(str(error)) from None

    def running(self, name):
        node = self.node(name)
        if not node.running:
            raise Wrong("%s does not run" % name)
        return node

    def do_kill(self, name):
        self.running(name).kill()

    def do_stop(self, name):
        """Beside what else happens: its shards are seen to move."""
        node = self.running(name)
        node.resume()
        threading.Thread(target=node.stop, daemon=True).start()

    def do_pause(self, name):
        self.running(name).pause()

    def do_resume(self, name):
        self.running(name).resume()

    def do_start(self, name):
        node = self.node(name)
        if node.running:
            raise Wrong("%s runs already" % name)
        threading.Thread(target=self.start, args=(node,), daemon=True).start()

    def start(self, node):
        try:
            node.start()
        except RuntimeError as error:
            self.say("%s did not start: %s" % (node.node_id, error))

    def do_add(self):
        node = self.cluster.add("n%d" % len(self.cluster.nodes))
        self.do_start(node.node_id)
        return ["%s is added" % node.node_id]

    def do_etcd(self, what):
        if what == "kill":
            self.cluster.etcd.kill()
        elif what == "start":
            self.cluster.etcd.start()
        else:
            raise Wrong("etcd kill, or etcd start")
        self.say("etcd is %s" % ("gone" if what == "kill" else "back"))

    def do_release(self, shard, force=""):
        found = [name for name in self.picture.shards if name.startswith(shard)]
        if len(found) != 1:
            raise Wrong("%d shards begin with %s" % (len(found), shard))
        self.cluster.answering[0].api.ForceReleaseShard(shard=found[0], force=force == "force")

    def do_status(self):
        return self.lines()

    def do_quit(self):
        self.over = True


class Ears:
    """Lines from standard input and from other terminals."""

    def __init__(self, show):
        self.show = show
        self.typed = b""
        self.input = sys.stdin.fileno()
        self.cooked = None
        if sys.stdin.isatty() and sys.stdout.isatty():
            self.cooked = termios.tcgetattr(self.input)
            tty.setcbreak(self.input)  # what is typed is drawn with the picture
        self.listener = socket.socket(socket.AF_UNIX)
        if os.path.exists(CONTROL):
            os.unlink(CONTROL)
        self.listener.bind(CONTROL)
        os.chmod(CONTROL, 0o600)
        self.listener.listen(4)

    def close(self):
        self.listener.close()
        os.unlink(CONTROL)
        if self.cooked is not None:
            termios.tcsetattr(sys.stdin.fileno(), termios.TCSADRAIN, self.cooked)

    def wait(self, seconds):
        sources = [self.listener] if self.input is None else [self.listener, self.input]
        for source in select.select(sources, [], [], seconds)[0]:
            if source is self.listener:
                self.other_terminal()
            else:
                self.own_terminal()

    def own_terminal(self):
        data = os.read(self.input, 4096)
        if not data:
            self.input = None  # it goes on: whoever started it in the background wants that
            return
        *lines, self.typed = (self.typed + data).split(b"\n")
        while (at := self.typed.find(DELETE)) >= 0:
            self.typed = self.typed[: max(0, at - 1)] + self.typed[at + 1 :]
        for line in lines:
            if line.strip():
                for answer in self.answer(line.decode(errors="replace")):
                    self.show.say(answer)
        self.show.drawn = None

    def other_terminal(self):
        client, _ = self.listener.accept()
        with client, client.makefile("rw", encoding="utf-8", errors="replace") as file:
            client.settimeout(1)
            try:
                answers = self.answer(file.readline())
                file.write("".join(line + "\n" for line in answers))
                file.flush()
            except OSError:
                pass  # it has gone

    def answer(self, line):
        try:
            return self.show.obey(line)
        except Wrong as error:
            return ["error: %s" % error]


def run(args):
    etcd = Etcd(args.etcd, args.etcd_members)
    store = MinioServer() if args.store == "s3" else None
    cluster = Cluster(args.nodes, args.shards, etcd=etcd, store=store)
    out = sys.stdout
    try:
        print("starting etcd %s, %s and %d nodes" % (args.etcd, "an S3 server" if store else "no object store", args.nodes),
              file=out, flush=True)
        etcd.start()
        cluster.start()
        show = Show(cluster, out)
        ears = Ears(show)
        try:
            if out.isatty():
                out.write("\033[2J")
            show.say("ready: %d nodes" % args.nodes)
            while not show.over:
                show.look()
                show.draw(ears.typed.decode(errors="replace"))
                ears.wait(TICK_SECONDS)
        finally:
            show.over = True
            ears.close()
    except KeyboardInterrupt:
        pass
    finally:
        print("\nending everything", file=out, flush=True)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        cluster.kill()
        cluster.close()
        etcd.close()
    return 0


def tell(words):
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(CONTROL)
        except OSError:
            print("no cluster runs in this checkout: start one with ./dev cluster", file=sys.stderr)
            return 1
        with client.makefile("rw", encoding="utf-8") as file:
            file.write(" ".join(words) + "\n")
            file.flush()
            answer = file.read()
    sys.stdout.write(answer)
    return 1 if answer.startswith("error:") else 0


def main():
    parser = argparse.ArgumentParser(usage=__doc__, add_help=False)
    parser.add_argument("command", nargs="*")
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--shards", type=int, default=12)
    parser.add_argument("--store", choices=("s3", "fs"), default="s3")
    parser.add_argument("--etcd", choices=VERSIONS, default="3.4")
    parser.add_argument("--etcd-members", type=int, default=1)
    parser.add_argument("-h", "--help", action="store_true")
    args = parser.parse_args()
    if args.help:
        print(__doc__)
        return 0
    os.chdir(ROOT)
    if args.command:
        return tell(args.command)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        return run(args)
    except unittest.SkipTest as reason:
        print("cluster: %s" % reason, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())

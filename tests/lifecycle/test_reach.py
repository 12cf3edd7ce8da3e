"""Which address clients are told: the one they dialled, whatever lies between, or the one that was configured."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import runner  # noqa: E402
from checks import equal, until  # noqa: E402
from relay import Relay  # noqa: E402
from silo_api import Api, blob  # noqa: E402
from silo_server import SiloServer, program  # noqa: E402

LISTENS_EVERYWHERE = "0.0.0.0"
SERVER_IP, CLIENT_IP = "10.231.77.1", "10.231.77.2"


def everywhere(**settings):
    """A server that listens on every address of this machine; tests await it on 127.0.0.1."""
    silo = SiloServer(settings=settings)
    port = silo.address.rsplit(":", 1)[1]
    silo.settings["server.grpc_addr"] = "%s:%s" % (LISTENS_EVERYWHERE, port)
    return silo, port


def told(address):
    """Every address that a client learns from the server at this one."""
    api = Api(address)
    try:
        info = api.GetClusterInfo()
        return {info.this_grpc_addr, *(o.grpc_addr for o in info.shard_owners), *(m.grpc_addr for m in info.members)}
    finally:
        api.close()


def works(address):
    """A client that knows this address only, and then those it is told, gets a job into the server."""
    learned = told(address)
    for each in learned:
        api = Api(each)
        until(lambda api=api: api.serving("silo.v1.Silo"), "the shards", 60)
        api.Enqueue(shard=api.GetClusterInfo().shard_owners[0].shard_id, task_group="g", payload=blob(b"x"))
        api.close()
    return learned


def until_line(process, event):
    """What a server logs up to the line of that event."""
    said = ""
    for line in process.stderr:
        said += line
        if " %s " % event in line:
            return said
    raise AssertionError("the server ended without %s:\n%s" % (event, said))


@contextlib.contextmanager
def machines():
    """Two network namespaces with a cable between them: how to run a command in each."""
    names = ["silo-%s-%d" % (side, os.getpid()) for side in ("a", "b")]
    cable = ["sa%d" % os.getpid(), "sb%d" % os.getpid()]

    def ip(*words):
        subprocess.run(["ip", *words], check=True, timeout=30)

    if subprocess.run(["ip", "netns", "add", names[0]], capture_output=True, timeout=30).returncode != 0:
        raise unittest.SkipTest("this machine lets nobody make network namespaces")
    try:
        ip("netns", "add", names[1])
        ip("link", "add", cable[0], "netns", names[0], "type", "veth", "peer", "name", cable[1], "netns", names[1])
        for name, end, address in zip(names, cable, (SERVER_IP, CLIENT_IP)):
            ip("-n", name, "addr", "add", address + "/24", "dev", end)
            ip("-n", name, "link", "set", end, "up")
            ip("-n", name, "link", "set", "lo", "up")
        yield tuple(["ip", "netns", "exec", name] for name in names)
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], check=False, timeout=30)


class Reach(unittest.TestCase):
    def test_as_dialled(self):
        silo, port = everywhere()
        with silo:
            for host in ("127.0.0.1", "127.0.0.2", "localhost"):
                equal(told("%s:%s" % (host, port)), {"%s:%s" % (host, port)}, "what a caller at %s is told" % host)
            works("127.0.0.2:%s" % port)
            lines = [line for line in silo.log().splitlines() if " advertised " in line]
            equal(len(lines), 1, lines)
            self.assertIn("as dialled", lines[0])
            self.assertNotIn("else=%s" % LISTENS_EVERYWHERE, lines[0])

    def test_listening_everywhere_is_no_address(self):
        """However it is written, and whatever a caller says it dialled: nobody is sent to "any address"."""
        for written in ("[0:0:0:0:0:0:0:0]", "[::ffff:0.0.0.0]"):
            silo, port = everywhere()
            silo.settings["server.grpc_addr"] = "%s:%s" % (written, port)
            with silo:
                api = Api(silo.address, options=[("grpc.default_authority", "%s:%s" % (written, port))])
                self.addCleanup(api.close)
                self.assertRegex(api.GetClusterInfo().this_grpc_addr, r"\A(\d+\.\d+\.\d+\.[1-9]\d*|\[[0-9a-f:]*[1-9a-f]\]):%s\Z" % port)

    def test_through_a_forwarded_port(self):
        silo, port = everywhere()
        with silo, Relay() as relay:
            relay.to("127.0.0.1:%s" % port)
            equal(works(relay.address), {relay.address}, "what a caller is told")

    def test_configured(self):
        silo, port = everywhere()
        silo.settings["coordination.advertised_grpc_addr"] = "127.0.0.2:%s" % port
        with silo:
            equal(told("127.0.0.1:%s" % port), {"127.0.0.2:%s" % port}, "what a caller is told")
            self.assertIn("advertised grpc=127.0.0.2:%s from=coordination.advertised_grpc_addr" % port, silo.log())

    @unittest.skipUnless(shutil.which("ip") and os.geteuid() == 0, "needs iproute2 and root")
    def test_from_another_machine(self):
        """Two network namespaces stand for two machines: the server is on one, its client on the other."""
        silo, port = everywhere()
        with machines() as (there, here), tempfile.TemporaryDirectory(prefix="silo-reach-") as silo.directory:
            silo.settings["database.path"] = os.path.join(silo.directory, "data", "%shard%")
            server = subprocess.Popen([*there, program(), "--config", silo.write_config()], cwd=silo.directory, text=True,
                                      stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
            try:
                said = until_line(server, "listening")
                self.assertIn("else=%s:%s" % (SERVER_IP, port), said)
                client = subprocess.run([*here, sys.executable, __file__, "--client", "%s:%s" % (SERVER_IP, port)],
                                        capture_output=True, text=True, timeout=60)
                equal((client.returncode, client.stdout.split()), (0, ["%s:%s" % (SERVER_IP, port)]), client.stderr)
            finally:
                server.send_signal(signal.SIGTERM)
                equal(server.wait(40), 0, "exit status")
                server.stderr.close()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--client"]:
        print(*works(sys.argv[2]))
    else:
        sys.exit(runner.main())

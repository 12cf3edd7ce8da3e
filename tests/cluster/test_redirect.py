"""What clients are told by a cluster of two nodes on one etcd: redirects, calls that go on, the topology as it changes.

The nodes advertise 127.0.0.1:7450 and :7451 where those ports are free. Clients here know the calls and trailers that every
client of silo.v1 knows, and nothing of this server's additions but where a test is about one.
"""

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import threading
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import grpc  # noqa: E402

from checks import equal, status_is, until  # noqa: E402
from cluster import Cluster  # noqa: E402
from silo_api import METHODS, Api, Status, blob, pb  # noqa: E402
from silo_server import free_port  # noqa: E402

PORTS = (7450, 7451)
SHARDS = 4
RING = "gpu"  # b's alone
HOPS_MAX = 8
OWNER = "x-silo-shard-owner-addr"
NODE = "x-silo-shard-owner-node"
RETRY = "x-silo-retry-after-ms"
FORWARD = [("x-silo-forward", "yes")]
UNKNOWN_SHARD = "00000000-0000-4000-8000-000000000000"
# Every call that names one shard, with what it takes to reach the shard.
ROUTED = {
    "Enqueue": {"task_group": "g"},
    "EnqueueMany": {"jobs": [pb.EnqueueRequest(task_group="g")]},
    "GetJob": {"id": "x"},
    "GetJobResult": {"id": "x"},
    "DeleteJob": {"id": "x"},
    "CancelJob": {"id": "x"},
    "RestartJob": {"id": "x"},
    "ExpediteJob": {"id": "x"},
    "LeaseTask": {"id": "x", "worker_id": "w"},
    "LeaseTasks": {"task_group": "g", "worker_id": "w", "max_tasks": 1},
    "ReportOutcome": {"task_id": UNKNOWN_SHARD, "success": blob()},
    "ReportOutcomes": {"outcomes": [pb.ReportOutcomeRequest(task_id=UNKNOWN_SHARD, success=blob())]},
    "ReportRefreshOutcome": {"task_id": UNKNOWN_SHARD, "success": pb.RefreshSuccess()},
    "Heartbeat": {"task_id": UNKNOWN_SHARD, "worker_id": "w"},
    "ReturnTasks": {"worker_id": "w", "tasks": [pb.ReturnedTask(task_id=UNKNOWN_SHARD)]},
    "AwaitCancellations": {"worker_id": "w"},
    "DropTenantHolders": {},
    "ListTenants": {},
}
HANDS_OUT = ("LeaseTask", "LeaseTasks")


def is_free(port):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
            return True
        except OSError:
            return False


def addresses():
    ports = PORTS if all(map(is_free, PORTS)) else [free_port(), free_port()]
    return ["127.0.0.1:%d" % port for port in ports]


class Follower:
    """A client that knows one address and follows redirects, as those of the reference do."""

    def __init__(self, address):
        self.first = address
        self.channels = {}
        self.hops = 0

    def close(self):
        for api in self.channels.values():
            api.close()

    def call(self, method, **fields):
        address = self.first
        for _ in range(HOPS_MAX):
            api = self.channels.setdefault(address, Api(address))
            try:
                return api.call(method, **fields)
            except Status as status:
                if status.code != "NOT_FOUND" or "shard not found" not in status.text or OWNER not in status.trailers:
                    raise
                address = status.trailers[OWNER]
                self.hops += 1
        raise AssertionError("sent round in circles")


def with_trailers(api, method, headers, **fields):
    """(the answer, its trailers)"""
    reply = getattr(pb, METHODS[method].output_type.name)
    call = api.channel.unary_unary("/silo.v1.Silo/" + method, response_deserializer=reply.FromString)
    answer, done = call.with_call(api.request(method, **fields).SerializeToString(), metadata=headers, timeout=30)
    return answer, dict(done.trailing_metadata() or ())


class Watch:
    """WatchTopology in a thread: the messages so far, and how it ended."""

    def __init__(self, api):
        self.messages = []
        self.code = None
        call = api.channel.unary_stream("/silo.v1.Silo/WatchTopology",
                                        request_serializer=pb.WatchTopologyRequest.SerializeToString,
                                        response_deserializer=pb.GetClusterInfoResponse.FromString)
        self.stream = call(pb.WatchTopologyRequest(), timeout=120)
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        try:
            for message in self.stream:
                self.messages.append(message)
            self.code = "OK"
        except grpc.RpcError as error:
            self.code = error.code().name

    def close(self):
        self.stream.cancel()
        self.thread.join()


class TwoNodes(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cluster = Cluster(nodes=0, shards=SHARDS, tenancy=False)
        for node_id, address in zip(("a", "b"), addresses()):
            node = cls.cluster.add(node_id)
            node.address = address
            node.settings.update({"server.grpc_addr": address, "coordination.advertised_grpc_addr": address,
                                  "coordination.placement_rings": ["default"] + ([RING] if node_id == "b" else [])})
        cls.cluster.start()

    @classmethod
    def tearDownClass(cls):
        cls.cluster.close()

    def setUp(self):
        for node in self.cluster.nodes.values():
            if not node.running:
                node.start()
        self.cluster.await_members(self.cluster.nodes)
        self.owners = self.cluster.await_spread()
        self.a, self.b = self.cluster["a"], self.cluster["b"]
        self.of_b = min(shard for shard, owner in self.owners.items() if owner == "b")

    # ---- redirects ----

    def test_every_call_is_sent_to_whoever_has_its_shard(self):
        for method, fields in ROUTED.items():
            status = self.a.api.fails(method, shard=self.of_b, **fields)
            status_is(status, "NOT_FOUND", "shard not found")
            equal((status.trailers.get(OWNER), status.trailers.get(NODE)), (self.b.address, "b"), method)

    def test_an_unknown_shard_is_nobodys(self):
        status = self.a.api.fails("GetJob", shard=UNKNOWN_SHARD, id="x")
        status_is(status, "NOT_FOUND", "shard not found")
        assert OWNER not in status.trailers and NODE not in status.trailers, status.trailers

    def test_the_result_of_an_imported_job_names_the_owner(self):
        jobs = [pb.ImportJobRequest(shard=shard, id="imported", task_group="g", payload=blob(b"\xc0")) for shard in self.owners]
        results = self.a.api.ImportJobs(jobs=jobs).results
        for job, result in zip(jobs, results):
            here = self.owners[job.shard] == "a"
            equal(result.success, here)
            assert here or "shard not found; node b at %s has it" % self.b.address == result.error, result.error

    def test_a_client_that_follows_needs_one_address(self):
        client = Follower(self.a.address)
        self.addCleanup(client.close)
        for shard in self.owners:
            client.call("Enqueue", shard=shard, id="followed", task_group="follow", payload=blob(b"\xc0"))
            tasks = client.call("LeaseTasks", shard=shard, task_group="follow", worker_id="w", max_tasks=1).tasks
            equal([(task.job_id, task.shard) for task in tasks], [("followed", shard)])
            client.call("Heartbeat", shard=shard, task_id=tasks[0].id, worker_id="w")
            client.call("ReportOutcome", shard=shard, task_id=tasks[0].id, success=blob(b"\xc0"))
            equal(client.call("GetJobResult", shard=shard, id="followed").status, pb.JOB_STATUS_SUCCEEDED)
        equal(client.hops, 5 * list(self.owners.values()).count("b"), "redirects that were followed")

    def test_whoever_is_not_served_is_told_whom_to_ask_or_when(self):
        """Through the stop and the return of b, asked of a, which is there all the while."""
        told, served, stop = [], [], threading.Event()

        def ask(headers):
            api = Api(self.a.address)
            with contextlib.closing(api):
                while not stop.is_set():
                    for shard in self.owners:
                        try:
                            api.call("GetJob", headers=headers, timeout=20, shard=shard, id="nobody")
                        except Status as status:
                            (served if status.text == "job not found" else told).append(status)

        threads = [threading.Thread(target=ask, args=(headers,)) for headers in ([], FORWARD)]
        for thread in threads:
            thread.start()
        try:
            self.b.stop()
            self.cluster.await_served(by={"a"})
            self.b.start()
            self.cluster.await_spread()
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        assert served, "nothing was served"
        for status in told:
            if status.code == "NOT_FOUND":
                assert "shard not found" in status.text and status.trailers[NODE] == "b", (status, status.trailers)
            else:
                status_is(status, "UNAVAILABLE")
                assert int(status.trailers[RETRY]) > 0, (status, status.trailers)

    # ---- calls that go on ----

    def test_a_call_that_asks_for_it_goes_on_to_the_owner(self):
        reply, trailers = with_trailers(self.a.api, "Enqueue", FORWARD, shard=self.of_b, id="sent-on", task_group="on",
                                        payload=blob(b"\xc0"))
        equal((reply.id, trailers.get(OWNER), trailers.get(NODE)), ("sent-on", self.b.address, "b"))
        equal(self.b.api.GetJob(shard=self.of_b, id="sent-on").task_group, "on")
        large = blob(os.urandom(3 << 20))
        self.a.api.call("Enqueue", headers=FORWARD, shard=self.of_b, id="large", task_group="on", payload=large)
        equal(self.a.api.call("GetJob", headers=FORWARD, shard=self.of_b, id="large").payload, large)

    def test_what_the_owner_says_comes_back_as_it_is(self):
        for method, fields in ROUTED.items():
            if method in HANDS_OUT:
                continue
            said = []
            for api, headers in ((self.b.api, []), (self.a.api, FORWARD)):
                try:
                    reply = api.call(method, headers=headers, shard=self.of_b, **fields)
                    said.append((method, "OK", type(reply).__name__))
                except Status as status:
                    said.append((method, status.code, status.text))
            equal(said[1], said[0])

    def test_polls_are_not_sent_on(self):
        for method in HANDS_OUT:
            status = self.a.api.fails(method, headers=FORWARD, shard=self.of_b, **ROUTED[method])
            status_is(status, "NOT_FOUND", "shard not found")
            equal(status.trailers.get(OWNER), self.b.address)

    def test_what_was_sent_on_is_not_sent_on_again(self):
        status = self.a.api.fails("GetJob", headers=FORWARD + [("x-silo-forwarded", "c")], shard=self.of_b, id="x")
        status_is(status, "NOT_FOUND", "shard not found")
        equal(status.trailers.get(OWNER), self.b.address)

    def test_the_deadline_goes_on_with_the_call(self):
        self.b.api.Enqueue(shard=self.of_b, id="waits", task_group="nobody", payload=blob(b"\xc0"))
        status = self.a.api.fails("GetJobResult", headers=FORWARD, timeout=1, shard=self.of_b, id="waits", wait_ms=30000)
        assert status.code in ("FAILED_PRECONDITION", "DEADLINE_EXCEEDED"), status

    # ---- the topology ----

    def test_both_nodes_tell_the_same_topology(self):
        infos = [node.info() for node in (self.a, self.b)]
        for info in infos:
            equal({owner.shard_id: (owner.node_id, owner.grpc_addr) for owner in info.shard_owners},
                  {shard: (owner, self.cluster[owner].address) for shard, owner in self.owners.items()})
            equal({(member.node_id, member.grpc_addr, member.leaving) for member in info.members},
                  {("a", self.a.address, False), ("b", self.b.address, False)})
            equal({owner.state for owner in info.shard_owners}, {pb.SHARD_STATE_SERVING})
        equal(infos[0].map_number, infos[1].map_number)
        assert infos[0].life != infos[1].life

    def test_a_watch_sees_a_node_stop(self):
        here, there = Watch(self.a.api), Watch(self.b.api)
        self.addCleanup(here.close)
        until(lambda: here.messages and there.messages, "the first messages")
        self.b.stop()
        self.cluster.await_served(by={"a"})
        there.thread.join()
        equal(there.code, "UNAVAILABLE")

        def arrived():
            newest = here.messages[-1]
            return ({(owner.node_id, owner.state) for owner in newest.shard_owners} == {("a", pb.SHARD_STATE_SERVING)}
                    and [member.node_id for member in newest.members] == ["a"])

        until(arrived, "the watch to tell that b has gone")
        versions = [message.version for message in here.messages]
        equal(versions, sorted(set(versions)), "versions rise")

    # ---- what operators ask, at either node ----

    def state(self, node, shard):
        """(owner, ring, state) as the node tells them."""
        owner = next(owner for owner in node.info().shard_owners if owner.shard_id == shard)
        return owner.node_id, owner.placement_ring, owner.state

    def await_state(self, shard, *wanted):
        until(lambda: all(self.state(node, shard) == wanted for node in (self.a, self.b)), "%s to be %s" % (shard, wanted))

    def test_a_shard_goes_to_its_ring(self):
        shard = min(shard for shard, owner in self.owners.items() if owner == "a")
        number = self.a.info().map_number
        reply = self.a.api.ConfigureShard(shard=shard, placement_ring=RING)
        equal((reply.previous_ring, reply.current_ring), ("", RING))
        self.await_state(shard, "b", RING, pb.SHARD_STATE_SERVING)
        self.cluster.await_served()
        equal(self.b.info().map_number, number + 1)
        status_is(self.a.api.fails("GetJob", shard=shard, id="x"), "NOT_FOUND", "shard not found")
        reply = self.b.api.ConfigureShard(shard=shard, placement_ring="default")
        equal((reply.previous_ring, reply.current_ring), (RING, ""))
        self.cluster.await_spread()
        self.assertEqual({self.state(node, shard)[1] for node in (self.a, self.b)}, {""})

    def test_a_ring_without_nodes_is_refused_unless_it_is_meant(self):
        status = self.a.api.fails("ConfigureShard", shard=self.of_b, placement_ring="empty")
        status_is(status, "FAILED_PRECONDITION", "empty")
        reply = self.a.api.ConfigureShard(shard=self.of_b, placement_ring="empty", allow_unpopulated_ring=True)
        equal(reply.current_ring, "empty")
        self.addCleanup(self.b.api.ConfigureShard, shard=self.of_b)
        self.await_state(self.of_b, "b", "empty", pb.SHARD_STATE_SERVING)  # nobody else may have it: it stays

    def test_a_shard_whose_ring_has_no_node_is_nobodys_once_it_is_released(self):
        self.a.api.ConfigureShard(shard=self.of_b, placement_ring="empty", allow_unpopulated_ring=True)
        self.b.api.ForceReleaseShard(shard=self.of_b, force=True)
        self.await_state(self.of_b, "", "empty", pb.SHARD_STATE_UNASSIGNED)
        for node in (self.a, self.b):
            status = node.api.fails("GetJob", shard=self.of_b, id="x")
            status_is(status, "NOT_FOUND", "shard not found")
            assert int(status.trailers[RETRY]) > 0 and OWNER not in status.trailers, status.trailers
        self.a.api.ConfigureShard(shard=self.of_b)
        self.cluster.await_served()

    def test_a_live_owner_loses_its_shard_only_by_force(self):
        status = self.a.api.fails("ForceReleaseShard", shard=self.of_b)
        status_is(status, "FAILED_PRECONDITION", '"b"')
        self.a.api.Enqueue(shard=min(s for s, owner in self.owners.items() if owner == "a"), id="kept", task_group="kept",
                           payload=blob(b"\xc0"))
        self.b.api.Enqueue(shard=self.of_b, id="kept", task_group="kept", payload=blob(b"\xc0"))
        self.assertTrue(self.a.api.ForceReleaseShard(shard=self.of_b, force=True).released)
        owner = self.cluster.await_served()[self.of_b]
        equal(self.cluster[owner].api.GetJob(shard=self.of_b, id="kept").id, "kept")

    def test_what_operators_ask_of_no_shard_is_said_to_be_so(self):
        for method in ("ConfigureShard", "ForceReleaseShard"):
            status_is(self.a.api.fails(method, shard=UNKNOWN_SHARD), "NOT_FOUND", "shard not found")
            status_is(self.a.api.fails(method, shard="nonsense"), "INVALID_ARGUMENT", "invalid shard ID")


class BehindABalancer(unittest.TestCase):
    """Nodes that send on whatever they are asked for, with TLS in both directions and a token between them."""

    TOKEN = "sesame"

    def openssl(self, *arguments):
        subprocess.run(["openssl", *arguments], check=True, cwd=self.files, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def path(self, name):
        return os.path.join(self.files, name)

    def read(self, name):
        with open(self.path(name), "rb") as file:
            return file.read()

    def setUp(self):
        files = tempfile.TemporaryDirectory(prefix="silo-redirect-")
        self.addCleanup(files.cleanup)
        self.files = files.name
        key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
        self.openssl("req", "-x509", *key, "-days", "2", "-subj", "/CN=ca", "-keyout", "ca.key", "-out", "ca.pem")
        self.openssl("req", *key, "-subj", "/CN=node", "-keyout", "node.key", "-out", "node.csr")
        with open(self.path("node.ext"), "w", encoding="ascii") as file:
            file.write("subjectAltName=DNS:nodes.silo.test\n")
        self.openssl("x509", "-req", "-in", "node.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2",
                     "-extfile", "node.ext", "-out", "node.pem")

    def api(self, node):
        credentials = grpc.ssl_channel_credentials(self.read("ca.pem"), self.read("node.key"), self.read("node.pem"))
        api = Api(node.address, self.TOKEN)
        api.close()
        api.channel = grpc.secure_channel(node.address, credentials,
                                          [("grpc.ssl_target_name_override", "nodes.silo.test"), ("grpc.enable_http_proxy", 0)])
        return api

    def test_every_call_is_answered_by_whichever_node(self):
        settings = {
            "coordination.forward": "always",
            "coordination.peer_tls_ca": self.path("ca.pem"),
            "coordination.peer_tls_name": "nodes.silo.test",
            "server.auth_token": self.TOKEN,
            "server.tls_cert": self.path("node.pem"),
            "server.tls_key": self.path("node.key"),
            "server.tls_client_ca": self.path("ca.pem"),
        }
        cluster = Cluster(nodes=2, shards=2, tenancy=False, settings=settings)
        for node in cluster.nodes.values():
            node.wait_ready = lambda: None  # it knows no TLS
        with cluster:
            apis = [self.api(node) for node in cluster.nodes.values()]
            try:
                self.check(apis)
            finally:
                for api in apis:
                    api.close()

    def check(self, apis):
        def spread():
            try:
                infos = [api.GetClusterInfo(timeout=2) for api in apis]
            except Status:
                return None
            owners = [{owner.shard_id: owner.node_id for owner in info.shard_owners} for info in infos]
            return owners[0] if owners[0] == owners[1] and len(set(owners[0].values())) == 2 else None

        owners = until(spread, "both nodes to have a shard", 60)
        for number, api in enumerate(apis):
            for shard in owners:
                job = "job-%d" % number
                equal(until(lambda: self.enqueued(api, shard, job), "the job to be taken"), job)
                equal([a.GetJob(shard=shard, id=job).id for a in apis], [job, job])
        for shard, owner in owners.items():
            refused = [api.fails("GetJob", shard=shard, id="x", headers=[("authorization", "Bearer x")]).code for api in apis]
            equal(refused, ["UNAUTHENTICATED"] * 2)
            api = next(api for api in apis if api.GetClusterInfo().this_node_id != owner)
            status = api.fails("GetJob", shard=shard, id="x", headers=api.headers + [("x-silo-forward", "no")])
            equal(status.trailers.get(NODE), owner)

    def enqueued(self, api, shard, job):
        """Its id; None while the shard is on its way."""
        try:
            return api.Enqueue(shard=shard, id=job, task_group="g", payload=blob(b"\xc0"), return_existing=True).id
        except Status as status:
            status_is(status, "UNAVAILABLE")
            return None


if __name__ == "__main__":
    unittest.main()

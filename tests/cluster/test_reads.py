"""ReadRows on three nodes: rows of all shards in one stream, whoever has them and whoever is asked.

The cluster is started once; its leases are long, so that a killed node's shards stay without an owner for a while.
"""

import os
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import grpc  # noqa: E402

from checks import equal, until  # noqa: E402
from cluster import Cluster  # noqa: E402
from silo_api import blob, pb  # noqa: E402
from traffic import tenants_of  # noqa: E402

SHARDS = 6
JOBS = 60  # of each shard
TTL_SECONDS = 10
SHORT_SECONDS = 4  # a caller's patience: less than it takes until others have a killed node's shards
READS_MAX = 16  # of one server
# Sanitizers keep freed memory, and are slow.
SANITIZED = os.environ.get("SILO_BUILD") in ("asan", "tsan")
UNKNOWN_SHARD = "00000000-0000-4000-8000-000000000000"


class Answer:
    """What a read brought."""

    def __init__(self, messages):
        self.jobs, self.tenants, self.shards, self.unread, self.end, self.cursors = [], [], [], {}, None, []
        self.pages = 0
        for message in messages:
            assert self.end is None, "something after the end"
            part = message.WhichOneof("part")
            if part == "page":
                self.pages += 1
                self.jobs += message.page.jobs
                self.tenants += message.page.tenants
                self.cursors.append(message.cursor)
                if message.page.last:
                    self.shards.append(message.page.shard)
            elif part == "unread":
                self.unread[message.unread.shard] = message.unread
            else:
                self.end = message.end
        equal(len(set(self.shards)), len(self.shards), "a shard ends once")
        if self.end is not None:
            equal(self.end.shards_read, len(self.shards))
            equal(self.end.shards_unread, len(self.unread))

    def ids(self):
        return sorted((job.tenant, job.id) for job in self.jobs)


class Reads(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cluster = Cluster(nodes=3, shards=SHARDS, ttl_seconds=TTL_SECONDS).start()
        cls.owners = cls.cluster.await_spread()
        cls.tenants = tenants_of(cls.cluster["n0"].info().shard_owners)
        cls.wanted = []
        for shard, owner in cls.owners.items():
            tenant = cls.tenants[shard]
            jobs = [
                pb.EnqueueRequest(id="j%03d" % i, task_group="g", tenant=tenant, payload=blob(b"x" * 100),
                                  start_at_ms=0 if i % 3 else 1 << 52, metadata={"third": str(i % 3)})
                for i in range(JOBS)
            ]
            reply = cls.cluster[owner].api.EnqueueMany(shard=shard, jobs=jobs)
            equal({result.code for result in reply.results}, {0})
            cls.wanted += [(tenant, job.id) for job in jobs]
        cls.wanted.sort()

    @classmethod
    def tearDownClass(cls):
        cls.cluster.close()

    def setUp(self):
        for node in self.cluster.nodes.values():
            if not node.running:
                node.start()
        self.cluster.await_members(self.cluster.nodes)
        self.owners = self.cluster.await_spread()

    def read(self, node="n0", timeout=60, **fields):
        fields.setdefault("table", pb.ROW_TABLE_JOBS)
        return Answer(self.cluster[node].api.stream("ReadRows", timeout=timeout, **fields))

    def fails(self, code, text, **fields):
        with self.assertRaises(grpc.RpcError) as caught:
            self.read(**fields)
        equal(caught.exception.code().name, code)
        self.assertIn(text, caught.exception.details())

    # ---- what comes ----

    def test_any_node_reads_every_row_of_every_shard_once(self):
        for node in self.cluster.nodes:
            for page_bytes in (0, 3000):
                answer = self.read(node, page_bytes=page_bytes)
                equal(answer.ids(), self.wanted, "%s, pages of %d" % (node, page_bytes))
                equal(set(answer.shards), set(self.owners))
                equal(answer.unread, {})
                equal(answer.end.rows, len(self.wanted))
                equal(answer.end.cursor, b"")
        assert answer.pages > SHARDS * 3, answer.pages

    def test_a_limit_is_of_all_shards_and_the_next_read_goes_on_after_it(self):
        for limit in (7, 100):
            found, cursor, rounds = [], b"", 0
            while True:
                answer = self.read("n%d" % (rounds % 3), limit=limit, cursor=cursor)
                assert len(answer.jobs) <= limit, len(answer.jobs)
                found += answer.ids()
                cursor = answer.end.cursor
                rounds += 1
                if not cursor:
                    break
                equal(len(answer.jobs), limit, "a read that is not the last is full")
            equal(sorted(found), self.wanted, "limit %d" % limit)

    def test_a_read_goes_on_after_any_of_its_pages(self):
        stream = self.cluster["n0"].api.stream("ReadRows", timeout=60, table=pb.ROW_TABLE_JOBS, page_bytes=3000)
        first = Answer([next(stream) for _ in range(5)])
        stream.cancel()
        rest = self.read("n1", cursor=first.cursors[-1])
        equal(sorted(first.ids() + rest.ids()), self.wanted)

    def test_filters_and_columns_go_to_the_owners(self):
        shard = min(self.owners)
        tenant = self.tenants[shard]
        answer = self.read(tenant=tenant)
        equal(answer.ids(), [row for row in self.wanted if row[0] == tenant])
        equal(answer.shards, [shard], "only the shard that has the tenant is asked")
        equal({(job.payload.msgpack, len(job.metadata)) for job in answer.jobs}, {(b"", 0)})
        answer = self.read(with_payload=True, with_metadata=True)
        equal({(len(job.payload.msgpack), len(job.metadata)) for job in answer.jobs}, {(100, 1)})
        answer = self.read(statuses=[pb.SHOWN_STATUS_SCHEDULED])
        equal(len(answer.jobs), len(self.wanted) // 3)
        equal({job.status for job in answer.jobs}, {pb.SHOWN_STATUS_SCHEDULED})
        for owned in self.owners:
            answer = self.read(tenant=self.tenants[owned], metadata_key="third", metadata_value="2")
            equal({int(job.id[1:]) % 3 for job in answer.jobs}, {2})
            equal(len(answer.jobs), JOBS // 3)
        named = sorted(self.owners)[:2]
        equal(set(self.read(shards=named + named[:1]).shards), set(named))

    def test_tenants_of_the_whole_cluster(self):
        answer = self.read(table=pb.ROW_TABLE_TENANTS)
        equal({row.tenant: row.open for row in answer.tenants}, {tenant: JOBS for tenant in self.tenants.values()})

    def test_requests_are_checked(self):
        self.fails("INVALID_ARGUMENT", "no such table", table=pb.ROW_TABLE_UNSPECIFIED)
        self.fails("INVALID_ARGUMENT", "no such status", statuses=[9])
        self.fails("INVALID_ARGUMENT", "of jobs", table=pb.ROW_TABLE_TENANTS, metadata_key="k")
        self.fails("INVALID_ARGUMENT", "in one tenant", metadata_key="k")
        self.fails("INVALID_ARGUMENT", "not a UUID", shards=["x"])
        self.fails("INVALID_ARGUMENT", "cursor", cursor=b"nonsense")
        cursor = self.read(limit=5).end.cursor
        self.fails("INVALID_ARGUMENT", "cursor", cursor=cursor, statuses=[pb.SHOWN_STATUS_RUNNING])

    # ---- shards that cannot be read ----

    def test_an_unknown_shard_is_named(self):
        known = min(self.owners)
        answer = self.read(shards=[UNKNOWN_SHARD, known])
        equal(set(answer.unread), {UNKNOWN_SHARD})
        equal(answer.shards, [known])

    def test_shards_of_a_killed_node_are_named_and_read_on_later(self):
        lost = {shard for shard, owner in self.owners.items() if owner == "n1"}
        address = self.cluster["n1"].address
        self.cluster["n1"].kill()
        answer = self.read(timeout=SHORT_SECONDS)
        equal(set(answer.unread), lost)
        equal(set(answer.shards), set(self.owners) - lost)
        equal({(unread.node, unread.address) for unread in answer.unread.values()}, {("n1", address)})
        equal({unread.code for unread in answer.unread.values()}, {grpc.StatusCode.UNAVAILABLE.value[0]})
        self.cluster.await_served(by={"n0", "n2"})
        rest = [self.read(cursor=unread.cursor) for unread in answer.unread.values()]
        equal(sorted(sum((each.ids() for each in rest), answer.ids())), self.wanted)

    def test_a_read_goes_on_where_its_shards_have_moved(self):
        """Its caller reads nothing while a node leaves; what it had not asked for yet comes from the next owners."""
        first = self.read(limit=100)
        equal(self.cluster["n2"].stop(), 0)
        self.cluster.await_served(by={"n0", "n1"})
        rest = self.read(cursor=first.end.cursor)
        equal(rest.unread, {})
        equal(sorted(first.ids() + rest.ids()), self.wanted)

    # ---- callers that leave ----

    def test_a_read_ends_with_its_caller(self):
        """More than a server runs at a time, each left after its first page."""
        for number in range(2 * READS_MAX):
            stream = self.cluster["n%d" % (number % 3)].api.stream("ReadRows", timeout=60, table=pb.ROW_TABLE_JOBS, page_bytes=1)
            next(stream)
            stream.cancel()
        until(lambda: self.read().ids() == self.wanted, "reads that were left not to be in the way")


class SlowReader(unittest.TestCase):
    """Many rows, and a caller that takes none of them for a while."""

    JOBS = 1000 if SANITIZED else 4000  # of each shard
    PAYLOAD = 4000

    def test_what_a_slow_caller_does_not_read_is_not_kept_for_it(self):
        with Cluster(nodes=2, shards=2) as cluster:
            owners = cluster.await_spread()
            tenants = tenants_of(cluster["n0"].info().shard_owners)
            for shard, owner in owners.items():
                for first in range(0, self.JOBS, 1000):
                    jobs = [pb.EnqueueRequest(id="j%d" % i, task_group="g", tenant=tenants[shard], payload=blob(b"x" * self.PAYLOAD))
                            for i in range(first, first + 1000)]
                    cluster[owner].api.EnqueueMany(shard=shard, jobs=jobs)
            asked = cluster["n0"]
            list(asked.api.stream("ReadRows", timeout=60, table=pb.ROW_TABLE_TENANTS))
            before = resident_bytes(asked.process.pid)
            stream = asked.api.stream("ReadRows", timeout=120, table=pb.ROW_TABLE_JOBS, with_payload=True, page_bytes=1 << 20)
            messages = [next(stream)]
            steady(lambda: resident_bytes(asked.process.pid))
            grown = resident_bytes(asked.process.pid) - before
            total = len(owners) * self.JOBS * self.PAYLOAD
            assert SANITIZED or grown < total // 2, "%d bytes for a caller that reads nothing, of %d" % (grown, total)
            answer = Answer(messages + list(stream))
            equal(len({(job.tenant, job.id) for job in answer.jobs}), len(owners) * self.JOBS)
            equal(len(answer.jobs), len(owners) * self.JOBS)


def resident_bytes(pid):
    with open("/proc/%d/statm" % pid, encoding="ascii") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def steady(measure):
    """Waits until what is measured stays nearly the same."""
    seen = []

    def flat():
        seen.append(measure())
        last = seen[-20:]
        return len(last) == 20 and max(last) - min(last) < 1 << 20

    until(flat, "memory to be steady", 30)


if __name__ == "__main__":
    unittest.main()

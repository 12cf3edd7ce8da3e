"""What must hold while the storage takes no changes, and after it takes them again."""

import re
import time

from checks import equal, until
from silo_api import Status, blob

SERVICE = "silo.v1.Silo"
ENDED_WITHIN = 5.0  # seconds: calls that wait for the storage
SLACK = 5.0  # for a machine that is busy
KILOBYTE = b"x" * 1024


class Outage:
    """One server through outages of its storage: what it acknowledged, and what it said."""

    def __init__(self, silo):
        self.silo = silo
        self.shard = silo.shard_ids()[0]
        self.acknowledged = []

    def enqueue(self, job, timeout=30, size=1, group="other"):
        """None, or the status it was refused with."""
        try:
            self.silo.api.Enqueue(shard=self.shard, id=job, task_group=group, priority=10, payload=blob(KILOBYTE * size),
                                  timeout=timeout)
        except Status as status:
            return status
        self.acknowledged.append(job)
        return None

    def timed(self, job, size=1):
        began = time.monotonic()
        status = self.enqueue(job, size=size)
        return status, time.monotonic() - began

    def begin(self, cause, size=1):
        """Enqueues until one is refused. Each ends in time; the health, and then the refusals, follow."""
        for i in range(10000):
            status, took = self.timed("begin-%d-%d" % (len(self.acknowledged), i), size)
            if status is not None:
                break
        equal(status.code, "UNAVAILABLE", str(status))
        assert cause in status.text, status
        assert took < ENDED_WITHIN + SLACK, "it took %.1f s" % took
        until(lambda: not self.silo.api.serving(SERVICE), "the health to say NOT_SERVING", 30)
        for i in range(5):
            status, took = self.timed("refused-%d" % i)
            equal(status.code, "UNAVAILABLE", str(status))
            assert cause in status.text and "nothing was changed" in status.text, status
            assert took < ENDED_WITHIN - 1, "a refusal took %.1f s" % took
        return status

    def end(self):
        """Everything goes on by itself; nothing acknowledged is lost."""
        until(lambda: self.silo.api.serving(SERVICE), "the health to say SERVING", 60)
        until(lambda: self.enqueue("after-%d" % len(self.acknowledged)) is None, "changes to be accepted", 60)
        self.all_there()

    def all_there(self):
        for job in self.acknowledged:
            equal(self.silo.api.GetJob(shard=self.shard, id=job).id, job)
        for i in range(5):
            equal(self.silo.api.fails("GetJob", shard=self.shard, id="refused-%d" % i).code, "NOT_FOUND")

    def said(self):
        """(lines that an outage began, lines that one ended)"""
        log = self.silo.log()
        return re.findall(r" outage_begins .*", log), re.findall(r" outage_ends .*", log)

    def said_once(self, cause):
        def both():
            begins, ends = self.said()
            return (begins, ends) if ends else None

        begins, ends = until(both, "the line that says that it ended", 30)
        equal((len(begins), len(ends)), (1, 1), "lines about the outage")
        assert cause in begins[0], begins
        assert re.search(r"lasted_ms=\d+ refused=\d+", ends[0]), ends

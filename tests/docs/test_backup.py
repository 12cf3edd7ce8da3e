"""docs/guides/backup.md, by the commands of the page: a copy of a stopped server's data has every job as it was, and goes on."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import guide  # noqa: E402
import runner  # noqa: E402
from checks import equal, until  # noqa: E402
from forgetful_s3 import ForgetfulS3  # noqa: E402
from silo_api import blob, pb  # noqa: E402
from silo_server import SiloServer  # noqa: E402

PAGE = guide.Page("docs/guides/backup.md")
FAR_MS = 4102444800000  # the year 2100
RETRIES = pb.RetryPolicy(retry_count=5, initial_interval_ms=1, max_interval_ms=1, backoff_factor=1.0)


def commands(holding, place):
    """Runs the page's commands on a directory that stands for /var/lib; without sudo."""
    script = PAGE.script(holding).replace("/var/lib", place).replace("sudo ", "")
    done = subprocess.run(["bash", "-c", script], cwd=place, capture_output=True, text=True, timeout=120)
    if done.returncode != 0:
        raise AssertionError("the page's commands failed:\n%s\n%s" % (script, done.stderr))


def jobs_of_all_kinds(api, shard):
    """Returns the ids: in each state that a job can rest in, with what hangs on them."""
    def enqueue(name, group, **fields):
        return api.Enqueue(shard=shard, id=name, task_group=group, payload=blob(name.encode() * 700), priority=7,
                           metadata={"kind": group}, **fields).id

    limit = [pb.Limit(concurrency=pb.ConcurrencyLimit(key="one", max_concurrency=1))]
    ids = [enqueue("waiting-%d" % n, "waiting") for n in range(50)]
    ids += [enqueue("later", "waiting", start_at_ms=FAR_MS)]
    ids += [enqueue("in-line-%d" % n, "held", limits=limit, retry_policy=RETRIES) for n in range(3)]
    ids += [enqueue("done-%d" % n, "done") for n in range(4)]
    held = until(lambda: api.LeaseTasks(worker_id="w", task_group="held", max_tasks=5).tasks, "the job with the slot")
    equal([task.job_id for task in held], ["in-line-0"], "jobs with a slot")
    outcomes = [{"success": blob(b"r" * 9000)}, {"failure": pb.Failure(code="NO", data=blob(b"why"))},
                {"cancelled": pb.Cancelled()}]
    for outcome in outcomes:
        task = api.LeaseTasks(worker_id="w", task_group="done", max_tasks=1).tasks[0]
        api.ReportOutcome(shard=shard, task_id=task.id, **outcome)
    api.CancelJob(shard=shard, id="done-3")
    return ids


def shown(api, shard, ids):
    """What is stored of the jobs; why they wait is of the moment."""
    jobs = [api.GetJob(shard=shard, id=job_id, include_attempts=True) for job_id in ids]
    for job in jobs:
        job.ClearField("pending")
    return jobs


class Place:
    """A directory that stands for /var/lib, with a server whose data is in its directory silo."""

    def __init__(self, test):
        self.path = tempfile.mkdtemp(prefix="silo-backup-")
        test.addCleanup(shutil.rmtree, self.path, ignore_errors=True)

    def server(self):
        return SiloServer(settings={"database.path": os.path.join(self.path, "silo", "%shard%"), "database.fsync": True})


class Backup(unittest.TestCase):
    def goes_on(self, server, shard, ids, before):
        """All jobs are there, unchanged; those that wait can be run, and the slot is held and given on."""
        api = server.api
        equal(server.shard_ids(), [shard], "shards")
        equal(shown(api, shard, ids), before, "jobs")
        tasks = api.LeaseTasks(worker_id="new", task_group="waiting", max_tasks=100).tasks
        equal(sorted(task.job_id for task in tasks), sorted("waiting-%d" % n for n in range(50)), "tasks")
        equal({len(task.payload.msgpack) for task in tasks}, {len(b"waiting-1" * 700), len(b"waiting-10" * 700)}, "payloads")
        for task in tasks:
            api.ReportOutcome(shard=shard, task_id=task.id, success=blob())
        equal(list(api.LeaseTasks(worker_id="new", task_group="held", max_tasks=5).tasks), [], "tasks beside the held slot")
        running = shown(api, shard, ["in-line-0"])[0].attempts[-1].task_id
        api.Heartbeat(shard=shard, worker_id="w", task_id=running)
        api.ReportOutcome(shard=shard, task_id=running, success=blob())
        nxt = until(lambda: api.LeaseTasks(worker_id="new", task_group="held", max_tasks=5).tasks, "the next in line")
        equal([task.job_id for task in nxt], ["in-line-1"], "the next in line")

    def test_stop_copy_start_and_restore(self):
        place = Place(self)
        with place.server() as server:
            shard = server.shard_ids()[0]
            ids = jobs_of_all_kinds(server.api, shard)
            before = shown(server.api, shard, ids)
            equal(server.stop(), 0, "exit status")
            commands("-czf", place.path)
            server.start()  # the page's next step; what happens from here on is not in the backup
            self.goes_on(server, shard, ids, before)
            server.api.Enqueue(shard=shard, id="too-late", task_group="waiting")
            equal(server.stop(), 0, "exit status")
            with open(os.path.join(place.path, "silo-2001-01-01.tar.gz"), "wb"):
                pass  # an older backup, of which nothing is wanted
            commands("-xzf", place.path)
            server.start()
            equal(server.api.fails("GetJob", shard=shard, id="too-late").code, "NOT_FOUND")
            self.goes_on(server, shard, ids, before)

    def test_elsewhere(self):
        """The backup serves in another place, while the original serves on: that is how a backup is looked at."""
        place, other = Place(self), Place(self)
        with place.server() as server:
            shard = server.shard_ids()[0]
            ids = jobs_of_all_kinds(server.api, shard)
            before = shown(server.api, shard, ids)
            equal(server.stop(), 0, "exit status")
            commands("-czf", place.path)
            server.start()
            archive = [name for name in os.listdir(place.path) if name.endswith(".tar.gz")][0]
            subprocess.run(["tar", "-C", other.path, "-xzf", os.path.join(place.path, archive)], check=True)
            with other.server() as copy:
                self.goes_on(copy, shard, ids, before)
            equal(shown(server.api, shard, ids), before, "the original's jobs")

    def test_a_bucket(self):
        """The objects below the prefix, copied while nobody writes, serve from another bucket. And those of one moment, brought
        back in place of later ones, are the shard of that moment: what versions in a bucket are for."""
        def at(bucket):
            settings = {"database.backend": "s3", "database.path": "s3://%s/silo/%%shard%%" % bucket}
            return SiloServer(settings=settings, environment=store.environment())

        with ForgetfulS3() as store:
            with at("first") as server:
                shard = server.shard_ids()[0]
                ids = jobs_of_all_kinds(server.api, shard)
                before = shown(server.api, shard, ids)
                equal(server.stop(), 0, "exit status")
                copy = {key.replace("/first/", "/second/", 1): value for key, value in store.objects.items()}
                moment = dict(store.objects)
                store.objects.update(copy)
                with at("second") as other:
                    self.goes_on(other, shard, ids, before)
                server.start()
                server.api.Enqueue(shard=shard, id="too-late", task_group="waiting")
                equal(server.stop(), 0, "exit status")
                store.objects.clear()
                store.objects.update(moment)
                server.start()
                equal(server.api.fails("GetJob", shard=shard, id="too-late").code, "NOT_FOUND")
                self.goes_on(server, shard, ids, before)

    def test_a_snapshot_of_one_moment(self):
        """What a snapshot of a volume has: every file of a running server as it is at one moment. The process stands still
        while its files are copied, which no `cp` beside it can promise."""
        place, other = Place(self), Place(self)
        with place.server() as server:
            shard = server.shard_ids()[0]
            ids = jobs_of_all_kinds(server.api, shard)
            before = shown(server.api, shard, ids)
            server.process.send_signal(signal.SIGSTOP)
            try:
                shutil.copytree(os.path.join(place.path, "silo"), os.path.join(other.path, "silo"))
            finally:
                server.process.send_signal(signal.SIGCONT)
            with other.server() as copy:
                self.goes_on(copy, shard, ids, before)


if __name__ == "__main__":
    sys.exit(runner.main())

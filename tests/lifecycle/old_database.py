#!/usr/bin/env python3
"""Writes a small database with something of everything in it, for test_upgrade.py to open.

    SILO_BIN=<an older silo> tests/lifecycle/old_database.py FILE.tar.gz

The server is killed at its end, so that what it wrote last lies in the log alone. What the database says is written
down beside it, in FILE.json: the answers of the older server, which those of a newer one are compared with.
"""

import base64
import json
import os
import sys
import tarfile
import zlib

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from jobs import Jobs, failed, floating, rate, retries, slot, succeeded  # noqa: E402
from silo_api import blob  # noqa: E402
from silo_server import SiloServer  # noqa: E402

GROUP = "old"
TEN_YEARS_S = 315360000
LATER_MS = 4102444800000  # the year 2100
LARGE = 5000  # bytes: a row of their own
NAMES = ["succeeded", "failed", "cancelled", "imported", "later", "retried", "slow-passes", "slow-waits", "holds", "marked",
         "stands-second", "stands-first", "raised-1", "raised-2", "raised-3", "ready-second", "ready-first"]
LONG_MS = TEN_YEARS_S * 1000
SETTINGS = {"database.completed_job_expire_s": TEN_YEARS_S, "database.terminal_job_expire_s": TEN_YEARS_S}
SLOT, RAISED, SLOW = slot("slot", 1), floating("raised", 1, LONG_MS, who="me"), rate("slow", 1, LONG_MS)


def server_of(directory):
    return SiloServer(shards=1, directory=directory, settings=SETTINGS)


def write_ended(jobs):
    jobs.enqueue(id="succeeded", payload=blob(b"p" * LARGE), metadata={"colour": "red", "size": "9"})
    jobs.run("succeeded", b"r" * LARGE)
    jobs.enqueue(id="failed", payload=blob(b"p"), retry_policy=retries(1))
    for code in ("first", "second"):
        jobs.failed(jobs.lease_one("failed"), code, b"why")
    jobs.enqueue(id="cancelled", start_at_ms=LATER_MS)
    jobs.on("CancelJob", "cancelled")
    jobs.import_one(id="imported", attempts=[failed(), succeeded(3000, 4000)])


def write_waiting(jobs):
    """Returns what runs at the end."""
    jobs.enqueue(id="later", start_at_ms=LATER_MS, limits=[SLOT, RAISED])
    jobs.enqueue(id="retried", retry_policy=retries(3, initial_ms=LONG_MS, max_interval_ms=LONG_MS))
    jobs.failed(jobs.lease_one("retried"), "once")
    jobs.enqueue(id="slow-passes", limits=[SLOW])
    jobs.run("slow-passes")
    jobs.enqueue(id="slow-waits", limits=[SLOW])
    jobs.lease_none()
    jobs.enqueue(id="holds", limits=[SLOT])
    jobs.enqueue(id="marked")
    tasks = jobs.lease(2)
    jobs.on("CancelJob", "marked")
    jobs.enqueue(id="stands-second", limits=[SLOT], priority=20)
    jobs.enqueue(id="stands-first", limits=[SLOT, RAISED], priority=10)
    for job_id in ("raised-1", "raised-2", "raised-3"):
        jobs.enqueue(id=job_id, limits=[RAISED])
    more, refreshes = jobs.lease_both(1)
    jobs.refresh(refreshes[0], 2)
    more += jobs.lease(1)
    jobs.enqueue(id="ready-second", priority=30, metadata={"colour": "blue"})
    jobs.enqueue(id="ready-first", priority=3, payload=blob(b"q" * LARGE))
    return tasks + more


def packed(job):
    return base64.b64encode(zlib.compress(job.SerializeToString())).decode()


def main():
    path = sys.argv[1]
    server = server_of(None)
    with server:
        jobs = Jobs(server, group=GROUP)
        write_ended(jobs)
        server.stop()  # what was written so far lies in the tables
        server.start()
        jobs.api = server.api
        running = write_waiting(jobs)
        said = {
            "shard": jobs.shard,
            "counters": jobs.counters(),
            "running": {task.job_id: task.id for task in running},
            "jobs": {name: packed(jobs.record(name)) for name in NAMES},
        }
        server.kill()
        with tarfile.open(path, "w:gz") as archive:
            archive.add(os.path.join(server.directory, "data"), "data")
    with open(path.removesuffix(".tar.gz") + ".json", "w", encoding="utf-8") as file:
        json.dump(said, file, indent=1, sort_keys=True)
        file.write("\n")


if __name__ == "__main__":
    main()

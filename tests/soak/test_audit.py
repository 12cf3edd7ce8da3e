"""The auditor on logs made by hand: each violation is seen, and what only looks like one is not."""

import json
import os
import sys
import tempfile
import unittest
import zlib

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(HERE, "..", "lib"))

import audit  # noqa: E402
import runner  # noqa: E402
from checks import equal  # noqa: E402

QUEUE = ["c", "q", 1]
FLOAT = ["f", "fl", 2]


def crc(text):
    return zlib.crc32(text.encode())


class Story:
    """Logs and a final state in the making. Times are seconds; a call takes a tenth unless its answer's time is given."""

    def __init__(self):
        self.events = []
        self.final = []
        self.tasks = {}
        self.total = self.completed = 0
        self.dropped = 0

    def event(self, op, at, **fields):
        self.events.append(dict(fields, op=op, at=list(at)))

    def enqueue(self, job, at=0.0, code="OK", limits=(), again=False):
        item = {"id": job, "sum": crc("payload " + job), "limits": list(limits), "code": code, "again": again}
        self.event("enqueue", (at, at + 0.1), jobs=[item])

    def lease(self, task, job, at, limits=(), last=True, answered=None, begun=True):
        item = {"task": task, "job": job, "attempt": 1, "last": last, "sum": crc("payload " + job), "limits": list(limits)}
        self.event("lease", (at, answered or at + 0.1), code="OK", tasks=[item])
        if begun:
            self.run(task, job, answered or at + 0.1, answered or at + 0.1)

    def run(self, task, job, begin, end):
        self.event("run", (begin, end), task=task, job=job)

    def beat(self, task, at, code="OK"):
        self.event("heartbeat", (at, at + 0.1), code=code, task=task)

    def report(self, task, job, at, kind="success", code="OK", error=None):
        item = {"task": task, "job": job, "kind": kind, "error": error, "sum": crc("result " + task), "code": code}
        self.event("report", (at, at + 0.1), items=[item])

    def call(self, op, job, at, code="OK", answered=None):
        self.event(op, (at, answered or at + 0.1), code=code, job=job)

    def refresh(self, value, at, code="OK"):
        self.event("refresh", (at, at + 0.1), code=code, key="fl", value=value)

    def fault(self, kind, begin, end, **fields):
        """The wall clock of these stories is the monotonic one."""
        self.event("fault", (begin, end), kind=kind, wall=end, **fields)

    def returned(self, task, job, at, code="OK"):
        self.event("return", (at, at + 0.1), items=[{"task": task, "job": job, "code": code}])

    def worked(self, task, job, begin, end, limits=()):
        """A run from its lease to its acknowledged success."""
        self.lease(task, job, begin - 0.1, limits)
        self.run(task, job, begin, end)
        self.report(task, job, end)

    def gone(self, job):
        self.final.append({"job": job, "found": False})

    def ended(self, job, attempts=(), status=audit.SUCCEEDED, error=None, result=None, payload=None):
        """attempts: (task, status, error). The outcome is the last one's unless it is given."""
        rows = []
        for number, (task, how, code) in enumerate(attempts, 1):
            rows.append([number, task, how, code, None if how == 3 else crc("result " + task), 0])
        data = crc("result " + (result or attempts[-1][0])) if status != audit.CANCELLED and attempts else None
        self.final.append({
            "job": job, "found": True, "status": status, "sum": crc("payload " + (payload or job)),
            "result": data if status == audit.SUCCEEDED else None, "attempts": rows, "outcome": [status, error, data]})
        self.total += 1
        self.completed += 1

    def succeeded(self, job, *tasks):
        self.ended(job, [(task, 2, "WORKER_CRASHED") for task in tasks[:-1]] + [(tasks[-1], 1, None)])

    def open(self, job, status):
        self.final.append({"job": job, "found": True, "status": status, "sum": crc("payload " + job), "result": None,
                           "attempts": [], "outcome": None})
        self.total += 1

    def probe(self, leased, slots=2, key="q"):
        self.final.append({"probe": key, "kind": "c", "slots": slots, "leased": leased})

    def judge(self):
        """Through files, as the program reads them, in two logs so that their order is not that of time."""
        with tempfile.TemporaryDirectory() as directory:
            for name, events in (("a", self.events[1::2]), ("b", self.events[::2])):
                write(os.path.join(directory, name + ".jsonl"), events)
            rest = [{"totals": [self.total, self.completed]}, {"dropped": self.dropped}]
            write(os.path.join(directory, "final.jsonl"), self.final + rest)
            return audit.Audit(audit.Logs().read(directory), audit.Final().read(directory)).run()

    def finds(self, **wanted):
        """Exactly these kinds, each so often; nothing = nothing."""
        judged = self.judge()
        equal({kind.replace(" ", "_").replace("-", "_"): len(texts) for kind, texts in judged.found.items() if texts}, wanted)
        equal(judged.ok(), not wanted)
        return judged


def write(path, lines):
    with open(path, "w", encoding="utf-8") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)


class Jobs(unittest.TestCase):
    def setUp(self):
        self.story = Story()
        self.story.enqueue("j")

    def test_nothing_wrong(self):
        story = self.story
        story.worked("t", "j", 1, 2, [QUEUE])
        story.succeeded("j", "t")
        story.fault("kill", 5, 6)
        story.probe(2)
        equal(story.finds().last_line(), "audit: 1 jobs, 1 runs, 1 faults, 0 lost, 0 over-granted, 0 leaked, "
              "0 ran after completion, 0 stuck, 0 spent")

    def test_lost_job(self):
        self.story.gone("j")
        equal(self.story.finds(job_gone=1).last_line(), "audit: 1 jobs, 0 runs, 0 faults, 1 lost, 0 over-granted, "
              "0 leaked, 0 ran after completion, 0 stuck, 0 spent")

    def test_lost_job_that_was_not_looked_at(self):
        self.story.finds(job_gone=1)

    def test_deleted_job_is_not_lost(self):
        self.story.call("delete", "j", 3)
        self.story.gone("j")
        self.story.finds()

    def test_perhaps_deleted_job_is_not_lost(self):
        self.story.call("delete", "j", 3, "UNAVAILABLE")
        self.story.gone("j")
        self.story.finds()

    def test_refused_deletion_deletes_nothing(self):
        self.story.call("delete", "j", 3, "FAILED_PRECONDITION")
        self.story.gone("j")
        self.story.finds(job_gone=1)

    def test_unacknowledged_job_may_be_gone(self):
        self.story.enqueue("k", code="UNAVAILABLE")
        self.story.gone("k")
        self.story.worked("t", "j", 1, 2)
        self.story.succeeded("j", "t")
        self.story.finds()

    def test_unacknowledged_job_that_ran_may_not_be_gone(self):
        self.story.enqueue("k", code="UNAVAILABLE")
        self.story.lease("u", "k", 1)
        self.story.gone("k")
        self.story.worked("t", "j", 1, 2)
        self.story.succeeded("j", "t")
        self.story.finds(job_gone=1)

    def test_repeat_that_finds_the_job_acknowledges_it(self):
        self.story.enqueue("k", code="UNAVAILABLE")
        self.story.enqueue("k", 1, code="ALREADY_EXISTS", again=True)
        self.story.gone("k")
        self.story.call("delete", "j", 1)
        self.story.gone("j")
        self.story.finds(job_gone=1)

    def test_changed_payload(self):
        self.story.worked("t", "j", 1, 2)
        self.story.ended("j", [("t", 1, None)], payload="other")
        self.story.finds(job_changed=1)

    def test_deletion_undone(self):
        self.story.worked("t", "j", 1, 2)
        self.story.call("delete", "j", 3)
        self.story.succeeded("j", "t")
        self.story.finds(deletion_undone=1)

    def test_lost_hand_out(self):
        self.story.lease("lost", "j", 1, last=False)
        self.story.worked("t", "j", 13, 14)
        self.story.succeeded("j", "t")
        self.story.finds(hand_out_not_recorded=1)

    def test_hole_in_the_attempts(self):
        self.story.worked("t", "j", 1, 2)
        self.story.succeeded("j", "t")
        self.story.final[-1]["attempts"][0][0] = 2
        self.story.finds(hand_out_not_recorded=1)

    def test_stuck(self):
        self.story.open("j", audit.SCHEDULED)
        equal(self.story.finds(not_ended=1).last_line(), "audit: 1 jobs, 0 runs, 0 faults, 0 lost, 0 over-granted, "
              "0 leaked, 0 ran after completion, 1 stuck, 0 spent")

    def test_stuck_job_without_a_name(self):
        self.story.event("enqueue", (1, 2), jobs=[{"id": "", "sum": 1, "limits": [], "code": "UNAVAILABLE", "again": False}])
        self.story.worked("t", "j", 1, 2)
        self.story.succeeded("j", "t")
        self.story.total += 1
        self.story.finds(not_ended=1)

    def test_wrong_totals(self):
        self.story.worked("t", "j", 1, 2)
        self.story.succeeded("j", "t")
        self.story.total += 1
        self.story.completed += 1
        self.story.finds(totals_wrong=1)

    def test_unexpected_answer(self):
        self.story.worked("t", "j", 1, 2)
        self.story.succeeded("j", "t")
        self.story.call("cancel", "j", 3, "INTERNAL")
        self.story.finds(unexpected_answer=1)


class Outcomes(unittest.TestCase):
    def setUp(self):
        self.story = Story()
        self.story.enqueue("j")

    def failed(self, code="OK", last=True, at=2.0):
        self.story.lease("t", "j", 0.9, last=last)
        self.story.run("t", "j", 1, at)
        self.story.report("t", "j", at, "failure", code, "E1")

    def test_success_undone(self):
        self.story.worked("t", "j", 1, 2)
        self.story.ended("j", [("t", 2, "WORKER_CRASHED")], audit.FAILED, "WORKER_CRASHED")
        self.story.finds(outcome_undone=2)  # the job's and the attempt's

    def test_success_without_answer_may_be_undone(self):
        self.story.lease("t", "j", 0.9)
        self.story.run("t", "j", 1, 2)
        self.story.report("t", "j", 2, code="UNAVAILABLE")
        self.story.ended("j", [("t", 2, "WORKER_CRASHED")], audit.FAILED, "WORKER_CRASHED")
        self.story.finds()

    def test_other_result(self):
        self.story.worked("t", "j", 1, 2)
        self.story.ended("j", [("t", 1, None)], result="other")
        self.story.finds(outcome_undone=1)

    def test_failure_undone(self):
        self.failed()
        self.story.ended("j", [("t", 2, "E1")], audit.FAILED, "OTHER")
        self.story.finds(outcome_undone=1)

    def test_failure_stays(self):
        self.failed()
        self.story.ended("j", [("t", 2, "E1")], audit.FAILED, "E1")
        self.story.finds()

    def test_failed_attempt_undone(self):
        """A retry follows, so the job's outcome says nothing of it."""
        self.failed(last=False)
        self.story.worked("u", "j", 4, 5)
        self.story.succeeded("j", "t", "u")  # says WORKER_CRASHED of t
        self.story.finds(outcome_undone=1)

    def test_failure_then_restart(self):
        self.failed()
        self.story.call("restart", "j", 3)
        self.story.worked("u", "j", 4, 5)
        self.story.ended("j", [("t", 2, "E1"), ("u", 1, None)])
        self.story.finds()

    def test_restart_before_the_failure_is_no_excuse(self):
        self.story.call("restart", "j", 0.5, "UNAVAILABLE", 0.6)
        self.failed(at=4)
        self.story.ended("j", [("t", 2, "E1")], audit.CANCELLED)
        self.story.finds(outcome_undone=1)

    def test_cancel_undone(self):
        self.story.call("cancel", "j", 1)
        self.story.ended("j", [], audit.FAILED, "RATE_LIMIT_EXCEEDED")
        self.story.finds(outcome_undone=1)

    def test_cancel_of_a_running_job_leaves_the_end_to_its_worker(self):
        self.story.lease("t", "j", 0.9)
        self.story.call("cancel", "j", 1.2)
        self.story.run("t", "j", 1, 2)
        self.story.report("t", "j", 2)
        self.story.succeeded("j", "t")
        self.story.finds()

    def test_cancelled_job_does_not_crash(self):
        self.story.lease("t", "j", 0.9)
        self.story.call("cancel", "j", 1.2)
        self.story.ended("j", [("t", 2, "WORKER_CRASHED")], audit.FAILED, "WORKER_CRASHED")
        self.story.finds(outcome_undone=1)

    def test_job_and_result_disagree(self):
        self.story.worked("t", "j", 1, 2)
        self.story.succeeded("j", "t")
        self.story.final[-1]["status"] = audit.FAILED
        self.story.finds(outcome_undone=1)


class RanAfter(unittest.TestCase):
    def setUp(self):
        self.story = Story()
        self.story.enqueue("j")

    def test_success(self):
        self.story.worked("t", "j", 1, 2)
        self.story.lease("u", "j", 2.2)
        self.story.ended("j", [("t", 1, None), ("u", 1, None)], result="t")
        self.story.finds(ran_after_completion=2)  # by the calls, and by the attempts

    def test_poll_from_before_the_end_is_not_certain(self):
        """Its answer may be of a moment before the report, and the report then of a lease that had ended."""
        self.story.worked("t", "j", 1, 2)
        self.story.lease("u", "j", 1.9, answered=2.5)
        self.story.ended("j", [("u", 2, "WORKER_CRASHED"), ("t", 1, None)])
        self.story.finds()

    def test_final_failure(self):
        self.story.lease("t", "j", 0.9)
        self.story.run("t", "j", 1, 2)
        self.story.report("t", "j", 2, "failure", error="E1")
        self.story.worked("u", "j", 3, 4)
        self.story.ended("j", [("t", 2, "E1"), ("u", 1, None)])
        self.story.finds(ran_after_completion=1, outcome_undone=1)

    def test_cancel(self):
        self.story.call("cancel", "j", 1)
        self.story.worked("t", "j", 3, 4)
        self.story.succeeded("j", "t")
        self.story.finds(ran_after_completion=1)

    def test_delete(self):
        self.story.call("delete", "j", 1)
        self.story.lease("t", "j", 3)
        self.story.gone("j")
        self.story.finds(ran_after_completion=1)

    def test_restart_of_unknown_outcome_between(self):
        self.story.call("cancel", "j", 1)
        self.story.call("restart", "j", 2, "UNAVAILABLE")
        self.story.worked("t", "j", 3, 4)
        self.story.succeeded("j", "t")
        self.story.finds()

    def test_restart_afterwards_is_no_excuse(self):
        self.story.call("cancel", "j", 1)
        self.story.worked("t", "j", 3, 4)
        self.story.call("restart", "j", 5, "UNAVAILABLE")
        self.story.succeeded("j", "t")
        self.story.finds(ran_after_completion=1)


class Slots(unittest.TestCase):
    """Jobs a, b, c on one queue; each ends well."""

    def setUp(self):
        self.story = Story()

    def runs(self, *spans, limits=(QUEUE,)):
        for name, (begin, end) in zip("abc", spans):
            self.story.enqueue(name, limits=limits)
            self.story.worked("task-" + name, name, begin, end, limits)
            self.story.succeeded(name, "task-" + name)

    def test_one_after_the_other(self):
        self.runs((1, 2), (2, 3))
        self.story.finds()

    def test_over_granted(self):
        self.runs((1, 2), (1.9, 3))
        equal(self.story.finds(over_granted=1).last_line(), "audit: 2 jobs, 2 runs, 0 faults, 0 lost, 1 over-granted, "
              "0 leaked, 0 ran after completion, 0 stuck, 0 spent")

    def test_second_queue_of_a_chain(self):
        self.runs((1, 2), (1.9, 3), limits=(["c", "wide", 5], QUEUE))
        self.story.finds(over_granted=1)

    def test_more_slots(self):
        self.runs((1, 4), (2, 4), limits=(["c", "q", 2],))
        self.story.finds()

    def test_three_of_two(self):
        self.runs((1, 4), (2, 4), (3, 4), limits=(["c", "q", 2],))
        self.story.finds(over_granted=1)

    def test_each_job_has_its_own_maximum(self):
        for name, maximum, begin in (("a", 2, 1), ("b", 2, 2), ("c", 5, 3)):
            limits = [["c", "q", maximum]]
            self.story.enqueue(name, limits=limits)
            self.story.worked("task-" + name, name, begin, 4, limits)
            self.story.succeeded(name, "task-" + name)
        self.story.finds()

    def test_worker_that_outlives_its_lease(self):
        """The lease of a ran out at 10.9, whatever its worker thought; b had the slot from then on."""
        self.story.enqueue("a", limits=[QUEUE])
        self.story.lease("task-a", "a", 0.9, [QUEUE])
        self.story.run("task-a", "a", 1, 15)
        self.story.report("task-a", "a", 15, code="NOT_FOUND")
        self.story.ended("a", [("task-a", 2, "WORKER_CRASHED")], audit.FAILED, "WORKER_CRASHED")
        self.story.enqueue("b", limits=[QUEUE])
        self.story.worked("task-b", "b", 11, 12, [QUEUE])
        self.story.succeeded("b", "task-b")
        self.story.finds()

    def test_heartbeat_keeps_the_slot(self):
        self.runs((1, 15), (11, 12))
        self.story.beat("task-a", 8)
        self.story.finds(over_granted=1)

    def test_refused_heartbeat_keeps_nothing(self):
        self.runs((1, 15), (11, 12))
        self.story.beat("task-a", 10.7, "NOT_FOUND")
        self.story.finds()

    def test_one_job_twice_at_once(self):
        self.story.enqueue("a")
        self.story.lease("t", "a", 0.9, last=False)
        self.story.run("t", "a", 1, 5)
        self.story.worked("u", "a", 3, 4)
        self.story.succeeded("a", "t", "u")
        self.story.finds(ran_twice_at_once=1)

    def test_floating_default(self):
        self.runs((1, 4), (2, 4), (3, 4), limits=(FLOAT,))
        self.story.finds(over_granted=1)

    def test_floating_raised(self):
        self.story.refresh(3, 2.5)
        self.runs((1, 4), (2, 4), (3, 4), limits=(FLOAT,))
        self.story.finds()

    def test_floating_perhaps_raised(self):
        self.story.refresh(3, 2.5, "UNAVAILABLE")
        self.runs((1, 4), (2, 4), (3, 4), limits=(FLOAT,))
        self.story.finds()

    def test_floating_raised_too_late(self):
        self.story.refresh(3, 3.5)
        self.runs((1, 4), (2, 4), (3, 4), limits=(FLOAT,))
        self.story.finds(over_granted=1)

    def test_floating_lowered(self):
        """Jobs of before the change may have had their slots since then, those of afterwards not."""
        self.story.refresh(1, 0.2)
        self.runs((1, 4), (2, 4), limits=(FLOAT,))
        self.story.finds()
        story = self.story = Story()
        story.refresh(1, -5)
        self.runs((1, 4), (2, 4), limits=(FLOAT,))
        story.finds(over_granted=1)

    def test_leaked_slot(self):
        self.runs((1, 2))
        self.story.probe(leased=1)
        equal(self.story.finds(slot_leaked=1).last_line(), "audit: 1 jobs, 1 runs, 0 faults, 0 lost, 0 over-granted, "
              "1 leaked, 0 ran after completion, 0 stuck, 0 spent")

    def test_probe_that_got_too_much(self):
        self.runs((1, 2))
        self.story.probe(leased=3)
        self.story.finds(over_granted=1)

    def test_holder_left(self):
        self.runs((1, 2))
        self.story.dropped = 2
        self.story.finds(slot_leaked=2)


class Spent(unittest.TestCase):
    """Attempts that ended though no worker neglected them."""

    def setUp(self):
        self.story = Story()
        self.story.enqueue("j")

    def crashed(self, task, started=1.0):
        """It crashed, and the next attempt succeeded."""
        self.story.worked("u", "j", 30, 31)
        self.story.succeeded("j", task, "u")
        self.story.final[-1]["attempts"][0][5] = int(1000 * started)

    def poll(self, begin, end, code="UNAVAILABLE"):
        self.story.event("lease", (begin, end), code=code, tasks=[])

    def test_no_worker_heard_of_it(self):
        self.crashed("t")
        self.story.finds(attempt_nobody_began=1)

    def test_its_poll_had_no_answer(self):
        self.poll(0.5, 1.5)
        self.crashed("t")
        self.story.finds()

    def test_a_poll_of_another_time_is_no_excuse(self):
        self.poll(11, 12)
        self.crashed("t")
        self.story.finds(attempt_nobody_began=1)

    def test_a_poll_that_a_standing_server_hears_later(self):
        """The client gave up at 4; the server went on at 12, and heard it then."""
        self.story.fault("node-pause", 1, 12)
        self.poll(2, 4, code="DEADLINE_EXCEEDED")
        self.crashed("t", started=12.5)
        self.story.finds()

    def test_a_poll_that_a_connection_sends_again(self):
        """After an outage of 10 s it may take 10 s more before what was lost is sent again."""
        self.story.fault("link", 1, 11)
        self.poll(2, 4, code="DEADLINE_EXCEEDED")
        self.crashed("t", started=20)
        self.story.finds()

    def test_a_poll_of_an_outage_long_ago_is_no_excuse(self):
        self.story.fault("link", 1, 11)
        self.poll(2, 4, code="DEADLINE_EXCEEDED")
        self.crashed("t", started=24)
        self.story.finds(attempt_nobody_began=1)

    def test_a_poll_while_the_clock_was_ahead(self):
        self.story.fault("clock", 10, 13, ahead=3600)
        self.poll(11, 12)
        self.crashed("t", started=3611.5)
        self.story.finds()

    def test_leased_and_never_begun(self):
        self.story.lease("t", "j", 1, last=False, begun=False)
        self.crashed("t")
        self.story.finds(attempt_nobody_began=1)

    def test_leased_and_begun(self):
        self.story.lease("t", "j", 1, last=False)
        self.crashed("t")
        self.story.finds()

    def test_given_back(self):
        self.story.lease("t", "j", 1, last=False, begun=False)
        self.story.returned("t", "j", 2)
        self.story.worked("u", "j", 30, 31)
        self.story.succeeded("j", "u")
        self.story.finds()

    def test_refused_before_its_time(self):
        self.story.lease("t", "j", 1, last=False)
        self.story.beat("t", 9, "NOT_FOUND")
        self.crashed("t")
        self.story.finds(lease_lost_early=1)

    def test_refused_in_time(self):
        self.story.lease("t", "j", 1, last=False)
        self.story.beat("t", 11.5, "NOT_FOUND")
        self.crashed("t")
        self.story.finds()

    def test_a_silent_link_or_a_wrong_clock_is_no_excuse(self):
        self.story.lease("t", "j", 1, last=False)
        self.story.fault("silence", 3, 6)
        self.story.fault("clock", 6, 9, ahead=30)
        self.story.beat("t", 12.5, "NOT_FOUND")
        self.crashed("t")
        self.story.finds()

    def test_silence_while_the_server_was_struck_is_not_the_workers(self):
        self.story.lease("t", "j", 1, last=False)
        self.story.fault("pause", 3, 12)
        self.story.beat("t", 12.5, "NOT_FOUND")
        self.crashed("t")
        self.story.finds(lease_lost_early=1)

    def test_a_pause_in_the_middle_of_a_term_does_not_make_it_longer(self):
        """The worker could be heard before it and for long enough after it."""
        self.story.lease("t", "j", 1, last=False)
        self.story.fault("pause", 3, 6)
        self.story.beat("t", 12, "NOT_FOUND")
        self.crashed("t")
        self.story.finds()

    def test_a_pause_near_the_end_of_a_term_does(self):
        self.story.lease("t", "j", 1, last=False)
        self.story.fault("pause", 6, 10)
        self.story.beat("t", 12, "NOT_FOUND")
        self.crashed("t")
        self.story.finds(lease_lost_early=1)

    def test_a_start_begins_a_whole_term(self):
        self.story.lease("t", "j", 1, last=False)
        self.story.fault("kill", 8, 8.5)
        self.story.beat("t", 15, "NOT_FOUND")
        self.crashed("t")
        self.story.finds(lease_lost_early=1)

    def test_a_server_that_was_replaced_hears_again_when_the_other_serves(self):
        self.story.lease("t", "j", 1, last=False)
        self.story.fault("takeover", 3, 9, served=3.5)
        self.story.beat("t", 12.5, "NOT_FOUND")
        self.crashed("t")
        self.story.finds()

    def test_refused_report_after_one_without_an_answer(self):
        self.story.lease("t", "j", 1)
        self.story.report("t", "j", 2, code="UNAVAILABLE")
        self.story.report("t", "j", 3, code="NOT_FOUND")
        self.story.succeeded("j", "t")
        self.story.finds()


if __name__ == "__main__":
    sys.exit(runner.main())

#!/usr/bin/env python3
"""Judges what clients of a killed server were told against what the server has in the end. Reads files, and nothing else.

    audit.py LOGS [--examples N]

LOGS holds a log for each client (load.py says what is in them) and final.jsonl (collect.py). Prints a table of what was
counted, examples of each violation, and as the last line

    audit: N jobs, N runs, N faults, 0 lost, 0 over-granted, 0 leaked, 0 ran after completion, 0 stuck, 0 spent

The status is 1 if anything was found. Only what is certain counts. A call happened at some time between its being sent and
its answer; without an answer it may have happened or not, until OPEN_SECONDS after the client gave up, or after what kept it on its
way has been over for as long as it lasted: that is how long a connection waits before it sends again. A lease lives for
certain from its receipt to LEASE_SECONDS after the last acknowledged renewal was SENT: a restart of the server only makes it
longer. A worker's own end may come before that, never the other way round.

An attempt is *spent* if it ended without its worker's doing, though no worker neglected it: it was handed out to nobody who began
it, or its lease was refused before it could have run out by the worker's silence. After the server stood still a lease is there for
at least as long as that took, and after a start for a whole term; a bad link or a wrong clock makes none longer.
"""

import argparse
import collections
import glob
import json
import os
import sys

LEASE_SECONDS = 10
SLACK_SECONDS = 0.5
OPEN_SECONDS = 2
FOREVER = float("inf")

SCHEDULED, RUNNING, SUCCEEDED, FAILED, CANCELLED = range(5)  # of a job
NAMES = ("SCHEDULED", "RUNNING", "SUCCEEDED", "FAILED", "CANCELLED")
ENDED = (SUCCEEDED, FAILED, CANCELLED)
ATTEMPT_OF = {"success": 1, "failure": 2, "cancelled": 3}
STATUS_OF = {"success": SUCCEEDED, "failure": FAILED, "cancelled": CANCELLED}

OPEN_OUTCOME = {"UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED", "UNKNOWN"}
EXPECTED = {
    "enqueue": {"OK", "RESOURCE_EXHAUSTED"},
    "lease": {"OK", "RESOURCE_EXHAUSTED"},
    "heartbeat": {"OK", "NOT_FOUND", "RESOURCE_EXHAUSTED"},
    "report": {"OK", "NOT_FOUND", "RESOURCE_EXHAUSTED"},
    "refresh": {"OK", "NOT_FOUND", "RESOURCE_EXHAUSTED"},
    "return": {"OK", "NOT_FOUND", "RESOURCE_EXHAUSTED"},
    "cancel": {"OK", "NOT_FOUND", "FAILED_PRECONDITION", "RESOURCE_EXHAUSTED"},
    "restart": {"OK", "NOT_FOUND", "FAILED_PRECONDITION", "RESOURCE_EXHAUSTED"},
    "expedite": {"OK", "NOT_FOUND", "FAILED_PRECONDITION", "RESOURCE_EXHAUSTED"},
    "delete": {"OK", "FAILED_PRECONDITION", "RESOURCE_EXHAUSTED"},
}

# kind of violation -> where the last line counts it
COUNTED_AS = {
    "job gone": "lost",
    "job changed": "lost",
    "hand-out not recorded": "lost",
    "outcome undone": "lost",
    "deletion undone": "lost",
    "totals wrong": "lost",
    "unexpected answer": "lost",
    "over-granted": "over-granted",
    "ran twice at once": "over-granted",
    "slot leaked": "leaked",
    "ran after completion": "ran after completion",
    "not ended": "stuck",
    "attempt nobody began": "spent",
    "lease lost early": "spent",
}
SUMS = ("lost", "over-granted", "leaked", "ran after completion", "stuck", "spent")
CRASHED = "WORKER_CRASHED"
STANDSTILLS = {"kill", "restart", "pause", "takeover"}  # the server hears nobody; a bad link or a wrong clock is none

STARTS = {"kill", "restart"}


def overlap(spans, begin, end):
    """Seconds of the span from begin to end that lie in others."""
    return sum(max(0.0, min(end, until) - max(begin, since)) for since, until in spans)


class Call:
    """When something was asked for and answered; `late` is the last moment at which it may have taken effect."""

    __slots__ = ("sent", "answered", "late", "certain")

    def __init__(self, at, code):
        self.sent, self.answered = at
        self.certain = code == "OK"
        self.late = self.answered if self.certain else self.answered + OPEN_SECONDS


class Lease(Call):
    __slots__ = ("task", "job", "last", "limits", "renewed", "end", "began", "returned")

    def __init__(self, at, task):
        super().__init__(at, "OK")
        self.task = task["task"]
        self.job = task["job"]
        self.last = task["last"]
        self.limits = [tuple(limit) for limit in task["limits"]]
        self.renewed = self.sent
        self.end = self.answered  # the worker's; a worker without a log of its run was at it for no time
        self.began = False
        self.returned = False  # given back, or perhaps

    def lives_until(self):
        return min(self.end, self.renewed + LEASE_SECONDS - SLACK_SECONDS)


class Report(Call):
    __slots__ = ("task", "kind", "error", "sum")

    def __init__(self, at, item):
        super().__init__(at, item["code"])
        self.task = item["task"]
        self.kind = item["kind"]
        self.error = item["error"]
        self.sum = item["sum"]


class Job:
    """All that the logs say of one."""

    __slots__ = ("id", "acknowledged", "sent", "sum", "leases", "reports", "cancels", "restarts", "deletes")

    def __init__(self, job_id):
        self.id = job_id
        self.acknowledged = False
        self.sent = None  # when it was asked for first
        self.sum = None
        self.leases = []
        self.reports = []
        self.cancels = []
        self.restarts = []
        self.deletes = []


class Logs:
    def __init__(self):
        self.jobs = {}
        self.leases = {}  # by task
        self.beats = []
        self.runs = []
        self.returns = []  # (task, sent)
        self.refreshes = collections.defaultdict(list)  # key -> (Call, value)
        self.nameless = 0  # jobs that may exist under an id nobody was told
        self.faults = []  # (kind, begin, end)
        self.standstills = []  # (kind, begin, end)
        self.shifts_ms = {0}  # by which the server's wall clock was off at times
        self.wall_ms = 0  # wall clock minus monotonic clock
        self.open_polls = []  # polls whose outcome is unknown
        self.refusals = []  # (task, what, sent, answered): the server knew no such lease
        self.calls = collections.Counter()
        self.open = collections.Counter()
        self.unexpected = []
        self.first = FOREVER
        self.final_sent = -FOREVER

    def job(self, job_id):
        job = self.jobs.get(job_id)
        if job is None:
            job = self.jobs[job_id] = Job(job_id)
        return job

    def read(self, directory):
        for path in sorted(glob.glob(os.path.join(directory, "*.jsonl"))):
            if os.path.basename(path) == "final.jsonl":
                continue
            with open(path, encoding="utf-8") as file:
                for line in file:
                    self.add(json.loads(line))
        self.join()
        return self

    def add(self, event):
        op = event["op"]
        self.first = min(self.first, event["at"][0])
        self.final_sent = max(self.final_sent, event["at"][0])
        getattr(self, "add_" + op)(event)

    def saw(self, op, code, what):
        self.calls[op] += 1
        if code in OPEN_OUTCOME:
            self.open[op] += 1
        elif code not in EXPECTED[op]:
            self.unexpected.append("%s of %s: %s" % (op, what, code))

    def add_fault(self, event):
        began, ended = event["at"]
        self.faults.append((event["kind"], began, ended))
        if event["kind"] in STANDSTILLS:
            self.standstills.append((event["kind"], began, event.get("served", ended)))
        self.shifts_ms.add(1000 * event.get("ahead", 0))
        self.wall_ms = 1000 * (event["wall"] - event["at"][1])

    def add_broken(self, event):
        self.unexpected.append("a client broke: " + event["text"])

    def add_enqueue(self, event):
        for item in event["jobs"]:
            code = item["code"]
            # A repeat finds what an earlier try of unknown outcome made.
            found = code == "OK" or (code == "ALREADY_EXISTS" and item["again"])
            self.saw("enqueue", "OK" if found else code, item["id"])
            if not item["id"]:
                self.nameless += code in OPEN_OUTCOME
                continue
            job = self.job(item["id"])
            job.acknowledged = job.acknowledged or found
            job.sum = item["sum"]
            sent = event["at"][0]
            job.sent = sent if job.sent is None else min(job.sent, sent)

    def add_lease(self, event):
        self.saw("lease", event["code"], "")
        if event["code"] in OPEN_OUTCOME:
            self.open_polls.append(Call(event["at"], event["code"]))
        for task in event["tasks"]:
            lease = Lease(event["at"], task)
            self.leases[lease.task] = lease
            job = self.job(lease.job)
            job.leases.append(lease)
            if job.sum is not None and job.sum != task["sum"]:
                self.unexpected.append("the payload of %s as it was leased" % lease.job)

    def add_run(self, event):
        self.runs.append((event["task"], event["at"][1]))

    def add_heartbeat(self, event):
        self.saw("heartbeat", event["code"], event["task"])
        if event["code"] == "OK":
            self.beats.append((event["task"], event["at"][0]))
        self.saw_refusal("heartbeat", event["code"], event["task"], event["at"])

    def saw_refusal(self, what, code, task, at):
        if code == "NOT_FOUND":
            self.refusals.append((task, what, *at))

    def add_report(self, event):
        for item in event["items"]:
            self.saw("report", item["code"], item["task"])
            if item["code"] == "OK" or item["code"] in OPEN_OUTCOME:
                self.job(item["job"]).reports.append(Report(event["at"], item))
            self.saw_refusal("report", item["code"], item["task"], event["at"])

    def add_return(self, event):
        for item in event["items"]:
            self.saw("return", item["code"], item["task"])
            if item["code"] == "OK" or item["code"] in OPEN_OUTCOME:
                self.returns.append((item["task"], event["at"][0]))

    def add_refresh(self, event):
        self.saw("refresh", event["code"], event["key"])
        done = event["code"] == "OK" or event["code"] in OPEN_OUTCOME
        if done and event["value"] is not None:
            self.refreshes[event["key"]].append((Call(event["at"], event["code"]), event["value"]))

    def add_operation(self, event):
        op, code = event["op"], event["code"]
        self.saw(op, code, event["job"])
        if op != "expedite" and (code == "OK" or code in OPEN_OUTCOME):
            getattr(self.job(event["job"]), op + "s").append(Call(event["at"], code))

    add_cancel = add_restart = add_expedite = add_delete = add_operation

    def join(self):
        """Ends and renewals to their leases: the logs of different clients come in any order."""
        self.delay_open_calls()
        for task, end in self.runs:
            if task in self.leases:
                self.leases[task].end = max(self.leases[task].end, end)
                self.leases[task].began = True
        for task, sent in self.returns:
            lease = self.leases.get(task)
            if lease is not None:
                lease.end = min(lease.end, sent)
                lease.returned = True
        for task, sent in self.beats:
            lease = self.leases.get(task)
            if lease is not None:
                lease.renewed = max(lease.renewed, sent)
        for job in self.jobs.values():
            job.leases.sort(key=lambda lease: lease.answered)


    def delay_open_calls(self):
        """What was on its way to a server that stood still, or on a link that was cut, may arrive when all is well again."""
        calls = [call for call in self.open_polls if not call.certain]
        for job in self.jobs.values():
            calls += [call for call in job.reports + job.cancels + job.restarts + job.deletes if not call.certain]
        for refreshes in self.refreshes.values():
            calls += [call for call, _ in refreshes if not call.certain]
        for call in calls:
            for _, begin, end in self.faults:
                if begin <= call.answered and end >= call.sent:
                    call.late = max(call.late, end + (end - begin) + OPEN_SECONDS)


class Final:
    def __init__(self):
        self.jobs = {}
        self.totals = None
        self.probes = []
        self.dropped = None

    def read(self, directory):
        with open(os.path.join(directory, "final.jsonl"), encoding="utf-8") as file:
            for text in file:
                line = json.loads(text)
                if "job" in line:
                    self.jobs[line["job"]] = line
                elif "totals" in line:
                    self.totals = line["totals"]
                elif "probe" in line:
                    self.probes.append(line)
                elif "dropped" in line:
                    self.dropped = line["dropped"]
        return self


class Audit:
    def __init__(self, logs, final):
        self.logs = logs
        self.final = final
        self.found = {kind: [] for kind in COUNTED_AS}

    def violation(self, kind, text, times=1):
        self.found[kind] += [text] * times

    def run(self):
        for text in self.logs.unexpected:
            self.violation("unexpected answer", text)
        for job in self.logs.jobs.values():
            self.judge_job(job, self.final.jobs.get(job.id))
        self.judge_refusals()
        self.judge_totals()
        self.judge_queues()
        self.judge_slots()
        return self

    def sum(self, name):
        return sum(len(texts) for kind, texts in self.found.items() if COUNTED_AS[kind] == name)

    # ---- one job ----

    def judge_job(self, job, state):
        if state is None:
            self.violation("job gone", "%s was not looked at" % job.id)
            return
        self.judge_order(job)
        if not state["found"]:
            # What a worker was given had been stored before, whatever its producer heard.
            if (job.acknowledged or job.leases) and not job.deletes:
                self.violation("job gone", job.id)
            return
        if any(call.certain for call in job.deletes):
            self.violation("deletion undone", job.id)
            return
        if job.sum is not None and job.sum != state["sum"]:
            self.violation("job changed", "payload of %s" % job.id)
        if state["status"] not in ENDED or state["outcome"] is None:
            self.violation("not ended", "%s is %s" % (job.id, NAMES[state["status"]]))
        else:
            self.judge_outcome(job, state)
        self.judge_attempts(job, state)

    def judge_attempts(self, job, state):
        attempts = {task: (status, error, data) for _, task, status, error, data, _ in state["attempts"]}
        numbers = [number for number, *_ in state["attempts"]]
        if numbers != list(range(1, len(numbers) + 1)):
            self.violation("hand-out not recorded", "%s has attempts %s" % (job.id, numbers))
        for lease in job.leases:
            if lease.task not in attempts and not lease.returned:
                self.violation("hand-out not recorded", "task %s of %s" % (lease.task, job.id))
        for report in job.reports:
            if report.certain and report.task in attempts:
                wanted = ATTEMPT_OF[report.kind], report.error, report.sum if report.kind != "cancelled" else None
                if attempts[report.task] != wanted:
                    text = "attempt %s of %s is %s, acknowledged was %s" % (report.task, job.id, attempts[report.task], wanted)
                    self.violation("outcome undone", text)
        for _, task, status, *_ in state["attempts"][:-1]:
            if status == ATTEMPT_OF["success"]:
                self.violation("ran after completion", "%s: an attempt follows the success of %s" % (job.id, task))
        self.judge_spent(job, state)

    # ---- attempts that were spent ----

    def judge_spent(self, job, state):
        leases = {lease.task: lease for lease in job.leases}
        for number, task, _, error, _, started_ms in state["attempts"]:
            if error != CRASHED:
                continue
            lease = leases.get(task)
            if lease is None and not self.may_be_unheard(started_ms):
                self.violation("attempt nobody began", "attempt %d of %s: no worker heard of it" % (number, job.id))
            elif lease is not None and not lease.began:
                self.violation("attempt nobody began", "attempt %d of %s, leased at %.3f" % (number, job.id, lease.answered))

    def may_be_unheard(self, started_ms):
        """Whether a poll without an answer may have been what took it."""
        logs = self.logs
        moments = [(started_ms - shift - logs.wall_ms) / 1000 for shift in logs.shifts_ms]
        return any(call.sent - SLACK_SECONDS <= at <= call.late for at in moments for call in logs.open_polls)

    def judge_refusals(self):
        """A lease that its worker did not neglect was there when it was asked for."""
        logs = self.logs
        for task, what, sent, answered in logs.refusals:
            lease = logs.leases.get(task)
            if lease is None or lease.returned or self.struck(sent, answered) or self.told_before(lease, sent):
                continue
            early = self.term_end(lease.renewed, sent) - SLACK_SECONDS - sent
            if early > 0:
                self.violation("lease lost early", "%s of task %s of %s, %.3f s before its term was over" % (what, task, lease.job, early))

    def term_end(self, renewed, sent):
        """
        Until when a lease is there whose worker asked for it last at `renewed`: for its term; after a standstill of the
        server for at least as long as that took, in which nobody could be heard; and for a whole term after a start.
        """
        end = renewed + LEASE_SECONDS
        for kind, begin, until in self.logs.standstills:
            if renewed < until and begin < sent:
                end = max(end, until + min(until - max(begin, renewed), LEASE_SECONDS))
                if kind in STARTS and renewed < begin:
                    end = max(end, begin + LEASE_SECONDS)
        return end

    def struck(self, begin, end):
        """Whether the server, or the link to it, was struck in that span."""
        return overlap([(since, until) for _, since, until in self.logs.faults], begin, end) > 0

    def told_before(self, lease, sent):
        """Whether an earlier report may have ended it, or the job is gone."""
        job = self.logs.jobs[lease.job]
        return bool(job.deletes) or any(r.task == lease.task and r.sent < sent for r in job.reports)

    def completions(self, job):
        """(call, report or None) of each call after whose acknowledgement the job had ended, or was to end with the attempt
        that ran: unless restarted, it is given to no worker any more."""
        last = {lease.task for lease in job.leases if lease.last}
        for report in job.reports:
            if report.certain and (report.kind != "failure" or report.task in last):
                yield report, report
        for cancel in job.cancels:
            if cancel.certain:
                yield cancel, None
        for delete in job.deletes:
            if delete.certain:
                yield delete, None

    @staticmethod
    def restarted(job, since, until):
        return any(call.late >= since and call.sent <= until for call in job.restarts)

    def judge_order(self, job):
        if not job.leases:
            return
        for call, report in self.completions(job):
            for lease in job.leases:
                if lease.sent <= call.answered or self.restarted(job, call.sent, lease.answered):
                    continue
                what = "its " + report.kind if report else "it was cancelled or deleted"
                text = "%s leased %.3f s after %s" % (job.id, lease.sent - call.answered, what)
                self.violation("ran after completion", text)

    def judge_outcome(self, job, state):
        status, error, data = state["outcome"]
        if status != state["status"]:
            self.violation("outcome undone", "%s is %s and ended as %s" % (job.id, NAMES[state["status"]], NAMES[status]))
        for call, report in self.completions(job):
            if report is None:
                self.judge_cancel(job, call, status, error)
            elif report.kind == "success":
                if (status, data, state["result"]) != (SUCCEEDED, report.sum, report.sum):
                    self.violation("outcome undone", "%s succeeded, is %s" % (job.id, NAMES[status]))
            elif not self.restarted(job, call.sent, FOREVER):
                wanted = STATUS_OF[report.kind], report.error
                # A failure of an attempt that was cancelled meanwhile.
                marked = report.kind == "failure" and any(cancel.sent <= report.late for cancel in job.cancels)
                if (status, error) != wanted and not (marked and status == CANCELLED):
                    self.violation("outcome undone", "%s: %s is %s" % (job.id, report.kind, (NAMES[status], error)))

    def judge_cancel(self, job, call, status, error):
        """A job that was running may have ended by a report; the mark keeps it from ending any other way."""
        if status == CANCELLED or self.restarted(job, call.sent, FOREVER):
            return
        if not any(STATUS_OF[report.kind] == status and report.error == error for report in job.reports):
            self.violation("outcome undone", "%s was cancelled, is %s %s" % (job.id, NAMES[status], error or ""))

    def judge_totals(self):
        if self.final.totals is None:
            self.violation("totals wrong", "they were not read")
            return
        total, completed = self.final.totals
        known = sum(state["found"] for state in self.final.jobs.values())
        if not known <= total <= known + self.logs.nameless:
            self.violation("totals wrong", "%d jobs counted, %d found, %d nameless" % (total, known, self.logs.nameless))
        hidden = total - completed - len(self.found["not ended"])
        if hidden > 0:
            self.violation("not ended", "a job that nobody knows", hidden)
        elif hidden < 0:
            self.violation("totals wrong", "%d of %d jobs are counted as ended" % (completed, total))

    # ---- queues ----

    def judge_queues(self):
        queues = collections.defaultdict(list)
        for job in self.logs.jobs.values():
            before = job.sent if job.sent is not None else self.logs.first
            for lease in job.leases:
                for kind, key, maximum in lease.limits:
                    if kind != "r":
                        queues[kind, key].append((lease, before, maximum))
                before = lease.sent
            self.judge_own_runs(job)
        for (kind, key), members in sorted(queues.items()):
            allowed = self.fixed if kind == "c" else self.floating_of(key, members)
            self.judge_queue(key, members, allowed)

    def judge_own_runs(self, job):
        for earlier, later in zip(job.leases, job.leases[1:]):
            if later.answered < earlier.lives_until():
                self.violation("ran twice at once", "%s by tasks %s and %s" % (job.id, earlier.task, later.task))

    def judge_queue(self, key, members, allowed):
        """Walks over the certain intervals in order of time. What ends at a moment ends before what begins then."""
        events = []
        for index, (lease, _, _) in enumerate(members):
            if lease.lives_until() > lease.answered:
                events.append((lease.answered, 1, index))
                events.append((lease.lives_until(), 0, index))
        running = set()
        for at, begins, index in sorted(events):
            if not begins:
                running.discard(index)
                continue
            running.add(index)
            if not allowed([members[i] for i in running]):
                tasks = ", ".join(sorted(members[i][0].task for i in running))
                self.violation("over-granted", "%s: %d at %.3f: %s" % (key, len(running), at, tasks))

    @staticmethod
    def fixed(running):
        """The one admitted last saw all others: its maximum was at least their number."""
        return len(running) <= max(maximum for _, _, maximum in running)

    def floating_of(self, key, members):
        """The same with the number of its time, which lies between the job's enqueue, or its run before, and its lease."""
        spans = [(-FOREVER, self.replaced(key, -FOREVER), members[0][2])]
        for call, value in self.logs.refreshes[key]:
            spans.append((call.sent, self.replaced(key, call.late), value))
        least = min(value for _, _, value in spans)

        def allowed(running):
            count = len(running)
            if count <= least:
                return True
            for lease, before, _ in running:
                if any(value >= count and begin <= lease.answered and end >= before for begin, end, value in spans):
                    return True
            return False

        return allowed

    def replaced(self, key, since):
        """When a number that was in force by `since` had certainly been replaced."""
        return min((call.answered for call, _ in self.logs.refreshes[key] if call.certain and call.sent > since),
                   default=FOREVER)

    def judge_slots(self):
        for probe in self.final.probes:
            text = "%s: %d of %d slots" % (probe["probe"], probe["leased"], probe["slots"])
            if probe["leased"] < probe["slots"]:
                self.violation("slot leaked", text, probe["slots"] - probe["leased"])
            elif probe["leased"] > probe["slots"]:
                self.violation("over-granted", text)
        if self.final.dropped is None:
            self.violation("slot leaked", "DropTenantHolders was not asked")
        elif self.final.dropped:
            self.violation("slot leaked", "%d holders at the end" % self.final.dropped, self.final.dropped)

    # ---- what is printed ----

    def table(self):
        logs = self.logs
        states = collections.Counter(NAMES[s["status"]] if s["found"] else "not there" for s in self.final.jobs.values())
        yield "%-10s %10s %10s" % ("call", "answered", "open")
        for op in EXPECTED:
            yield "%-10s %10d %10d" % (op, logs.calls[op] - logs.open[op], logs.open[op])
        yield "final states: " + ", ".join("%d %s" % (n, name) for name, n in sorted(states.items()))
        kinds = collections.Counter(kind for kind, *_ in logs.faults)
        yield "faults: " + ", ".join("%d %s" % (n, kind) for kind, n in sorted(kinds.items()))
        yield "queues probed: %d" % len(self.final.probes)
        yield ""
        for kind, texts in self.found.items():
            yield "%-22s %6d" % (kind, len(texts))

    def examples(self, count):
        for kind, texts in self.found.items():
            for text in texts[:count]:
                yield "%s: %s" % (kind, text)

    def last_line(self):
        logs = self.logs
        acknowledged = sum(job.acknowledged for job in logs.jobs.values())
        return "audit: %d jobs, %d runs, %d faults, %s" % (
            acknowledged, len({task for task, _ in logs.runs}), len(logs.faults), ", ".join("%d %s" % (self.sum(name), name) for name in SUMS))

    def ok(self):
        return not any(self.found.values())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("logs")
    parser.add_argument("--examples", type=int, default=5, help="of each kind of violation")
    args = parser.parse_args()
    audit = Audit(Logs().read(args.logs), Final().read(args.logs)).run()
    for line in audit.table():
        print(line)
    for line in audit.examples(args.examples):
        print(line)
    print(audit.last_line(), flush=True)
    return 0 if audit.ok() else 1


if __name__ == "__main__":
    sys.exit(main())

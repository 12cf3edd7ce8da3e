#!/usr/bin/env python3
"""Reads a test runner's own figures from its output (standard input).

Usage: counts.py KIND --show          copies the output, without what nobody reads when all is well
       counts.py KIND --status N      prints "PASSED FAILED"; N is the runner's exit status

KIND is ctest (of cmocka programs, --verbose), cargo, node, unittest, or plain ("N passed, N failed" on a line of its
own). A runner that failed without naming a failed test, or that gave no figures, counts as one failed test.
"""

import re
import sys

CTEST_RESULT = re.compile(r"^\s*\d+/\d+ Test\s+#(\d+): .*?(\s+Passed|\*\*\*\S.*?)\s+[\d.]+ sec")
CTEST_LINE = re.compile(r"^(\d+): (.*)$")
CMOCKA_PASSED = re.compile(r"^\[  PASSED  \] (?:.*: )?(\d+) test\(s\)\.")
CMOCKA_FAILED = re.compile(r"^\[  FAILED  \] (?:.*: )?(\d+) test\(s\), listed below:")
CARGO = re.compile(r"^test result: .*?(\d+) passed; (\d+) failed;")
NODE = re.compile(r"^(?:#|\u2139) (pass|fail|cancelled) (\d+)\s*$")
UNITTEST_RAN = re.compile(r"^Ran (\d+) tests? in ")
UNITTEST_BAD = re.compile(r"(failures|errors|skipped|unexpected successes)=(\d+)")
PLAIN = re.compile(r"^(\d+) passed, (\d+) failed\s*$")


def count_ctest(lines):
    """Each cmocka test counts; a program that failed without a failed test of its own counts as one."""
    passed = {}
    failed = {}
    broken = set()
    for line in lines:
        result = CTEST_RESULT.match(line)
        if result:
            if result.group(2).strip() != "Passed":
                broken.add(result.group(1))
            continue
        inner = CTEST_LINE.match(line)
        if not inner:
            continue
        number, text = inner.groups()
        match = CMOCKA_PASSED.match(text)
        if match:
            passed[number] = passed.get(number, 0) + int(match.group(1))
        match = CMOCKA_FAILED.match(text)
        if match:
            failed[number] = failed.get(number, 0) + int(match.group(1))
    lost = sum(1 for number in broken if not failed.get(number))
    return sum(passed.values()), sum(failed.values()) + lost


def count_cargo(lines):
    matches = [match for match in map(CARGO.match, lines) if match]
    return sum(int(m.group(1)) for m in matches), sum(int(m.group(2)) for m in matches)


def count_node(lines):
    sums = {"pass": 0, "fail": 0, "cancelled": 0}
    for match in map(NODE.match, lines):
        if match:
            sums[match.group(1)] += int(match.group(2))
    return sums["pass"], sums["fail"] + sums["cancelled"]


def count_unittest(lines):
    passed = failed = ran = 0
    for line in lines:
        match = UNITTEST_RAN.match(line)
        if match:
            ran = int(match.group(1))
        elif line.startswith(("OK", "FAILED (")) and ran:
            bad = dict((word, int(n)) for word, n in UNITTEST_BAD.findall(line))
            wrong = bad.get("failures", 0) + bad.get("errors", 0) + bad.get("unexpected successes", 0)
            passed += max(0, ran - wrong - bad.get("skipped", 0))
            failed += wrong
            ran = 0
    return passed, failed


def count_plain(lines):
    """The last such line is the sum."""
    sums = (0, 0)
    for match in map(PLAIN.match, lines):
        if match:
            sums = (int(match.group(1)), int(match.group(2)))
    return sums


COUNTERS = {
    "ctest": count_ctest,
    "cargo": count_cargo,
    "node": count_node,
    "unittest": count_unittest,
    "plain": count_plain,
}


def counts(kind, lines, status):
    passed, failed = COUNTERS[kind](lines)
    if failed == 0 and (status != 0 or passed == 0):
        failed = 1
    return passed, failed


def show_ctest(lines):
    """One line for each program, and everything a failed one said."""
    said = {}
    for line in lines:
        inner = CTEST_LINE.match(line)
        result = CTEST_RESULT.match(line)
        if inner:
            said.setdefault(inner.group(1), []).append(inner.group(2))
        elif result:
            print(line, flush=True)
            output = said.pop(result.group(1), [])
            if result.group(2).strip() != "Passed":
                print("\n".join("    " + text for text in output), flush=True)


def main():
    kind, mode = sys.argv[1:3]
    sys.stdin.reconfigure(errors="replace")
    sys.stdout.reconfigure(errors="replace")
    lines = (line.rstrip("\n") for line in sys.stdin)
    if mode == "--status":
        print(*counts(kind, list(lines), int(sys.argv[3])))
    elif kind == "ctest":
        show_ctest(lines)
    else:
        for line in lines:
            print(line, flush=True)


if __name__ == "__main__":
    main()

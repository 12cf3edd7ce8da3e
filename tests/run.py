#!/usr/bin/env python3
"""Runs the black-box suites: programs that start real servers and talk to them from outside.

A suite is a directory of tests/ with an executable `run`, or with files test_*.py (unittest), or both.

  run          prints "N passed, N failed" as a line of its own at its end and exits non-zero when any failed
  test_*.py    each file is run by unittest in a process of its own

What they find in their environment:
  SILO_ROOT     the checkout
  SILO_BIN      the server program
  SILO_BIN_DIR  the directory it lies in
  SILO_BUILD    release, debug, asan or tsan: sanitized builds are several times slower

Usage: run.py [--build TYPE] [--bin-dir DIR] [--suite NAME ...] [--skip NAME ...] [--timeout SECONDS] [--jobs N] [--list]

The last line is "N passed, N failed" over all suites.
"""

import argparse
import concurrent.futures
import os
import signal
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import counts  # noqa: E402

TESTS = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(TESTS)
STOP_SECONDS = 20


def suites():
    """(name, [(label, command, kind)]) of every suite, in order of names."""
    found = []
    for name in sorted(os.listdir(TESTS)):
        directory = os.path.join(TESTS, name)
        if not os.path.isdir(directory):
            continue
        parts = []
        program = os.path.join(directory, "run")
        if os.access(program, os.X_OK) and os.path.isfile(program):
            parts.append((name + "/run", [program], "plain"))
        for file in sorted(os.listdir(directory)):
            if file.startswith("test_") and file.endswith(".py"):
                command = [sys.executable, "-B", "-m", "unittest", "-v", file[: -len(".py")]]
                parts.append((name + "/" + file, command, "unittest"))
        if parts:
            found.append((name, parts))
    return found


def stop_group(process):
    """Ends the process group of a part that took too long: first so that it can tidy up."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            process.wait(STOP_SECONDS)
            return
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue


def run_part(name, command, timeout, env):
    """Runs one part. Returns (exit status, lines of its output)."""
    process = subprocess.Popen(
        command,
        cwd=os.path.join(TESTS, name),
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    timed_out = []

    def give_up():
        timed_out.append(True)
        stop_group(process)

    timer = threading.Timer(timeout, give_up)
    timer.start()
    try:
        lines = [line.rstrip("\n") for line in process.stdout]
        status = process.wait()
    except BaseException:
        stop_group(process)
        raise
    finally:
        timer.cancel()
    if timed_out:
        lines.append(f"took longer than {timeout} s and was ended")
        status = status or 1
    return status, lines


def environment(args):
    env = dict(os.environ)
    bin_dir = os.path.abspath(os.path.join(ROOT, args.bin_dir))
    env["SILO_ROOT"] = ROOT
    env["SILO_BIN_DIR"] = bin_dir
    env["SILO_BIN"] = os.path.join(bin_dir, "silo")
    env["SILO_BUILD"] = args.build
    env["PYTHONUNBUFFERED"] = "1"
    env["PYTHONDONTWRITEBYTECODE"] = "1"
    env["PYTHONPATH"] = os.pathsep.join(p for p in (os.path.join(TESTS, "lib"), env.get("PYTHONPATH")) if p)
    return env


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default="release")
    parser.add_argument("--bin-dir", default="build/bin")
    parser.add_argument("--suite", action="append", default=[])
    parser.add_argument("--skip", action="append", default=[], help="a suite to leave out, or SUITE/FILE")
    parser.add_argument("--timeout", type=int, default=900, help="seconds for one part")
    parser.add_argument("--jobs", type=int, default=2, help="parts at a time: most of their time is waiting")
    parser.add_argument("--list", action="store_true")
    args = parser.parse_args()
    known = suites()
    names = {name for name, _ in known}
    unknown = (set(args.suite) - names) | (set(args.skip) - names - {label for _, found in known for label, _, _ in found})
    if unknown:
        parser.error("no such suite: " + ", ".join(sorted(unknown)))
    parts = [(name, *part) for name, found in known
             if (not args.suite or name in args.suite) and name not in args.skip
             for part in found if part[0] not in args.skip]
    if args.list:
        print("\n".join(label for _, label, _, _ in parts))
        return 0
    env = environment(args)

    def run(part):
        name, label, command, kind = part
        start = time.monotonic()
        status, lines = run_part(name, command, args.timeout, env)
        return label, lines, counts.counts(kind, lines, status), time.monotonic() - start

    passed = failed = 0
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        for done in concurrent.futures.as_completed([pool.submit(run, part) for part in parts]):
            label, lines, (part_passed, part_failed), seconds = done.result()
            print(f"--- {label} ({args.build})")
            print("".join(f"    {line}\n" for line in lines), end="")
            print(f"--- {label}: {part_passed} passed, {part_failed} failed, {seconds:.1f} s", flush=True)
            passed += part_passed
            failed += part_failed
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.exit(main())

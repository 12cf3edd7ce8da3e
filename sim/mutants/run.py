#!/usr/bin/env python3
"""Shows that the simulator, and some unit tests, catch planted bugs.

Usage: run.py BUILD_DIR [--only NAME ...] [--jobs N] [--list]

For each bug of mutants.py one source file is copied, changed and compiled, and linked in front of the objects of
its program, or instead of its own, as the build directory made them. The program runs
seeds until a rule is violated, a unit test runs once. A bug that survives, or whose text is not found, is a failure.
The sources themselves know nothing of this.

The last line is "N passed, N failed".
"""

import argparse
import json
import os
import re
import shlex
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

from mutants import MUTANTS, UNITS

ROOT = os.environ.get("SILO_ROOT") or os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
FOUND = re.compile(r"^seed (\d+): rule ([^:]+): (.*)$", re.MULTILINE)
FAILED = re.compile(r"^\[  FAILED  \] (\w+)$", re.MULTILINE)
RUN_SECONDS = 900
UNIT_SECONDS = 60
BASELINE_SEEDS = 60
WITH_ETCD = ["/usr/bin/python3", "-B", os.path.join(ROOT, "tests", "lib", "with_etcd.py"), "--"]
NO_ETCD = 77


class Broken(Exception):
    """The mutant could not be made."""


class Skipped(Exception):
    """What its test needs is not here, and may be missing."""


def compile_command(build, mutant):
    """The command that compiles the file for the mutant's program, as a list, and the name of its object."""
    with open(os.path.join(build, "compile_commands.json"), encoding="utf-8") as file:
        entries = [entry for entry in json.load(file) if os.path.normpath(entry["file"]).endswith("/" + mutant.file)]
    # Its own, where the file mentions a limit that is smaller in it; else its module's.
    for part in (mutant.program, f"silo_{mutant.file.split('/')[1]}"):
        for entry in entries:
            if f"/{part}.dir/" in entry["command"]:
                command = shlex.split(entry["command"])
                return command, entry["file"], command[command.index("-o") + 1]
    raise Broken(f"{mutant.file} is not compiled for {mutant.program}")


def program_path(program):
    return f"tests/{program}" if program in UNITS else f"bin/{program}"


def link_command(build, program):
    lines = subprocess.run(["ninja", "-C", build, "-t", "commands", program], capture_output=True, text=True,
                           check=True).stdout.strip().split("\n")
    return shlex.split(lines[-1].removeprefix(": && ").removesuffix(" && :"))


def make(build, mutant, link):
    """Compiles and links; returns the program's path."""
    with open(os.path.join(ROOT, mutant.file), encoding="utf-8") as file:
        text = file.read()
    if text.count(mutant.old) != 1:
        raise Broken(f"its text is found {text.count(mutant.old)} times in {mutant.file}")
    directory = os.path.join(build, "mutants", mutant.name)
    os.makedirs(directory, exist_ok=True)
    source = os.path.join(directory, os.path.basename(mutant.file))
    with open(source, "w", encoding="utf-8") as file:
        file.write(text.replace(mutant.old, mutant.new))
    command, original, target = compile_command(build, mutant)
    obj = source + ".o"
    command = [source if part == original else obj if part == target else part for part in command]
    done = subprocess.run(command, cwd=build, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Broken("it does not compile: " + done.stderr.strip().split("\n")[0])
    program = os.path.join(directory, mutant.program)
    parts = []
    for part in link:
        if part == program_path(mutant.program):
            part = program
        elif part == target:
            part = obj
        parts.append(part)
    if obj not in parts:
        parts.insert(parts.index("-o"), obj)  # before the archives, which are not asked any more
    done = subprocess.run(parts, cwd=build, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Broken("it does not link: " + done.stderr.strip().split("\n")[-1])
    return program


def hunt_unit(program, case=None):
    """(0, name) of the first test that fails, or that never ends; None when all pass."""
    command = [program] if case is None else WITH_ETCD + [program, case]
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False, timeout=UNIT_SECONDS)
    except subprocess.TimeoutExpired:
        return 0, "no end"
    match = FAILED.search(done.stdout + done.stderr)
    if case is not None and done.returncode == NO_ETCD:
        raise Skipped("there is no etcd")
    return None if done.returncode == 0 else (0, match.group(1) if match else f"exit status {done.returncode}")


def hunt(program, seeds, processes=1, case=None):
    """(seed, rule) of the first run that fails; None when all pass."""
    if os.path.basename(program) in UNITS:
        return hunt_unit(program, case)
    command = [program, "--count", str(seeds), "--stop", "--quiet", "--no-shrink"]
    if processes > 1:
        command += ["--processes", str(processes)]
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, errors="replace",
                              check=False, timeout=RUN_SECONDS)
    except subprocess.TimeoutExpired:
        return None
    match = FOUND.search(done.stdout)
    return (int(match.group(1)), match.group(2)) if match else None


def judge(build, mutant, link):
    """(caught, words for the table)"""
    try:
        program = make(build, mutant, link)
        found = hunt(program, mutant.seeds, mutant.processes, mutant.case)
    except Broken as broken:
        return False, f"NOT MADE: {broken}"
    except Skipped as skipped:
        return True, f"skipped: {skipped}"
    os.remove(program)
    if found is None:
        return False, "SURVIVED" if mutant.program in UNITS else f"SURVIVED {mutant.seeds} seeds"
    return True, found[1] if mutant.program in UNITS else f"{found[1]:<12} seed {found[0]}"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("build")
    parser.add_argument("--only", nargs="+", default=[])
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--list", action="store_true")
    args = parser.parse_args()
    chosen = [mutant for mutant in MUTANTS if not args.only or mutant.name in args.only]
    if args.list:
        for mutant in chosen:
            print(f"{mutant.name:<28} {mutant.breaks}")
        return 0
    if not chosen:
        sys.exit("no such mutant")
    build = os.path.abspath(args.build)
    programs = sorted({mutant.program for mutant in chosen})
    if subprocess.run(["ninja", "-C", build, *programs], stdout=subprocess.DEVNULL, check=False).returncode != 0:
        sys.exit("they do not build without any planted bug")
    links = {name: link_command(build, name) for name in programs}
    for name, processes in sorted({(mutant.program, mutant.processes) for mutant in chosen}):
        found = hunt(os.path.join(build, program_path(name)), BASELINE_SEEDS, processes)
        if found is not None:
            sys.exit(f"{name} fails without any planted bug: seed {found[0]}, rule {found[1]}")
    print(f"{'planted bug':<28} {'caught by':<30} what it breaks")
    passed = 0
    with ThreadPoolExecutor(args.jobs) as pool:
        for mutant, (caught, words) in zip(chosen, pool.map(lambda m: judge(build, m, links[m.program]), chosen)):
            passed += caught
            print(f"{mutant.name:<28} {words:<30} {mutant.breaks}", flush=True)
    print(f"{passed} passed, {len(chosen) - passed} failed")
    return 0 if passed == len(chosen) else 1


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""Checks that no compiler makes.

  layers    who may include whom: a module includes base, itself, and what LAYERS grants it, and includes nobody's
            private headers (*_int.h) but its own
            generated types (*.pb-c.h) stay in the modules of GENERATED, and out of the headers of codec
  storeys   which files of src/core may use which: storeys.py
  banned    calls that write or read without a bound or without an error: strcpy, strcat, sprintf, gets, atoi, ...;
            thrd_create, whose threads the thread sanitizer does not see
  limits    those of base/limits.h that a test may make smaller (with an #ifndef) stand in no header but in comments, and no
            other limit is made of one: so only the sources that mention one have to be compiled anew (cmake/silo.cmake)
  bounds    what base/limits.h defines bounds something, and a name is one figure in all of src
  width     a comment is at most 100 columns wide; what is drawn with lines or arrows may be wider
  alone     with --headers BUILD_DIR: every header compiles on its own

Usage: check.py [--headers BUILD_DIR]

Prints each violation as file:line: text. The last line is "N passed, N failed", counting files.
"""

import argparse
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor

import bounds
import storeys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SRC = os.path.join(ROOT, "src")

MODULES = {"base", "codec", "metrics", "config", "rpc", "store", "store_mem", "core", "shard", "limiter", "directory",
           "cluster", "coord", "node", "peers", "query", "gather", "service", "server"}

# What a module may include besides base and itself; "module/file.h" grants that header alone. It is the table of folders
# in docs/internals/architecture.md. Tests may in addition include what TEST_GRANTS says.
LAYERS = {
    "base": set(),
    "codec": set(),
    "metrics": set(),
    "config": {"sdbx_toml.h", "sdbx_settings.h"},
    "core": {"codec"},
    "store": set(),
    "store_mem": {"store/store.h"},
    "rpc": {"metrics"},
    "shard": {"core", "codec", "metrics", "store/store.h"},
    "limiter": {"shard/limiter.h", "rpc"},
    "cluster": {"codec", "directory"},
    "coord": {"cluster", "rpc", "store/store.h"},  # the map lies in the object store
    "node": {"cluster", "coord", "directory", "metrics", "shard/shard.h", "store/store.h"},
    "directory": {"codec"},
    "query": {"codec", "store/store.h"},
    "gather": {"codec"},
    "peers": {"directory/directory.h", "rpc"},
    "service": {"shard/shard.h", "directory/directory.h", "cluster/question.h", "query", "gather", "codec", "metrics",
                "rpc"},
    "server": (MODULES - {"store_mem"}) | {"sdbx.h", "sdbx_toml.h", "sdbx_settings.h"},
}

# Headers that are granted to single files.
FILE_GRANTS = {"store/store_slate.c": {"sdbx.h"}}
# Files of store/ that make up its side of the bridge share the name.
BRIDGE_FILE = re.compile(r"^store/store_slate(_\w+)?\.[ch]$")

# base headers that a module must not use: core and cluster know no thread, clock or log.
IMPURE = {"base/env.h", "base/log.h", "base/mailbox.h"}
DENIED = {"core": IMPURE, "cluster": IMPURE}

# Modules that use the types generated from the schema: all others work with plain structs.
GENERATED = {"codec", "coord", "limiter", "service"}

# Tests run against the store kept in memory; those of the service against everything below it.
TEST_GRANTS = {"core": {"store_mem/ordered_rows.h"}, "shard": {"store_mem"}, "coord": {"store_mem"}, "node": {"store_mem"}, "store": {"store_mem"},
               "query": {"store", "store_mem", "core", "shard"}, "service": MODULES}

INCLUDE = re.compile(r'^\s*#\s*include\s+["<]([^">]+)[">]')
BANNED = re.compile(r"(?<![\w.>])(strcpy|strcat|sprintf|vsprintf|gets|atoi|atol|atoll|atof|strtok|alloca|scanf|sscanf|thrd_create)\s*\(")
COLUMNS_MAX = 100
COMMENT_LINE = re.compile(r"\s*(/\*|\* )|.*[;,{] */\*")
DRAWN = re.compile(r"[│─►◄]|<->")
OPAQUE = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.DOTALL)


def sources():
    for top in ("src", "bench", "sim", "fuzz", "tests", "tools", "bridge/include"):
        for directory, _, files in sorted(os.walk(os.path.join(ROOT, top))):
            for file in sorted(files):
                if file.endswith((".c", ".h")):
                    yield os.path.relpath(os.path.join(directory, file), ROOT)


def granted(module, name, header, is_test):
    """Whether src/<name> may include `header`, which is of a module of ours or of the bridge."""
    allowed = LAYERS.get(module, set()) | FILE_GRANTS.get(name, set())
    if BRIDGE_FILE.match(name):
        allowed = allowed | {"sdbx.h"}
    if is_test:
        allowed = allowed | TEST_GRANTS.get(module, set())
    target = header.split("/")[0]
    if header in DENIED.get(module, set()) and not is_test:
        return False
    if header.endswith("_int.h") and target != module:
        return False
    return target in (module, "base") or target in allowed or header in allowed


def generated_granted(module, name):
    """Whether src/<name> may use types that the schema generates; codec keeps them out of its headers."""
    return module in GENERATED and (module != "codec" or name.endswith(".c"))


def check_layers(path, text):
    if not path.startswith("src/"):
        return
    name = path[len("src/"):]
    module = name.split("/")[0]
    is_test = name.endswith(("_test.c", "_test.h"))
    for number, line in enumerate(text.split("\n"), 1):
        match = INCLUDE.match(line)
        if not match:
            continue
        header = match.group(1)
        if header.endswith(".pb-c.h") and not is_test and not generated_granted(module, name):
            yield number, f"{name} must not include {header}: types of the wire stay where bytes come and go"
        ours = header.split("/")[0] in MODULES and "/" in header and os.path.exists(os.path.join(SRC, header))
        if (ours or header.startswith("sdbx")) and not granted(module, name, header, is_test):
            yield number, f"{module} must not include {header}"


def check_banned(text):
    blank = OPAQUE.sub(lambda m: re.sub(r"[^\n]", " ", m.group(0)), text)
    for number, line in enumerate(blank.split("\n"), 1):
        match = BANNED.search(line)
        if match:
            yield number, f"banned call {match.group(1)}"


def small_limits():
    with open(os.path.join(SRC, "base", "limits.h"), encoding="utf-8") as file:
        return re.findall(r"^#ifndef (\w+)\n(?:/\*[^#]*\*/\n)?#define \1 ", file.read(), re.MULTILINE)


def check_limits(path, text, names):
    if not path.endswith(".h") or not path.startswith(("src/", "sim/")):
        return
    mention = re.compile(r"\b(%s)\b" % "|".join(names))
    blank = OPAQUE.sub(lambda m: re.sub(r"[^\n]", " ", m.group(0)), text)
    for number, line in enumerate(blank.split("\n"), 1):
        if path == "src/base/limits.h":
            line = re.sub(r"^#(ifndef|define) \w+", "", line)
        match = mention.search(line)
        if match:
            yield number, f"{match.group(1)} may be smaller in a test: a header must not depend on it"


def check_width(text):
    for number, line in enumerate(text.split("\n"), 1):
        if len(line) > COLUMNS_MAX and COMMENT_LINE.match(line) and not DRAWN.search(line):
            yield number, f"a comment of {len(line)} columns: at most {COLUMNS_MAX}"


def compile_flags(build):
    """-I, -isystem and -D of all compile commands but those of tests, which may set limits anew, and the compiler."""
    flags = []
    compiler = "cc"
    with open(os.path.join(build, "compile_commands.json"), encoding="utf-8") as file:
        for entry in json.load(file):
            if "_test.dir/" in entry["command"]:
                continue
            words = shlex.split(entry["command"])
            compiler = words[0]
            for at, word in enumerate(words):
                pair = [word, words[at + 1]] if word == "-isystem" else [word] if word[:2] in ("-I", "-D") else None
                if pair and pair not in flags and not word.startswith("-DSILO_VERSION"):
                    flags.append(pair)
    return [compiler, "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-fsyntax-only"] + [w for pair in flags for w in pair]


def check_alone(command, path):
    include = path[len("src/"):] if path.startswith("src/") else os.path.join(ROOT, path)
    with tempfile.NamedTemporaryFile("w", suffix=".c") as file:
        file.write(f'#include "{include}"\n#include "{include}"\nint header_alone;\n')
        file.flush()
        result = subprocess.run(command + [file.name], capture_output=True, text=True, check=False)
    if result.returncode != 0:
        yield 1, "does not compile alone:\n" + result.stderr


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--headers", metavar="BUILD_DIR")
    args = parser.parse_args()
    files = list(sources())
    names = small_limits()
    found, texts = {}, {}
    for path in files:
        with open(os.path.join(ROOT, path), encoding="utf-8") as file:
            text = texts[path] = file.read()
        found[path] = (list(check_layers(path, text)) + list(check_banned(text)) + list(check_width(text)) +
                       list(check_limits(path, text, names)))
    for path, number, violation in storeys.check_tree(ROOT):
        found.setdefault(path, []).append((number, violation))
    for path, number, violation in bounds.check(texts):
        found[path].append((number, violation))
    if args.headers:
        command = compile_flags(os.path.join(ROOT, args.headers))
        headers = [path for path in files if path.endswith(".h")]
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for path, violations in zip(headers, pool.map(lambda p: list(check_alone(command, p)), headers)):
                found[path] += violations
    for path, violations in sorted(found.items()):
        for number, text in violations:
            print(f"{path}:{number}: {text}")
    failed = sum(1 for violations in found.values() if violations)
    print(f"{len(found) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

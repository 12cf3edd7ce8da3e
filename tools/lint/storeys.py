"""The storeys of src/core: which of its files may use which.

Every file stands in one storey, and within it in an order. A file includes headers that stand before its own place, and
names functions of such files alone, be it to call them or to hand them on; so no two files use one another. A name
without an ending stands for the header and the source of that name. Tests stand outside.
"""

import os
import re

CORE = "src/core"

STOREYS = [
    ("what a shard is asked and what it knows of its rows",
     ["pending.h", "command.h", "view", "lane", "core.h", "bucket", "retry", "limit", "limit_table"]),
    ("the state, and how commands run in it",
     ["sweep.h", "state.h", "run", "commands.h", "ids", "inner", "read", "sweep.c"]),
    ("what is in memory of jobs: tasks that wait, groups, leases, counters",
     ["task", "group", "count", "lease", "marks", "watch"]),
    ("windows over waiting tasks",
     ["page", "low", "info", "ready", "timer"]),
    ("queues: who holds their slots, who waits",
     ["queue", "floating", "throttle", "line", "queue_rows", "slot"]),
    ("tokens: the one function that moves them, and their way through limits",
     ["token.h", "limit_kinds.h", "limit_slots", "limit_rates", "limit_kinds.c", "token.c", "walk", "grant", "check",
      "best"]),
    ("jobs: their rows, their retention, where their tokens are",
     ["retention", "job", "token_find", "refresh", "buckets"]),
    ("commands: of callers, and of the core's own",
     ["orphan.c", "answer", "pending.c", "get.c", "enqueue.c", "cancel.c", "delete.c", "import.c", "poll", "restart.c",
      "report.c", "give_back.c", "heartbeat.c", "expiry", "rate.c", "due", "locate", "drop", "expire", "redate"]),
    ("the turn",
     ["commands.c", "open", "leave", "core.c"]),
]

INCLUDE = re.compile(r'^\s*#\s*include\s+"core/(\w+\.h)"', re.MULTILINE)
OPAQUE = re.compile(r'/\*.*?\*/|"(?:\\.|[^"\\\n])*"', re.DOTALL)
# A function's head at the beginning of a line, and its body on the next.
FUNCTION = re.compile(r"^(?!static\b|typedef\b|struct \w+ \{|#)[a-z][\w *]*?\b(\w+)\([^;{}]*\)\n\{", re.MULTILINE)

# A name that is no member of something.
USE = re.compile(r"(?<![\w.>])[a-z]\w*\b")


def blank(text):
    """The text without comments and strings, with its lines where they were."""
    return OPAQUE.sub(lambda match: re.sub(r"[^\n]", " ", match.group(0)), text)


def places(storeys, names):
    """{file: place}; what stands nowhere is missing. A header comes just before its source."""
    found = {}
    for _, entries in storeys:
        for entry in entries:
            for file in [entry] if "." in entry else [entry + ".h", entry + ".c"]:
                if file in names:
                    found[file] = len(found)
    return found


def absent(storeys, names):
    """Files that have a place and are not there."""
    for _, entries in storeys:
        for entry in entries:
            for file in [entry] if "." in entry else [entry + ".h", entry + ".c"]:
                if file not in names:
                    yield file


def check(sources, storeys=None):
    """Yields (file, line, text) for `sources`: {name in src/core: its text}, tests left out."""
    place = places(STOREYS if storeys is None else storeys, sources)
    code = {name: blank(text) for name, text in sources.items()}
    home = {function: name for name in sorted(place) if name.endswith(".c") for function in FUNCTION.findall(code[name])}
    for name in sorted(sources):
        if name not in place:
            yield name, 1, "stands in no storey (tools/lint/storeys.py)"
            continue
        for match in INCLUDE.finditer(sources[name]):
            if match.group(1) in sources and place.get(match.group(1), 0) >= place[name]:
                yield name, line_of(sources[name], match.start()), f"includes {match.group(1)}, which stands above it"
        if name.endswith(".c"):
            for match in USE.finditer(code[name]):
                above = home.get(match.group(0), name)
                if place[above] > place[name] and not own(code[name], match.group(0)):
                    text = f"uses {match.group(0)} of {above}, which stands above it"
                    yield name, line_of(code[name], match.start()), text


def own(code, function):
    """Whether the file has a static function of that name."""
    return re.search(r"^static\b[^;{}()]*\b%s\(" % function, code, re.MULTILINE) is not None


def line_of(text, offset):
    return text.count("\n", 0, offset) + 1


def check_tree(root):
    """Violations of the tree, with paths from its root."""
    directory = os.path.join(root, CORE)
    sources = {}
    for name in sorted(os.listdir(directory)):
        if name.endswith((".c", ".h")) and not name.endswith(("_test.c", "_test.h")):
            with open(os.path.join(directory, name), encoding="utf-8") as file:
                sources[name] = file.read()
    for name in absent(STOREYS, sources):
        yield "tools/lint/storeys.py", 1, f"{name} has a place, and is not there"
    for name, number, text in check(sources):
        yield f"{CORE}/{name}", number, text

#!/usr/bin/env python3
"""Checks what the documentation says about the tree it lies in.

  links     every relative link leads to a file or directory of the checkout, every anchor to a heading
  blocks    every block of code is closed and names its language, so that the tests know what to do with it
  paths     a path or source file that stands in backticks is there; a command of ./dev exists
  rpcs      docs/reference/rpc.md has a row for every method of silo.proto, names no other, and knows which fields and
            methods are additions
  texts     what docs/reference/rpc.md quotes as status text stands in the source
  limits    the names in docs/reference/limits.md are those of the source, and their figures too
  events    docs/guides/logs.md has a row for every event that the program logs, and for no other

  tables    docs/internals/storage-format.md has the tables and the facts of a shard that src/codec/key.h has
  tests     the tests that docs/internals/tests.md names are there

Tables of settings are compared with the program by src/config/keys_test.c; examples are run by tests/docs.

Usage: docs.py

Prints each violation as file:line: text. The last line is "N passed, N failed", counting pages.
"""

import os
import re
import subprocess
import sys
import urllib.parse

import figures
import markdown
from markdown import ROOT

# Languages of blocks that are checked, and those that only show something.
LANGUAGES = {"sh", "toml", "typescript", "python", "go", "json", "yaml", "ini", "dockerfile", "sql", "text"}

TOP_DIRECTORIES = ("bench", "bridge", "clients", "cmake", "docs", "examples", "fuzz", "proto", "sim", "src", "tests", "tools")
PATH = re.compile(r"^(?:%s)/[\w./-]+$" % "|".join(TOP_DIRECTORIES))
SOURCE = re.compile(r"^(?:[\w-]+/)*[\w-]+\.(?:c|h|rs|py|ts|mjs|cjs)$")
DEV = re.compile(r"(?:^|[\s`(])\./dev ([a-z][a-z-]*)")

RPC_PAGE = "docs/reference/rpc.md"
LIMITS_PAGE = "docs/reference/limits.md"
EVENTS_PAGE = "docs/guides/logs.md"
TESTS_PAGE = "docs/internals/tests.md"
TABLES_PAGE = "docs/internals/storage-format.md"
# A call's first text, or with `condition ? "one" : "other"` its first two.
EVENT_CALL = re.compile(r"\b(?:log_(?:debug|info|warn|error)\((?:[^,;\"]*\?)?|log_line\([^,]*,|LOG_AT\([^,\"]*,)"
                        r"\s*\"([a-z_]+)\"(?:\s*:\s*\"([a-z_]+)\")?")


def read(name):
    with open(os.path.join(ROOT, name), encoding="utf-8") as file:
        return file.read()


def files():
    return subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, check=True,
                          capture_output=True, text=True).stdout.splitlines()


def links(page, pages):
    """`pages` is name -> Page of all pages."""
    for link in page.links:
        if re.match(r"^[a-z][a-z0-9+.-]*:", link.target):
            continue
        path, _, fragment = link.target.partition("#")
        target = page.name
        if path:
            target = os.path.normpath(os.path.join(os.path.dirname(page.name), urllib.parse.unquote(path)))
        if path and (target.startswith("..") or not os.path.exists(os.path.join(ROOT, target))):
            yield link.line, "%s leads nowhere" % link.target
        elif fragment and target in pages and fragment not in pages[target].anchors:
            yield link.line, "%s: %s has no such heading" % (link.target, target)


def blocks(page):
    for block in page.blocks:
        if block.language not in LANGUAGES:
            yield block.line - 1, "a block of code is %s; known are %s" % (
                block.language or "of no language", ", ".join(sorted(LANGUAGES)))


def paths(page, known, commands):
    """`known` are the files of the checkout, `commands` those of ./dev. A source file may be named by the end of its path;
    a bare name in a guide is the reader's own file."""
    endings = {"/".join(name.split("/")[at:]) for name in known for at in range(name.count("/") + 1)}
    folders = {name.rsplit("/", 1)[0] for name in known if "/" in name}
    folders |= {"/".join(name.split("/")[:at]) for name in folders for at in range(1, name.count("/") + 1)}
    for line, text in page.code:
        if PATH.match(text):
            if text.rstrip("/") not in folders and text not in endings:
                yield line, "%s is not there" % text
        elif SOURCE.match(text) and text not in endings and ("/" in text or not page.name.startswith("docs/guides/")):
            yield line, "no source file is called %s" % text
    for line, text in page.code + [(block.line, block.text) for block in page.blocks if block.language == "sh"]:
        for command in DEV.findall(" " + text):
            if command not in commands:
                yield line, "./dev has no command %s" % command


def dev_commands():
    main = read("dev").split("\nmain() {", 1)[1]
    return set(re.findall(r"^    ([a-z][a-z-]*)(?: \|.*)?\) ?", main, re.MULTILINE))


def methods():
    return set(re.findall(r"^\s*rpc (\w+)\(", read("proto/silo/v1/silo.proto"), re.MULTILINE))


def additions():
    """Fields from number 1000 on, as Message.field."""
    found, message = set(), None
    for line in read("proto/silo/v1/silo.proto").splitlines():
        opened = re.match(r"^message (\w+)", line)
        message = opened.group(1) if opened else message
        field = re.match(r"^\s+(?:optional |repeated )?(?:map<[^>]*>|[\w.]+) (\w+) = (1\d{3})\b", line)
        if field:
            found.add("%s.%s" % (message, field.group(1)))
    return found


def rpcs(page):
    shown = {}
    text = read(page.name)
    for line, cells in page.rows:
        name = re.fullmatch(r"`([A-Z][a-z]\w+)`", cells[0])
        if name:
            shown.setdefault(name.group(1), line)
    wanted = methods()
    later = set(re.findall(r"`(\w+)`", text.split("Not in this version, `UNIMPLEMENTED`:", 1)[-1].split("\n\n", 1)[0]))
    for name in sorted(wanted - set(shown) - later):
        yield 1, "the method %s is missing" % name
    for name in sorted((set(shown) | later) - wanted):
        yield shown.get(name, 1), "silo.proto has no method %s" % name
    for name in sorted(additions()):
        message, field = name.split(".")
        if not re.search(r"`(?:%s)?\.?%s`" % (message, field), text) and "`%s.%s`" % (message, field) not in text:
            yield 1, "the addition %s is missing" % name


def texts(page, source):
    """Strings of C that follow each other are one; what a quoted text leaves open is `...`, in the source a format."""
    joined = re.sub(r'"\s*(?:\\\n\s*)?"', "", source)
    forms = [re.split(r"%[-.*\d]*[a-z]+", form) for form in re.findall(r'"([^"\n]*%s[^"\n]*)"', joined)]
    begins = [re.compile(re.escape(form[0]) + ".+" + re.escape(form[1])) for form in forms if form[0].strip()]
    text = re.sub(r"`[^`\n]*`", "", read(page.name).replace('`"..."`', ""))
    for found in re.finditer(r'"([^"]+)"', text):
        quoted = re.sub(r"\s+", " ", found[1])
        pieces = [piece.strip(" :") for piece in quoted.split("...")]
        if not all(piece in joined for piece in pieces) and not any(begin.match(quoted) for begin in begins):
            yield text.count("\n", 0, found.start()) + 1, "no status text of the source has %r" % quoted


def limits(page, source):
    constants = figures.Constants(source)
    joined = "\n".join(source)
    for line, cells in page.rows:
        names = re.findall(r"`([A-Z][A-Z0-9_]{3,})`", cells[0])
        for name in names:
            if not re.search(r"\b%s\b" % name, joined):
                yield line, "nothing in the source is called %s" % name
        if not names or len(cells) < 2:
            continue
        wanted, shown = constants.values(names[0]), figures.said(cells[1])
        if wanted and shown and not wanted & shown:
            yield line, "%s is %s in the source" % (names[0], " or ".join(map(str, sorted(wanted))))


def events(page, source):
    logged = {name for names in EVENT_CALL.findall(source) for name in names if name}
    shown = {name: line for line, cells in page.rows for name in re.findall(r"`([a-z_]+)`", cells[0])}
    for name in sorted(logged - set(shown)):
        yield 1, "the event %s, which the program logs, has no row" % name
    for name in sorted(set(shown) - logged):
        yield shown[name], "the program logs no event %s" % name


def tables(page, source):
    """Tables by number and name, facts of a shard (`META_`) by their letter."""
    wanted = {"%s %s" % (number.upper(), name.lower())
              for name, number in re.findall(r"\bTABLE_(\w+)\s*=\s*0x([0-9a-f]{2})\b", source)}
    wanted |= {"`%s`" % letter for letter in re.findall(r"\bMETA_\w+\s*=\s*'(.)'", source)}
    shown = {found[1]: line for line, cells in page.rows
             for found in [re.match(r"([0-9A-F]{2} \w+|`[A-Z]`)(?: |$)", cells[0])] if found}
    for name in sorted(wanted - set(shown)):
        yield 1, "%s of the source has no row" % name
    for name in sorted(set(shown) - wanted):
        yield shown[name], "%s is not in the source" % name


def tests(page, words):
    """`words` are the identifiers of the source and the names of its files."""
    for number, line in enumerate(read(page.name).splitlines(), 1):
        for name in re.findall(r"\b[a-z0-9]+(?:_[a-z0-9]+)+\b", line):
            if name not in words:
                yield number, "no test, function or file is called %s" % name


def check(page, pages, known, commands, source):
    yield from links(page, pages)
    yield from blocks(page)
    yield from paths(page, known, commands)
    if page.name == RPC_PAGE:
        yield from rpcs(page)
        yield from texts(page, source["server"])
    if page.name == LIMITS_PAGE:
        yield from limits(page, source["all"])
    if page.name == TABLES_PAGE:
        yield from tables(page, read("src/codec/key.h"))
    if page.name == TESTS_PAGE:
        yield from tests(page, source["words"])
    if page.name == EVENTS_PAGE:
        yield from events(page, source["server"])


def sources(known):
    server = [name for name in known if re.match(r"^src/.*\.[ch]$", name) and not name.endswith("_test.c")]
    rest = [name for name in known if re.match(r"^(src|bridge/src|clients/typescript/src)/.*\.(c|h|rs|ts)$", name)]
    code = [name for name in known if re.search(r"\.(c|h|py|rs|ts|cjs|mjs)$", name) and not name.startswith("tools/lint/")]
    words = {word for name in code for word in re.findall(r"\w+", read(name) + " " + name.rsplit("/", 1)[-1])}
    return {"server": "\n".join(map(read, server)), "all": list(map(read, rest)), "words": words}


def main():
    known = [name for name in files() if os.path.exists(os.path.join(ROOT, name))]
    pages = {name: markdown.read(name) for name in markdown.pages()}
    source = sources(known)
    commands = dev_commands()
    failed = 0
    for name in (RPC_PAGE, LIMITS_PAGE, EVENTS_PAGE, TABLES_PAGE, TESTS_PAGE):
        if name not in pages:
            print("%s is not there" % name)
            failed += 1
    for page in pages.values():
        found = sorted(check(page, pages, known, commands, source))
        failed += bool(found)
        for line, text in found:
            print("%s:%d: %s" % (page.name, line, text))
    print("%d passed, %d failed" % (len(pages) - failed, failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

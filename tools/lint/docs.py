#!/usr/bin/env python3
"""Checks what the documentation says about the tree it lies in.

  links     every relative link leads to a file or directory of the checkout, every anchor to a heading
  index     docs/README.md leads to every page below docs/
  blocks    every block of code is closed and names its language, so that the tests know what to do with it
  paths     a path or source file that stands in backticks is there; a command of ./dev exists
  facts     what single pages say of the source, see facts.py
  rules     every rule that is cited by a short name has its entry, see rules.py

Tables of settings are compared with the program, and examples run, by tests/docs.

Usage: docs.py

Prints each violation as file:line: text. The last line is "N passed, N failed", counting pages.
"""

import os
import re
import subprocess
import sys
import urllib.parse

import facts
import markdown
import rules
from markdown import ROOT

# Languages of blocks that are checked, and those that only show something.
LANGUAGES = {"sh", "toml", "typescript", "python", "go", "json", "yaml", "ini", "dockerfile", "sql", "text"}

TOP_DIRECTORIES = ("bench", "bridge", "clients", "cmake", "docs", "examples", "fuzz", "proto", "sim", "src", "tests", "tools")
PATH = re.compile(r"^(?:%s)/[\w./-]+$" % "|".join(TOP_DIRECTORIES))
SOURCE = re.compile(r"^(?:[\w-]+/)*[\w-]+\.(?:c|h|rs|py|ts|mjs|cjs)$")
DEV = re.compile(r"(?:^|[\s`(])\./dev ([a-z][a-z-]*)")

INDEX_PAGE = "docs/README.md"


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


def index(page, pages):
    linked = {os.path.normpath(os.path.join("docs", link.target.partition("#")[0])) for link in page.links}
    for name in sorted(pages):
        if name.startswith("docs/") and name != page.name and name not in linked:
            yield 1, "nothing leads to %s" % name


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
    main = facts.read("dev").split("\nmain() {", 1)[1]
    return set(re.findall(r"^    ([a-z][a-z-]*)(?: \|.*)?\) ?", main, re.MULTILINE))


def check(page, pages, known, commands, source):
    yield from links(page, pages)
    yield from blocks(page)
    yield from paths(page, known, commands)
    yield from facts.check(page, source)
    if page.name == rules.PAGE:
        yield from rules.check(page, known)
    if page.name == INDEX_PAGE:
        yield from index(page, pages)


def main():
    known = [name for name in files() if os.path.exists(os.path.join(ROOT, name))]
    pages = {name: markdown.read(name) for name in markdown.pages()}
    source = facts.Source(known)
    commands = dev_commands()
    failed = 0
    for name in sorted({INDEX_PAGE, rules.PAGE, *facts.CHECKS} - set(pages)):
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

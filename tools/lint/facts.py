"""What single pages of the documentation say of the source: is it what the source says?

    for line, text in facts.check(page, facts.Source(names of the files of the checkout)):

  docs/reference/rpc.md             a row for every method of silo.proto and for no other; its additions; quoted status texts
  docs/reference/limits.md          names of constants, and their figures
  docs/guides/logs.md               a row for every event that the program logs, and for no other
  docs/internals/storage-format.md  the tables, and the facts of a shard, that src/codec/key.h has
  docs/guides/damaged-log.md, docs/guides/troubleshooting.md
                                    error texts that a row begins with are those of the source
  docs/internals/tests.md           tests, functions and files that it names exist
"""

import os
import re

import figures
from markdown import ROOT

# A call's first text, or with `condition ? "one" : "other"` its first two.
EVENT_CALL = re.compile(r"\b(?:log_(?:debug|info|warn|error)\((?:[^,;\"]*\?)?|log_line\([^,]*,|LOG_AT\([^,\"]*,)"
                        r"\s*\"([a-z_]+)\"(?:\s*:\s*\"([a-z_]+)\")?")


def read(name):
    with open(os.path.join(ROOT, name), encoding="utf-8") as file:
        return file.read()


class Source:
    """The texts that pages are compared with."""

    def __init__(self, names):
        server = [name for name in names if re.match(r"^src/.*\.[ch]$", name) and not name.endswith("_test.c")]
        built = [name for name in names if re.match(r"^(src|bridge/src|clients/typescript/src)/.*\.(c|h|rs|ts)$", name)]
        code = [name for name in names if re.search(r"\.(c|h|py|rs|ts|cjs|mjs)$", name) and not name.startswith("tools/lint/")]
        self.server = "\n".join(map(read, server))
        self.built = list(map(read, built))
        self.words = {word for name in code for word in re.findall(r"\w+", read(name) + " " + name.rsplit("/", 1)[-1])}


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
    words = {word for text in source for word in re.findall(r"\w+", text)}
    for line, cells in page.rows:
        names = re.findall(r"`([A-Z][A-Z0-9_]{3,})`", cells[0])
        for name in names:
            if name not in words:
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


# What the system, OpenSSL, node, gRPC core or etcd says.
OTHERS_WORDS = {"Address already in use", "Cannot assign requested address", "ECONNREFUSED", "ECONNRESET", "wrong version number",
                "self-signed certificate", "unable to verify", "Permission denied", "Unwrap failed (TSI_DATA_CORRUPTED)",
                "Endpoint read failed", "Connection refused", "unknown node or service", "Connection timed out",
                "certificate verify failed", "unknown service etcdserverpb.Lease", "user name is empty",
                "authentication failed, invalid user ID or password", "authentication is not enabled", "permission denied"}


def errors(page, source):
    """Texts in backticks of the first column; `...` and words in capitals stand for anything."""
    joined = re.sub(r'"\s*\n\s*"|\\\n\s*', "", "\n".join(source))
    for line, cells in page.rows:
        for text in re.findall(r"`([^`]+)`", cells[0]):
            pieces = [piece.strip(" :,") for piece in re.split(r"\.\.\.|\b[A-Z]\b|\b(?:ADDRESS|FILE|LINE|KEY|NAME)\b", text)]
            for piece in pieces:
                if piece not in joined and piece not in OTHERS_WORDS:
                    yield line, "the source does not say %r" % piece


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


CHECKS = {
    "docs/guides/damaged-log.md": lambda page, source: errors(page, source.built),
    "docs/guides/troubleshooting.md": lambda page, source: errors(page, source.built),
    "docs/reference/rpc.md": lambda page, source: [*rpcs(page), *texts(page, source.server)],
    "docs/reference/limits.md": lambda page, source: limits(page, source.built),
    "docs/guides/logs.md": lambda page, source: events(page, source.server),
    "docs/internals/storage-format.md": lambda page, source: tables(page, read("src/codec/key.h")),
    "docs/internals/tests.md": lambda page, source: tests(page, source.words),
}


def check(page, source):
    return CHECKS[page.name](page, source) if page.name in CHECKS else []

#!/usr/bin/env python3
"""Derives protoc-c's input from a proto3 file that uses `optional`.

Debian's protoc-c refuses proto3 `optional`. A one-member `oneof` puts the same bytes on the wire
and tells absent from zero just as well, so each

    optional TYPE name = 7;            becomes            oneof name_opt { TYPE name = 7; }

on its own line, so that line numbers stay as they are. Everything else is kept byte for byte.

In the generated C a field `tenant` of EnqueueRequest then has the names

    m->tenant_opt_case      0 while the field is absent, else its field number
    m->tenant               the value; read it only if m->tenant_opt_case is not 0
    SILO__V1__ENQUEUE_REQUEST__TENANT_OPT_TENANT      what to store in tenant_opt_case to set it

Usage: derive_proto.py INPUT OUTPUT
"""

import os
import re
import sys

# What must not be looked into: comments and string literals.
OPAQUE = re.compile(
    r"""//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'""", re.DOTALL
)

# One `optional` field. Types may be qualified; options in brackets are kept with the field.
FIELD = re.compile(
    r"\boptional\s+(?P<type>\.?[A-Za-z_][\w.]*)\s+(?P<name>[A-Za-z_]\w*)\s*=\s*"
    r"(?P<number>\d+|0[xX][0-9A-Fa-f]+)\s*(?P<options>\[[^\]]*\])?\s*;"
)

SYNTAX = re.compile(r"\bsyntax\s*=\s*[\"']proto3[\"']\s*;")


class DeriveError(Exception):
    """The input cannot be derived; the message says why."""


def mask(text):
    """Returns `text` with comments and strings blanked, all else at its old place."""

    def blank(match):
        return re.sub(r"[^\n]", " ", match.group(0))

    return OPAQUE.sub(blank, text)


def derive(text):
    """Returns the derived form of the proto3 source `text`. Raises DeriveError."""
    if not SYNTAX.search(text):
        raise DeriveError("not a proto3 file")
    masked = mask(text)
    pieces = []
    end = 0
    for match in FIELD.finditer(masked):
        name = match.group("name")
        if re.search(r"\b%s_opt\b" % re.escape(name), masked):
            raise DeriveError("%s: the name %s_opt is taken" % (name, name))
        pieces.append(text[end:match.start()])
        pieces.append("oneof %s_opt {" % name)
        pieces.append(text[match.start() + len("optional"):match.end()] + " }")
        end = match.end()
    pieces.append(text[end:])
    result = "".join(pieces)
    left = re.search(r"\boptional\s", mask(result))
    if left:
        line = result.count("\n", 0, left.start()) + 1
        raise DeriveError("line %d: an `optional` that is no plain field" % line)
    return result


def write_if_changed(path, text):
    """Writes `text` to `path` at once or not at all, and only if it differs, for ninja's sake."""
    try:
        with open(path, encoding="utf-8", newline="") as file:
            if file.read() == text:
                return
    except FileNotFoundError:
        pass
    temporary = path + ".tmp"
    with open(temporary, "w", encoding="utf-8", newline="") as file:
        file.write(text)
    os.replace(temporary, path)


def main(argv):
    if len(argv) != 3:
        sys.stderr.write("usage: derive_proto.py INPUT OUTPUT\n")
        return 2
    try:
        with open(argv[1], encoding="utf-8", newline="") as file:
            text = file.read()
        write_if_changed(argv[2], derive(text))
    except (OSError, UnicodeDecodeError, DeriveError) as error:
        sys.stderr.write("derive_proto.py: %s: %s\n" % (argv[1], error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))

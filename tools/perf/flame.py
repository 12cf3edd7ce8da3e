#!/usr/bin/env python3
"""Makes a flame graph and a table out of what `perf script` prints.

Usage: flame.py [--title TEXT] [--svg FILE] [--table FILE] [--top N] [INPUT ...]

INPUT is the output of `perf script -F comm,pid,tid,ip,sym,dso` (standard input if there is none). Every sample counts
the same. The graph is one SVG without scripts: the width of a box is the share of the samples in which the function
was on the stack, its children stand above it, and hovering shows name and share. Colours: kernel grey-blue, engine
(names with `::`) orange, the rest green.

The table lists the threads, then the functions by the samples in which they ran themselves (self) and in which they
were anywhere on the stack (total).
"""

import argparse
import html
import re
import sys

FRAME = re.compile(r"^\s+([0-9a-f]+)\s+(.*?)\s+\(([^()]*(?:\([^()]*\))?[^()]*)\)\s*$")
HEAD = re.compile(r"^(\S.*?)\s+(\d+)(?:/(\d+))?\s*:?\s*$")
RUST_HASH = re.compile(r"::h[0-9a-f]{16}$")

WIDTH, ROW, FONT, MARGIN, HEADER = 1400, 17, 11, 10, 44
NARROWEST = 0.4  # boxes below this many pixels are left out
CHAR = 6.3       # width of a letter


def clean(symbol, dso):
    """A name to read: no offsets, no hash; the object's name where the symbol is unknown."""
    name = re.sub(r"\+0x[0-9a-f]+$", "", symbol.strip())
    name = RUST_HASH.sub("", name)
    if name in ("", "[unknown]"):
        return "[" + dso.rsplit("/", 1)[-1].strip("[]") + "]"
    return name


def is_kernel(dso):
    return dso.startswith("[kernel") or dso.startswith("[guest.kernel") or dso.endswith(".ko")


def kind(name, dso):
    if is_kernel(dso):
        return "kernel"
    return "engine" if "::" in name else "other"


def samples(lines):
    """Yields (thread, [(name, kind)]) of each sample, outermost frame first."""
    thread, frames = None, []
    for line in lines:
        if not line.strip():
            if thread is not None:
                yield thread, frames[::-1]
            thread, frames = None, []
            continue
        frame = FRAME.match(line) if line[:1].isspace() else None
        if frame is not None:
            if thread is not None and frame.group(3) != "[unknown]":  # else the unwinder lost its way
                name = clean(frame.group(2), frame.group(3))
                frames.append((name, kind(name, frame.group(3))))
            continue
        head = HEAD.match(line)
        if head is not None:
            thread = head.group(1)
    if thread is not None:
        yield thread, frames[::-1]


class Node:
    def __init__(self, name, kind_):
        self.name, self.kind, self.count, self.children = name, kind_, 0, {}

    def child(self, name, kind_):
        node = self.children.get(name)
        if node is None:
            node = self.children[name] = Node(name, kind_)
        return node

    def depth(self):
        return 1 + max((c.depth() for c in self.children.values()), default=0)


class Profile:
    """All samples, folded."""

    def __init__(self):
        self.root = Node("all", "root")
        self.threads, self.self_count, self.total_count = {}, {}, {}

    def add(self, thread, frames):
        self.root.count += 1
        self.threads[thread] = self.threads.get(thread, 0) + 1
        node = self.root.child(thread, "thread")
        node.count += 1
        for name, kind_ in frames:
            node = node.child(name, kind_)
            node.count += 1
        for name in {name for name, _ in frames}:
            self.total_count[name] = self.total_count.get(name, 0) + 1
        if frames:
            leaf = frames[-1][0]
            self.self_count[leaf] = self.self_count.get(leaf, 0) + 1


COLOURS = {"root": (200, 200, 200), "thread": (216, 204, 160), "kernel": (150, 175, 205), "engine": (238, 165, 95),
           "other": (150, 200, 130)}


def colour(node):
    """The colour of its kind, a little lighter or darker by name, so that neighbours can be told apart."""
    shift = sum(node.name.encode()) % 31 - 15
    return "rgb(%d,%d,%d)" % tuple(max(0, min(255, part + shift)) for part in COLOURS[node.kind])


def boxes(node, x, level, scale, total, height):
    """SVG of a node and all above it."""
    width = node.count * scale
    if width < NARROWEST:
        return
    y = height - MARGIN - (level + 1) * ROW
    name = html.escape(node.name, quote=True)
    letters = int((width - 4) / CHAR)
    text = ""
    if letters >= 3:
        shown = node.name if len(node.name) <= letters else node.name[: letters - 1] + "\u2026"
        text = '<text x="%.1f" y="%.1f">%s</text>' % (x + 3, y + ROW - 5, html.escape(shown))
    yield '<g><title>%s: %d of %d samples, %.2f %%</title><rect x="%.2f" y="%.1f" width="%.2f" height="%d" fill="%s"/>%s</g>' % (
        name, node.count, total, 100.0 * node.count / total, x, y, max(width - 0.3, 0.1), ROW - 1, colour(node), text)
    for child in sorted(node.children.values(), key=lambda c: c.name):
        yield from boxes(child, x, level + 1, scale, total, height)
        x += child.count * scale


def svg(profile, title):
    root = profile.root
    total = max(root.count, 1)
    height = HEADER + root.depth() * ROW + 2 * MARGIN
    out = ['<?xml version="1.0" encoding="UTF-8"?>',
           '<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" '
           'font-family="monospace" font-size="%d">' % (WIDTH, height, WIDTH, height, FONT),
           '<rect width="100%" height="100%" fill="#fdfdfb"/>',
           '<text x="%d" y="22" font-size="15">%s</text>' % (MARGIN, html.escape(title)),
           '<text x="%d" y="38" fill="#666">%d samples; kernel blue, engine orange, rest green</text>'
           % (MARGIN, root.count)]
    if root.count:
        out.extend(boxes(root, MARGIN, 0, (WIDTH - 2.0 * MARGIN) / total, total, height))
    out.append("</svg>")
    return "\n".join(out) + "\n"


def ranked(counts, top):
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:top]


def table(profile, title, top):
    total = max(profile.root.count, 1)
    out = [title, "%d samples" % profile.root.count, "", "%8s  thread" % "share"]
    for name, count in ranked(profile.threads, top):
        out.append("%6.1f %%  %s" % (100.0 * count / total, name))
    for head, counts in (("self", profile.self_count), ("total", profile.total_count)):
        out += ["", "%8s  function" % head]
        for name, count in ranked(counts, top):
            out.append("%6.1f %%  %s" % (100.0 * count / total, name if len(name) <= 110 else name[:109] + "\u2026"))
    return "\n".join(out) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--title", default="profile")
    parser.add_argument("--svg", metavar="FILE")
    parser.add_argument("--table", metavar="FILE", help="- = standard output, which is also the default")
    parser.add_argument("--top", type=int, default=30)
    parser.add_argument("inputs", nargs="*", metavar="INPUT")
    args = parser.parse_args()
    profile = Profile()
    for path in args.inputs or ["-"]:
        stream = sys.stdin if path == "-" else open(path, encoding="utf-8", errors="replace")
        with stream:
            for thread, frames in samples(stream):
                profile.add(thread, frames)
    if args.svg:
        with open(args.svg, "w", encoding="utf-8") as file:
            file.write(svg(profile, args.title))
    text = table(profile, args.title, args.top)
    if args.table and args.table != "-":
        with open(args.table, "w", encoding="utf-8") as file:
            file.write(text)
    else:
        sys.stdout.write(text)
    return 0 if profile.root.count else 1


if __name__ == "__main__":
    sys.exit(main())

"""Bounds in the sources: do the constants of base/limits.h bound anything, and does a name mean one figure?

    for path, line, text in bounds.check({"src/base/limits.h": text, ...}):

Names alone do not show either: a constant may live on in comments, and a header that is not included does not clash.
"""

import re

LIMITS = "src/base/limits.h"
DEFINE = re.compile(r"^\s*#define ([A-Z][A-Z0-9_]+)[ \t]+(.+?)\s*(?:/\*.*)?$", re.MULTILINE)
COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.DOTALL)


def _defines(text):
    for found in DEFINE.finditer(text):
        yield found[1], found[2], text.count("\n", 0, found.start()) + 1


def check(texts):
    """`texts` are those of the program's own sources, by their paths; tests may set limits anew."""
    texts = {path: text for path, text in texts.items() if path.startswith("src/") and not re.search(r"_test\.[ch]$", path)}
    used = set()
    for path, text in texts.items():
        code = COMMENT.sub(" ", text)
        if path == LIMITS:
            code = "\n".join(value for _, value, _ in _defines(code))  # bounds of other bounds
        used |= set(re.findall(r"\w+", code))
    for name, _, line in _defines(texts.get(LIMITS, "")):
        if name not in used:
            yield LIMITS, line, "nothing uses %s" % name
    first = {}
    for path, text in sorted(texts.items(), key=lambda item: (item[0] != LIMITS, item[0])):
        for name, value, line in _defines(text):
            where, before = first.setdefault(name, (path, value))
            if value != before and where != path:
                yield path, line, "%s is %s in %s" % (name, before, where)

"""Rules that code and documentation cite by a short name, and their entries in docs/internals/rules.md.

    for line, text in rules.check(page, names of the files of the checkout):

A name that is cited has an entry, and an entry is cited somewhere outside of its page. What counts as a citation:

  anywhere               SE1, JF11, JA5, JR2, DI7, DEFECT-3, "bug 7", "bugs 6, 11 to 15"
  C, Python, Markdown    T4, W9: elsewhere letters like these are types
  sim/                   every name that a check fails with, in words too ("free slot", "6.4"): what is handed to RULE and
                         verdict_fail, what a comment of it begins with, and what a planted bug says that it breaks
  simulation.md          the first column of its table of rules

An entry is a row that begins with a cell like `<a id="se1"></a>SE1`; its anchor is the name in small letters with `-` for what
is neither letter nor digit.
"""

import re

import facts

PAGE = "docs/internals/rules.md"
SIMULATION = "docs/internals/simulation.md"
PLANTED = "sim/mutants/mutants.py"

SCANNED = re.compile(r"^(?:src|sim|tests|bench|bridge|fuzz|docs|tools)/.*\.(?:c|h|py|rs|md|mjs|ts)$")
SKIPPED = re.compile(r"^(?:%s$|tools/lint/)" % re.escape(PAGE))  # the checks' own tests make names up

FAMILY = r"(?:SE|JF|JA|JR|DI)"
NUMBERED = re.compile(r"\b(%s|[TW]|DEFECT-)(\d+)\b(?: to (?:\1)?(\d+)\b)?" % FAMILY)
BUGS = re.compile(r"\bbugs? (\d+\b(?: to \d+)?(?:, \d+(?![.\d])(?: to \d+)?)*)")
SECTIONS = re.compile(r"\b(\d+)\.(\d+) to \1\.(\d+)\b")
ENTRY = re.compile(r'<a id="([^"]+)"></a>(\S.*)')
HEAD_OF_COMMENT = re.compile(r"(?:/\*|^ \*) ((?:[\w.-]+, )*[\w.-]*\d): ", re.MULTILINE)
TOKEN = re.compile(r'''"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)'|[(),]''')


def anchor(name):
    return re.sub(r"[^a-z0-9]+", "-", name.lower())


def numbers(first, last):
    return range(int(first), int(last or first) + 1)


def numbered(text, letters=True):
    """Names with a number, wherever they stand in `text`, ranges taken apart. letters: single ones count, too."""
    for family, first, last in NUMBERED.findall(text):
        if letters or len(family) > 1:
            yield from ("%s%d" % (family, n) for n in numbers(first, last))
    for found in BUGS.findall(text):
        for first, last in re.findall(r"(\d+)(?: to (\d+))?", found):
            yield from ("bug %d" % n for n in numbers(first, last))


def listed(text):
    """Names of a list like "SE4, bugs 6, 11 to 15; free slot, 8.1 to 8.3"."""
    yield from numbered(text)
    rest = BUGS.sub("", NUMBERED.sub("", text))
    for section, first, last in SECTIONS.findall(rest):
        yield from ("%s.%d" % (section, n) for n in numbers(first, last))
    yield from filter(None, (name.strip() for name in re.split(r"[,;]", SECTIONS.sub("", rest))))


def arguments(text, at):
    """The arguments of the call whose parenthesis opens just before `at`, as they are written."""
    depth, begin, found = 0, at, []
    for token in TOKEN.finditer(text[at:]):
        if token[0] == "(":
            depth += 1
        elif depth == 0 and token[0] in (",", ")"):
            found.append(text[begin:at + token.start()].strip())
            begin = at + token.end()
            if token[0] == ")":
                return found
        elif token[0] == ")":
            depth -= 1
    return found


def failed_with(text):
    """What checks of the simulator hand to RULE and verdict_fail as the rule, and what their comments begin with."""
    for call, place in ((r"\bRULE\(", 2), (r"\bverdict_fail\(", 1)):
        for found in re.finditer(call, text):
            handed = arguments(text, found.end())
            rule = re.fullmatch(r'"([^"]+)"', handed[place]) if len(handed) > place else None
            if rule:
                yield found.start(), rule[1]
    for found in HEAD_OF_COMMENT.finditer(text):
        yield from ((found.start(), name) for name in listed(found[1]))


def cited(name, text):
    """(line, rule) of all that a file cites; in the order of its lines."""
    found = []
    letters = name.endswith((".c", ".h", ".py", ".md"))
    for number, line in enumerate(text.splitlines(), 1):
        found += [(number, rule) for rule in numbered(line, letters)]
    if name.startswith("sim/") and name.endswith(".c"):
        found += [(text.count("\n", 0, at) + 1, rule) for at, rule in failed_with(text)]
    if name == PLANTED:
        for planted in re.finditer(r'Mutant\("[\w-]+", "([^":]+):', text):
            found += [(text.count("\n", 0, planted.start()) + 1, rule) for rule in listed(planted[1])]
    if name == SIMULATION:
        table = re.search(r"^\| rule \|.*\n.*\n((?:\|.*\n)+)", text, re.MULTILINE)
        for row in re.finditer(r"^\| (?:[a-z ]+: )?([^|]+) \|", table[1] if table else "", re.MULTILINE):
            found += [(text.count("\n", 0, table.start(1) + row.start()) + 1, rule) for rule in listed(row[1])]
    return sorted(set(found))


def entries(page):
    """name -> line; what is wrong with an entry comes as (line, text) in the second value."""
    found, wrong = {}, []
    for line, cells in page.rows:
        entry = ENTRY.fullmatch(cells[0])
        if not entry:
            continue
        if entry[2] in found:
            wrong.append((line, "the rule %s has an entry above" % entry[2]))
        if entry[1] != anchor(entry[2]):
            wrong.append((line, "the anchor of %s is %s" % (entry[2], anchor(entry[2]))))
        found.setdefault(entry[2], line)
    return found, wrong


def compare(page, texts):
    """`texts` is name -> text of the files that may cite rules."""
    found, wrong = entries(page)
    yield from wrong
    first = {}
    for name, text in texts.items():
        for line, rule in cited(name, text):
            first.setdefault(rule, "%s:%d" % (name, line))
    for rule in sorted(set(first) - set(found)):
        yield 1, "the rule %s, which %s cites, has no entry" % (rule, first[rule])
    for rule in sorted(set(found) - set(first)):
        yield found[rule], "nothing cites the rule %s" % rule


def check(page, names):
    return list(compare(page, {name: facts.read(name) for name in names if SCANNED.match(name) and not SKIPPED.match(name)}))

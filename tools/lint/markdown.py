"""What the checks of the documentation see in a Markdown file: headings, links, blocks of code, and words in backticks.

    page = markdown.read("docs/guides/limits.md")
    page.anchors            # {"rate-limits", ...}, as GitHub makes them from headings
    page.links              # [Link(line, target)], those of inline links and of reference definitions
    page.blocks             # [Block(line, language, text)], fenced ones; `line` is that of the first line inside
    page.code               # [(line, text)] of what stands in backticks outside of blocks
    page.rows               # [(line, [cell, ...])] of tables, without the rows of dashes

This is no whole Markdown parser: it knows what the pages of this tree use.
"""

import collections
import os
import re
import subprocess

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

Link = collections.namedtuple("Link", "line target")
Block = collections.namedtuple("Block", "line language text")
Page = collections.namedtuple("Page", "name anchors links blocks code rows")

FENCE = re.compile(r"^\s*(`{3,}|~{3,})\s*(\S*)")
HEADING = re.compile(r"^#{1,6}\s+(.*?)\s*#*\s*$")
NAMED = re.compile(r"<a\s+(?:id|name)=\"([^\"]+)\"")
INLINE = re.compile(r"\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)")
DEFINITION = re.compile(r"^\s*\[[^\]]+\]:\s+(\S+)")
CODE = re.compile(r"(`+)(.+?)\1")
CELL_END = re.compile(r"(?<!\\)\|")


def pages():
    """The names of all Markdown files that git knows or would add, from the root of the checkout."""
    found = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"], cwd=ROOT,
                           check=True, capture_output=True, text=True).stdout.split("\n")
    return sorted(name for name in found if name and os.path.exists(os.path.join(ROOT, name)))


def read(name):
    with open(os.path.join(ROOT, name), encoding="utf-8") as file:
        return parse(name, file.read())


def anchor(heading, seen):
    """GitHub's anchor of a heading; `seen` counts those of the page, for headings that come twice."""
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").lower()
    slug = re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
    number = seen.get(slug, 0)
    seen[slug] = number + 1
    return slug if number == 0 else "%s-%d" % (slug, number)


def parse(name, text):
    page = Page(name, set(), [], [], [], [])
    seen = {}
    fence = None
    for number, line in enumerate(text.split("\n"), 1):
        mark = FENCE.match(line)
        if fence is not None:
            if mark and mark.group(1).startswith(fence[0]) and not mark.group(2):
                page.blocks.append(Block(fence[2], fence[1], "".join(fence[3])))
                fence = None
            else:
                fence[3].append(line + "\n")
        elif mark:
            fence = (mark.group(1), mark.group(2), number + 1, [])
        else:
            _line(page, seen, number, line)
    if fence is not None:
        page.blocks.append(Block(fence[2], "never closed", ""))
    return page


def _line(page, seen, number, line):
    heading = HEADING.match(line)
    if heading:
        page.anchors.add(anchor(heading.group(1), seen))
    page.anchors.update(NAMED.findall(line))
    page.code.extend((number, found[1]) for found in CODE.findall(line))
    bare = CODE.sub("", line)
    page.links.extend(Link(number, target) for target in INLINE.findall(bare))
    definition = DEFINITION.match(bare)
    if definition:
        page.links.append(Link(number, definition.group(1)))
    if line.startswith("|") and not re.match(r"^\|[\s:|-]+\|$", line):
        page.rows.append((number, [cell.strip() for cell in CELL_END.split(line.strip())[1:-1]]))

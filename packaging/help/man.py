#!/usr/bin/env python3
"""man.py TEMPLATE OUTPUT VERSION PROGRAM: a man page from a template and what PROGRAM --help says.

In the template, a line `@OPTIONS@` becomes the options, `@SECTION title@` the entries of the section of the help text whose
title begins so, and `@VERSION@` the version. A section that the help has and the template does not name is an error: nothing stays unsaid.
"""

import re
import sys

import help_text


def roff(text):
    """Text that troff leaves as it is."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return "\\&" + text if text[:1] in (".", "'") else text


def entry(item):
    return f".TP\n.B {roff(item.name)}\n{roff(item.text)}\n" if item.text else f".TP\n.B {roff(item.name)}\n"


def page(template, version, shown):
    sections = dict(shown.sections)
    out = []
    for line in template.splitlines():
        wanted = re.match(r"^@(?:OPTIONS|SECTION (.*))@$", line)
        if wanted is None:
            out.append(line.replace("@VERSION@", version) + "\n")
            continue
        title = wanted.group(1) or ""
        title = next((known for known in sections if title and known.startswith(title)), title)
        if title not in sections:
            raise SystemExit(f"man.py: --help has no section {title!r}, only {sorted(sections)}")
        out += [entry(item) for item in sections.pop(title)]
    left = [title for title, entries in sections.items() if entries]
    if left:
        raise SystemExit(f"man.py: the template does not name what --help has: {left}")
    return "".join(out)


def main():
    template, output, version, program = sys.argv[1:5]
    with open(template, encoding="utf-8") as file:
        text = page(file.read(), version, help_text.of_program(program))
    with open(output, "w", encoding="utf-8") as file:
        file.write(text)


if __name__ == "__main__":
    main()

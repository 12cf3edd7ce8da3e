"""The examples of a page of the documentation, as they stand there, for tests that run them.

    page = guide.Page("docs/guides/other-languages.md")
    page.block("python", 0)             # the first block of Python
    page.blocks("sh")                   # the texts of all of them
    page.go_tools()                     # builds what the page installs with `go install`, returns their directories
"""

import os
import re
import sys

import real_parts
from silo_api import ROOT

sys.path.insert(0, os.path.join(ROOT, "tools", "lint"))
import markdown  # noqa: E402

INSTALL = re.compile(r"^go install (\S+)@(\S+)$", re.MULTILINE)
# Lines that change the machine: ./dev or go_tools() see to what they would install.
PREPARES = re.compile(r"^(?:go install|sudo apt-get) .*\n", re.MULTILINE)


class Page:
    def __init__(self, name):
        self.name = name
        self._page = markdown.read(name)

    def blocks(self, language):
        return [block.text for block in self._page.blocks if block.language == language]

    def block(self, language, number=0):
        return self.blocks(language)[number]

    def script(self, holding):
        """The block of shell with that text in it, without the lines that install something."""
        found = [text for text in self.blocks("sh") if holding in text]
        if len(found) != 1:
            raise LookupError("%d blocks of %s have %r" % (len(found), self.name, holding))
        return "set -e\n" + PREPARES.sub("", found[0])

    def go_tools(self, *wanted):
        """The directories of the programs, built in the versions that the page names; all of them unless some are named."""
        places = []
        for package, version in INSTALL.findall("\n".join(self.blocks("sh"))):
            name = package.rsplit("/", 1)[1]
            if not wanted or name in wanted:
                places.append(os.path.dirname(real_parts.go_program(name, package, version)))
        return places

"""What a program's --help says, as data: man pages and shell completion are made from it, so they cannot fall behind.

The form of a help text: lines at the margin that end with a colon begin a section; in it, an entry begins with its name,
indented by two to six columns, and its description follows after two or more spaces, or on deeper indented lines.
"""

import re
import subprocess

NAME_INDENT_MAX = 6

# A name and what follows it: an option with what it takes, or words with commas between them.
OPTION = re.compile(r"^(-\S+(?:, -\S+)*(?: \S+)?)(?:\s{2,}(.*))?$")
WORD = re.compile(r"^(\S+(?:, \S+)*)(?:\s+(.*))?$")


class Entry:
    """`name` as it stands there ("-c, --config PATH"); `text` is its description in one line."""

    def __init__(self, name, text):
        self.name = name
        self.text = text

    def options(self):
        """The spellings of an option: ["-c", "--config"]."""
        return [part.split()[0] for part in self.name.split(", ") if part.startswith("-")]

    def argument(self):
        """What the option takes ("PATH"), "" for nothing."""
        words = self.name.split(", ")[-1].split(maxsplit=1)
        return words[1] if len(words) == 2 else ""


class Help:
    """`usage` and `about` (before it) and `notes` (after it): lines; `sections`: title -> entries, "" before the first."""

    def __init__(self, text):
        self.usage = []
        self.about = []
        self.sections = {"": []}
        self.notes = []
        self._parse(text.splitlines())

    def _parse(self, lines):
        title = ""
        for line in lines:
            bare = line.strip()
            if not bare:
                continue
            if bare.startswith("Usage:") or (line.startswith(" " * 7) and list(self.sections) == [""] and not self.sections[""]):
                self.usage.append(bare.removeprefix("Usage:").strip())
            elif not line.startswith(" "):
                if bare.endswith(":"):
                    title = bare[:-1]
                    self.sections[title] = []
                else:
                    (self.notes if self.usage else self.about).append(bare)
            else:
                self._entry(self.sections[title], line)

    @staticmethod
    def _entry(entries, line):
        indent = len(line) - len(line.lstrip())
        text = line.strip()
        if indent > NAME_INDENT_MAX or (indent > 2 and entries and not text.startswith("-")):
            if entries:
                entries[-1].text = (entries[-1].text + " " + text).strip()
            return
        match = (OPTION if text.startswith("-") else WORD).match(text)
        entries.append(Entry(match.group(1), match.group(2) or ""))

    def options(self):
        return [entry for entries in self.sections.values() for entry in entries if entry.options()]


def of_program(*command):
    done = subprocess.run([*command, "--help"], check=True, capture_output=True, text=True)
    return Help(done.stdout)

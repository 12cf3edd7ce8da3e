"""What the source says the value of a constant is, and what a sentence of the documentation says: do they agree?

    known = figures.Constants([text of a source file, ...])
    known.values("LOG_LINE_MAX")                # {4096}; a name may stand in several files
    figures.said("4,096 a line, 16 MiB")        # {4096, 16, 16777216}

C, Rust and TypeScript: `#define NAME expression`, `const NAME: type = expression;`, members of an enum. Expressions are of
numbers, other constants and + - * / << >>; what is anything else has no value here.
"""

import re

DEFINES = re.compile(r"^\s*#define ([A-Z][A-Z0-9_]+)\s+(.+?)\s*(?:/[*/].*)?$", re.MULTILINE)
CONSTS = re.compile(r"(?:const|static) ([A-Z][A-Z0-9_]+)(?::[^=]+)?\s*=\s*([^;]+);")
MEMBERS = re.compile(r"^\s*([A-Z][A-Z0-9_]{4,})\s*=\s*([^,}/]+?)\s*[,}]", re.MULTILINE)
NAME = re.compile(r"\b[A-Z][A-Z0-9_]+\b")
FIGURE = re.compile(r"(\d[\d,]*(?:\.\d+)?)(?: (KiB|MiB|GiB|ms|s|min)\b)?")
DEPTH_MAX = 8

BYTES = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
MICROSECONDS = {"ms": 1000, "s": 1000 * 1000, "min": 60 * 1000 * 1000}


def _plain(text):
    """The expression without what only a compiler needs: casts, suffixes, separators."""
    text = re.sub(r"\((?:u?int\d*_t|size_t|long long|unsigned|int|double)\)", "", text)
    text = re.sub(r"U?INT\d+_C\((\d+)\)", r"\1", text)
    text = re.sub(r"(\d)_(?=\d)", r"\1", text)
    text = re.sub(r"Duration::from_(secs|millis|micros)\(([^)]*)\)",
                  lambda found: "(%s)*%d" % (found[2], {"secs": 1000000, "millis": 1000, "micros": 1}[found[1]]), text)
    return re.sub(r"\b(\d+)(?:[uU][lL]{0,2}|[lL]{1,2}|n)\b|\s+as \w+", lambda found: found[1] or "", text)


class Constants:
    def __init__(self, sources):
        self._texts = {}
        for source in sources:
            source = source.replace("\\\n", " ")
            for form in (DEFINES, CONSTS, MEMBERS):
                for name, text in form.findall(source):
                    self._texts.setdefault(name, set()).add(_plain(text))

    def values(self, name, depth=0):
        """All values that the name has somewhere; empty if none is known."""
        found = set()
        for text in self._texts.get(name, ()):
            for used in set(NAME.findall(text)):
                inner = self.values(used, depth + 1) if depth < DEPTH_MAX else set()
                if len(inner) == 1:
                    text = re.sub(r"\b%s\b" % used, "(%s)" % inner.pop(), text)
            if re.fullmatch(r"[\d\s()+\-*/<>.]+", text):
                try:
                    found.add(eval(text.replace("/", "//"), {"__builtins__": {}}))  # digits and operators alone
                except (SyntaxError, ZeroDivisionError, TypeError):
                    pass
        return found


def said(sentence):
    """Every number of the sentence, plain and in the units that constants have: bytes; microseconds, milliseconds, seconds."""
    found = set()
    for digits, unit in FIGURE.findall(sentence):
        number = float(digits.replace(",", ""))
        found.add(number)
        if unit in BYTES:
            found.add(number * BYTES[unit])
        elif unit in MICROSECONDS:
            found.update(number * MICROSECONDS[unit] / scale for scale in (1, 1000, 1000000))
    return found

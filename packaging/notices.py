#!/usr/bin/env python3
"""notices.py OUTPUT [--check]: names, versions, licences and notices of everything that is linked into the programs.

  Rust     the crates that bridge/Cargo.lock resolves to for this platform and that are linked (no build or test
           dependencies, no macros), with the licence and notice files of their sources; and Rust's own library
  C        the libraries of cmake/deps.cmake, with the copyright file of their Debian package
  protos   the interfaces of others that proto/ describes

OUTPUT is gzip when it ends with .gz, with no time in it. A text that several have is printed once.
Exits with 1, and says which, when a crate names no licence, needs one that is not in ALLOWED, or has no text that could
be printed; with --check nothing is written. --without-libraries leaves the C libraries out, for systems without dpkg, where they are
not linked statically.
"""

import argparse
import gzip
import hashlib
import json
import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
MANIFEST = os.path.join(ROOT, "bridge", "Cargo.toml")
COMMON = "/usr/share/common-licenses"

# Permissive: they ask for their notice and nothing else of those who pass a program on.
ALLOWED = {"Apache-2.0", "MIT", "MIT-0", "ISC", "BSD-2-Clause", "BSD-3-Clause", "Zlib", "Unicode-3.0", "BSL-1.0", "Unlicense",
           "Apache-2.0 WITH LLVM-exception"}

TEXT_FILE = re.compile(r"^(LICEN[CS]E|COPYING|COPYRIGHT|NOTICE|UNLICENSE)", re.IGNORECASE)
NOT_TEXT = (".rs", ".html", ".toml")

# What the tests use is not linked into the programs.
TEST_LIBRARIES = {"cmocka"}

OTHERS = [
    ("Rust's standard library, with the crates it contains", "MIT OR Apache-2.0", "Copyright The Rust Project Contributors."),
    ("gRPC: the health and reflection interfaces", "Apache-2.0", "Copyright The gRPC Authors."),
    ("Gubernator: its interface", "Apache-2.0", "Copyright The Gubernator Authors (Mailgun Technologies Inc)."),
]


class Part:
    """Something linked in. `texts` are (file name, text)."""

    def __init__(self, name, licence, texts, origin=""):
        self.name = name
        self.licence = licence
        self.texts = texts
        self.origin = origin


def read(path):
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()


# ---- licence expressions ----


def allowed(expression):
    """Whether an SPDX expression can be satisfied by ALLOWED alone; "MIT/Apache-2.0" is the old way to write OR."""
    words = re.findall(r"\(|\)|[^\s()]+", expression.replace("/", " OR "))
    value, rest = either(words)
    return value and not rest


def either(words):
    value, words = both(words)
    while words and words[0] == "OR":
        other, words = both(words[1:])
        value = value or other
    return value, words


def both(words):
    value, words = one(words)
    while words and words[0] == "AND":
        other, words = one(words[1:])
        value = value and other
    return value, words


def one(words):
    if not words:
        return False, words
    if words[0] == "(":
        value, words = either(words[1:])
        return value and words[:1] == [")"], words[1:]
    if words[1:2] == ["WITH"]:
        return " ".join(words[:3]) in ALLOWED, words[3:]
    return words[0] in ALLOWED, words[1:]


# ---- Rust ----


def metadata():
    host = re.search(r"^host: (.*)$", subprocess.run(["rustc", "-vV"], check=True, capture_output=True, text=True).stdout, re.M).group(1)
    done = subprocess.run(["cargo", "metadata", "--locked", "--format-version", "1", "--filter-platform", host, "--manifest-path", MANIFEST],
                          check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout)


def linked(found):
    """The packages whose code ends up in the archive: normal dependencies of the root, without macros."""
    packages = {package["id"]: package for package in found["packages"]}
    nodes = {node["id"]: node for node in found["resolve"]["nodes"]}
    seen, todo = set(), [found["resolve"]["root"]]
    while todo:
        identity = todo.pop()
        if identity in seen:
            continue
        seen.add(identity)
        for dependency in nodes[identity]["deps"]:
            macro = any("proc-macro" in target["kind"] for target in packages[dependency["pkg"]]["targets"])
            if not macro and any(kind["kind"] is None for kind in dependency["dep_kinds"]):
                todo.append(dependency["pkg"])
    seen.discard(found["resolve"]["root"])  # ours
    return sorted((packages[identity] for identity in seen), key=lambda package: (package["name"], package["version"]))


def crate_texts(package):
    """Licence and notice files anywhere in the sources: some crates carry C code of others."""
    top = os.path.dirname(package["manifest_path"])
    texts = []
    for directory, directories, files in os.walk(top):
        directories.sort()
        for file in sorted(files):
            path = os.path.join(directory, file)
            if TEXT_FILE.match(file) and not file.endswith(NOT_TEXT) and os.path.isfile(path):
                texts.append((os.path.relpath(path, top), read(path)))
    return texts


def standard_texts(package):
    """For a crate without a licence file that may be used under the Apache licence: its text, and who made the crate."""
    if "Apache-2.0" not in (package["license"] or ""):
        return []
    who = ", ".join(package["authors"]) or f"the authors of {package['name']}"
    return [("Apache-2.0", f"Copyright {who}.\n"), ("Apache-2.0", read(os.path.join(ROOT, "LICENSE")))]


def crates():
    return [Part(f"{package['name']} {package['version']}", package["license"] or "", crate_texts(package) or standard_texts(package),
                 package["repository"] or "") for package in linked(metadata())]


# ---- C ----


def c_modules():
    """pkg-config names of the libraries that cmake/deps.cmake asks for, without those of the tests."""
    found = re.findall(r"^silo_dep\(\w+ ([^\s)]+)", read(os.path.join(ROOT, "cmake", "deps.cmake")), re.M)
    return [name for name in found if name not in TEST_LIBRARIES]


def c_library(module):
    """A part for it, None where dpkg does not know whose it is."""
    try:
        place = subprocess.run(["pkg-config", "--variable=pcfiledir", module], check=True, capture_output=True, text=True).stdout.strip()
        owner = subprocess.run(["dpkg-query", "-S", f"{place}/{module}.pc"], check=True, capture_output=True, text=True).stdout
        package = owner.split(":")[0]
        version = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", package], check=True, capture_output=True, text=True).stdout
        return Part(f"{module} {version}", "see its text", [("copyright", read(f"/usr/share/doc/{package}/copyright"))], package)
    except (OSError, subprocess.CalledProcessError):
        return None


# ---- all of it ----


def collect(libraries=True):
    """(parts, what is wrong with them)."""
    parts, wrong = crates(), []
    for part in parts:
        if not part.licence:
            wrong.append(f"{part.name} names no licence")
        elif not allowed(part.licence):
            wrong.append(f"{part.name} is under {part.licence}, which is not allowed")
        if not part.texts:
            wrong.append(f"{part.name} has no licence text")
    for module in c_modules() if libraries else []:
        library = c_library(module)
        if library is None:
            wrong.append(f"{module}: dpkg knows no package that has it, so its notice is missing")
        else:
            parts.append(library)
    parts += [Part(name, licence, [("notice", who + "\n"), ("Apache-2.0", read(os.path.join(ROOT, "LICENSE")))])
              for name, licence, who in OTHERS]
    return parts, wrong


def render(parts):
    texts = {}  # digest of the words -> (number, text)
    lines = ["What the programs of Silo contain that others made.", "",
             "Silo itself is under the Apache License 2.0. The names, licences and texts below belong to what is linked into",
             "its programs; numbers in brackets are the texts that follow.", ""]
    for part in parts:
        numbers = []
        for _, text in part.texts:
            key = hashlib.sha256(" ".join(text.split()).encode()).hexdigest()
            number, _ = texts.setdefault(key, (len(texts) + 1, text))
            numbers.append(f"[{number}]")
        lines.append(f"{part.name}: {part.licence} {' '.join(dict.fromkeys(numbers))}{'  ' + part.origin if part.origin else ''}")
    for number, text in texts.values():
        lines += ["", "=" * 100, f"[{number}]", "", text.rstrip()]
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", nargs="?")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--without-libraries", action="store_true")
    args = parser.parse_args()
    if not args.check and not args.output:
        parser.error("OUTPUT is missing")
    parts, wrong = collect(not args.without_libraries)
    for text in wrong:
        print(f"notices.py: {text}", file=sys.stderr)
    if not wrong and not args.check:
        text = render(parts).encode()
        os.makedirs(os.path.dirname(os.path.abspath(args.output)), exist_ok=True)
        with open(args.output, "wb") as file:
            file.write(gzip.compress(text, 9, mtime=0) if args.output.endswith(".gz") else text)
    print(f"{len(parts)} parts, {len(wrong)} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

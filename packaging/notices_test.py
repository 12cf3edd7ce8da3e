#!/usr/bin/env python3
"""Notices: nothing that is linked in is missing, and a licence that asks for more than its notice is refused."""

import os
import re
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import notices  # noqa: E402

# What Rust's own library is made of.
RUST = {"addr2line", "adler2", "alloc", "compiler_builtins", "core", "gimli", "hashbrown", "memchr", "miniz_oxide", "object",
        "panic_unwind", "rustc_demangle", "rustc_std_workspace_alloc", "rustc_std_workspace_core", "std", "std_detect", "unwind"}


class Licences(unittest.TestCase):
    def test_what_may_be_chosen_is_enough(self):
        for expression in ("MIT", "MIT/Apache-2.0", "GPL-3.0 OR MIT", "(MIT OR GPL-2.0) AND Apache-2.0",
                           "Apache-2.0 WITH LLVM-exception OR GPL-3.0", "ISC AND (Apache-2.0 OR ISC)"):
            self.assertTrue(notices.allowed(expression), expression)

    def test_what_must_be_kept_is_asked_for(self):
        for expression in ("", "GPL-3.0", "MIT AND GPL-3.0", "AGPL-3.0 OR SSPL-1.0", "MPL-2.0 AND (MIT OR Apache-2.0)",
                           "Apache-2.0 WITH Other-exception", "(MIT", "MIT)", "MIT GPL-3.0"):
            self.assertFalse(notices.allowed(expression), expression)


class Everything(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.parts, cls.wrong = notices.collect()
        cls.names = {part.name.split()[0] for part in cls.parts}

    def test_nothing_is_wrong(self):
        self.assertEqual(self.wrong, [])

    def test_crates_of_the_archive_are_there(self):
        """Its members are named after the crates that they were compiled from."""
        archive = os.path.join(notices.ROOT, "build", "lib", "libsdbx.a")
        if not os.path.exists(archive):
            self.skipTest("there is no release build")
        members = subprocess.run(["ar", "t", archive], check=True, capture_output=True, text=True).stdout
        found = set(re.findall(r"^(\w+)-[0-9a-f]{16}\.\1\..*rcgu\.o$", members, re.M)) - RUST - {"sdbx"}
        known = {target["name"].replace("-", "_") for package in notices.linked(notices.metadata())
                 if package["name"] in self.names for target in package["targets"]}
        self.assertGreater(len(found), 100)
        self.assertLessEqual(found, known)

    def test_libraries_are_there(self):
        self.assertLessEqual({"libnghttp2", "libuv", "libprotobuf-c", "jansson", "openssl", "libxxhash"}, self.names)

    def test_texts_are_printed_once_and_all(self):
        text = notices.render(self.parts)
        for part in self.parts:
            self.assertIn(part.name, text)
            for _, words in part.texts:
                self.assertIn(" ".join(words.split())[:200], " ".join(text.split()))
        many = [" ".join(words.split()) for part in self.parts for _, words in part.texts]
        self.assertEqual(text.count("=" * 100), len(set(many)))
        self.assertLess(len(set(many)), len(many))

    def test_a_crate_without_text_is_noticed(self):
        package = {"name": "x", "version": "1", "license": "MIT", "authors": [], "repository": None,
                   "manifest_path": "/nonexistent/Cargo.toml"}
        self.assertEqual(notices.crate_texts(package) + notices.standard_texts(package), [])


if __name__ == "__main__":
    unittest.main(verbosity=2)

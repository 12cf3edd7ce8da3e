"""Blocks of shell, JSON and Python in the documentation are at least well-formed; what more is checked, other tests here do."""

import ast
import json
import os
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import guide  # noqa: E402
import runner  # noqa: E402


def shell(text):
    done = subprocess.run(["bash", "-n"], input=text, capture_output=True, text=True, timeout=60)
    if done.returncode != 0:
        raise SyntaxError(done.stderr)


class Blocks(unittest.TestCase):
    def each(self, language, check):
        found = [(name, block) for name in guide.markdown.pages() for block in guide.markdown.read(name).blocks
                 if block.language == language]
        self.assertGreater(len(found), 0, "blocks of " + language)
        for name, block in found:
            with self.subTest("%s:%d" % (name, block.line)):
                check(block.text)

    def test_shell(self):
        self.each("sh", shell)

    def test_json(self):
        self.each("json", json.loads)

    def test_python(self):
        self.each("python", ast.parse)


if __name__ == "__main__":
    sys.exit(runner.main())

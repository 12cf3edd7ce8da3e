"""Every block of TypeScript in the documentation compiles against the client, as it is built in clients/typescript/dist."""

import os
import re
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import guide  # noqa: E402
import runner  # noqa: E402
from silo_api import ROOT  # noqa: E402

CHECK = os.path.join(ROOT, "clients", "typescript", "scripts", "check-snippets.mjs")


class TypeScript(unittest.TestCase):
    def test_blocks(self):
        """The client's own test sees to the client's README. What is checked and what may stand in a block, the checker says."""
        pages = [name for name in guide.markdown.pages() if not name.startswith("clients/")
                 and any(block.language == "typescript" for block in guide.markdown.read(name).blocks)]
        self.assertIn("docs/guides/enqueueing.md", pages)
        done = subprocess.run(["node", CHECK, *pages], cwd=ROOT, capture_output=True, text=True, timeout=300)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertRegex(done.stdout, re.compile(r"^[1-9]\d* passed, 0 failed$", re.MULTILINE))


if __name__ == "__main__":
    sys.exit(runner.main())

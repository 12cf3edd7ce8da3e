#!/usr/bin/env python3
"""Every planted bug still finds the text that it changes: exactly once, in the file it names."""

import os
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from mutants import MUTANTS  # noqa: E402

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


class Mutants(unittest.TestCase):
    def test_texts_are_found_once(self):
        for mutant in MUTANTS:
            with self.subTest(mutant.name), open(os.path.join(ROOT, mutant.file), encoding="utf-8") as file:
                self.assertEqual(file.read().count(mutant.old), 1, "%s in %s" % (mutant.name, mutant.file))

    def test_names_are_unique(self):
        names = [mutant.name for mutant in MUTANTS]
        self.assertEqual(sorted(set(names)), sorted(names))


if __name__ == "__main__":
    unittest.main()

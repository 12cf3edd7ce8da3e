#!/usr/bin/env python3
"""counts.py reads what runners say, and never takes silence or a crash for success."""

import unittest

import counts

CTEST_GOOD = """\
1: [==========] Running 2 test(s).
1: [       OK ] a
1: [  PASSED  ] 2 test(s).
1/1 Test #1: base_a_test ......................   Passed    0.00 sec
""".split("\n")

CTEST_MIXED = """\
2: [  PASSED  ] 3 test(s).
1/3 Test #2: good .............................   Passed    0.00 sec
3: [  PASSED  ] 1 test(s).
3: [  FAILED  ] 2 test(s), listed below:
3: [  FAILED  ] b
2/3 Test #3: bad ..............................***Failed    0.00 sec
4: [ RUN      ] c
3/3 Test #4: crash ............................***Exception: SegFault  0.10 sec
""".split("\n")


class Counts(unittest.TestCase):
    def check(self, kind, text, status, want):
        lines = text if isinstance(text, list) else text.split("\n")
        self.assertEqual(counts.counts(kind, lines, status), want)

    def test_ctest(self):
        self.check("ctest", CTEST_GOOD, 0, (2, 0))
        self.check("ctest", CTEST_MIXED, 8, (4, 3))

    def test_cargo(self):
        text = "test result: ok. 25 passed; 0 failed; 1 ignored;\ntest result: FAILED. 3 passed; 2 failed; 0 ignored;"
        self.check("cargo", text, 101, (28, 2))

    def test_node(self):
        self.check("node", "\u2139 tests 5\n\u2139 pass 3\n\u2139 fail 1\n\u2139 cancelled 1", 1, (3, 2))
        self.check("node", "# pass 7\n# fail 0\n# cancelled 0", 0, (7, 0))

    def test_unittest(self):
        self.check("unittest", "Ran 3 tests in 0.1s\n\nOK (skipped=1)\nRan 2 tests in 0.1s\n\nOK", 0, (4, 0))
        self.check("unittest", "Ran 5 tests in 0.1s\n\nFAILED (failures=1, errors=1)", 1, (3, 2))

    def test_plain(self):
        self.check("plain", "1 passed, 0 failed\n5 passed, 0 failed", 0, (5, 0))
        self.check("plain", "  1 passed, 0 failed", 0, (0, 1))

    def test_failing_without_a_failed_test(self):
        for kind in counts.COUNTERS:
            self.check(kind, "", 0, (0, 1))
            self.check(kind, "", 139, (0, 1))
        self.check("plain", "5 passed, 0 failed", 1, (5, 1))


if __name__ == "__main__":
    unittest.main()

#!/usr/bin/env python3
"""bounds.py finds what it is there for, and is content with what is right."""

import unittest

import bounds

LIMITS = """#ifndef GUARD_H
#define GUARD_H
#define A_MAX 10u /* of something */
#ifndef B_MAX
#define B_MAX (2 * A_MAX)
#endif
#endif
"""


def found(**sources):
    return [(path, line) for path, line, _ in bounds.check({"src/%s" % name.replace("__", "/").replace("_c", ".c"): text
                                                           for name, text in sources.items()} | {bounds.LIMITS: LIMITS})]


class Bounds(unittest.TestCase):
    def test_what_is_used_once_is_well(self):
        self.assertEqual(found(core__x_c="int x[B_MAX];\n"), [])

    def test_a_bound_that_only_comments_name(self):
        self.assertEqual(found(core__x_c="/* at most B_MAX */\nint x[3];\n"), [(bounds.LIMITS, 5)])

    def test_two_figures_of_one_name(self):
        self.assertEqual(found(core__x_c="int x[B_MAX];\n#define A_MAX 11u\n"), [("src/core/x.c", 2)])
        self.assertEqual(found(core__x_c="int x[B_MAX];\n#define A_MAX 10u\n"), [])


if __name__ == "__main__":
    unittest.main()

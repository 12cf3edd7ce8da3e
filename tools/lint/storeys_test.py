#!/usr/bin/env python3
"""storeys.py finds an include, a call and a handed-on function that go upwards, a file that stands nowhere, and a place
of no file."""

import unittest

import storeys

ORDER = [("low", ["a.h", "b"]), ("high", ["c", "a.c"])]


def found(sources):
    return [text for _, _, text in storeys.check(sources, ORDER)]


class Storeys(unittest.TestCase):
    def test_downwards(self):
        self.assertEqual(found({
            "a.h": "void a(void);\n",
            "a.c": '#include "core/c.h"\nvoid a(void)\n{\n    c();\n}\n',
            "b.h": '#include "core/a.h"\n',
            "b.c": '#include "core/b.h"\nstatic void c(void)\n{\n}\n\nvoid b(void)\n{\n    c(); /* a() */\n}\n',
            "c.h": "", "c.c": "void c(void)\n{\n}\n",
        }), [])

    def test_upwards(self):
        self.assertEqual(found({"b.h": "", "b.c": '#include "core/c.h"\n', "c.h": ""}),
                         ["includes c.h, which stands above it"])
        self.assertEqual(found({"b.c": "int b(int n)\n{\n    return a(n,\n             1);\n}\n", "a.c": "int a(int n,\n      int m)\n{\n    return n;\n}\n"}),
                         ["uses a of a.c, which stands above it"])

    def test_handed_on(self):
        above = "void a(void)\n{\n}\n"
        self.assertEqual(found({"b.c": "void b(void)\n{\n    later(a);\n    of->a(1);\n}\n", "a.c": above}),
                         ["uses a of a.c, which stands above it"])
        self.assertEqual(found({"b.c": "void b(struct it of)\n{\n    later(of.a, \"a\");\n}\n", "a.c": above}), [])

    def test_absent(self):
        self.assertEqual(list(storeys.absent(ORDER, {"a.h", "b.h", "c.h", "c.c", "a.c"})), ["b.c"])

    def test_nowhere(self):
        self.assertEqual(found({"d.c": ""}), ["stands in no storey (tools/lint/storeys.py)"])


if __name__ == "__main__":
    unittest.main()

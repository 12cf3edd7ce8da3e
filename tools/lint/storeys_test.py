#!/usr/bin/env python3
"""storeys.py finds an include and a call that go upwards, and a file that stands nowhere."""

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
                         ["calls a of a.c, which stands above it"])

    def test_nowhere(self):
        self.assertEqual(found({"d.c": ""}), ["stands in no storey (tools/lint/storeys.py)"])


if __name__ == "__main__":
    unittest.main()

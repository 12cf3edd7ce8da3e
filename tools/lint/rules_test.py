#!/usr/bin/env python3
"""rules.py finds a rule that is cited and has no entry, and an entry that nothing cites."""

import unittest

import markdown
import rules


def page(*names):
    rows = "".join('| <a id="%s"></a>%s | holds |\n' % (rules.anchor(name), name) for name in names)
    return markdown.parse(rules.PAGE, "| rule | |\n|---|---|\n" + rows)


def names(file, text):
    return {rule for _, rule in rules.cited(file, text)}


class Citations(unittest.TestCase):
    def test_numbers(self):
        self.assertEqual(names("src/a.c", "/* SE1, JF11 and JA5 */ CHECK(x, \"DI7: y\") /* DEFECT-3 */ SEE1 SE XSE1"),
                         {"SE1", "JF11", "JA5", "DI7", "DEFECT-3"})
        self.assertEqual(names("docs/a.md", "DI5 to DI7, JR13 to 14, bugs 6, 11 to 12; bug 20, 5.6"),
                         {"DI5", "DI6", "DI7", "JR13", "JR14", "bug 6", "bug 11", "bug 12", "bug 20"})

    def test_single_letters(self):
        self.assertEqual(names("src/a.c", "/* T4, W9 */"), {"T4", "W9"})
        self.assertEqual(names("bridge/src/a.rs", "fn a<T1, T2>() // SE3"), {"SE3"})

    def test_what_checks_fail_with(self):
        text = ('RULE(a, at(b, "(,", \')\') || f(c, d), "free slot", "text, %s", e);\n'
                '(void)verdict_fail(m->verdict, "6.4",\n    "text");\n'
                "/* JF11, 1.5: why */\n/* 9.2: why */\n/*\n * 8: why\n */\nverdict_fail(v, rule, x);\n")
        self.assertEqual(names("sim/a.c", text), {"free slot", "6.4", "JF11", "1.5", "9.2", "8"})
        self.assertEqual(names("src/a.c", text), {"JF11"})
        self.assertEqual(rules.cited("sim/a.c", text)[:2], [(1, "free slot"), (2, "6.4")])

    def test_planted_bugs(self):
        text = 'Mutant("a-b", "SE12, 8.7; bugs 1, 18, low water: SE9 is said here, too", FILE, "x")\nMutant(\n'
        self.assertEqual(names(rules.PLANTED, text), {"SE12", "8.7", "bug 1", "bug 18", "low water", "SE9"})

    def test_table_of_the_simulator(self):
        text = "| other | x |\n|---|---|\n| no | y |\n\n| rule | x |\n|---|---|\n| SE4, 8.1 to 8.3 | y |\n| at rest: spin, DI1 | z |\n\n| a |\n"
        self.assertEqual(names(rules.SIMULATION, text), {"SE4", "8.1", "8.2", "8.3", "spin", "DI1"})


class Entries(unittest.TestCase):
    def compare(self, entries, texts):
        return [text for _, text in rules.compare(entries, texts)]

    def test_all_are_there(self):
        self.assertEqual(self.compare(page("SE1", "free slot", "6.4"),
                                      {"sim/a.c": 'RULE(a, x, "free slot", "");', "sim/b.c": "/* SE1, 6.4: y */"}), [])

    def test_one_is_missing(self):
        found = self.compare(page("SE1"), {"src/a.c": "/* SE1 */\n/* SE2 */", "sim/a.c": 'RULE(a, x, "chain", "");'})
        self.assertEqual(found, ["the rule SE2, which src/a.c:2 cites, has no entry",
                                 "the rule chain, which sim/a.c:1 cites, has no entry"])

    def test_one_is_not_cited(self):
        found = list(rules.compare(page("SE1", "SE2"), {"src/a.c": "/* SE2 */"}))
        self.assertEqual(found, [(3, "nothing cites the rule SE1")])

    def test_entries_themselves(self):
        text = '| <a id="se1"></a>SE1 | |\n| <a id="se1"></a>SE1 | |\n| <a id="se_2"></a>SE2 | |\n'
        found, wrong = rules.entries(markdown.parse(rules.PAGE, text))
        self.assertEqual(set(found), {"SE1", "SE2"})
        self.assertEqual([line for line, _ in wrong], [2, 3])

    def test_what_is_looked_through(self):
        for name in ("sim/audit.c", "src/core/tokens_test.c", "bridge/src/db.rs", "docs/internals/tests.md", "tests/a/b.py"):
            self.assertTrue(rules.SCANNED.match(name) and not rules.SKIPPED.match(name), name)
        for name in (rules.PAGE, "tools/lint/rules_test.py", "fuzz/corpus/key/00ff"):
            self.assertFalse(rules.SCANNED.match(name) and not rules.SKIPPED.match(name), name)


if __name__ == "__main__":
    unittest.main()

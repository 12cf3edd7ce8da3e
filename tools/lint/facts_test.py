#!/usr/bin/env python3
"""Each check of facts.py finds what it is there for, and is content with what is right."""

import unittest
from unittest import mock

import facts
import markdown


def page(text):
    return markdown.parse("docs/page.md", text)


class Facts(unittest.TestCase):
    def test_names_of_limits(self):
        rows = "| `LOG_LINE_MAX` | 4,096 |\n| `LOG_LINES_MAX`, `NO_SUCH` | 1 |\n"
        found = list(facts.limits(page(rows), ["#define LOG_LINE_MAX 4096\n"]))
        self.assertEqual([line for line, _ in found], [2, 2])

    def test_figures_of_limits(self):
        source = ["#define A_BYTES (16u << 20)\n#define A_WAIT_US (INT64_C(3) * 1000 * 1000) /* why */\n",
                  "const B_MS: u64 = 1_500;\nconst B_WAIT: Duration = Duration::from_secs(2 * 30);\nexport const A_MAX = 2 * B_MS;\n"]
        right = "| `A_BYTES` | 16 MiB |\n| `A_WAIT_US` | 3 s |\n| `B_MS` | 1.5 s |\n| `B_WAIT` | 1 min |\n| `A_MAX` | 3,000 |\n"
        self.assertEqual(list(facts.limits(page(right), source)), [])
        wrong = right.replace("16", "17").replace("3 s", "4 s").replace("1.5", "1.4").replace("1 min", "2 min").replace("3,000", "3")
        self.assertEqual([line for line, _ in facts.limits(page(wrong), source)], [1, 2, 3, 4, 5])

    def test_texts(self):
        text = 'refused: "job ... is gone", "try again". `"not this"`\n'
        seen = markdown.parse("docs/page.md", text)
        with mock.patch.object(facts, "read", lambda _: text):
            self.assertEqual(list(facts.texts(seen, 'FAIL("job %s "\n     "is gone"); "please try again"')), [])
            self.assertEqual(list(facts.texts(seen, '"%s"; "job %s %s" " gone"; "try again"')), [])
            self.assertEqual(len(list(facts.texts(seen, 'FAIL("jobs %s was"); "please try it again"'))), 2)

    def test_events(self):
        source = ('log_warn("one", x);\nlog_error(\n    "two", y);\nLOG_AT(LEVELS[l], "three",\nlog_line(LOG_INFO, "four", z);'
                  'log_info(is_new(a) ? "made" : "found", LOG_STR("text", b))')
        rest = "| `made`, `found` | |\n"
        self.assertEqual(list(facts.events(page("| `one` | |\n| `two` | |\n| `three`, `four` | |\n" + rest), source)), [])
        found = [text for _, text in facts.events(page("| `one` | |\n| `two`, `three` | |\n| `five` | |\n" + rest), source)]
        self.assertEqual(found, ["the event four, which the program logs, has no row", "the program logs no event five"])

    def test_errors(self):
        source = ['format!("record {n} is not \\\n    whole, and {m} proves it");', 'FAIL(err, "cannot listen on %s: %s")', '"GONE_ERROR"']
        right = "| `record N is not whole` | |\n| `cannot listen on ADDRESS: Address already in use` | |\n| `GONE_ERROR` | `what` |\n"
        self.assertEqual(list(facts.errors(page(right), source)), [])
        wrong = "| `record N is not there` | |\n| `cannot hear on ADDRESS` | |\n| `LOST_ERROR` | |\n"
        self.assertEqual([line for line, _ in facts.errors(page(wrong), source)], [1, 2, 3])

    def test_tables_of_the_storage(self):
        source = "TABLE_INFO = 0x01, /* a */\nTABLE_META =\n 0x0d,\nMETA_CLOCK = 'C',"
        right = "| 01 info | |\n| 0D meta | |\n| `C` | |\n| other | |\n"
        self.assertEqual(list(facts.tables(page(right), source)), [])
        wrong = right.replace("01", "02").replace("`C`", "`D`")
        self.assertEqual(sorted(line for line, _ in facts.tables(page(wrong), source)), [1, 1, 1, 3])

    def test_names_of_tests(self):
        text = "| a rule | shard: test_success, test_gone; test_sizes.py: large_jobs |"
        with mock.patch.object(facts, "read", lambda _: text):
            found = list(facts.tests(page(text), {"test_success", "test_sizes", "large_jobs"}))
        self.assertEqual(found, [(1, "no test, function or file is called test_gone")])

    def test_what_the_proto_has(self):
        self.assertIn("Enqueue", facts.methods())
        self.assertIn("EnqueueRequest.return_existing", facts.additions())


if __name__ == "__main__":
    unittest.main()

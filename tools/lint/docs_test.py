#!/usr/bin/env python3
"""Each check of docs.py finds what it is there for, and is content with what is right."""

import unittest
from unittest import mock

import docs
import markdown

PAGE = """# One page
## `GetJob` & its twins, [linked](#x)
## Twice
## Twice
<a id="here"></a>

[good](#one-page) [twin](#twice-1) [a page](other.md#there) `[not](a-link.md)` [away](https://example.org/#x)
[code](../src/base/log.h)

```sh
./dev test --unit
[not](a-link.md)
```

| a | b |
|---|:--|
| `x` | y \\| z |
"""
OTHER = "# There\n"


def page(text, name="docs/page.md"):
    return markdown.parse(name, text)


class Reading(unittest.TestCase):
    def test_what_is_seen(self):
        seen = page(PAGE)
        self.assertEqual(seen.anchors, {"one-page", "getjob--its-twins-linked", "twice", "twice-1", "here"})
        self.assertEqual([link.target for link in seen.links],
                         ["#x", "#one-page", "#twice-1", "other.md#there", "https://example.org/#x", "../src/base/log.h"])
        self.assertEqual(seen.blocks, [markdown.Block(11, "sh", "./dev test --unit\n[not](a-link.md)\n")])
        self.assertEqual(seen.rows, [(15, ["a", "b"]), (17, ["`x`", "y \\| z"])])

    def test_a_block_that_is_never_closed(self):
        self.assertEqual(page("```sh\nls\n").blocks[0].language, "never closed")


class Checks(unittest.TestCase):
    def links(self, text):
        seen = page(text)
        pages = {seen.name: seen, "docs/README.md": page(OTHER, "docs/README.md")}
        return [text for _, text in docs.links(seen, pages)]

    def test_links(self):
        self.assertEqual(self.links("# A\n[a](#a) [b](README.md#there) [c](../src) [d](mailto:x@y.z)"), [])
        self.assertEqual(len(self.links("[a](#b)\n[b](README.md#nowhere)\n[c](gone.md)\n[d](../../outside)\n[e]: gone.md")), 5)

    def test_blocks(self):
        self.assertEqual(list(docs.blocks(page("```toml\na = 1\n```\n"))), [])
        self.assertEqual(len(list(docs.blocks(page("```\nx\n```\n```klingon\nx\n```\n```sh\n")))), 3)

    def test_paths_and_commands(self):
        known = ["src/base/log.c", "docs/page.md"]
        right = "`src/base/log.c` `src/base/` `base/log.c` `log.c` `docs` `./dev build` `x.toml`\n```sh\n./dev build\n```\n"
        self.assertEqual(list(docs.paths(page(right), known, {"build"})), [])
        wrong = "`src/base/gone.c` `src/gone` `gone_test.c` `core/log.c` `./dev destroy`\n```sh\n./dev destroy\n```\n"
        self.assertEqual(len(list(docs.paths(page(wrong), known, {"build"}))), 6)
        guide = page("`emails.py` `core/emails.py`", "docs/guides/page.md")
        self.assertEqual([text for _, text in docs.paths(guide, known, set())], ["no source file is called core/emails.py"])

    def test_names_of_limits(self):
        rows = "| `LOG_LINE_MAX` | 4,096 |\n| `LOG_LINES_MAX`, `NO_SUCH` | 1 |\n"
        found = list(docs.limits(page(rows), ["#define LOG_LINE_MAX 4096\n"]))
        self.assertEqual([line for line, _ in found], [2, 2])

    def test_figures_of_limits(self):
        source = ["#define A_BYTES (16u << 20)\n#define A_WAIT_US (INT64_C(3) * 1000 * 1000) /* why */\n",
                  "const B_MS: u64 = 1_500;\nconst B_WAIT: Duration = Duration::from_secs(2 * 30);\nexport const A_MAX = 2 * B_MS;\n"]
        right = "| `A_BYTES` | 16 MiB |\n| `A_WAIT_US` | 3 s |\n| `B_MS` | 1.5 s |\n| `B_WAIT` | 1 min |\n| `A_MAX` | 3,000 |\n"
        self.assertEqual(list(docs.limits(page(right), source)), [])
        wrong = right.replace("16", "17").replace("3 s", "4 s").replace("1.5", "1.4").replace("1 min", "2 min").replace("3,000", "3")
        self.assertEqual([line for line, _ in docs.limits(page(wrong), source)], [1, 2, 3, 4, 5])

    def test_texts(self):
        text = 'refused: "job ... is gone", "try again". `"not this"`\n'
        seen = markdown.parse("docs/page.md", text)
        with mock.patch.object(docs, "read", lambda _: text):
            self.assertEqual(list(docs.texts(seen, 'FAIL("job %s "\n     "is gone"); "please try again"')), [])
            self.assertEqual(list(docs.texts(seen, '"%s"; "job %s %s" " gone"; "try again"')), [])
            self.assertEqual(len(list(docs.texts(seen, 'FAIL("jobs %s was"); "please try it again"'))), 2)

    def test_events(self):
        source = ('log_warn("one", x);\nlog_error(\n    "two", y);\nLOG_AT(LEVELS[l], "three",\nlog_line(LOG_INFO, "four", z);'
                  'log_info(is_new(a) ? "made" : "found", LOG_STR("text", b))')
        rest = "| `made`, `found` | |\n"
        self.assertEqual(list(docs.events(page("| `one` | |\n| `two` | |\n| `three`, `four` | |\n" + rest), source)), [])
        found = [text for _, text in docs.events(page("| `one` | |\n| `two`, `three` | |\n| `five` | |\n" + rest), source)]
        self.assertEqual(found, ["the event four, which the program logs, has no row", "the program logs no event five"])

    def test_tables_of_the_storage(self):
        source = "TABLE_INFO = 0x01, /* a */\nTABLE_META =\n 0x0d,\nMETA_CLOCK = 'C',"
        right = "| 01 info | |\n| 0D meta | |\n| `C` | |\n| other | |\n"
        self.assertEqual(list(docs.tables(page(right), source)), [])
        wrong = right.replace("01", "02").replace("`C`", "`D`")
        self.assertEqual(sorted(line for line, _ in docs.tables(page(wrong), source)), [1, 1, 1, 3])

    def test_names_of_tests(self):
        text = "| a rule | shard: test_success, test_gone; test_sizes.py: large_jobs |"
        with mock.patch.object(docs, "read", lambda _: text):
            found = list(docs.tests(page(text), {"test_success", "test_sizes", "large_jobs"}))
        self.assertEqual(found, [(1, "no test, function or file is called test_gone")])

    def test_what_the_tree_has(self):
        self.assertIn("Enqueue", docs.methods())
        self.assertIn("EnqueueRequest.return_existing", docs.additions())
        self.assertTrue({"build", "test", "lint", "help"} <= docs.dev_commands())


if __name__ == "__main__":
    unittest.main()

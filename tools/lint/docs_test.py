#!/usr/bin/env python3
"""Each check of docs.py finds what it is there for, and is content with what is right."""

import unittest

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

    def test_index(self):
        seen = page("[a](guides/a.md#x) [b](../README.md)", "docs/README.md")
        names = ("docs/README.md", "docs/guides/a.md", "docs/guides/gone.md", "README.md")
        self.assertEqual(list(docs.index(seen, dict.fromkeys(names))), [(1, "nothing leads to docs/guides/gone.md")])

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

    def test_commands_of_dev(self):
        self.assertTrue({"build", "test", "lint", "help"} <= docs.dev_commands())


if __name__ == "__main__":
    unittest.main()

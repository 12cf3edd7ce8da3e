"""Tests of flame.py."""

import os
import sys
import unittest
import xml.etree.ElementTree as ElementTree

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import flame  # noqa: E402

TEXT = """silo-exec 100/101:
\t    55d0c1 core_step+0x12 (/usr/bin/silo)
\t    55d0c2 shard_turn+0x99 (/usr/bin/silo)

silo-exec 100/101:
\t    ffff01 vfs_write+0x1 ([kernel.kallsyms])
\t    7f0001 std::fs::write::h0123456789abcdef+0x7 (/usr/bin/silo)
\t    55d0c2 shard_turn+0x99 (/usr/bin/silo)

tokio worker 100/102:
\t    7f0002 [unknown] (/lib/libc.so.6)

tokio worker 100/102:
\t    7f0003 <a::B<(u8, u8)> as c::D>::e (/usr/bin/silo (deleted))
"""


def profile(text=TEXT):
    made = flame.Profile()
    for thread, frames in flame.samples(text.splitlines(True)):
        made.add(thread, frames)
    return made


class Folding(unittest.TestCase):
    def test_threads_and_frames(self):
        found = list(flame.samples(TEXT.splitlines(True)))
        self.assertEqual([t for t, _ in found], ["silo-exec", "silo-exec", "tokio worker", "tokio worker"])
        self.assertEqual(found[0][1], [("shard_turn", "other"), ("core_step", "other")])
        self.assertEqual(found[1][1][1:], [("std::fs::write", "engine"), ("vfs_write", "kernel")])
        self.assertEqual(found[2][1], [("[libc.so.6]", "other")])
        self.assertEqual(found[3][1], [("<a::B<(u8, u8)> as c::D>::e", "engine")])

    def test_counts(self):
        made = profile()
        self.assertEqual(made.root.count, 4)
        self.assertEqual(made.threads, {"silo-exec": 2, "tokio worker": 2})
        self.assertEqual(made.total_count["shard_turn"], 2)
        self.assertNotIn("shard_turn", made.self_count)
        self.assertEqual(made.self_count["core_step"], 1)

    def test_recursion_counts_once(self):
        made = profile("t 1/1:\n\t 1 f (x)\n\t 1 f (x)\n")
        self.assertEqual(made.total_count, {"f": 1})


class Output(unittest.TestCase):
    def test_svg_is_xml_with_a_box_for_each_frame(self):
        tree = ElementTree.fromstring(flame.svg(profile(), "a < b"))
        titles = [t.text for t in tree.iter("{http://www.w3.org/2000/svg}title")]
        self.assertIn("shard_turn: 2 of 4 samples, 50.00 %", titles)
        self.assertEqual(titles[0], "all: 4 of 4 samples, 100.00 %")
        self.assertEqual(len(titles), 1 + 2 + 4 + 2)

    def test_table(self):
        text = flame.table(profile(), "title", 10)
        self.assertIn("  50.0 %  silo-exec", text)
        self.assertIn("  25.0 %  vfs_write", text)

    def test_nothing(self):
        made = flame.Profile()
        ElementTree.fromstring(flame.svg(made, "t"))
        self.assertIn("0 samples", flame.table(made, "t", 3))


if __name__ == "__main__":
    unittest.main()

"""Every block of settings in the documentation is one that the server takes, without a warning; and the tables of settings say what
--help says."""

import os
import re
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import guide  # noqa: E402
import runner  # noqa: E402
from checks import equal  # noqa: E402
from silo_server import program  # noqa: E402

# What a page names lies in a directory of the test instead.
PLACES = re.compile(r"(?<=\")/(?:etc|var|run|srv|mnt|secrets)/[^\"$]*")
VARIABLE = re.compile(r"\$\{(\w+)\}")


def certificates(directory):
    """A certificate that is its own authority, and its key."""
    cert, key = os.path.join(directory, "cert.pem"), os.path.join(directory, "key.pem")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                    "-days", "2", "-subj", "/CN=localhost", "-keyout", key, "-out", cert], check=True, capture_output=True)
    return cert, key


def here(text, directory):
    """The block with its absolute paths in the directory; the files of TLS exist there."""
    cert, key = certificates(directory)
    text = re.sub(r"(tls_cert|tls_client_ca)(\s*=\s*)\"[^\"]*\"", r'\1\2"%s"' % cert, text)
    text = re.sub(r"(tls_key)(\s*=\s*)\"[^\"]*\"", r'\1\2"%s"' % key, text)
    return PLACES.sub(lambda found: directory + found.group(), text)


def helped():
    """Key -> (default, meaning), as --help prints them. Keys that have no effect have no meaning."""
    lines = subprocess.run([program(), "--help"], check=True, capture_output=True, text=True, timeout=60).stdout.splitlines()
    found = {}
    for line, below in zip(lines, [*lines[1:], ""]):
        key = re.fullmatch(r" {2}([a-z_]+(?:\.[a-z_0-9]+)+)\s*(?:\[(.*)\])?\s*", line)
        if key:
            found[key[1]] = (key[2] or "", below.strip() if below.startswith("      ") else None)
    return found


class Settings(unittest.TestCase):
    def test_tables(self):
        """The same keys, and word for word the same meanings, but for the choices, which the table has in its type."""
        rows = {cells[0].strip("`"): cells for _, cells in guide.markdown.read("docs/reference/configuration.md").rows
                if re.fullmatch(r"`[a-z_]+(\.[a-z_0-9]+)+`", cells[0])}
        wanted = helped()
        equal(sorted(rows), sorted(wanted), "keys")
        for key, (default, meaning) in wanted.items():
            _, _, shown, text = rows[key]
            if meaning is not None:
                equal(text.replace(" (not in this version)", ""), re.sub(r" \([a-z0-9]+(\|[a-z0-9]+)+\)$", "", meaning), key)
                if shown not in ("unset", "see right"):
                    equal(shown.strip("`").translate(str.maketrans("", "", '[]"')), default, "default of " + key)

    def test_blocks(self):
        checked = 0
        for name in guide.markdown.pages():
            for block in guide.markdown.read(name).blocks:
                if block.language == "toml":
                    with self.subTest("%s:%d" % (name, block.line)):
                        self.check(block.text)
                    checked += 1
        self.assertGreater(checked, 1, "blocks of settings")

    def check(self, text):
        with tempfile.TemporaryDirectory(prefix="silo-settings-") as directory:
            file = os.path.join(directory, "silo.toml")
            with open(file, "w", encoding="utf-8") as out:
                out.write(here(text, directory))
            variables = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", *VARIABLE.findall(text)]
            environment = dict(os.environ, **{name: "a-value" for name in variables})
            done = subprocess.run([program(), "--config", file, "--check-config"], cwd=directory, env=environment,
                                  capture_output=True, text=True, timeout=60)
            equal((done.returncode, done.stderr), (0, ""), "status and errors of --check-config")


if __name__ == "__main__":
    sys.exit(runner.main())

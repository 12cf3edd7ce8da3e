"""archive.py: archives whose programs run on any system with the libraries named here."""

import os
import re
import shutil
import tempfile

from staging import epoch, modes, run, staged, version

# All that a portable program may need: libc of Debian 12 or newer, the compiler's runtime, OpenSSL 3.
PORTABLE_NEEDS = {"libc.so.6", "libm.so.6", "libgcc_s.so.1", "libssl.so.3", "libcrypto.so.3", "ld-linux-x86-64.so.2",
                  "ld-linux-aarch64.so.1"}
PORTABLE_VERSIONS = {"GLIBC": (2, 36), "OPENSSL": (3, 0, 0), "GCC": (12, 0)}


def number(text):
    return tuple(int(part) for part in text.split("."))


def misfits(program):
    """What a program needs that PORTABLE_NEEDS and PORTABLE_VERSIONS do not promise."""
    needed = set(re.findall(r"\(NEEDED\).*\[(.*)\]", run("readelf", "-dW", program)))
    wrong = [f"needs {name}" for name in sorted(needed - PORTABLE_NEEDS)]
    for name, at in set(re.findall(r"\b(GLIBC|OPENSSL|GCC)_([0-9.]+)\b", run("readelf", "-VW", program))):
        if number(at) > PORTABLE_VERSIONS[name]:
            wrong.append(f"needs {name}_{at}: build on Debian 12")
    return wrong


def archive(build, output_dir, machine, symbols):
    top = f"silo-{version()}-linux-{machine}"
    kinds = [("", ("server", "bench"), "xz", "xz -T0"), ("-symbols", ("debug",), "gz", "gzip -1n")]
    with tempfile.TemporaryDirectory() as root:
        for kind, components, form, packer in kinds if symbols else kinds[:1]:
            stage = os.path.join(root, "stage" + kind)
            for component in components:
                staged(build, "/usr/local", component, stage)
            os.rename(os.path.join(stage, "usr", "local"), os.path.join(root, top + kind))
            # The example stays in share/doc: unpacking a newer version over this one must not replace a configuration.
            shutil.rmtree(os.path.join(root, top + kind, "etc"), ignore_errors=True)
            modes(os.path.join(root, top + kind))
            if not kind:
                check_portable(os.path.join(root, top, "bin"))
            run("tar", "-C", root, "--sort=name", "--owner=0", "--group=0", "--numeric-owner", f"--mtime=@{epoch()}",
                f"--use-compress-program={packer}", "-cf", os.path.join(output_dir, f"{top}{kind}.tar.{form}"), top + kind)


def check_portable(directory):
    for name in sorted(os.listdir(directory)):
        wrong = misfits(os.path.join(directory, name))
        if wrong:
            raise SystemExit(f"archive.py: {name} does not run on other systems: {'; '.join(wrong)}")

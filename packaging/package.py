#!/usr/bin/env python3
"""package.py: Debian packages and portable archives from finished builds.

  silo_V_ARCH.deb, silo-bench_V_ARCH.deb, silo-dbgsym_V_ARCH.deb   from --build, which links Debian's libraries
  silo-V-linux-MACHINE.tar.xz, silo-V-linux-MACHINE-symbols.tar.gz from --portable, which links them statically
  SHA256SUMS

Usage: package.py --output DIR [--build DIR [--package NAME ...]] [--portable DIR [--without-symbols]] [--revision N]

V is the version of CMakeLists.txt; Debian packages add the revision: 0.1.0-1. The same sources give the same bytes:
times are that of the last commit, or SOURCE_DATE_EPOCH. The maintainer is DEBFULLNAME and DEBEMAIL, as for Debian's tools.
"""

import argparse
import os
import re
import shutil
import sys

from archive import archive
from debian import PACKAGES, deb
from staging import digest, files_below, run, version, write


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", help="of the Debian packages")
    parser.add_argument("--package", action="append", choices=sorted(PACKAGES), help="only this one")
    parser.add_argument("--portable", help="of the archives")
    parser.add_argument("--without-symbols", action="store_true", help="no archive of symbols")
    parser.add_argument("--output", required=True)
    parser.add_argument("--revision", default="1")
    args = parser.parse_args()
    if not re.match(r"^[A-Za-z0-9.+~]+$", args.revision):
        parser.error("a revision is letters, digits, and . + ~")
    maintainer = f"{os.environ.get('DEBFULLNAME', 'The Silo authors')} <{os.environ.get('DEBEMAIL', 'packages@silo.invalid')}>"
    full_version = f"{version()}-{args.revision}"
    architecture = run("dpkg", "--print-architecture").strip()
    shutil.rmtree(args.output, ignore_errors=True)
    os.makedirs(args.output)
    for name in (args.package or PACKAGES) if args.build else ():
        deb(name, args.build, os.path.join(args.output, f"{name}_{full_version}_{architecture}.deb"), full_version, maintainer)
    if args.portable:
        archive(args.portable, args.output, os.uname().machine, not args.without_symbols)
    sums = "".join(f"{digest('sha256', args.output, file)}  {file}\n" for file in files_below(args.output))
    write(sums, args.output, "SHA256SUMS")
    for file in files_below(args.output):
        print(f"{os.path.getsize(os.path.join(args.output, file)):>12}  {os.path.join(args.output, file)}")


if __name__ == "__main__":
    sys.exit(main())

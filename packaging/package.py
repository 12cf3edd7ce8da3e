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
import gzip
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
DEB = os.path.join(ROOT, "packaging", "deb")

# Package -> component of packaging/CMakeLists.txt.
PACKAGES = {"silo": "server", "silo-bench": "bench", "silo-dbgsym": "debug"}

# All that a portable program may need: libc of Debian 12 or newer, the compiler's runtime, OpenSSL 3.
PORTABLE_NEEDS = {"libc.so.6", "libm.so.6", "libgcc_s.so.1", "libssl.so.3", "libcrypto.so.3", "ld-linux-x86-64.so.2",
                  "ld-linux-aarch64.so.1"}
PORTABLE_VERSIONS = {"GLIBC": (2, 36), "OPENSSL": (3, 0, 0), "GCC": (12, 0)}


def run(*words, **options):
    return subprocess.run(words, check=True, text=True, stdout=subprocess.PIPE, **options).stdout


def read(*path):
    with open(os.path.join(*path), encoding="utf-8") as file:
        return file.read()


def write(text, *path):
    os.makedirs(os.path.dirname(os.path.join(*path)), exist_ok=True)
    with open(os.path.join(*path), "w", encoding="utf-8") as file:
        file.write(text)


def digest(kind, *path):
    with open(os.path.join(*path), "rb") as file:
        return hashlib.file_digest(file, kind).hexdigest()


def version():
    return re.search(r"^project\(silo VERSION (\S+) ", read(ROOT, "CMakeLists.txt"), re.M).group(1)


def epoch():
    """The time that all files get."""
    if os.environ.get("SOURCE_DATE_EPOCH"):
        return int(os.environ["SOURCE_DATE_EPOCH"])
    try:
        return int(run("git", "-C", ROOT, "log", "-1", "--format=%ct", stderr=subprocess.DEVNULL))
    except (OSError, subprocess.CalledProcessError, ValueError):
        return int(os.path.getmtime(os.path.join(ROOT, "CHANGELOG.md")))


def compress(source, target):
    """gzip as Debian wants it: -9, without name and time."""
    with open(source, "rb") as file:
        data = gzip.compress(file.read(), 9, mtime=0)
    os.makedirs(os.path.dirname(target), exist_ok=True)
    with open(target, "wb") as file:
        file.write(data)


def staged(build, prefix, component, root):
    run("cmake", "--install", build, "--prefix", prefix, "--component", component, env=dict(os.environ, DESTDIR=root))


def files_below(root):
    return sorted(os.path.relpath(os.path.join(directory, name), root)
                  for directory, _, names in os.walk(root) for name in names)


# ---- Debian packages ----


def documents(name, root, full_version, maintainer):
    """usr/share/doc as Debian has it."""
    place = os.path.join(root, "usr", "share", "doc", name)
    for file in ("LICENSE", "NOTICE"):  # copyright says the same
        if os.path.exists(os.path.join(place, file)):
            os.remove(os.path.join(place, file))
    if os.path.exists(os.path.join(place, "CHANGELOG.md")):
        os.remove(os.path.join(place, "CHANGELOG.md"))
        compress(os.path.join(ROOT, "CHANGELOG.md"), os.path.join(place, "changelog.gz"))
    if os.path.exists(os.path.join(place, "silo.toml")):
        os.makedirs(os.path.join(place, "examples"))
        os.rename(os.path.join(place, "silo.toml"), os.path.join(place, "examples", "silo.toml"))
    when = time.strftime("%a, %d %b %Y %H:%M:%S +0000", time.gmtime(epoch()))
    text = f"silo ({full_version}) unstable; urgency=medium\n\n  * Release {version()}; see changelog.gz of silo.\n\n -- {maintainer}  {when}\n"
    log = os.path.join(root, "changelog")
    write(text, log)
    compress(log, os.path.join(place, "changelog.Debian.gz"))
    os.remove(log)
    shutil.copy(os.path.join(DEB, "copyright"), os.path.join(place, "copyright"))
    write(f"# This package is not uploaded to Debian.\n{name}: initial-upload-closes-no-bugs\n",
          root, "usr", "share", "lintian", "overrides", name)


def in_debian_form(root):
    """Man pages are compressed, and completions for zsh lie where Debian's zsh looks."""
    pages = os.path.join(root, "usr", "share", "man", "man1")
    for page in os.listdir(pages) if os.path.isdir(pages) else []:
        compress(os.path.join(pages, page), os.path.join(pages, page + ".gz"))
        os.remove(os.path.join(pages, page))
    zsh = os.path.join(root, "usr", "share", "zsh")
    if os.path.isdir(zsh):
        os.rename(os.path.join(zsh, "site-functions"), os.path.join(zsh, "vendor-completions"))


def libraries(root):
    """What dpkg-shlibdeps finds that the program needs."""
    programs = [os.path.join(root, "usr", "bin", name) for name in os.listdir(os.path.join(root, "usr", "bin"))]
    with tempfile.TemporaryDirectory() as place:
        write("Source: silo\n\nPackage: silo\nArchitecture: any\n", place, "debian", "control")
        found = run("dpkg-shlibdeps", "-O", *programs, cwd=place, stderr=subprocess.DEVNULL)
    return re.search(r"^shlibs:Depends=(.*)$", found, re.M).group(1)


def stanza(name, root, full_version, maintainer):
    text = next(part for part in read(DEB, "control.in").split("\n\n") if part.startswith(f"Package: {name}\n"))
    size = sum(os.path.getsize(os.path.join(root, file)) for file in files_below(root))
    fields = {"VERSION": full_version, "ARCHITECTURE": run("dpkg", "--print-architecture").strip(), "MAINTAINER": maintainer,
              "SIZE": str((size + 1023) // 1024)}
    if "@LIBRARIES@" in text:
        fields["LIBRARIES"] = libraries(root)
    return re.sub(r"@(\w+)@", lambda match: fields[match.group(1)], text).rstrip() + "\n"


def control_files(name, root, full_version, maintainer):
    payload = files_below(root)
    control = os.path.join(root, "DEBIAN")
    write(stanza(name, root, full_version, maintainer), control, "control")
    sums = "".join(f"{digest('md5', root, file)}  {file}\n" for file in payload if not file.startswith("etc/"))
    write(sums, control, "md5sums")
    configuration = "".join(f"/{file}\n" for file in payload if file.startswith("etc/"))
    if configuration:
        write(configuration, control, "conffiles")
    for script in ("postinst", "prerm", "postrm"):
        source = os.path.join(DEB, f"{name}.{script}")
        if os.path.exists(source):
            shutil.copy(source, os.path.join(control, script))
            os.chmod(os.path.join(control, script), 0o755)


def modes(root):
    """Nothing of the umask of whoever builds gets in."""
    for directory, names, files in os.walk(root):
        os.chmod(directory, 0o755)
        for file in files:
            path = os.path.join(directory, file)
            os.chmod(path, 0o755 if os.stat(path).st_mode & 0o100 else 0o644)


def deb(name, build, output, full_version, maintainer):
    with tempfile.TemporaryDirectory() as root:
        staged(build, "/usr", PACKAGES[name], root)
        documents(name, root, full_version, maintainer)
        in_debian_form(root)
        modes(root)
        control_files(name, root, full_version, maintainer)
        # Symbols are compressed where they lie, so that they need no room once installed; doing it twice gains nothing.
        how = ("-Zgzip", "-z1") if PACKAGES[name] == "debug" else ("-Zxz",)
        run("dpkg-deb", "--root-owner-group", *how, "--build", root, output, env=dict(os.environ, SOURCE_DATE_EPOCH=str(epoch())))


# ---- portable archives ----


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
            raise SystemExit(f"package.py: {name} does not run on other systems: {'; '.join(wrong)}")


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

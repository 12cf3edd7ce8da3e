"""debian.py: a Debian package of what a build installs."""

import gzip
import os
import re
import shutil
import subprocess
import tempfile
import time

from staging import ROOT, digest, epoch, files_below, modes, read, run, staged, version, write

DEB = os.path.join(ROOT, "packaging", "deb")

# Package -> component of packaging/CMakeLists.txt.
PACKAGES = {"silo": "server", "silo-bench": "bench", "silo-dbgsym": "debug"}


def compress(source, target):
    """gzip as Debian wants it: -9, without name and time."""
    with open(source, "rb") as file:
        data = gzip.compress(file.read(), 9, mtime=0)
    os.makedirs(os.path.dirname(target), exist_ok=True)
    with open(target, "wb") as file:
        file.write(data)


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

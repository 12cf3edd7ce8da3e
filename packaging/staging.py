"""staging.py: the installed files of a build, of which packages and archives are made.

The same sources give the same bytes: times are that of the last commit, or SOURCE_DATE_EPOCH.
"""

import hashlib
import os
import re
import subprocess

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


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


def staged(build, prefix, component, root):
    run("cmake", "--install", build, "--prefix", prefix, "--component", component, env=dict(os.environ, DESTDIR=root))


def files_below(root):
    return sorted(os.path.relpath(os.path.join(directory, name), root)
                  for directory, _, names in os.walk(root) for name in names)


def modes(root):
    """Nothing of the umask of whoever builds gets in."""
    for directory, names, files in os.walk(root):
        os.chmod(directory, 0o755)
        for file in files:
            path = os.path.join(directory, file)
            os.chmod(path, 0o755 if os.stat(path).st_mode & 0o100 else 0o644)

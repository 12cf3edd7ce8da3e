"""A file system of its own, small enough to be filled: tmpfs, which root may mount.

    with SmallDisk(megabytes=48) as disk:
        disk.fill()
        disk.free()
"""

import errno
import os
import subprocess
import tempfile

BLOCK = b"\0" * 65536
PAGE = 4096


def reason_to_skip():
    """Why there can be no small disk here; None if there can be one."""
    try:
        with SmallDisk(1):
            return None
    except (OSError, subprocess.CalledProcessError) as error:
        return "a tmpfs cannot be mounted: %s" % error


class SmallDisk:
    def __init__(self, megabytes):
        self.megabytes = megabytes
        self.path = None

    def __enter__(self):
        self.path = tempfile.mkdtemp(prefix="silo-disk-")
        try:
            subprocess.run(["mount", "-t", "tmpfs", "-o", "size=%dm" % self.megabytes, "tmpfs", self.path], check=True,
                           stderr=subprocess.DEVNULL)
        except BaseException:
            os.rmdir(self.path)
            raise
        return self

    def __exit__(self, *_):
        subprocess.run(["umount", "--lazy", self.path], check=True)
        os.rmdir(self.path)

    @property
    def filler(self):
        return os.path.join(self.path, "filler")

    def fill(self, but=0):
        """Takes all that is left, to the last block; but so many pages, if any."""
        with open(self.filler, "ab", buffering=0) as file:
            for block in (BLOCK, BLOCK[:4096], BLOCK[:1]):
                try:
                    while True:
                        file.write(block)
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
        os.truncate(self.filler, os.path.getsize(self.filler) // PAGE * PAGE - but * PAGE)

    def free(self):
        os.remove(self.filler)

    def used(self):
        """Bytes without the filler's."""
        stat = os.statvfs(self.path)
        return (stat.f_blocks - stat.f_bfree) * stat.f_frsize - (
            os.stat(self.filler).st_blocks * 512 if os.path.exists(self.filler) else 0)

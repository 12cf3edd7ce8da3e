#!/usr/bin/env python3
"""Runs a program with etcd beside it, for tests that are not written in Python.

    with_etcd.py [--version 3.4] [--members 1] [--user NAME:PASSWORD] [--tls] -- PROGRAM [ARGUMENTS]

The program finds in its environment

  SILO_ETCD_ENDPOINTS  URLs of the members' clients, separated by commas
  SILO_ETCD_VERSION    3.4 or 3.6
  SILO_ETCD_TLS        with --tls: a directory with cert.pem and key.pem, which the servers have and let nobody in without, and
                       which are the authority, too
  SILO_ETCD_CONTROL    the path of a stream socket that takes one command a line and answers each with a line: "ok", "ok VALUE"
                       or "error TEXT". N is a member's number, from 0, or "all".
                         pause N, resume N, kill N, stop N, forget N (with its data), start N (and wait until those that run serve)
                         compact        all history up to now
                         leader         the number of the leading member, -1 while there is none
                         revision       the store's revision
                         keep-none      revokes every lease, as a leader that stalled does

The status is that of the program; 77 says that there is no such etcd here, with the reason on standard error, which with CI in
the environment is a failure.
"""

import argparse
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from etcd_server import VERSIONS, Etcd, Refused  # noqa: E402

SKIPPED = 77
ON_MEMBERS = ("pause", "resume", "kill", "stop", "forget", "start")


def obey(etcd, command, argument=""):
    """The value that the answer carries, as text."""
    if command in ON_MEMBERS:
        for member in etcd.members if argument == "all" else [etcd.members[int(argument)]]:
            if command != "start" or not member.running:
                getattr(member, command)()
        if command == "start":
            etcd.wait_ready()
        return ""
    if command == "compact":
        etcd.compact()
        return ""
    if command == "leader":
        leader = etcd.leader()
        return str(-1 if leader is None else leader)
    if command == "revision":
        return str(etcd.revision())
    if command == "keep-none":
        for lease in etcd.leases():
            etcd.revoke(lease)
        return ""
    raise ValueError("no such command: " + command)


def answer(etcd, line):
    try:
        return ("ok " + obey(etcd, *line.split())).rstrip()
    except (AssertionError, IndexError, OSError, Refused, RuntimeError, TypeError, ValueError) as error:
        return "error " + " ".join(str(error).split())


def serve(etcd, listener):
    """One client after the other; ends when the listener is shut down."""
    while True:
        try:
            client, _ = listener.accept()
        except OSError:
            return
        with client, client.makefile("rw", encoding="utf-8", newline="\n") as file:
            try:
                for line in file:
                    file.write(answer(etcd, line) + "\n")
                    file.flush()
            except OSError:
                continue


def certificate(directory):
    """cert.pem, which is an authority, a server's and a client's, and key.pem."""
    cert, key = os.path.join(directory, "cert.pem"), os.path.join(directory, "key.pem")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key,
                    "-out", cert, "-days", "2", "-subj", "/CN=etcd.test", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"],
                   check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return cert, key


def run(etcd, command, tls):
    directory = tempfile.mkdtemp(prefix="silo-etcd-control-")
    path = os.path.join(directory, "socket")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(1)
        threading.Thread(target=serve, args=(etcd, listener), daemon=True).start()
        try:
            env = dict(os.environ, SILO_ETCD_ENDPOINTS=",".join(etcd.endpoints), SILO_ETCD_VERSION=etcd.version,
                       SILO_ETCD_CONTROL=path)
            if tls:
                env["SILO_ETCD_TLS"] = tls
            return subprocess.run(command, env=env).returncode
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            shutil.rmtree(directory, ignore_errors=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--version", choices=VERSIONS, default="3.4")
    parser.add_argument("--members", type=int, default=1)
    parser.add_argument("--user", metavar="NAME:PASSWORD", help="lets only this user in, and root with the same password")
    parser.add_argument("--tls", action="store_true", help="https, and only for those who show a certificate")
    parser.add_argument("command", nargs="+", metavar="PROGRAM")
    args = parser.parse_args()
    try:
        etcd = Etcd(args.version, args.members)
    except unittest.SkipTest as reason:
        print("skipped: %s" % reason, file=sys.stderr)
        return SKIPPED
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory(prefix="silo-etcd-tls-") as directory:
        if args.tls:
            cert, key = certificate(directory)
            etcd.use_tls(cert, key, ca=cert, client_ca=cert)
        with etcd:
            if args.user:
                etcd.enable_users(*args.user.split(":", 1))
            return run(etcd, args.command, directory if args.tls else None)


if __name__ == "__main__":
    sys.exit(main())

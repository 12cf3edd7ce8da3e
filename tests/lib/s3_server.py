"""A real S3 server on loopback (s3s-fs, a program from crates.io), and a small signed client to look into its bucket.

The program is built once, into ${XDG_CACHE_HOME:-~/.cache}/silo/tools, which takes minutes.
"""

import datetime
import hashlib
import hmac
import http.client
import os
import shutil
import subprocess
import tempfile
import urllib.parse

from checks import until
from silo_server import free_port

VERSION = "0.14.1"
ACCESS_KEY = "silo-test-access"
SECRET_KEY = "silo-test-secret"
REGION = "us-east-1"
BUCKET = "silo-test"


def program():
    """The path of s3s-fs; builds it when it is not there."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    root = os.path.join(cache, "silo", "tools", "s3s-fs-" + VERSION)
    binary = os.path.join(root, "bin", "s3s-fs")
    if not os.path.exists(binary):
        target = tempfile.mkdtemp(prefix="silo-s3s-")
        try:
            subprocess.run(
                ["cargo", "install", "--quiet", "--locked", "--root", root, "s3s-fs", "--features", "binary",
                 "--version", "=" + VERSION],
                check=True, env=dict(os.environ, CARGO_TARGET_DIR=target))
        finally:
            shutil.rmtree(target, ignore_errors=True)
    return binary


class S3Server:
    def __init__(self):
        self.directory = tempfile.mkdtemp(prefix="silo-s3-")
        self.port = free_port()
        self.process = None
        os.mkdir(os.path.join(self.directory, BUCKET))

    @property
    def url(self):
        return "http://127.0.0.1:%d" % self.port

    def environment(self):
        """What a client finds its credentials and its endpoint by."""
        return {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY, "AWS_REGION": REGION,
                "AWS_DEFAULT_REGION": REGION, "AWS_ENDPOINT": self.url, "AWS_ALLOW_HTTP": "true"}

    def start(self):
        with open(os.path.join(self.directory, "s3.log"), "ab") as log:
            self.process = subprocess.Popen(
                [program(), "--host", "127.0.0.1", "--port", str(self.port), "--access-key", ACCESS_KEY,
                 "--secret-key", SECRET_KEY, self.directory],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=dict(os.environ, RUST_LOG="error"))
        until(self._answers, "the S3 server", 30)
        return self

    def _answers(self):
        if self.process.poll() is not None:
            raise RuntimeError("the S3 server ended with %d" % self.process.returncode)
        try:
            return self.request("GET", "")[0] == 200
        except OSError:
            return False

    def stop(self):
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    def request(self, method, key, body=b"", query="", headers=None):
        """One signed request (AWS signature version 4): (status, body)."""
        now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
        day, path = now[:8], "/" + BUCKET + ("/" + urllib.parse.quote(key) if key else "")
        digest = hashlib.sha256(body).hexdigest()
        signed = {"host": "127.0.0.1:%d" % self.port, "x-amz-content-sha256": digest, "x-amz-date": now}
        names = ";".join(sorted(signed))
        canonical = "\n".join([method, path, query, *("%s:%s" % (n, signed[n]) for n in sorted(signed)), "", names, digest])
        scope = "%s/%s/s3/aws4_request" % (day, REGION)
        text = "\n".join(["AWS4-HMAC-SHA256", now, scope, hashlib.sha256(canonical.encode()).hexdigest()])
        secret = ("AWS4" + SECRET_KEY).encode()
        for part in (day, REGION, "s3", "aws4_request"):
            secret = hmac.new(secret, part.encode(), hashlib.sha256).digest()
        signature = hmac.new(secret, text.encode(), hashlib.sha256).hexdigest()
        authorization = "AWS4-HMAC-SHA256 Credential=%s/%s, SignedHeaders=%s, Signature=%s" % (
            ACCESS_KEY, scope, names, signature)
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            target = path + ("?" + query if query else "")
            connection.request(method, target, body, dict(signed, authorization=authorization, **(headers or {})))
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def keys(self):
        """All objects of the bucket, as the server's disk has them."""
        root = os.path.join(self.directory, BUCKET)
        return sorted(os.path.relpath(os.path.join(at, name), root)
                      for at, _, names in os.walk(root) for name in names)

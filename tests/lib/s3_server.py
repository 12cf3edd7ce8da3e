"""Real S3 servers on loopback, and a small signed client to look into their bucket.

    with S3Server() as s3:          # s3s-fs, a program of Rust's registry: small, quick to build
    with MinioServer() as s3:       # MinIO, which many people run

Of two creations of one object at the same moment s3s-fs grants both: where several writers race, use MinIO. Each is built once (real_parts.py), which takes minutes.
"""

import datetime
import hashlib
import hmac
import http.client
import os
import shutil
import signal
import subprocess
import tempfile
import urllib.parse
from xml.etree import ElementTree

import real_parts
from checks import until
from silo_server import free_port

S3S_VERSION = "0.14.1"
MINIO_VERSION = "v0.0.0-20260212201848-7aac2a2c5b7c"  # the last one of its module
ACCESS_KEY = "silo-test-access"
SECRET_KEY = "silo-test-secret"
REGION = "us-east-1"
BUCKET = "silo-test"


class S3Server:
    """s3s-fs: a bucket is a directory. `host` and `within` as for SiloServer."""

    scheme = "s3"
    backend = "s3"
    start_seconds = 30

    def __init__(self, host="127.0.0.1", within=()):
        self.host = host
        self.within = list(within)
        self.directory = tempfile.mkdtemp(prefix="silo-s3-")
        self.port = free_port()
        self.process = None

    def command(self):
        os.makedirs(os.path.join(self.directory, BUCKET), exist_ok=True)
        binary = real_parts.cargo_program("s3s-fs", S3S_VERSION, "--features", "binary")
        return [binary, "--host", self.host, "--port", str(self.port), "--access-key", ACCESS_KEY,
                "--secret-key", SECRET_KEY, self.directory]

    def server_environment(self):
        return {"RUST_LOG": "error"}

    @property
    def url(self):
        return "http://%s:%d" % (self.host, self.port)

    def environment(self):
        """What a client finds its credentials and its endpoint by."""
        return {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY, "AWS_REGION": REGION,
                "AWS_DEFAULT_REGION": REGION, "AWS_ENDPOINT": self.url, "AWS_ALLOW_HTTP": "true"}

    def start(self):
        command = self.within + self.command()
        with open(os.path.join(self.directory, "s3.log"), "ab") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            env=dict(os.environ, **self.server_environment()))
        until(self._answers, "the S3 server", self.start_seconds)
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

    def pause(self):
        """It swallows requests, as a store behind a broken network does."""
        self.process.send_signal(signal.SIGSTOP)

    def resume(self):
        self.process.send_signal(signal.SIGCONT)

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
        signed = {"host": "%s:%d" % (self.host, self.port), "x-amz-content-sha256": digest, "x-amz-date": now}
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
        connection = http.client.HTTPConnection(self.host, self.port, timeout=10)
        try:
            target = path + ("?" + query if query else "")
            connection.request(method, target, body, dict(signed, authorization=authorization, **(headers or {})))
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def create_once(self, key, body):
        """The status of a PUT that must not overwrite."""
        return self.request("PUT", key, body, headers={"if-none-match": "*"})[0]

    def read(self, key):
        status, body = self.request("GET", key)
        if status != 200:
            raise RuntimeError("GET of %s: %d %r" % (key, status, body))
        return body

    def keys(self):
        """All objects of the bucket."""
        found = []
        token = None
        while True:
            query = {"list-type": "2"}
            if token is not None:
                query["continuation-token"] = token
            status, body = self.request("GET", "", query=urllib.parse.urlencode(sorted(query.items()), quote_via=urllib.parse.quote))
            if status != 200:
                raise RuntimeError("LIST: %d %r" % (status, body))
            page = ElementTree.fromstring(body)
            found += [row.findtext("{*}Key") for row in page.iterfind("{*}Contents")]
            token = page.findtext("{*}NextContinuationToken")
            if not token:
                return sorted(found)


class MinioServer(S3Server):
    """MinIO on one directory."""

    def command(self):
        binary = real_parts.go_program("minio", "github.com/minio/minio", MINIO_VERSION)
        return [binary, "server", "--quiet", "--address", "%s:%d" % (self.host, self.port),
                "--console-address", "127.0.0.1:%d" % free_port(), os.path.join(self.directory, "minio")]

    def server_environment(self):
        return {"MINIO_ROOT_USER": ACCESS_KEY, "MINIO_ROOT_PASSWORD": SECRET_KEY, "MINIO_UPDATE": "off",
                "MINIO_BROWSER": "off", "MINIO_CALLHOME_ENABLE": "off"}

    def _answers(self):
        """Ready once the bucket can be made, or is there already."""
        if self.process.poll() is not None:
            raise RuntimeError("MinIO ended with %d" % self.process.returncode)
        try:
            return self.request("PUT", "")[0] in (200, 409)
        except OSError:
            return False

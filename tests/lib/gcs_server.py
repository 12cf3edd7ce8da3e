"""A store with the API of Google Cloud Storage on loopback: a real fake-gcs-server behind the XML front of gcs_front.py.

    with GcsServer() as gcs, unittest.mock.patch.dict(os.environ, gcs.environment()): ...

The front is a process of its own: stopping it is an outage of the store that loses nothing.
"""

import http.client
import json
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.parse

import real_parts
from checks import until
from silo_server import free_port

VERSION = "v1.56.1"
BUCKET = "silo-test"
START_SECONDS = 30
HERE = os.path.dirname(os.path.abspath(__file__))


class GcsServer:
    scheme = "gs"
    backend = "gcs"

    def __init__(self):
        self.directory = tempfile.mkdtemp(prefix="silo-gcs-")
        self.port, self.backend_port = free_port(), free_port()
        self.server = None
        self.front = None

    def environment(self):
        """What a client finds its endpoint by: credentials that name it and want no token."""
        path = os.path.join(self.directory, "account.json")
        with open(path, "w", encoding="ascii") as file:
            json.dump({"gcs_base_url": "http://127.0.0.1:%d" % self.port, "disable_oauth": True, "client_email": "",
                       "private_key": "", "private_key_id": ""}, file)
        return {"GOOGLE_SERVICE_ACCOUNT": path}

    def _spawn(self, command):
        with open(os.path.join(self.directory, "gcs.log"), "ab") as log:
            return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def _start_server(self):
        binary = real_parts.go_program("fake-gcs-server", "github.com/fsouza/fake-gcs-server", VERSION)
        self.server = self._spawn([binary, "-scheme", "http", "-host", "127.0.0.1", "-port", str(self.backend_port),
                                   "-backend", "memory", "-log-level", "error"])
        until(lambda: self._makes_bucket(), "fake-gcs-server", START_SECONDS)

    def _makes_bucket(self):
        if self.server.poll() is not None:
            raise RuntimeError("fake-gcs-server ended with %d" % self.server.returncode)
        try:
            body = json.dumps({"name": BUCKET}).encode()
            return self._backend("POST", "/storage/v1/b?project=test", body)[0] in (200, 409)
        except OSError:
            return False

    def start(self):
        if self.server is None:
            self._start_server()
        self.front = self._spawn([sys.executable, "-B", os.path.join(HERE, "gcs_front.py"), str(self.port),
                                  str(self.backend_port)])
        until(self._answers, "the XML front", START_SECONDS)
        return self

    def _answers(self):
        try:
            return self._request(self.port, "GET", "/%s?list-type=2&max-keys=1" % BUCKET)[0] == 200
        except OSError:
            return False

    def stop(self):
        """Nobody answers any more; the objects stay."""
        if self.front is not None:
            self.front.kill()
            self.front.wait()
            self.front = None

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()
        if self.server is not None:
            self.server.kill()
            self.server.wait()
        shutil.rmtree(self.directory, ignore_errors=True)

    @staticmethod
    def _request(port, method, path, body=None, headers=None):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def _backend(self, method, path, body=None):
        return self._request(self.backend_port, method, path, body, {"Content-Type": "application/json"})

    def create_once(self, key, body):
        """The status of a PUT that must not overwrite."""
        return self._request(self.port, "PUT", "/%s/%s" % (BUCKET, urllib.parse.quote(key)), body,
                             {"x-goog-if-generation-match": "0"})[0]

    def read(self, key):
        status, body = self._request(self.port, "GET", "/%s/%s" % (BUCKET, urllib.parse.quote(key)))
        if status != 200:
            raise RuntimeError("GET of %s: %d %r" % (key, status, body))
        return body

    def keys(self):
        """All objects of the bucket, as the server behind the front has them."""
        found = []
        token = ""
        while True:
            status, body = self._backend("GET", "/storage/v1/b/%s/o?pageToken=%s" % (BUCKET, urllib.parse.quote(token)))
            if status != 200:
                raise RuntimeError("LIST: %d %r" % (status, body))
            page = json.loads(body)
            found += [item["name"] for item in page.get("items", ())]
            token = page.get("nextPageToken", "")
            if not token:
                return sorted(found)

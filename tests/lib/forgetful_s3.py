"""An object store that speaks enough of S3 for a server to live on, and loses answers: some PUTs work and their connection
is closed without a word, so that the client's repeat is refused by If-None-Match. It keeps no metadata that would tell. And it
counts: `requests` is by method, a listing being LIST."""

import collections
import email.utils
import http.server
import random
import re
import threading
import urllib.parse
from xml.sax.saxutils import escape, unescape

from s3_handler import S3Handler


class _Handler(S3Handler):
    def do_PUT(self):
        store, key, body = self.server.store, self._key(), self._body()
        with store.lock:
            store.requests["PUT"] += 1
            if self.headers.get("If-None-Match") == "*" and key in store.objects:
                store.refused += 1
                return self._reply(412, b"<Error><Code>PreconditionFailed</Code></Error>")
            store.objects[key] = (body, email.utils.formatdate(usegmt=True))
            lose = store.losing and "/cluster/" not in key and store.random.randrange(store.losing) == 0
            store.lost += lose
        if lose:
            self.close_connection = True
            return None
        return self._reply(200, headers=[("ETag", '"1"')])

    def do_GET(self):
        url = urllib.parse.urlsplit(self.path)
        listing = "list-type=2" in url.query
        with self.server.store.lock:
            self.server.store.requests["LIST" if listing else self.command] += 1
        if listing:
            return self._list(urllib.parse.parse_qs(url.query))
        found = self.server.store.objects.get(self._key())
        if found is None:
            return self._reply(404, b"<Error><Code>NoSuchKey</Code></Error>")
        body, changed = found
        headers = [("ETag", '"1"'), ("Last-Modified", changed)]
        wanted = re.match(r"bytes=(\d*)-(\d*)$", self.headers.get("Range") or "")
        if not wanted:
            return self._reply(200, body, headers)
        first, last = wanted.groups()
        begin = int(first) if first else max(0, len(body) - int(last))
        end = min(int(last) + 1, len(body)) if first and last else len(body)
        headers.append(("Content-Range", "bytes %d-%d/%d" % (begin, end - 1, len(body))))
        return self._reply(206, body[begin:end], headers)

    do_HEAD = do_GET

    def _list(self, query):
        prefix, delimiter = query.get("prefix", [""])[0], query.get("delimiter", [""])[0]
        after = query.get("start-after", [""])[0]
        bucket = self._key().rstrip("/") + "/"
        with self.server.store.lock:
            found = sorted((key[len(bucket):], len(value[0])) for key, value in self.server.store.objects.items()
                           if key.startswith(bucket + prefix) and key[len(bucket):] > after)
        rows, folders = [], set()
        for name, size in found:
            rest = name[len(prefix):]
            if delimiter and delimiter in rest:
                folders.add(prefix + rest.split(delimiter)[0] + delimiter)
                continue
            rows.append("<Contents><Key>%s</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>1</ETag>"
                        "<Size>%d</Size></Contents>" % (escape(name), size))
        rows += ["<CommonPrefixes><Prefix>%s</Prefix></CommonPrefixes>" % escape(name) for name in sorted(folders)]
        text = "<ListBucketResult><IsTruncated>false</IsTruncated>%s</ListBucketResult>" % "".join(rows)
        self._reply(200, text.encode())

    def do_DELETE(self):
        with self.server.store.lock:
            self.server.store.requests["DELETE"] += 1
            self.server.store.objects.pop(self._key(), None)
        self._reply(204)

    def do_POST(self):
        """Only the bulk delete."""
        names = re.findall(r"<Key>(.*?)</Key>", self._body().decode())
        bucket = self._key().rstrip("/") + "/"
        with self.server.store.lock:
            for name in names:
                self.server.store.objects.pop(bucket + unescape(name), None)
        rows = "".join("<Deleted><Key>%s</Key></Deleted>" % name for name in names)
        self._reply(200, ("<DeleteResult>%s</DeleteResult>" % rows).encode())


class ForgetfulS3:
    """losing: one answer in so many is lost, 0: none."""

    def __init__(self, seed=1):
        self.objects, self.lock, self.random = {}, threading.Lock(), random.Random(seed)
        self.losing = self.lost = self.refused = 0
        self.requests = collections.Counter()

    def __enter__(self):
        from silo_server import free_port

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", free_port()), _Handler)
        self.server.daemon_threads = True
        self.server.store = self
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()

    def environment(self):
        return {"AWS_ENDPOINT": "http://127.0.0.1:%d" % self.server.server_address[1], "AWS_REGION": "us-east-1",
                "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_ALLOW_HTTP": "true"}

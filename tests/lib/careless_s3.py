"""An object store that speaks enough of S3 to be started on and ignores If-None-Match: Silo must refuse it."""

import http.server
import threading
import urllib.parse
from xml.sax.saxutils import escape

from s3_handler import S3Handler


class _Handler(S3Handler):
    def do_PUT(self):
        body = self._body()
        self.server.objects[self._key()] = body
        self._reply(200, headers=[("ETag", '"%x"' % hash(body))])

    def do_GET(self):
        url = urllib.parse.urlsplit(self.path)
        if "list-type=2" in url.query:
            return self._list(urllib.parse.parse_qs(url.query).get("prefix", [""])[0])
        body = self.server.objects.get(self._key())
        if body is None:
            return self._reply(404, b"<Error><Code>NoSuchKey</Code></Error>")
        return self._reply(200, body, [("ETag", '"%x"' % hash(body)),
                                       ("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")])

    do_HEAD = do_GET

    def _list(self, prefix):
        bucket = self._key().rstrip("/") + "/"
        names = [key[len(bucket):] for key in sorted(self.server.objects) if key.startswith(bucket + prefix)]
        rows = "".join("<Contents><Key>%s</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>x</ETag>"
                       "<Size>1</Size></Contents>" % escape(name) for name in names)
        self._reply(200, ("<ListBucketResult><IsTruncated>false</IsTruncated>%s</ListBucketResult>" % rows).encode())

    def do_DELETE(self):
        self.server.objects.pop(self._key(), None)
        self._reply(204)

    def do_POST(self):
        self._body()
        self.server.objects.clear()  # the only POST without uploads is a bulk delete
        self._reply(200, b"<DeleteResult></DeleteResult>")


class CarelessS3:
    def __enter__(self):
        from silo_server import free_port

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", free_port()), _Handler)
        self.server.objects = {}
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()

    @property
    def url(self):
        return "http://127.0.0.1:%d" % self.server.server_address[1]

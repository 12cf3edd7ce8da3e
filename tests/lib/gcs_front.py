#!/usr/bin/env python3
"""The XML side of Google Cloud Storage, in front of a fake-gcs-server, which has the JSON side alone.

    gcs_front.py PORT BACKEND_PORT

The engine's client writes, reads and lists objects by the XML API. Each request becomes one of the JSON API, so objects, their
generations and their preconditions are the real server's. Only multipart uploads are kept here until they are complete: their
parts are no objects.
"""

import http.client
import http.server
import json
import sys
import threading
import urllib.parse
import uuid
from email.utils import formatdate
from datetime import datetime
from xml.sax.saxutils import escape
from xml.etree import ElementTree

quote = urllib.parse.quote


class Backend(threading.local):
    """One connection for each thread."""

    def __init__(self, port):
        self.port = port
        self.connection = None

    def request(self, method, path, body=None, headers=None):
        """(status, headers, body). A connection that the server closed meanwhile is made anew, once."""
        for again in (True, False):
            if self.connection is None:
                self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
            try:
                self.connection.request(method, path, body, headers or {})
                answer = self.connection.getresponse()
                return answer.status, answer.headers, answer.read()
            except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
                self.connection.close()
                self.connection = None
                if not again:
                    raise
        return None


def http_date(stamp):
    return formatdate(datetime.fromisoformat(stamp.replace("Z", "+00:00")).timestamp(), usegmt=True)


class Front(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    # ---- what came, and how it is answered ----

    def parse(self):
        url = urllib.parse.urlsplit(self.path)
        bucket, _, name = url.path.lstrip("/").partition("/")
        self.bucket, self.name = urllib.parse.unquote(bucket), urllib.parse.unquote(name)
        self.query = dict(urllib.parse.parse_qsl(url.query, keep_blank_values=True))
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))

    @property
    def object_path(self):
        return "/storage/v1/b/%s/o/%s" % (quote(self.bucket, safe=""), quote(self.name, safe=""))

    def reply(self, status, body=b"", headers=None, length=None):
        self.send_response(status)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def fail(self, status, body):
        code = {404: "NoSuchKey", 412: "PreconditionFailed", 416: "InvalidRange"}.get(status, "InternalError")
        text = body.decode("utf-8", "replace")[:500]
        self.reply(status, ("<Error><Code>%s</Code><Message>%s</Message></Error>" % (code, escape(text))).encode())

    @staticmethod
    def attributes(item):
        return {"ETag": '"%s"' % item["etag"].strip('"'), "x-goog-generation": item["generation"],
                "Last-Modified": http_date(item["updated"])}

    # ---- objects ----

    def put(self, body, precondition=None):
        """(status, headers or the server's body)."""
        path = "/upload/storage/v1/b/%s/o?uploadType=media&name=%s" % (quote(self.bucket, safe=""), quote(self.name, safe=""))
        if precondition is not None:
            path += "&ifGenerationMatch=" + quote(precondition)
        kind = self.headers.get("Content-Type") or "application/octet-stream"
        status, _, answer = self.server.backend.request("POST", path, body, {"Content-Type": kind})
        return status, self.attributes(json.loads(answer)) if status == 200 else answer

    def do_PUT(self):
        self.parse()
        if "uploadId" in self.query:
            part = self.server.uploads[self.query["uploadId"]]
            tag = '"%s"' % uuid.uuid4().hex
            part[int(self.query["partNumber"])] = self.body
            return self.reply(200, headers={"ETag": tag})
        if "x-goog-copy-source" in self.headers:
            return self.reply(501, b"copies are not spoken here")
        status, answer = self.put(self.body, self.headers.get("x-goog-if-generation-match"))
        return self.reply(200, headers=answer) if status == 200 else self.fail(status, answer)

    def do_HEAD(self):
        self.parse()
        status, _, answer = self.server.backend.request("GET", self.object_path)
        if status != 200:
            return self.fail(status, answer)
        item = json.loads(answer)
        return self.reply(200, headers=self.attributes(item), length=int(item["size"]))

    def do_GET(self):
        self.parse()
        if not self.name:
            return self.list()
        status, _, answer = self.server.backend.request("GET", self.object_path)
        if status != 200:
            return self.fail(status, answer)
        item = json.loads(answer)
        wanted = {"Range": self.headers["Range"]} if "Range" in self.headers else {}
        status, headers, body = self.server.backend.request(
            "GET", "%s?alt=media&generation=%s" % (self.object_path, item["generation"]), headers=wanted)
        if status not in (200, 206):
            return self.fail(status, body)
        extra = {"Content-Range": headers["Content-Range"]} if "Content-Range" in headers else {}
        return self.reply(status, body, dict(self.attributes(item), **extra))

    def do_DELETE(self):
        self.parse()
        if "uploadId" in self.query:
            self.server.uploads.pop(self.query["uploadId"], None)
            return self.reply(204)
        status, _, answer = self.server.backend.request("DELETE", self.object_path)
        return self.reply(204) if status in (200, 204) else self.fail(status, answer)

    # ---- uploads in parts ----

    def do_POST(self):
        self.parse()
        if "uploads" in self.query:
            upload = uuid.uuid4().hex
            self.server.uploads[upload] = {}
            return self.xml("InitiateMultipartUploadResult", "<UploadId>%s</UploadId>" % upload)
        parts = self.server.uploads.pop(self.query["uploadId"])
        numbers = [int(part.findtext("{*}PartNumber") or part.findtext("PartNumber"))
                   for part in ElementTree.fromstring(self.body)]
        status, answer = self.put(b"".join(parts[number] for number in numbers))
        if status != 200:
            return self.fail(status, answer)
        return self.xml("CompleteMultipartUploadResult", "<ETag>%s</ETag>" % escape(answer["ETag"]), answer)

    def xml(self, name, text, headers=None):
        self.reply(200, ("<%s>%s</%s>" % (name, text, name)).encode(), headers)

    # ---- lists ----

    def list(self):
        after = self.query.get("start-after")
        names = {"prefix": "prefix", "delimiter": "delimiter", "max-keys": "maxResults", "continuation-token": "pageToken"}
        query = {names[key]: value for key, value in self.query.items() if key in names}
        if after is not None:
            query["startOffset"] = after
        status, _, answer = self.server.backend.request(
            "GET", "/storage/v1/b/%s/o?%s" % (quote(self.bucket, safe=""), urllib.parse.urlencode(query)))
        if status != 200:
            return self.fail(status, answer)
        page = json.loads(answer)
        rows = ["<Contents><Key>%s</Key><LastModified>%s</LastModified><ETag>%s</ETag><Size>%s</Size></Contents>"
                % (escape(item["name"]), item["updated"], escape(self.attributes(item)["ETag"]), item["size"])
                for item in page.get("items", ()) if item["name"] != after]
        rows += ["<CommonPrefixes><Prefix>%s</Prefix></CommonPrefixes>" % escape(prefix)
                 for prefix in page.get("prefixes", ())]
        more = page.get("nextPageToken")
        rows.append("<IsTruncated>%s</IsTruncated>" % ("true" if more else "false"))
        if more:
            rows.append("<NextContinuationToken>%s</NextContinuationToken>" % escape(more))
        return self.xml("ListBucketResult", "".join(rows))


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port, backend_port):
        super().__init__(("127.0.0.1", port), Front)
        self.backend = Backend(backend_port)
        self.uploads = {}


if __name__ == "__main__":
    Server(int(sys.argv[1]), int(sys.argv[2])).serve_forever()

"""What stand-ins for an object store share: how a request of S3 is read and answered."""

import http.server
import urllib.parse


class S3Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def _reply(self, status, body=b"", headers=()):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _key(self):
        return urllib.parse.unquote(urllib.parse.urlsplit(self.path).path)

    def _body(self):
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

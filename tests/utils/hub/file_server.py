"""A real HTTP server on this machine with Range and ETag, that misbehaves as it is told."""

from __future__ import annotations

import re
from collections import deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class FileServer(ThreadingHTTPServer):
    """Attributes: files by path; what to do wrong at the next requests; what was asked."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        self.etags: dict[str, str] = {}
        self.faults: deque = deque()
        self.asked: list[tuple[str, str | None, str | None]] = []
        self.ranges = True

    @property
    def address(self):
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        server = self.server
        wanted = self.headers.get("Range")
        server.asked.append((self.path, wanted, self.headers.get("Authorization")))
        fault, value = server.faults.popleft() if server.faults else ("", 0)
        self.close_connection = True
        content = server.files.get(self.path)
        if fault == "status":
            return self.send_error(value)
        if fault == "redirect":
            self.send_response(302)
            self.send_header("Location", value)
            self.send_header("Content-Length", "0")
            return self.end_headers()
        if content is None:
            return self.send_error(404)
        return self.send_file(content, wanted, fault, value)

    def send_file(self, content, wanted, fault, value):
        etag = self.server.etags.get(self.path, '"one"')
        start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1]) if wanted and self.server.ranges else 0
        if self.headers.get("If-Range") not in (None, etag):
            start = 0
        if start > len(content):
            return self.send_error(416)
        self.send_response(206 if start else 200)
        if start:
            shown = value if fault == "range" else f"bytes {start}-{len(content) - 1}/{len(content)}"
            self.send_header("Content-Range", shown)
        self.send_header("ETag", etag)
        if fault == "chunked":
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            return self.wfile.write(b"%x\r\n" % len(content) + content[:value])
        if fault != "no length":
            self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        body = content[start:]
        return self.wfile.write(body[:value] if fault == "break" else body)

"""A real HTTP server on this machine with Range and ETag, that misbehaves as it is told."""

from __future__ import annotations

import re
from collections import deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar


class FileServer(ThreadingHTTPServer):
    """Attributes: files and refusals by path; what to do wrong at the next GETs; which GETs came."""

    daemon_threads = True

    def __init__(self, handler=None):
        super().__init__(("127.0.0.1", 0), handler or Handler)
        self.files: dict[str, bytes] = {}
        self.etags: dict[str, str] = {}
        self.refused: dict[str, int] = {}
        self.faults: deque = deque()
        self.asked: list[tuple[str, str | None, str | None]] = []
        self.ranges = True

    @property
    def address(self):
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    extra: ClassVar[dict[str, str]] = {}

    def log_message(self, *_):
        pass

    def end_headers(self):
        self.send_header("Connection", "close")
        super().end_headers()

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        server = self.server
        wanted = self.headers.get("Range")
        if self.command == "GET":
            server.asked.append((self.path, wanted, self.headers.get("Authorization")))
        fault, value = server.faults.popleft() if server.faults and self.command == "GET" else ("", 0)
        self.close_connection = True
        content = server.files.get(self.path)
        if self.path in server.refused:
            return self.send_error(server.refused[self.path])
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
        for name, text in self.extra.items():
            self.send_header(name, text)
        if fault == "chunked":
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            return self.wfile.write(b"%x\r\n" % len(content) + content[:value])
        if fault != "no length":
            self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        if self.command == "HEAD":
            return None
        body = content[start:]
        return self.wfile.write(body[:value] if fault == "break" else body)

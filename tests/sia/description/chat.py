"""A real OpenAI-compatible server on this machine, that answers and misbehaves as it is told."""

from __future__ import annotations

import contextlib
import json
import time
from collections import deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Chat(ThreadingHTTPServer):
    """Attributes: what to answer next (a text, a status, bytes, seconds to wait); what was asked."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: deque = deque()
        self.asked: list[dict] = []
        self.keys: list[str | None] = []

    @property
    def address(self):
        return f"http://127.0.0.1:{self.server_port}/v1"


class _Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_POST(self):
        with contextlib.suppress(OSError):  # who asked may be gone
            self._answer()

    def _answer(self):
        server = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        server.asked.append({**body, "path": self.path})
        server.keys.append(self.headers.get("Authorization"))
        answer = server.answers.popleft() if server.answers else 500
        if isinstance(answer, float):
            time.sleep(answer)
            answer = 500
        if isinstance(answer, int):
            if answer == 302:
                self.send_response(302)
                self.send_header("Location", "http://127.0.0.1:9/elsewhere")
                self.send_header("Content-Length", "0")
                return self.end_headers()
            return self.send_error(answer)
        content = answer
        if isinstance(answer, str):
            content = json.dumps({"choices": [{"message": {"role": "assistant", "content": answer}}]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        return self.wfile.write(content)


def sentences(*rows: tuple[str, list[str]]) -> str:
    """An answer of the form that is asked for."""
    return json.dumps({"sentences": [{"text": text, "fact_ids": names} for text, names in rows]})

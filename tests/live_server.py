"""A looped clip over HTTP or RTSP, 25 frames a second: each frame says when it was sent."""

from __future__ import annotations

import contextlib
import time
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from socketserver import StreamRequestHandler
from typing import Any

import av
import numpy as np

from tests.inference_helpers import quarters

RATE = 25
_BITS, _SIDE = 20, 16


def stamp(image: np.ndarray, moment: float) -> np.ndarray:
    """Writes milliseconds as black and white squares into the uppermost rows."""
    for bit in range(_BITS):
        image[:_SIDE, bit * _SIDE : (bit + 1) * _SIDE] = 255 * (round(1000 * moment) >> bit & 1)
    return image


def age(image: np.ndarray, now: float) -> float:
    """Seconds since the frame was sent."""
    means = image[:_SIDE, : _BITS * _SIDE].reshape(_SIDE, _BITS, _SIDE, 3).mean((0, 2, 3))
    sent = sum(int(mean > 127) << bit for bit, mean in enumerate(means))
    return (round(1000 * now) - sent) % (1 << _BITS) / 1000


def send_clip(server: ClipServer, file: Any, kind: str) -> None:
    """Encodes the clip again and again as it is sent, until the client or the server has gone."""
    clip = [np.roll(quarters(240, 320), 8 * shift, 1) for shift in range(10)]
    with contextlib.suppress(OSError, av.FFmpegError), av.open(file, "w", format=kind, buffer_size=1460) as container:
        stream = container.add_stream("libx264", rate=RATE, options={"preset": "ultrafast", "tune": "zerolatency"})
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        stream.codec_context.gop_size = RATE
        begin = time.monotonic()
        for number in count():
            while server.silent:
                time.sleep(0.01)
            if server.stopping:
                return
            frame = av.VideoFrame.from_ndarray(stamp(clip[number % len(clip)].copy(), time.monotonic()), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            container.mux(stream.encode(frame))
            time.sleep(max(0.0, begin + number / RATE - time.monotonic()))


class Http(BaseHTTPRequestHandler):
    """MPEG-TS without a length."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "video/mp2t")
        self.end_headers()
        send_clip(self.server, self.wfile, "mpegts")

    def log_message(self, *_: object) -> None:
        pass


SDP = b"""v=0
o=- 0 0 IN IP4 127.0.0.1
s=clip
t=0 0
m=video 0 RTP/AVP 96
a=rtpmap:96 H264/90000
a=fmtp:96 packetization-mode=1
a=control:track
""".replace(b"\n", b"\r\n")


class Rtsp(StreamRequestHandler):
    """RTSP whose packets go over the same connection."""

    def handle(self) -> None:
        for line in self.rfile:
            method, address, _ = line.decode().split()
            headers = dict(iter(lambda: self.rfile.readline().decode().strip().partition(": ")[::2], ("", "")))
            if "/TCP" not in headers.get("Transport", "/TCP"):
                self.answer("461 Unsupported Transport", headers)
                continue
            more = {
                "DESCRIBE": f"Content-Base: {address}/",
                "SETUP": "Transport: RTP/AVP/TCP;interleaved=0-1\r\nSession: 1",
            }
            self.answer(
                "200 OK", headers, more.get(method, "Public: DESCRIBE, SETUP, PLAY"), SDP * (method == "DESCRIBE")
            )
            if method == "PLAY":
                return send_clip(self.server, self, "rtp")

    def answer(self, status: str, headers: dict[str, str], more: str = "Session: 1", body: bytes = b"") -> None:
        about = f"Content-Type: application/sdp\r\nContent-Length: {len(body)}\r\n" if body else ""
        self.wfile.write(f"RTSP/1.0 {status}\r\nCSeq: {headers['CSeq']}\r\n{more}\r\n{about}\r\n".encode() + body)

    def write(self, packet: bytes) -> int:
        """What FFmpeg calls with each packet of RTP, and of RTCP."""
        channel = 200 <= packet[1] <= 204
        self.wfile.write(b"$" + bytes([channel]) + len(packet).to_bytes(2, "big") + packet)
        return len(packet)


class ClipServer(ThreadingHTTPServer):
    """Stops what it sends when it is closed."""

    stopping = silent = False
    daemon_threads = True

    def __init__(self, handler: type[StreamRequestHandler], port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), handler)
        self.address = f"{handler.__name__.lower()}://127.0.0.1:{self.server_port}/clip"

    def shutdown(self) -> None:
        self.stopping, self.silent = True, False
        super().shutdown()

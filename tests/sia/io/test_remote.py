"""Where a server may send to, and what it may send."""

from __future__ import annotations

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from sia.errors import DataError
from sia.io.remote import REDIRECTS, read_named
from sia.video.source import kind_of
from tests.conftest import ROOT
from tests.serving import serving

PHOTO = ROOT / "weights" / "check_images.jpg"


class Images(BaseHTTPRequestHandler):
    """``/to/ADDRESS`` sends there, ``/steps/N`` takes N steps, ``/photo`` is an image, ``/live`` isn't."""

    def do_GET(self) -> None:
        kind, _, rest = self.path[1:].partition("?")[0].partition("/")
        if kind == "steps":
            rest = f"/steps/{int(rest) - 1}" if int(rest) else "/photo"
        self.send_response(302 if rest else 200)
        if rest:
            self.send_header("Location", rest)
        self.send_header("Content-Type", "image/jpeg" if kind == "photo" else "video/mp2t")
        self.end_headers()
        self.wfile.write(b"" if rest else PHOTO.read_bytes())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def place() -> Iterator[str]:
    with serving(ThreadingHTTPServer(("127.0.0.1", 0), Images)) as server:
        yield f"http://127.0.0.1:{server.server_port}"


def test_redirections_within_the_web_are_followed(place: str) -> None:
    expected = read_named(str(PHOTO))
    for path in ("photo", f"to/{place}/photo", "to//photo", f"steps/{REDIRECTS - 1}"):
        np.testing.assert_array_equal(read_named(f"{place}/{path}"), expected)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("to/file:///etc/passwd", "Redirection to url 'file:///etc/passwd' is not allowed"),
        ("to/ftp://host/a.jpg", "it sends to ftp://host/a.jpg, which is not followed"),
        (f"steps/{REDIRECTS}", "infinite loop"),
    ],
)
def test_others_are_not(place: str, path: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read_named(f"{place}/{path}")
    assert "\n" not in str(caught.value)


def test_a_server_says_what_it_has(place: str) -> None:
    assert kind_of(f"{place}/photo") == kind_of(f"{place}/to//photo") == "address"
    assert kind_of(f"{place}/live") == kind_of("http://127.0.0.1:9/a") == "stream"

"""Fetches one file over HTTP(S): broken downloads go on where they stopped, and the file appears when it is whole."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit

import msgspec

from sia.errors import DownloadError, OutputError, first_line
from sia.io.output_file import output_error, write_json
from sia.io.secrets import mask

CHUNK = 1 << 20
"""Bytes that are read at once."""
TIMEOUT = 60.0
"""Seconds without a byte after which a connection counts as broken."""
ATTEMPTS = 5
"""Attempts in a row that bring nothing before it is given up."""
PAUSE = 1.0
"""Seconds before the second attempt; doubled before each further one."""
_BUSY = (408, 425, 429, 500, 502, 503, 504)

Progress = Callable[[int, int | None], object]
"""Called with the bytes that are there and, where it is known, how many there will be."""


@dataclass(frozen=True)
class _Origin:
    """What a part belongs to, kept beside it: a part of another file must never be continued.

    Attributes:
        url: where it is from, without secrets.
        etag: a strong ETag, or empty.
        total: bytes of the whole, None where the server doesn't say.
    """

    url: str
    etag: str
    total: int | None


def download(
    url: str,
    target: Path,
    size: int | None = None,
    token: str | None = None,
    progress: Progress = lambda done, total: None,
) -> Path:
    """Fetches a file next to its final name, for the caller to check and to move there.

    Args:
        url: http or https; a redirect may not leave https.
        target: the final name. The part is ``.NAME.part`` beside it and stays after an error, so that a second call
            goes on with it.
        size: of the whole in bytes, where it is known for sure.
        token: sent as bearer token to the first host only.
        progress: called after each chunk.

    Returns:
        The path of the complete part.

    Raises:
        DownloadError: no such file, no permission, no connection, or another size.
        OutputError: it can't be written, or there is no room for it.
    """
    return _Download(url, target, size, token, progress).run()


@dataclass
class _Download:
    url: str
    target: Path
    size: int | None
    token: str | None
    progress: Progress

    def __post_init__(self) -> None:
        self.part = self.target.with_name(f".{self.target.name}.part")
        self.note = self.target.with_name(f".{self.target.name}.part.json")
        self.opener = urllib.request.build_opener(_OnlySafeRedirects)

    def run(self) -> Path:
        failures, reason = 0, ""
        while failures < ATTEMPTS:
            if failures:
                time.sleep(PAUSE * 2 ** (failures - 1))
            before = self._there()
            try:
                if self._attempt():
                    return self.part
                reason = "the connection broke off"
            except (OSError, ValueError, http.client.HTTPException) as error:
                reason = self._judge(error)
            failures = 0 if self._there() > before else failures + 1
        there = self._there()
        kept = f" {there:,} bytes are kept; the same command goes on from there." if there else ""
        raise DownloadError(f"Can't fetch {self.url}: {reason}.{kept}")

    def _judge(self, error: Exception) -> str:
        """The reason of an error that may pass; raises where it won't."""
        if isinstance(error, (http.client.InvalidURL, ValueError)):
            raise DownloadError(f"{self.url} is no address: names, passwords and blanks have no place in it.") from None
        if isinstance(error, urllib.error.HTTPError):
            if error.code in _BUSY:
                return f"the server answers {error.code} {error.reason}"
            if error.code in (401, 403):
                raise DownloadError(
                    f"{self.url}: no permission ({error.code}). Accept its terms on the web page of the repository and "
                    "set HF_TOKEN."
                ) from None
            hint = "It may have moved: try" if error.code in (404, 410) else "Try again later, or try"
            raise DownloadError(
                f"{self.url}: the server answers {error.code} {error.reason}. {hint} --mirror."
            ) from None
        if isinstance(error, urllib.error.URLError):
            return str(getattr(error.reason, "strerror", None) or error.reason)
        return first_line(error)

    def _there(self) -> int:
        return self.part.stat().st_size if self.part.is_file() else 0

    def _attempt(self) -> bool:
        """Whether the part is complete after it."""
        origin = self._origin()
        start = self._there() if origin is not None else 0
        if origin is not None and origin.total is not None and start == origin.total:
            return True
        request = urllib.request.Request(self.url, headers={"User-Agent": "sia-pose", "Accept-Encoding": "identity"})
        if start:
            request.add_header("Range", f"bytes={start}-")
        if start and origin and origin.etag:
            request.add_header("If-Range", origin.etag)
        if self.token:
            request.add_unredirected_header("Authorization", f"Bearer {self.token}")
        try:
            response = self.opener.open(request, timeout=TIMEOUT)
        except urllib.error.HTTPError as error:
            if error.code != 416:
                raise
            discard(self.target)  # the file on the server has become shorter than the part
            return False
        with response:
            return self._receive(response, start, origin)

    def _receive(self, response: Any, start: int, origin: _Origin | None) -> bool:
        """Writes what comes; the server may continue (206) or start again (200)."""
        first, total = _extent(response)
        if response.status == 206 and (first != start or (origin and origin.total not in (None, total))):
            discard(self.target)
            return False
        start = start if response.status == 206 else 0
        self._check_size(total)
        free = shutil.disk_usage(self.part.parent).free
        if total is not None and total - start > free:
            raise OutputError(
                f"Can't write {self.target}: {total - start:,} bytes are needed, {free:,} are free. "
                "Free space there, or name another --output_dir."
            )
        etag = response.headers.get("ETag") or ""
        strong = etag if etag.startswith('"') else ""
        write_json(self.note, asdict(_Origin(mask(self.url), strong, total)))
        with self._open("r+b" if start else "wb") as stream:
            stream.seek(start)
            stream.truncate()
            there = self._copy(response, stream, start, total)
        if total is None:
            self._check_size(there)
        return total is None or there == total

    def _copy(self, response: Any, stream: BinaryIO, there: int, total: int | None) -> int:
        """The bytes that are there after it; raises where the connection is known to have broken off."""
        while True:
            try:
                chunk = response.read(CHUNK)
            except http.client.IncompleteRead as error:
                self._write(stream, error.partial)
                raise
            if not chunk:
                return there
            self._write(stream, chunk)
            there += len(chunk)
            self.progress(there, total)

    def _write(self, stream: BinaryIO, chunk: bytes) -> None:
        try:
            stream.write(chunk)
            stream.flush()
        except OSError as error:
            raise output_error(error, self.target) from error

    def _open(self, mode: str) -> Any:
        try:
            return self.part.open(mode)
        except OSError as error:
            raise output_error(error, self.target) from error

    def _check_size(self, total: int | None) -> None:
        if self.size is not None and total is not None and total != self.size:
            raise DownloadError(
                f"{self.url} has {total:,} bytes, but {self.size:,} are expected: it is another file. "
                "Take it from another mirror, or report this."
            )

    def _origin(self) -> _Origin | None:
        """What the part belongs to; None where it can't be continued."""
        try:
            origin = msgspec.json.decode(self.note.read_bytes(), type=_Origin)
        except (OSError, ValueError, RecursionError):
            return None
        return origin if origin.url == mask(self.url) and self.part.is_file() else None


def discard(target: Path) -> None:
    """Removes the part of a download and its note."""
    for suffix in (".part", ".part.json"):
        with contextlib.suppress(OSError):
            target.with_name(f".{target.name}{suffix}").unlink(missing_ok=True)


def install(part: Path, target: Path) -> None:
    """Gives a checked part its final name.

    Raises:
        OutputError: it can't be moved.
    """
    try:
        with part.open("rb+") as stream:
            os.fsync(stream.fileno())
        part.replace(target)
    except OSError as error:
        raise output_error(error, target) from error
    discard(target)


class _OnlySafeRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to http(s) only, and never from https to http."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        old, new = urlsplit(req.full_url).scheme, urlsplit(newurl).scheme
        if new not in ("http", "https") or (old == "https" and new == "http"):
            raise DownloadError(f"{req.full_url} redirects to {newurl}, which is not safe. Use another mirror.")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _extent(response: Any) -> tuple[int, int | None]:
    """The first byte that comes, and the bytes of the whole where the server says."""
    found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range") or "")
    if response.status == 206:
        return (int(found[1]), None if found[2] == "*" else int(found[2])) if found else (-1, None)
    length = response.headers.get("Content-Length") or ""
    return 0, int(length) if length.isdigit() else None

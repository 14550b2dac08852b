"""Downloads from a real server that breaks off, forgets, refuses and lies."""

from __future__ import annotations

import collections
import errno
import re
import shutil
import urllib.request

import numpy as np
import pytest

from sia.errors import DownloadError, OutputError
from tests.serving import serving
from tests.utils.hub.file_server import FileServer
from utils.hub.download import ATTEMPTS, _Download, _OnlySafeRedirects, download, install

CONTENT = np.random.default_rng(0).bytes(300_000)


@pytest.fixture
def server():
    with serving(FileServer()) as server:
        server.files["/a.bin"] = CONTENT
        yield server


@pytest.fixture
def get(server, tmp_path):
    def run(path="/a.bin", **options):
        return download(server.address + path, tmp_path / "a.bin", **options)

    return run


def left(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_whole_file(get, tmp_path):
    seen = []
    part = get(size=len(CONTENT), progress=lambda done, total: seen.append((done, total)))
    assert part.read_bytes() == CONTENT
    assert not (tmp_path / "a.bin").exists()
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    install(part, tmp_path / "a.bin")
    assert left(tmp_path) == ["a.bin"]


def test_a_broken_connection_is_continued(get, server):
    server.faults.extend([("break", 100_000), ("break", 50_000)])
    assert get().read_bytes() == CONTENT
    assert [asked[1] for asked in server.asked] == [None, "bytes=100000-", "bytes=150000-"]


def test_a_later_call_goes_on(get, server, tmp_path):
    server.faults.extend([("break", 100_000), *[("status", 503)] * ATTEMPTS])
    with pytest.raises(DownloadError, match=r"503 .* 100,000 bytes are kept; the same command goes on"):
        get()
    assert left(tmp_path) == [".a.bin.part", ".a.bin.part.json"]
    server.asked.clear()
    assert get().read_bytes() == CONTENT
    assert server.asked[0][1] == "bytes=100000-"


def test_a_complete_part_is_not_fetched_again(get, server):
    get()
    server.asked.clear()
    assert get().read_bytes() == CONTENT
    assert server.asked == []


def test_a_changed_file_starts_again(get, server):
    server.faults.extend([("break", 100_000), *[("status", 500)] * ATTEMPTS])
    with pytest.raises(DownloadError):
        get()
    server.files["/a.bin"], server.etags["/a.bin"] = CONTENT[::-1], '"two"'
    assert get().read_bytes() == CONTENT[::-1]


def test_a_file_that_became_longer_or_shorter_starts_again(get, server):
    for content in (CONTENT * 2, CONTENT[:50_000]):
        server.faults.extend([("break", 100_000), *[("status", 500)] * ATTEMPTS])
        server.files["/a.bin"] = CONTENT
        with pytest.raises(DownloadError):
            get()
        server.files["/a.bin"] = content
        part = get()
        assert part.read_bytes() == content
        part.unlink()


def test_a_part_of_another_address_is_not_continued(get, server):
    server.faults.extend([("break", 100_000), *[("status", 500)] * ATTEMPTS])
    with pytest.raises(DownloadError):
        get()
    server.files["/b.bin"] = CONTENT[::-1]
    assert get("/b.bin").read_bytes() == CONTENT[::-1]


@pytest.mark.parametrize("note", ["", "{", "[]", '{"url": 1}'])
def test_a_part_with_a_broken_note_starts_again(get, tmp_path, note):
    (tmp_path / ".a.bin.part").write_bytes(b"x" * 1000)
    (tmp_path / ".a.bin.part.json").write_text(note)
    assert get().read_bytes() == CONTENT


def test_a_server_without_ranges_starts_again(get, server):
    server.ranges = False
    server.faults.append(("break", 100_000))
    assert get().read_bytes() == CONTENT


@pytest.mark.parametrize("answer", ["bytes 5-299999/300000", "bytes 100000-299999/999999", "nonsense"])
def test_a_wrong_range_is_not_taken(get, server, answer):
    server.faults.extend([("break", 100_000), ("range", answer)])
    assert get().read_bytes() == CONTENT


def test_without_a_length(get, server):
    server.faults.append(("no length", 0))
    assert get(size=len(CONTENT)).read_bytes() == CONTENT
    server.files["/b.bin"] = CONTENT[:-1]
    server.faults.append(("no length", 0))
    with pytest.raises(DownloadError, match="299,999 bytes, but 300,000 are expected"):
        get("/b.bin", size=len(CONTENT))


def test_broken_chunks_are_noticed(get, server):
    server.faults.append(("chunked", 1000))
    assert get().read_bytes() == CONTENT


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_server_is_asked_again(get, server, status):
    server.faults.append(("status", status))
    assert get().read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("status", "message"),
    [(401, "Accept its terms"), (403, "set HF_TOKEN"), (404, "It may have moved: try --mirror"), (418, "answers 418")],
)
def test_refusals_are_one_line_at_once(get, server, tmp_path, status, message):
    server.faults.append(("status", status))
    with pytest.raises(DownloadError, match=re.escape(message)) as error:
        get()
    assert "\n" not in str(error.value)
    assert len(server.asked) == 1
    assert left(tmp_path) == []


def test_no_server(tmp_path):
    with pytest.raises(DownloadError, match="Connection refused"):
        download("http://127.0.0.1:9/a.bin", tmp_path / "a.bin")


def test_another_size_is_refused_before_it_is_fetched(get, tmp_path):
    with pytest.raises(DownloadError, match="has 300,000 bytes, but 7 are expected"):
        get(size=7)
    assert left(tmp_path) == []


def test_too_little_room_is_noticed_before(get, tmp_path, monkeypatch):
    usage = collections.namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**6, 10**6, 1000))
    with pytest.raises(OutputError, match="300,000 bytes are needed, 1,000 are free"):
        get()
    assert left(tmp_path) == []


def test_a_disk_that_fills_up_keeps_the_part(get, server, tmp_path, monkeypatch):
    class Full:
        def __init__(self, stream):
            self.stream = stream

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.stream.close()

        def __getattr__(self, name):
            return getattr(self.stream, name)

        def write(self, chunk):
            self.stream.write(chunk[:1000])
            raise OSError(errno.ENOSPC, "No space left on device")

    opened = _Download._open
    with monkeypatch.context() as patch:
        patch.setattr(_Download, "_open", lambda self, mode: Full(opened(self, mode)))
        with pytest.raises(OutputError, match="No space left on device"):
            get()
    assert (tmp_path / ".a.bin.part").read_bytes() == CONTENT[:1000]
    server.asked.clear()
    assert get().read_bytes() == CONTENT
    assert server.asked[0][1] == "bytes=1000-"


def test_a_folder_that_can_not_be_written(server, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises((OutputError, DownloadError)) as error:
        download(server.address + "/a.bin", tmp_path / "file" / "a.bin")
    assert "\n" not in str(error.value)


def test_the_token_goes_to_the_first_host_only(get, server):
    with serving(FileServer()) as other:
        other.files["/cdn.bin"] = CONTENT
        server.faults.append(("redirect", other.address + "/cdn.bin"))
        assert get(token="secret").read_bytes() == CONTENT
        assert server.asked[0][2] == "Bearer secret"
        assert other.asked == [("/cdn.bin", None, None)]


@pytest.mark.parametrize("place", ["file:///etc/passwd", "ftp://127.0.0.1/a"])
def test_redirects_to_elsewhere_are_refused(get, server, place):
    server.faults.append(("redirect", place))
    with pytest.raises(DownloadError, match=r"not safe|not allowed"):
        get()


def test_redirects_never_leave_https():
    request = urllib.request.Request("https://example.org/a")
    with pytest.raises(DownloadError, match="not safe"):
        _OnlySafeRedirects().redirect_request(request, None, 302, "Found", {}, "http://example.org/a")

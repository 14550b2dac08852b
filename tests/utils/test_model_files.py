"""The folder of models: nothing wrong gets in, nothing is overwritten, broken downloads go on, checksums stay."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re

import huggingface_hub.constants
import numpy as np
import pytest

from sia.errors import DownloadError, OutputError, SiaError
from tests.fake_hub import point_at
from tests.file_server import FileServer
from tests.serving import serving
from utils.model_files import LOCK, check_unchanged, fetch_model
from utils.published_models import License, PublishedModel, RemoteFile

CONTENT = np.random.default_rng(0).bytes(300_000)
DIGEST = hashlib.sha256(CONTENT).hexdigest()
FREE = License("MIT", "https://example.org")


@pytest.fixture
def server(monkeypatch, tmp_path):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    monkeypatch.setattr(huggingface_hub.constants, "DOWNLOAD_CHUNK_SIZE", 10_000)  # what is lost at a break; 10 MiB
    with serving(FileServer()) as server:
        point_at(server, monkeypatch, tmp_path / "home")
        server.files["/w.bin"] = server.files["/mirror/toy/w.bin"] = CONTENT
        yield server


@pytest.fixture
def get(server, tmp_path):
    def fetch(sha256=None, size=None, mirror=None, path="/w.bin"):
        file = RemoteFile(server.address + path, size, sha256)
        fetch_model(PublishedModel("toy", "a toy", FREE, (file,)), tmp_path / "weights", mirror)
        return tmp_path / "weights" / "toy" / file.name

    return fetch


def lock(tmp_path):
    return json.loads((tmp_path / "weights" / LOCK).read_text())


def files(tmp_path):
    return sorted(str(path.relative_to(tmp_path)) for path in (tmp_path / "weights").rglob("*") if path.is_file())


def test_a_known_checksum(get, tmp_path, capsys):
    assert get(DIGEST, len(CONTENT)).read_bytes() == CONTENT
    assert files(tmp_path) == ["weights/models.lock.json", "weights/toy/w.bin"]
    entry = lock(tmp_path)["toy/w.bin"]
    assert (entry["sha256"], entry["bytes"]) == (DIGEST, len(CONTENT))
    assert "checksum is right" in capsys.readouterr().out


def test_a_wrong_checksum_leaves_nothing(get, tmp_path):
    with pytest.raises(DownloadError, match=f"sha256 {DIGEST}, but it should be 0000.* It was removed"):
        get("0" * 64)
    assert files(tmp_path) == []


def test_an_unknown_checksum_is_trusted_once(get, server, tmp_path, capsys):
    path = get()
    said = capsys.readouterr().out
    assert "can't be verified" in said and DIGEST in said
    path.unlink()
    get()
    assert "that of the first use" in capsys.readouterr().out
    path.unlink()
    server.files["/w.bin"], server.etags["/w.bin"] = b"something else", '"two"'
    with pytest.raises(DownloadError, match=f"but it should be {DIGEST}"):
        get()
    assert not path.exists()


def test_a_file_that_is_there_is_kept(get, server, tmp_path, capsys):
    path = tmp_path / "weights" / "toy" / "w.bin"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"mine")
    with pytest.raises(DownloadError, match="Move it away first"):
        get(DIGEST)
    get()
    assert "it can't be verified" in capsys.readouterr().out
    assert path.read_bytes() == b"mine"
    path.write_bytes(CONTENT)
    get(DIGEST)
    assert "its checksum is right" in capsys.readouterr().out
    assert server.asked == []


@pytest.mark.parametrize("sha256", [None, DIGEST])
def test_a_broken_connection_is_continued(get, server, sha256):
    server.faults.extend([("break", 100_000), ("break", 50_000)])
    assert get(sha256).read_bytes() == CONTENT
    assert [asked[1] for asked in server.asked] == [None, "bytes=100000-", "bytes=150000-"]


def test_a_later_call_goes_on(get, server, tmp_path):
    server.faults.extend([("break", 100_000), ("status", 500)])
    with pytest.raises(DownloadError, match=r"the server answers 500\. The same command goes on from what is there"):
        get()
    assert files(tmp_path) == ["weights/toy/.w.bin.one.part"]
    server.asked.clear()
    assert get().read_bytes() == CONTENT
    assert server.asked[0][1] == "bytes=100000-"


@pytest.mark.parametrize("content", [CONTENT[::-1], CONTENT * 2, CONTENT[:50_000]])
def test_a_changed_file_starts_again(get, server, tmp_path, content):
    server.faults.extend([("break", 100_000), ("status", 500)])
    with pytest.raises(DownloadError):
        get()
    server.files["/w.bin"], server.etags["/w.bin"] = content, '"two"'
    assert get().read_bytes() == content
    assert len(files(tmp_path)) == 2


def test_a_server_without_ranges_starts_again(get, server):
    server.ranges = False
    server.faults.append(("break", 100_000))
    assert get().read_bytes() == CONTENT


def test_the_hubs_own_checksum_is_checked(get, server, tmp_path):
    server.etags["/w.bin"] = f'"{DIGEST[::-1]}"'
    with pytest.raises(DownloadError, match=f"broken on its way: the hub says sha256 {DIGEST[::-1]}"):
        get()
    assert files(tmp_path) == []
    server.etags["/w.bin"] = f'"{DIGEST}"'
    assert get().read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("status", "message"),
    [(401, "set HF_TOKEN"), (403, "accept its terms"), (404, "answers 404"), (418, "answers 418")],
)
def test_refusals_are_one_line_at_once(get, server, tmp_path, status, message):
    server.refused["/w.bin"] = status
    with pytest.raises(DownloadError, match=re.escape(message)) as error:
        get()
    assert "\n" not in str(error.value)
    assert files(tmp_path) == server.asked == []


def test_another_size_is_refused_before_it_is_fetched(get, tmp_path, server):
    with pytest.raises(DownloadError, match="has 300,000 bytes, but 7 are expected"):
        get(size=7)
    assert files(tmp_path) == server.asked == []


def test_a_full_disk_is_not_the_networks_fault(get, monkeypatch):
    def full(url, stream, **_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("huggingface_hub.file_download.http_get", full)
    with pytest.raises(OutputError, match="No space left on device"):
        get()


def test_a_folder_that_can_not_be_made(get, tmp_path):
    (tmp_path / "weights").write_text("")
    with pytest.raises(OutputError):
        get()


def test_a_mirror_on_the_net(get, server):
    assert get(DIGEST, mirror=f"{server.address}/mirror/").read_bytes() == CONTENT
    assert [asked[0] for asked in server.asked] == ["/mirror/toy/w.bin"]


def test_a_folder_is_a_mirror_of_another(get, server, tmp_path):
    path = get()
    server.asked.clear()
    path.parent.parent.rename(tmp_path / "mirror")
    assert get(DIGEST, mirror=str(tmp_path / "mirror")).read_bytes() == CONTENT
    assert server.asked == []
    assert files(tmp_path) == ["weights/models.lock.json", "weights/toy/w.bin"]


def test_a_wrong_file_in_a_mirror(get, tmp_path):
    (tmp_path / "mirror" / "toy").mkdir(parents=True)
    with pytest.raises(DownloadError, match=r"The mirror has no .*w\.bin\. Its layout is MODEL/FILE"):
        get(DIGEST, mirror=str(tmp_path / "mirror"))
    (tmp_path / "mirror" / "toy" / "w.bin").write_bytes(b"other")
    with pytest.raises(DownloadError, match="but it should be"):
        get(DIGEST, mirror=str(tmp_path / "mirror"))
    assert files(tmp_path) == []


@pytest.mark.parametrize("content", ["{", "[]", '{"toy/w.bin": 3}'])
def test_a_broken_lock_file_is_named(get, tmp_path, content):
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / LOCK).write_text(content)
    with pytest.raises(SiaError, match=r"models\.lock\.json"):
        get()


def test_the_token_is_for_the_hub_only(server, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secretsecret")
    server.files["/owner/toy/resolve/main/in/w.bin"] = CONTENT
    hosted = PublishedModel("toy", "a toy", FREE, (RemoteFile("in/w.bin"),), "owner/toy")
    plain = PublishedModel("bare", "a toy", FREE, (RemoteFile(server.address + "/w.bin"),))
    with serving(FileServer()) as other:
        other.files["/cdn.bin"] = CONTENT
        server.faults.append(("redirect", other.address + "/cdn.bin"))
        for model in (hosted, plain):
            fetch_model(model, tmp_path)
        assert [asked[2] for asked in server.asked] == ["Bearer hf_secretsecret", None]
        assert other.asked == [("/cdn.bin", None, None)]
    assert (tmp_path / "toy" / "w.bin").read_bytes() == CONTENT


def test_offline_nothing_is_asked(get, server, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(DownloadError, match="Check HF_HUB_OFFLINE"):
        get()
    assert server.asked == []


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("content", [b"another size", CONTENT[:-1] + b"!"])
def test_what_has_changed_since_it_was_fetched_is_refused(get, whole, content, monkeypatch):
    path = get()
    used = path.parent if whole else path
    with monkeypatch.context() as patch:
        patch.setattr("utils.model_files.sha256_of", lambda path: pytest.fail("read again without a reason"))
        check_unchanged(used)
    os.utime(path, (1, 1))
    check_unchanged(used)  # another time, the same content
    path.write_bytes(content)
    with pytest.raises(DownloadError, match=r"w.bin has changed since it was fetched"):
        check_unchanged(used)
    path.with_name("own.bin").write_bytes(b"the user's")
    check_unchanged(path.with_name("own.bin"))


def test_a_mirror_with_a_password_leaves_none(get, server, tmp_path):
    with pytest.raises(SiaError) as error:
        get(mirror=server.address.replace("//", "//me:s3cretpass@") + "/nothing")
    assert "s3cretpass" not in str(error.value)
    assert files(tmp_path) == []

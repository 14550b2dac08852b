"""The folder of models: nothing wrong gets in, nothing is overwritten, the first checksum is remembered."""

from __future__ import annotations

import hashlib
import json
import os

import pytest

from sia.errors import DownloadError, OutputError, SiaError
from tests.serving import serving
from tests.utils.hub.file_server import FileServer
from utils.hub.model_registry import License, PublishedModel, RemoteFile
from utils.hub.model_store import LOCK, ModelStore, check_unchanged

CONTENT = b"weights" * 1000
DIGEST = hashlib.sha256(CONTENT).hexdigest()
FREE = License("MIT", "https://example.org")


@pytest.fixture
def server():
    with serving(FileServer()) as server:
        server.files["/w.bin"] = server.files["/mirror/toy/w.bin"] = CONTENT
        yield server


@pytest.fixture
def model(server):
    def make(sha256=None, size=None):
        return PublishedModel("toy", "a toy", FREE, (RemoteFile(server.address + "/w.bin", size, sha256),))

    return make


@pytest.fixture
def store(tmp_path):
    said = []

    def make(mirror=None):
        store = ModelStore(tmp_path / "weights", mirror, say=said.append)
        store.said = said
        return store

    return make


def lock(tmp_path):
    return json.loads((tmp_path / "weights" / LOCK).read_text())


def files(tmp_path):
    return sorted(str(path.relative_to(tmp_path)) for path in (tmp_path / "weights").rglob("*") if path.is_file())


def test_a_known_checksum(model, store, tmp_path):
    (path,) = store().fetch(model(DIGEST, len(CONTENT)))
    assert path.read_bytes() == CONTENT
    assert files(tmp_path) == ["weights/models.lock.json", "weights/toy/w.bin"]
    entry = lock(tmp_path)["toy/w.bin"]
    assert (entry["sha256"], entry["bytes"], entry["verified_by"]) == (DIGEST, len(CONTENT), "registry")
    assert "checksum is right" in store().said[-1]


def test_a_wrong_checksum_leaves_nothing(model, store, tmp_path):
    with pytest.raises(DownloadError, match=f"sha256 {DIGEST}, but its checksum is known to be 0000"):
        store().fetch(model("0" * 64))
    assert files(tmp_path) == []


def test_an_unknown_checksum_is_trusted_once(model, store, server, tmp_path):
    (path,) = store().fetch(model())
    assert "can't be verified" in store().said[-1] and DIGEST in store().said[-1]
    assert lock(tmp_path)["toy/w.bin"]["verified_by"] == "first use"
    path.unlink()
    store().fetch(model())
    assert "that of the first use" in store().said[-1]
    path.unlink()
    server.files["/w.bin"] = b"something else"
    with pytest.raises(DownloadError, match=r"at first use \(models\.lock\.json\) it was"):
        store().fetch(model())
    assert not path.exists()


def test_a_file_that_is_there_is_kept(model, store, server, tmp_path):
    path = tmp_path / "weights" / "toy" / "w.bin"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"mine")
    with pytest.raises(DownloadError, match="Move it away first"):
        store().fetch(model(DIGEST))
    store().fetch(model())
    assert "it can't be verified" in store().said[-1]
    assert path.read_bytes() == b"mine"
    assert server.asked == []
    path.write_bytes(CONTENT)
    store().fetch(model(DIGEST))
    assert "is there already, and its checksum is right" in store().said[-1]


def test_a_mirror_on_the_net(model, store, server):
    (path,) = store(f"{server.address}/mirror/").fetch(model(DIGEST))
    assert path.read_bytes() == CONTENT
    assert [asked[0] for asked in server.asked] == ["/mirror/toy/w.bin"]


def test_a_folder_is_a_mirror_of_another(model, store, server, tmp_path):
    store().fetch(model())
    server.asked.clear()
    other = ModelStore(tmp_path / "other", str(tmp_path / "weights"), say=lambda line: None)
    (path,) = other.fetch(model(DIGEST))
    assert path.read_bytes() == CONTENT
    assert server.asked == []
    assert sorted(entry.name for entry in path.parent.iterdir()) == ["w.bin"]


def test_a_wrong_file_in_a_mirror(model, store, tmp_path):
    (tmp_path / "mirror" / "toy").mkdir(parents=True)
    with pytest.raises(DownloadError, match=r"The mirror has no .*w\.bin\. Its layout is MODEL/FILE"):
        store(str(tmp_path / "mirror")).fetch(model(DIGEST))
    (tmp_path / "mirror" / "toy" / "w.bin").write_bytes(b"other")
    with pytest.raises(DownloadError, match="is not the right file"):
        store(str(tmp_path / "mirror")).fetch(model(DIGEST))
    assert files(tmp_path) == []


@pytest.mark.parametrize("content", ["{", "[]", '{"toy/w.bin": 3}'])
def test_a_broken_lock_file_is_named(model, store, tmp_path, content):
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / LOCK).write_text(content)
    with pytest.raises(SiaError, match=r"models\.lock\.json"):
        store().fetch(model())


def test_a_folder_that_can_not_be_made(model, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        ModelStore(tmp_path / "file", say=lambda line: None).fetch(model())


def test_the_token_is_for_hugging_face_only(server, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", server.address)
    server.files["/owner/toy/resolve/main/w.bin"] = CONTENT
    hosted = PublishedModel("toy", "a toy", FREE, (RemoteFile("w.bin"),), "owner/toy")
    plain = PublishedModel("bare", "a toy", FREE, (RemoteFile(server.address + "/w.bin"),))
    for model in (hosted, plain):
        ModelStore(tmp_path, None, "secret", lambda line: None).fetch(model)
    assert [asked[2] for asked in server.asked] == ["Bearer secret", None]


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("content", [b"another size", CONTENT[:-1] + b"!"])
def test_what_has_changed_since_it_was_fetched_is_refused(model, store, whole, content, monkeypatch):
    (path,) = store().fetch(model())
    used = path.parent if whole else path
    with monkeypatch.context() as patch:
        patch.setattr("utils.hub.model_store.sha256_of", lambda path: pytest.fail("read again without a reason"))
        check_unchanged(used)
    os.utime(path, (1, 1))
    check_unchanged(used)  # another time, the same content
    path.write_bytes(content)
    with pytest.raises(DownloadError, match=r"w.bin has changed since it was fetched"):
        check_unchanged(used)
    path.with_name("own.bin").write_bytes(b"the user's")
    check_unchanged(path.with_name("own.bin"))


def test_a_mirror_with_a_password_leaves_none(model, store, server, tmp_path):
    with pytest.raises(SiaError):
        store(server.address.replace("//", "//me:s3cretpass@") + "/mirror").fetch(model())
    assert not any(b"s3cretpass" in (tmp_path / name).read_bytes() for name in files(tmp_path))

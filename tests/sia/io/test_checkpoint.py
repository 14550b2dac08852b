"""Saves that a kill or a full disk can't spoil, and loads that run nobody's code."""

from __future__ import annotations

import errno
import itertools
import os
import pickle
import signal
import struct
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from sia.errors import OutputError, WeightsError
from sia.io.checkpoint import FORMAT, HEADER, load_checkpoint, read_state_dict, save_checkpoint, save_safetensors
from tests.processes import run


def payload(value: float = 1.0) -> dict[str, Any]:
    return {"format": FORMAT, "model_config": {}, "skeleton": {}, "weights": {"w": torch.full((64, 64), value)}}


class Malicious:
    """Touches a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (str(self.path),)


def test_round_trip(tmp_path: Path) -> None:
    content = {**payload(), "metrics": {"AP": 0.5, "rows": [[1, None], ("a", True)]}}
    save_checkpoint(tmp_path / "last.pt", content)
    again = load_checkpoint(tmp_path / "last.pt")
    assert torch.equal(again["weights"]["w"], content["weights"]["w"])
    assert again["metrics"] == content["metrics"]
    assert [path.name for path in tmp_path.iterdir()] == ["last.pt"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EIO])
def test_a_failed_write_leaves_the_old_file_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    path = tmp_path / "last.pt"
    save_checkpoint(path, payload(1))

    def fail(_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OutputError, match=f"last.pt: {os.strerror(number)}"):
        save_checkpoint(path, payload(2))
    assert float(load_checkpoint(path)["weights"]["w"][0, 0]) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["last.pt"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_really_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "last.pt"
    save_checkpoint(path, payload(1))
    original = Path.open
    monkeypatch.setattr(
        Path, "open", lambda self, *a: original(Path("/dev/full") if ".part" in self.name else self, *a)
    )
    with pytest.raises(OutputError, match=r"Can't write .*last.pt"):
        save_checkpoint(path, payload(2))
    monkeypatch.undo()
    assert float(load_checkpoint(path)["weights"]["w"][0, 0]) == 1


def test_a_folder_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="No such file"):
        save_checkpoint(tmp_path / "no" / "last.pt", payload())


def test_what_a_killed_save_leaves_is_taken_away(tmp_path: Path) -> None:
    (tmp_path / ".last.pt.part").write_bytes(b"half of it" * 1000)
    save_checkpoint(tmp_path / "last.pt", payload())
    assert [p.name for p in tmp_path.iterdir()] == ["last.pt"]


def _save_slowly(path: Path) -> None:
    os.fsync = lambda _: time.sleep(60)  # type: ignore[assignment]
    save_checkpoint(path, payload(2))


def _save_for_ever(path: Path) -> None:
    for number in itertools.count(1):
        save_checkpoint(path, payload(number))


def test_a_kill_in_the_middle_of_a_save(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    save_checkpoint(path, payload(1))

    process = run(_save_slowly, path)
    deadline = time.monotonic() + 20
    while not any(p.suffix == ".part" and p.stat().st_size > 10_000 for p in tmp_path.iterdir()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert float(load_checkpoint(path)["weights"]["w"][0, 0]) == 1


def test_kills_at_random_moments(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    for round_ in range(5):
        save_checkpoint(path, payload(0))
        process = run(_save_for_ever, path)
        while not load_checkpoint(path)["weights"]["w"].any():
            time.sleep(0.005)
        time.sleep(0.013 * round_)
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        assert load_checkpoint(path)["weights"]["w"].unique().numel() == 1


def broken_files(folder: Path) -> dict[str, Path]:
    """Files that are no weights, by what is wrong with them."""
    good = folder / "good.pt"
    torch.save(payload(), good)
    half = good.read_bytes()[: good.stat().st_size // 2]
    content = {
        "empty": b"", "cut": half, "text": b"hello, this is no checkpoint", "zeros": bytes(1000),
        "pickle": pickle.dumps({"a": 1}), "html": b"<html>404 not found</html>",
        "spanned": struct.pack("<4sLQL", b"PK\x06\x07", 0, 0, 2) + b"PK\x05\x06" + bytes(18),  # a zip on two disks
    }  # fmt: skip
    paths = {}
    for name, data in content.items():
        paths[name] = folder / f"{name}.pt"
        paths[name].write_bytes(data)
    with zipfile.ZipFile(folder / "zip.pt", "w") as archive:
        archive.writestr("notes.txt", "no weights")
    return {**paths, "zip": folder / "zip.pt", "missing": folder / "missing.pt", "folder": folder}


@pytest.mark.parametrize(
    "kind", ["empty", "cut", "text", "zeros", "pickle", "html", "spanned", "zip", "missing", "folder"]
)
def test_broken_files_are_named(tmp_path: Path, kind: str) -> None:
    path = broken_files(tmp_path)[kind]
    for read in (load_checkpoint, read_state_dict):
        with pytest.raises(WeightsError) as caught:
            read(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_broken_safetensors(tmp_path: Path) -> None:
    for name, data in {"a": b"", "b": b"1234567890", "c": bytes(100)}.items():
        path = tmp_path / f"{name}.safetensors"
        path.write_bytes(data)
        with pytest.raises(WeightsError, match=name):
            read_state_dict(path)


def test_safetensors_hold_what_is_passed_on(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    shared = torch.arange(6.0)
    content = {**payload(), "metrics": {"AP": 0.5}, "training": {"argv": "secret"}}
    save_safetensors(path, {**content, "weights": {"a": shared, "b": shared.reshape(2, 3).T}})
    loaded = load_checkpoint(path)
    assert {key: loaded[key] for key in loaded if key != "weights"} == {
        "format": FORMAT, "model_config": {}, "skeleton": {}, "metrics": {"AP": 0.5},
    }  # fmt: skip
    assert torch.equal(loaded["weights"]["b"], shared.reshape(2, 3).T)
    (tmp_path / "other").touch()
    assert path.stat().st_mode == (tmp_path / "other").stat().st_mode, "others may read it as any new file"
    with pytest.raises(OutputError, match="Can't write"):
        save_safetensors(tmp_path / "none" / "w.safetensors", content)


@pytest.mark.parametrize("header", [{}, {HEADER: "{"}, {HEADER: "[1]"}, {HEADER: '{"format": "other"}'}])
def test_a_safetensors_file_without_our_header(tmp_path: Path, header: dict[str, str]) -> None:
    path = tmp_path / "w.safetensors"
    save_file({"w": torch.zeros(2)}, path, header)
    with pytest.raises(WeightsError, match=r"is no checkpoint of SIA Pose|is broken"):
        load_checkpoint(path)


@pytest.mark.parametrize("legacy", [True, False])
def test_a_malicious_pickle_runs_nothing(tmp_path: Path, legacy: bool) -> None:
    path, trap = tmp_path / "evil.pt", tmp_path / "trapped"
    content = {**payload(), "x": Malicious(trap)}
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    for read in (load_checkpoint, read_state_dict):
        with pytest.raises(WeightsError, match="could run a program"):
            read(path)
    path.write_bytes(pickle.dumps(Malicious(trap)))
    with pytest.raises(WeightsError):
        read_state_dict(path)
    assert not trap.exists()


def test_other_peoples_weights(tmp_path: Path) -> None:
    weights = {"a.weight": torch.ones(2)}
    torch.save({"model": weights}, tmp_path / "a.pth")
    torch.save({"epoch": 3, "state_dict": weights}, tmp_path / "b.bin")
    save_file(weights, tmp_path / "c.safetensors")
    assert set(read_state_dict(tmp_path / "a.pth")) == {"model"}
    assert read_state_dict(tmp_path / "b.bin")["epoch"] == 3
    assert set(read_state_dict(tmp_path / "c.safetensors")) == {"a.weight"}
    torch.save({"epoch": 3}, tmp_path / "d.pt")
    with pytest.raises(WeightsError, match="no tensors"):
        read_state_dict(tmp_path / "d.pt")
    torch.save([1, 2], tmp_path / "e.pt")
    with pytest.raises(WeightsError, match="holds a list"):
        read_state_dict(tmp_path / "e.pt")
    with pytest.raises(WeightsError, match="must be one of"):
        read_state_dict(tmp_path / "f.onnx")


def odd_tensors() -> dict[str, torch.Tensor]:
    one = torch.ones(4, 4)
    return {
        "expanded": torch.ones(1).expand(10**5, 10**5), "sparse": one.to_sparse(), "complex": one.to(torch.complex64),
        "quantised": torch.quantize_per_tensor(one, 0.1, 0, torch.qint8), "meta": one.to("meta"),
        "float8": one.to(torch.float8_e4m3fn),
    }  # fmt: skip


@pytest.mark.parametrize("kind", list(odd_tensors()))
def test_tensors_with_tricks(tmp_path: Path, kind: str) -> None:
    torch.save({**payload(), "training": {"optimizer": [odd_tensors()[kind]]}}, tmp_path / "a.pt")
    for read in (load_checkpoint, read_state_dict):
        with pytest.raises(WeightsError, match="Save it again as dense tensors"):
            read(tmp_path / "a.pt")


def test_views_and_shared_tensors_are_fine(tmp_path: Path) -> None:
    weight = torch.rand(4, 6)
    torch.save({"a": weight, "b": weight, "c": weight.t(), "d": weight[1:], "e": torch.zeros(0, 3)}, tmp_path / "a.pt")
    assert torch.equal(read_state_dict(tmp_path / "a.pt")["c"], weight.t())


def test_what_is_within_itself_or_has_no_end(tmp_path: Path) -> None:
    content = payload()
    content["model"] = content
    torch.save(content, tmp_path / "a.pt")
    laughs: list[Any] = [torch.ones(1)]
    for _ in range(30):
        laughs = [laughs, laughs]
    torch.save({**payload(), "metrics": laughs}, tmp_path / "b.pt")
    for name, message in {"a": "within itself", "b": "more than 20,000,000 entries"}.items():
        for read in (load_checkpoint, read_state_dict):
            with pytest.raises(WeightsError, match=message):
                read(tmp_path / f"{name}.pt")


def test_a_bomb_is_not_unpacked(tmp_path: Path) -> None:
    torch.save(payload(), tmp_path / "a.pt")
    with zipfile.ZipFile(tmp_path / "a.pt", "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data/9", bytes(1 << 27))
    with pytest.raises(WeightsError, match=r"would unpack to 134,\d+,\d+: weights can't be packed"):
        load_checkpoint(tmp_path / "a.pt")


@pytest.mark.parametrize("name", ["pipe.pt", "pipe.safetensors"])
def test_a_pipe_is_not_waited_for(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(WeightsError, match="a pipe"):
        read_state_dict(tmp_path / name)


def test_a_checkpoint_of_another_program(tmp_path: Path) -> None:
    torch.save({"state_dict": {"a": torch.ones(1)}}, tmp_path / "x.pt")
    with pytest.raises(WeightsError, match="no checkpoint of SIA Pose"):
        load_checkpoint(tmp_path / "x.pt")
    torch.save({"format": FORMAT, "weights": {}}, tmp_path / "y.pt")
    with pytest.raises(WeightsError, match="lacks model_config, skeleton"):
        load_checkpoint(tmp_path / "y.pt")

"""`sia push`, `sia pull` and `hf:owner/name`, through the real client, against a hub on this machine."""

from __future__ import annotations

import hashlib
from pathlib import Path

import huggingface_hub.constants
import numpy as np
import PIL.Image
import pytest

import sia
from sia.cli import main
from sia.io.bundled_weights import DEFAULT, FOLDER, find_weights
from sia.io.checkpoint import load_checkpoint, save_checkpoint
from tests.fake_hub import TOKEN, FakeHub, point_at
from tests.serving import serving

FLAGS = ["--license", "apache-2.0", "--data", "3,995 images of COCO."]


@pytest.fixture
def hub(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with serving(FakeHub()) as server:
        point_at(server, monkeypatch, tmp_path / "home", TOKEN)
        yield server


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundled weights as a training leaves them: with figures, and with a state that is nobody's business."""
    path = tmp_path_factory.mktemp("run") / "best.pt"
    payload = load_checkpoint(DEFAULT)
    save_checkpoint(path, {**payload, "metrics": {"epoch": 4, "AP": 0.304, "AP50": 0.618}, "secret": "argv"})
    return path


def test_pushed_and_pulled_weights_are_the_same_and_find_the_same(hub, trained, tmp_path, capsys):
    assert main(["push", str(trained), "me/poses", *FLAGS]) == 0
    said = capsys.readouterr().out
    sent = hub.repositories["me/poses"]
    digest = hashlib.sha256(sent["model.safetensors"]).hexdigest()
    assert hub.private == {"me/poses": True}
    assert sorted(sent) == ["README.md", "model.safetensors"]
    assert f"sha256 {digest}" in said and "--weight_path hf:me/poses" in said and TOKEN not in said
    assert b"argv" not in sent["model.safetensors"][:20_000]

    assert main(["pull", "me/poses"]) == 0
    assert f"poses.safetensors\nsha256 {digest}" in capsys.readouterr().out
    assert hashlib.sha256((tmp_path / "poses.safetensors").read_bytes()).hexdigest() == digest

    sheet = np.asarray(PIL.Image.open(FOLDER / "check_images.jpg"))[:256, :256]
    before = sia.load(trained, device="cpu")(sheet, conf=0.1)
    after = sia.load("hf:me/poses", device="cpu")(sheet, conf=0.1)
    assert len(before) > 0
    assert np.array_equal(before.keypoints, after.keypoints) and np.array_equal(before.scores, after.scores)
    assert sia.load(tmp_path / "poses.safetensors").skeleton == sia.load(trained).skeleton


def test_the_card_says_data_licence_figures_and_limits(hub, trained, capsys):
    assert main(["push", str(trained), "me/poses", "--dry_run", *FLAGS]) == 0
    card = capsys.readouterr().out
    assert hub.asked == []
    head, _, text = card.removeprefix("---\n").partition("---\n")
    assert {"license: apache-2.0", "library_name: sia-pose"} <= set(head.splitlines())
    for part in ("3,995 images of COCO.", "| AP | 0.304 |", "sia_pose_simple", "## Limits", 'sia.load("hf:me/poses")'):
        assert part in text
    assert main(["push", "n16", "me/poses", "--dry_run"]) == 0
    card = capsys.readouterr().out
    assert card.count("Not stated by its owner.") == 3
    assert "license:" not in card
    assert main(["push", "n16", "me/poses", "--dry_run", "--accuracy", "30.4 AP on 346 images."]) == 0
    assert "30.4 AP on 346 images." in capsys.readouterr().out


def test_a_public_repository_is_open_and_a_private_one_is_not(hub, monkeypatch, capsys):
    assert main(["push", "n16", "me/open", "--public", *FLAGS]) == 0
    assert main(["push", "n16", "me/closed"]) == 0
    monkeypatch.delenv("HF_TOKEN")
    assert find_weights("hf:me/open").name == "model.safetensors"
    assert main(["info", "hf:me/open"]) == 0
    capsys.readouterr()
    assert main(["info", "hf:me/closed"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: Can't get hf:me/closed: ") and error.count("\n") == 1


def test_what_was_fetched_before_works_without_a_connection(hub, monkeypatch):
    hub.publish("me/poses", model__safetensors=DEFAULT.read_bytes())
    first = find_weights("hf:me/poses")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert find_weights("hf:me/poses") == first
    with pytest.raises(sia.WeightsError, match="not in the cache, and there is no connection"):
        find_weights("hf:me/others")


@pytest.mark.parametrize(
    ("files", "taken"),
    [
        (["model__safetensors", "model__pt", "a__onnx"], "model.safetensors"),
        (["README__md", "model__pt", "last__pt"], "model.pt"),
        (["poses__onnx", "notes__txt"], "poses.onnx"),
        (["a__pt", "b__onnx"], None),
        ([], None),
    ],
)
def test_the_hub_gives_one_file(hub, files, taken):
    hub.publish("me/poses", **dict.fromkeys(files, b"weights"))
    if taken:
        assert find_weights("hf:me/poses").name == taken
    else:
        with pytest.raises(sia.WeightsError, match=r"must have model.safetensors or model.pt or one file of weights"):
            find_weights("hf:me/poses")


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["push", "n16", "poses"], "'poses' names no repository. Give owner/name"),
        (["push", "n16", "me/poses@v1"], "names a revision"),
        (["push", "n16", "me/poses", "--public"], "--public needs --license and --data"),
        (["push", "nothing.pt", "me/poses"], "nothing.pt: no such file"),
        (["pull", "me/nothing"], "Can't get hf:me/nothing: "),
        (["pull", "me/poses", "--output", "there.pt"], "--output there.pt exists already"),
        (["info", "hf:poses"], "'poses' names no repository"),
    ],
)
def test_what_can_not_work_is_one_line(hub, tmp_path, capsys, command, message):
    (tmp_path / "there.pt").write_text("mine")
    assert main(command) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and message in error
    assert (tmp_path / "there.pt").read_text() == "mine"
    assert hub.repositories == {}


def test_a_push_needs_a_token_and_never_shows_it(hub, monkeypatch, capsys):
    monkeypatch.delenv("HF_TOKEN")
    assert main(["push", "n16", "me/poses"]) == 1
    assert "set HF_TOKEN, or run: hf auth login" in capsys.readouterr().err
    login = Path(huggingface_hub.constants.HF_TOKEN_PATH)
    login.parent.mkdir(exist_ok=True)
    login.write_text("hf_wrongtoken")
    assert main(["push", "n16", "me/poses"]) == 1
    error = capsys.readouterr().err
    assert "Can't push to me/poses: the server answers 401" in error and "hf_wrongtoken" not in error
    login.write_text(TOKEN)
    assert main(["push", "n16", "me/poses"]) == 0

"""The command `sia`: each source finds its job, and nothing else than flags stands between them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import sia
from benchmarks.clips import Stance, person, render
from sia.cli import main
from sia.commands.info import read_facts
from sia.io.optional import EXTRAS
from tests.inference_helpers import quarters, save_video, save_weights

pytestmark = pytest.mark.usefixtures("own_folder")


@pytest.fixture
def weights(tmp_path: Path) -> str:
    return str(save_weights(tmp_path / "best.pt", metrics={"AP": 0.125}))


def test_images_and_videos_find_their_job(weights: str, tmp_path: Path) -> None:
    Image.fromarray(quarters(40, 60)).save("a.png")
    save_video(tmp_path / "walk.mp4", frames=2)
    flags = ["--weight_path", weights, "--device", "cpu", "--conf_thresh", "0"]
    for source, files in (
        ("a.png", {"a.png", "results.json", "run.json"}),
        (".", {"a.png", "results.json", "run.json"}),
        ("walk.mp4", {"walk.mp4", "walk.jsonl", "run.json"}),
    ):
        folder = tmp_path / f"out-{source}"
        assert main(["predict", source, *flags, "--output_dir", str(folder)]) == 0
        assert {path.name for path in folder.iterdir()} == files
        assert "run" not in json.loads((folder / "run.json").read_text())["flags"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["predict", "a.png", "--track"], "--track is for videos"),
        (["predict", "a.png", "--smooth", "online"], "--smooth is for videos"),
        (["predict", "a.png", "--angles", "all"], "--angles is for videos"),
        (["predict", "walk.mp4", "--describe"], "--describe is for images"),
        (["predict", "walk.mp4", "--pipeline", "p"], "--pipeline is for images"),
        (["predict", ".", "--pipeline", ".", "--weight_path", "n32"], "leave --weight_path out"),
        (["predict", "http://127.0.0.1:9/a.jpg"], "Can't download http://127.0.0.1:9/a.jpg: Connection refused."),
        (["predict", ".", "--weight_path", "n61"], "n61 is unknown"),
        (["info", "none.pt"], "none.pt: no such file"),
        (["export", "--format", "onnx", "--weight_path", "n16", "--output_path", "a.xml"], "must end in .onnx"),
    ],
)
def test_what_does_not_go_together(flags: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(flags) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and message in error


def test_info_says_what_a_file_is(weights: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", weights]) == 0
    said = capsys.readouterr().out
    assert "sia_pose_simple\n" in said and "64x64 (height x width)" in said and "metrics.AP 0.125" in said
    assert main(["info", weights, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["training"] == {"metrics.AP": 0.125} and facts["parameters"] > 1000
    assert facts["bytes"] == Path(weights).stat().st_size and facts["keypoints"].startswith("17: nose, ")
    assert facts["crops"] == "64 px, read by an hourglass"


def test_info_says_who_reads_the_crops(tmp_path: Path) -> None:
    assert read_facts(save_weights(tmp_path / "a.pt", roi_trunk="test_resnet"))["crops"] == "64 px, read by test_resnet"


def test_info_of_the_folder_of_a_run(weights: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "run" / "weights"
    folder.mkdir(parents=True)
    Path(weights).rename(folder / "best.pt")
    (tmp_path / "run" / "config.json").write_text('{"train_ann": "train.json", "epoch": 7, "bs": 4}')
    assert main(["info", "run", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["training"] == {"metrics.AP": 0.125, "train_ann": "train.json", "epoch": 7}
    assert facts["sha256"] == hashlib.sha256((folder / "best.pt").read_bytes()).hexdigest()
    assert (facts["format"], facts["licence"]) == ("sia_pose/1", "not noted in the file")
    assert "left_shoulder-right_shoulder" in facts["limbs"]
    assert main(["info"]) == 0
    assert "Apache-2.0" in capsys.readouterr().out
    assert main(["info", "."]) == 1
    assert "it is a folder" in capsys.readouterr().err


def test_system_says_what_is_there_and_what_is_missing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(EXTRAS, "hub", ("no_such_package",))
    assert main(["system", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert torch.__version__.startswith(facts["packages"]["torch"]) and "sia_pose_simple-n16" in facts["weights"]
    assert facts["extras"]["hub"] == 'misses no_such_package: pip install "sia-pose[hub]"'
    assert facts["extras"]["video"] == "installed" and "libx264" in facts["codecs"]
    assert main(["system"]) == 0
    assert "torch 2." in (shown := capsys.readouterr().out)
    assert "cores usable" in shown and "GiB" in shown


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["version"]) == 0
    assert capsys.readouterr().out == f"{sia.__version__}\n"


def test_no_pixel_of_a_head_stays_in_an_image(tmp_path: Path) -> None:
    shot = next(render([person(11, lambda _: Stance(0.0, 10.0, {}), 3.5)], 0.1, 3))
    Image.fromarray(shot.image).save("a.png")
    assert main(["predict", "a.png", "--blur", "faces", "--device", "cpu", "--output_dir", "out"]) == 0
    written = np.asarray(Image.open(tmp_path / "out" / "a.png").convert("RGB"))
    x1, y1, x2, y2 = shot.heads[0].round().astype(int)
    assert (x2 - x1) * (y2 - y1) > 300
    assert (written != shot.image)[y1:y2, x1:x2].any(-1).all()
    assert (written == shot.image)[:, :100].all()

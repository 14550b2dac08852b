"""The command `sia`: each source finds its job, and nothing else than flags stands between them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

import sia
from sia.cli import main
from tests.inference_helpers import quarters, save_video, save_weights


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


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


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["version"]) == 0
    assert capsys.readouterr().out == f"{sia.__version__}\n"

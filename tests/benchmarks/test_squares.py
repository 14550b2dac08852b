"""The table of squares: the RoI keypoint head learns in squares of another side than its weights had."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from benchmarks import squares
from datasets.synthetic import write_dataset
from tests.inference_helpers import save_weights


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Synthetic people in the layout of the photographs, and weights."""
    write_dataset(tmp_path, 8, 4, 64, 0, 0)
    for split in ("train", "val"):
        content = json.loads((tmp_path / f"{split}.json").read_text())
        for image in content["images"]:
            name = Path(image["file_name"]).name
            (tmp_path / "images" / split / name).rename(tmp_path / "images" / f"{split}-{name}")
            image["file_name"] = f"{split}-{name}"
        (tmp_path / f"{split}.json").write_text(json.dumps(content))
    save_weights(tmp_path / "model.pt")
    return tmp_path


def test_a_row_for_each_side(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = f"--weight_path {folder}/model.pt --photographs {folder} --sides 32 80 --imgsz 64 --minutes 0.02"
    assert squares.main(flags.split()) == 0
    rows = [[float(cell) for cell in line.strip("|").split("|")] for line in capsys.readouterr().out.splitlines()[2:]]
    assert [row[0] for row in rows] == [32, 80]
    for row in rows:
        assert row[1] > 0 and 1 > row[3] > 0


def test_it_learns_where_keypoints_are(folder: Path) -> None:
    flags = f"--weight_path {folder}/model.pt --photographs {folder} --imgsz 64 --minutes 0.15"
    trial = squares.Trial(squares.parse_args(flags.split()), 64)
    before = float(trial.fits().mean())
    trial.row()
    assert float(trial.fits().mean()) > 1.2 * before


def test_only_the_glimpse_learns(folder: Path) -> None:
    flags = f"--weight_path {folder}/model.pt --photographs {folder} --imgsz 64 --minutes 0.02"
    trial = squares.Trial(squares.parse_args(flags.split()), 80)
    before = {key: value.clone() for key, value in trial.model.state_dict().items()}
    trial.row()
    moved = {key for key, value in trial.model.state_dict().items() if not torch.equal(value, before[key])}
    assert "roi_head.heat.weight" in moved
    assert all(key.startswith("roi_head.") for key in moved)

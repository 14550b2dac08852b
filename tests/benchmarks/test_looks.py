"""The table of RoI refinement: fewer from a higher score on, and true scores are never worse."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import looks
from datasets.synthetic import write_dataset
from tests.inference_helpers import save_weights


def drawn_photographs(root: Path) -> Path:
    """A folder like one of photographs, of 8 drawn images of 64 px."""
    write_dataset(root / "drawn", 1, 8, 64, 0, 0)
    images = root / "photographs" / "images"
    images.parent.mkdir()
    (root / "drawn" / "images" / "val").rename(images)
    (root / "drawn" / "val.json").rename(images.parent / "val.json")
    return images.parent


def test_fewer_looks_and_what_true_scores_would_bring(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photographs = drawn_photographs(tmp_path)
    weights = save_weights(tmp_path / "model.pt")
    flags = ["--weight_path", str(weights), "--photographs", str(photographs), "--scores", "0", "1"]
    assert looks.main(flags) == 0
    lines = capsys.readouterr().out.splitlines()[2:]
    everybody, first = ([float(cell) for cell in line.strip("|").split("|")] for line in lines)
    assert everybody[1] == 4  # all whom this size places
    assert first[1] == 1
    assert everybody[5] >= everybody[3] and everybody[6] >= everybody[4]

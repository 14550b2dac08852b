"""The examples of docs/api.md run, from top to bottom, as they stand."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import ROOT
from tests.inference_helpers import save_video

pytest.importorskip("scipy")


def test_the_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    text = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
    sheet = np.asarray(Image.open(ROOT / "weights" / "check_images.jpg"))
    Image.fromarray(sheet[:256, :256]).save(tmp_path / "photo.jpg")
    (tmp_path / "shots").mkdir()
    Image.fromarray(sheet[:256, 256:512]).save(tmp_path / "shots" / "a.jpg")
    save_video(tmp_path / "walk.mp4", frames=2)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for block in blocks:
        exec(block.replace('load(".", ', f"load({str(ROOT)!r}, "), names)
    assert len(blocks) > 7
    assert {path.name for path in tmp_path.iterdir()} >= {"out.jpg", "drawn-shots-a.jpg"}
    said = capsys.readouterr().out
    assert " in photo.jpg, 17 keypoints" in said and "nothing.jpg: no such file" in said

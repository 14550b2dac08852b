"""`sia suggest`: unsure images first, never two that are alike, and none that has labels."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sia.cli import main
from sia.labelling.suggestion import select
from sia.people import People
from sia.runtimes.views import SHIFT, back, second_view
from sia.skeletons.skeleton import COCO_PERSON, Skeleton
from tests.inference_helpers import save_weights


def test_unsure_images_come_first_and_copies_last() -> None:
    uncertainties = np.array([0.9, 0.8, 0.5, 0.85])
    embeddings = np.array([[1, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], np.float32)
    rows, distances = select(uncertainties, embeddings, 4)
    assert rows.tolist() == [0, 3, 2, 1]
    assert distances.tolist() == [1, 1, 1, 0]


def test_images_like_labelled_ones_come_last() -> None:
    embeddings = np.eye(3, dtype=np.float32)
    rows, distances = select(np.array([0.9, 0.5, 0.4]), embeddings, 2, embeddings[:1])
    assert rows.tolist() == [1, 2] and distances.tolist() == [1, 1]


@pytest.mark.parametrize("mirrors", [True, False])
def test_the_second_view_comes_back(mirrors: bool) -> None:
    skeleton = COCO_PERSON if mirrors else Skeleton.from_category({"name": "x", "keypoints": ["left_a", "left_b"]})
    assert skeleton.mirrors == mirrors
    k = skeleton.num_keypoints
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (30, 50, 3), np.uint8)
    points = rng.integers(9, 28, (1, k, 2)).astype(np.float32)
    other = second_view(image, skeleton)
    if mirrors:  # what is at x in the image is at width - x in its mirror image, under the name of the other side
        seen = np.stack([50 - points[0, skeleton.flip_order, 0], points[0, skeleton.flip_order, 1]], -1)[None]
        box = np.array([[50 - 28, 9, 50 - 9, 28]], np.float32)
    else:
        seen, box = points + np.array([SHIFT, 0]), np.array([[9 + SHIFT, 9, 28 + SHIFT, 28]], np.float32)
    y, x = 12, 20
    assert (other[y, 50 - 1 - x if mirrors else x + SHIFT] == image[y, x]).all()
    found = back(People(box, np.ones(1, np.float32), seen, np.ones((1, k), np.float32)), 50, skeleton)
    np.testing.assert_allclose(found.keypoints, points)
    np.testing.assert_allclose(found.boxes, [[9, 9, 28, 28]])


def test_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    Path("in").mkdir()
    for name in "abcd":
        Image.fromarray(rng.integers(0, 255, (40, 60, 3), np.uint8)).save(f"in/{name}.png")
    Path("in/broken.png").write_bytes(b"no image")
    category = {"id": 1, "name": "person", "keypoints": list(COCO_PERSON.names)}
    images = [{"id": 1, "file_name": "a.png", "width": 60, "height": 40}]
    Path("train.json").write_text(json.dumps({"images": images, "annotations": [], "categories": [category]}))
    weights = str(save_weights(tmp_path / "best.pt"))
    flags = ["--weight_path", weights, "--device", "cpu", "--n", "2", "--output_dir", "out", "--copy"]
    assert main(["suggest", "--images", "in", "--ann_file", "train.json", *flags]) == 1  # one can't be read
    assert "broken.png" in capsys.readouterr().err
    names = Path("out/suggested.txt").read_text().split()
    assert len(set(names)) == 2 and {Path(name).name for name in names} < {"b.png", "c.png", "d.png"}
    rows = json.loads(Path("out/suggested.json").read_text())["images"]
    assert [row["file"] for row in rows] == names
    assert len(list(Path("out/images").iterdir())) == 2
    assert main(["suggest", "--images", "in/a.png", "--ann_file", "train.json", *flags]) == 1
    assert "nothing to suggest" in capsys.readouterr().err

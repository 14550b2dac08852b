"""What our runner reads from a run folder, and the small annotation files it writes."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.peers.layout import write_first
from benchmarks.peers.ours import kept_weights, write_one
from benchmarks.peers.runner import Checkpoint

CONTENT = {
    "images": [{"id": i} for i in (1, 2, 3)],
    "annotations": [
        {"image_id": 1, "num_keypoints": 0},
        {"image_id": 2, "num_keypoints": 5},
        {"image_id": 2, "num_keypoints": 0},
        {"image_id": 3, "num_keypoints": 4},
    ],
    "categories": [],
}


def test_only_evaluated_epochs_have_weights(tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "epoch-002.pt").touch()
    (tmp_path / "results.csv").write_text("epoch,step,seconds,AP\n1,10,30.5,\n2,20,61.5,0.01\n")
    assert kept_weights(tmp_path, 8) == [Checkpoint(str(tmp_path / "weights" / "epoch-002.pt"), 61.5, 160)]


def test_part_keeps_the_first_images_with_their_people(tmp_path: Path) -> None:
    (tmp_path / "train.json").write_text(json.dumps(CONTENT))
    write_first(tmp_path / "train.json", 2, tmp_path / "part.json")
    part = json.loads((tmp_path / "part.json").read_text())
    assert [image["id"] for image in part["images"]] == [1, 2]
    assert [row["image_id"] for row in part["annotations"]] == [1, 2, 2]


def test_one_has_labelled_people(tmp_path: Path) -> None:
    """An image without them can't be evaluated."""
    one = json.loads(write_one(CONTENT, tmp_path).read_text())
    assert [image["id"] for image in one["images"]] == [2] and len(one["annotations"]) == 2

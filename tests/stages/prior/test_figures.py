"""Sheets show whom the moves helped and whom they harmed, cut out of their images, also at the edge."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from datasets.coco.coco_pose import CocoPose
from sia.skeletons.skeleton import COCO_PERSON
from stages.prior.figures import COLUMNS, SHOWN, TILE, Moved, draw_sheets
from stages.prior.parts import MatchedLabels
from tests.stages.pose_helpers import people, predictions, write_annotations

LABELS = people(12, unlabelled=0)


def moved(shift: float) -> Moved:
    """Two people come nearer, one moves away, the others stay."""
    before = LABELS.keypoints + shift
    after = before.copy()
    after[[2, 5]] -= [[[0.5 * shift]], [[shift]]]
    after[7] += shift
    found = predictions(LABELS, before)
    return Moved("x", "t", found, replace(found, keypoints=after), MatchedLabels.of(found, LABELS, COCO_PERSON))


def test_the_extremes_are_in_order() -> None:
    better, worse = moved(4).extremes()
    assert better.tolist() == [5, 2]
    assert worse.tolist() == [7]


def test_people_with_few_labels_are_not_shown() -> None:
    one = moved(4)
    few = replace(LABELS, labelled=LABELS.labelled & (np.arange(17) < 8))
    unclear = replace(one, truth=MatchedLabels.of(one.before, few, COCO_PERSON))
    assert not any(len(rows) for rows in unclear.extremes())


def test_sheets(tmp_path: Path) -> None:
    file = write_annotations(tmp_path / "labels.json", LABELS)
    for number in range(1, 7):
        cv2.imwrite(str(tmp_path / f"{number}.jpg"), np.full((512, 512, 3), 90, np.uint8))
    data = CocoPose(tmp_path, file)
    sheets = draw_sheets(data, moved(4), tmp_path)
    assert [path.name for path in sheets] == ["x-better.jpg", "x-worse.jpg"]
    for path in sheets:
        height, width = cv2.imread(str(path)).shape[:2]
        assert width >= 3 * COLUMNS * TILE
        assert TILE < height < 2 * TILE  # one band is enough for two of `SHOWN`
    assert SHOWN > 2
    far = moved(4)
    boxes = far.before.boxes - 300
    outside = replace(far, before=replace(far.before, boxes=boxes), after=replace(far.after, boxes=boxes))
    assert len(draw_sheets(data, outside, tmp_path)) == 2
    still = replace(far, after=far.before)
    assert draw_sheets(data, still, tmp_path) == []

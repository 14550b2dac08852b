"""The calibration images are dealt into folds; what belongs together stays together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sia.coco.coco_files import load_ground_truth
from sia.skeletons.skeleton import COCO_PERSON
from stages.error_model.folds import FOLDS, CalibrationSet, deal
from tests.stages.crowd import predict, truth_of

TRUTH = truth_of(50)


def calibration(seed: int = 0, groups: dict[int, int] | None = None) -> CalibrationSet:
    return CalibrationSet(Path("x.json"), load_ground_truth(TRUTH, COCO_PERSON), COCO_PERSON, seed, groups or {})


def test_every_image_is_in_one_fold_and_one_half() -> None:
    made = calibration()
    assert sorted(np.concatenate(made.folds).tolist()) == list(range(1, 51))
    assert sorted(map(len, made.folds)) == [8, 8, 8, 8, 9, 9]
    assert sorted(np.concatenate(made.halves()).tolist()) == list(range(1, 51))
    assert {len(half) for half in made.halves()} == {25}
    assert all((a == b).all() for a, b in zip(made.folds, calibration().folds, strict=True))
    assert any((a[:8] != b[:8]).any() for a, b in zip(made.folds, calibration(seed=1).folds, strict=True))


@pytest.mark.parametrize("seed", [0, 1])
def test_no_fold_and_no_half_divides_a_video(seed: int) -> None:
    video_of = {image: 0 if image <= 7 else 1 if image <= 12 else image for image in range(1, 51)}
    made = calibration(seed, video_of)
    assert sorted(np.concatenate(made.folds).tolist()) == list(range(1, 51))
    for parts in (made.folds, made.halves()):
        owners = [{video_of[image] for image in part.tolist()} for part in parts]
        assert sum(map(len, owners)) == len(set(video_of.values()))
        assert max(map(len, parts)) - min(map(len, parts)) <= 2


def test_people_are_in_the_fold_of_their_image() -> None:
    made, people = calibration(), predict(TRUTH)
    numbers = made.folds_of(people)
    assert set(numbers.tolist()) == set(range(FOLDS))
    assert all(image in made.folds[number] for image, number in zip(people.image_ids, numbers, strict=True))


def test_more_folds_than_groups_leave_some_empty() -> None:
    assert deal([["a"], ["b", "c"]], 3) == [["b", "c"], ["a"], []]

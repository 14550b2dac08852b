"""The stage as the pipeline runs it: it gains where there is something to gain, and declines where there isn't."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from sia.coco.coco_files import load_ground_truth
from sia.errors import DataError
from sia.skeletons.skeleton import COCO_PERSON, Skeleton
from stages.ensemble.member_predictions import views_of
from stages.error_model.labels import LabelledPeople
from stages.error_model.pose_input import augment, confidence_scale, draw_turns
from stages.error_model.sampling import sample_errors
from stages.prior.stage import run
from stages.prior.training import train_prior
from stages.stage import StageResult, StageWork
from tests.stages.error_model.test_pose_errors import known_errors
from tests.stages.pose_helpers import people, predictions, write_annotations
from utils.config.train_config import TrainConfig
from utils.metrics.coco_eval import evaluate
from utils.metrics.predictions import Predictions, read_predictions


def spoilt(labels: LabelledPeople, seed: int, spread: float) -> Predictions:
    rng = np.random.default_rng(seed)
    corrupted = sample_errors(known_errors(0, spread), labels, COCO_PERSON, rng)
    people = predictions(labels, corrupted.keypoints, corrupted.confidences)
    return replace(people, boxes=corrupted.boxes, scores=rng.uniform(0.3, 0.9, len(labels)))


OTHER = 7
"""The id of people in these annotations: not all have COCO's 1."""


def with_other_category(path: Path) -> Path:
    content = json.loads(path.read_text())
    content["categories"][0]["id"] = OTHER
    for row in content["annotations"]:
        row["category_id"] = OTHER
    path.write_text(json.dumps(content))
    return path


def work_of(folder: Path, spread: float, count: int = 160, steps: int = 10) -> StageWork:
    """Three parts; no errors at all for a spread of 0."""
    folder.mkdir()
    parts, before = {}, {}
    for seed, (part, size) in enumerate((("fit", 400), ("calibrate", count), ("test", count))):
        labels = people(size, seed)
        parts[part] = with_other_category(write_annotations(folder / f"{part}-labels.json", labels))
        if part != "fit":
            found = spoilt(labels, seed, spread) if spread else predictions(labels, labels.keypoints)
            before[part] = folder / f"{part}-before.json"
            found.save(before[part], OTHER)
    image = cv2.imencode(".jpg", np.full((512, 512, 3), 90, np.uint8))[1].tobytes()
    for number in range(1, count // 2 + 1):
        (folder / f"{number}.jpg").write_bytes(image)
    config = TrainConfig("sia_pose_simple", folder, parts["fit"], parts["test"], prior_steps=steps)
    (folder / "out").mkdir()
    return StageWork(folder / "out", config, folder, parts, before, None, lambda line: None)


def ap(work: StageWork, file: Path) -> float:
    people = read_predictions(file, load_ground_truth(work.parts["test"], COCO_PERSON), COCO_PERSON)
    return evaluate(work.parts["test"], people.rows(OTHER), COCO_PERSON).AP


@pytest.fixture(scope="module")
def improved(tmp_path_factory: pytest.TempPathFactory) -> tuple[StageWork, StageResult]:
    work = work_of(tmp_path_factory.mktemp("prior") / "a", 0.6, count=120, steps=60)
    return work, run(work)


def test_ap_of_poor_predictions_rises(improved: tuple[StageWork, StageResult]) -> None:
    work, result = improved
    assert not result.declined
    assert ap(work, result.after["test"]) > ap(work, work.before["test"]) + 0.01
    *by_ap, confidences = result.figures["parts"]
    assert len(by_ap) == 3
    assert any(line.endswith("kept") for line in by_ap)
    assert confidences.startswith("confidences: Brier score on calibrate")


def test_what_moved_is_shown(improved: tuple[StageWork, StageResult]) -> None:
    work, result = improved
    assert "moved-better.jpg" in {path.name for path in result.images}
    assert all(path.is_file() and path.parent == work.folder for path in result.images)
    worth = result.figures["mean OKS term by fraction of the advised move"]
    assert list(worth) == ["0", "0.25", "0.5", "0.75", "1"]
    assert worth["0.5"] > worth["0"]


def test_confidences_and_variances_that_are_handed_on_agree(improved: tuple[StageWork, StageResult]) -> None:
    work, result = improved
    found = read_predictions(result.after["test"], load_ground_truth(work.parts["test"], COCO_PERSON), COCO_PERSON)
    kept = result.figures["parts"][-1].endswith(", kept")
    assert np.isfinite(found.variances).all() == kept


def test_the_same_input_gives_the_same_files(tmp_path: Path) -> None:
    work = work_of(tmp_path / "a", 0.6, count=50, steps=2)
    (tmp_path / "again").mkdir()
    first, second = run(work), run(replace(work, folder=tmp_path / "again"))
    assert first.figures == second.figures
    for part, file in first.after.items():
        assert file.read_bytes() == second.after[part].read_bytes()


def test_perfect_predictions_are_left_alone(tmp_path: Path) -> None:
    work = work_of(tmp_path / "a", 0.0, count=50, steps=2)
    result = run(work)
    assert "no part raises AP" in result.declined
    assert ap(work, result.after["test"]) > 0.9  # even when forced
    assert all(path.name.startswith("advice-") for path in result.images)


def test_too_few_people_are_a_reason_not_an_error(tmp_path: Path) -> None:
    result = run(work_of(tmp_path / "a", 0.5, count=12))
    assert "too few" in result.declined
    assert not result.after


def test_nobody_found_is_a_reason_not_an_error(tmp_path: Path) -> None:
    work = work_of(tmp_path / "a", 0.5, count=30)
    for file in work.before.values():
        file.write_text("[]")
        file.with_suffix(".npz").unlink()
    assert "only 0 labelled people" in run(work).declined


def test_a_missing_file_of_poses(tmp_path: Path) -> None:
    work = work_of(tmp_path / "a", 0.5, count=30)
    config = replace(work.config, prior_poses=tmp_path / "none.npz")
    with pytest.raises(DataError, match=r"none\.npz: no such file"):
        run(replace(work, config=config))


def test_poses_and_views_are_mirrored_only_where_sides_are_known() -> None:
    unknown = Skeleton.from_category({"keypoints": ["paw_1", "paw_2"]})
    for skeleton in (unknown, COCO_PERSON):
        signs = np.linalg.det(draw_turns(40, skeleton, np.random.default_rng(0)))
        assert (signs < 0).any() == any(view.flip for view in views_of("flip,scale", skeleton)) == skeleton.mirrors
    assert len(views_of("flip,scale", unknown)) == 2


def test_augmentation_keeps_bodies() -> None:
    labels = people(200, unlabelled=0)
    moved = augment(labels, COCO_PERSON, np.random.default_rng(0))
    for a, b in COCO_PERSON.edges:
        twin = COCO_PERSON.flip_order
        length = np.linalg.norm(moved.keypoints[:, a] - moved.keypoints[:, b], axis=-1)
        own = np.linalg.norm(labels.keypoints[:, a] - labels.keypoints[:, b], axis=-1)
        other = np.linalg.norm(labels.keypoints[:, twin[a]] - labels.keypoints[:, twin[b]], axis=-1)
        assert (np.isclose(length, own) | np.isclose(length, other)).all()
    left_is_right_of_right = (moved.keypoints[:, 5, 0] > moved.keypoints[:, 6, 0]).mean()
    assert left_is_right_of_right > 0.95  # mirrored people still face us


def test_training_leaves_the_random_numbers_of_others_alone() -> None:
    labels = people(100)
    found = spoilt(labels, 0, 0.5)
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    train_prior(labels, known_errors(0, 0.5), confidence_scale(found), COCO_PERSON, 0, 3)
    assert torch.equal(torch.rand(3), expected)

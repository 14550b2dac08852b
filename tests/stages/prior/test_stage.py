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
from sia.evaluation.coco_eval import evaluate
from sia.evaluation.labels import LabelledPeople
from sia.evaluation.predictions import Predictions, read_predictions
from sia.skeletons.skeleton import COCO_PERSON, Skeleton
from stages.ensemble.members import views_of
from stages.error_model.fitting import BatchShare
from stages.error_model.pose_errors import sample_errors
from stages.error_model.pose_input import augment, confidence_scale, draw_turns
from stages.prior.stage import STAGE, fit
from stages.prior.training import train_prior
from stages.stage import Images, StageFit, StageInput, Surroundings
from tests.processes import together
from tests.stages.error_model.test_pose_errors import known_errors
from tests.stages.pose_helpers import people, predictions, reloaded, stage_input, write_annotations
from utils.config.train_config import TrainConfig
from utils.distributed.context import init_distributed


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


def work_of(folder: Path, spread: float, count: int = 160, steps: int = 10) -> StageInput:
    """Three splits, of which the stage gets two; no errors at all for a spread of 0."""
    folder.mkdir()
    splits = {}
    for seed, (split, size) in enumerate((("fit", 400), ("calibrate", count), ("test", count))):
        labels = people(size, seed)
        splits[split] = with_other_category(write_annotations(folder / f"{split}-labels.json", labels))
        if split != "fit":
            found = spoilt(labels, seed, spread) if spread else predictions(labels, labels.keypoints)
            found.save(folder / f"{split}-before.json", OTHER)
    image = cv2.imencode(".jpg", np.full((512, 512, 3), 90, np.uint8))[1].tobytes()
    for number in range(1, count // 2 + 1):
        (folder / f"{number}.jpg").write_bytes(image)
    config = TrainConfig("sia_pose_simple", folder, splits["fit"], splits.pop("test"), prior_steps=steps)
    return stage_input(folder / "out", config, splits, folder / "calibrate-before.json")


def read_test(work: StageInput) -> Predictions:
    truth = load_ground_truth(work.config.val_ann, COCO_PERSON)
    return read_predictions(work.config.coco_root / "test-before.json", truth, COCO_PERSON)


def ap(work: StageInput, people: Predictions) -> float:
    return evaluate(work.config.val_ann, people.rows(OTHER), COCO_PERSON).AP


@pytest.fixture(scope="module")
def improved(tmp_path_factory: pytest.TempPathFactory) -> tuple[StageInput, StageFit]:
    work = work_of(tmp_path_factory.mktemp("prior") / "a", 0.6, count=120, steps=60)
    return work, fit(work)


def test_ap_of_poor_predictions_rises(improved: tuple[StageInput, StageFit]) -> None:
    work, result = improved
    assert not result.declined
    before = read_test(work)
    assert result.fitted is not None
    assert ap(work, result.fitted.apply(before, Images.of({}))) > ap(work, before) + 0.01
    *by_ap, confidences = result.figures["parts"]
    assert len(by_ap) == 3
    assert any(line.endswith("kept") for line in by_ap)
    assert confidences.startswith("confidences: Brier score on calibrate")


def test_what_moved_is_shown(improved: tuple[StageInput, StageFit]) -> None:
    work, result = improved
    assert "moved-better.jpg" in {path.name for path in result.images}
    assert all(path.is_file() and path.parent == work.folder for path in result.images)
    worth = result.figures["mean OKS term by fraction of the advised move"]
    assert list(worth) == ["0", "0.25", "0.5", "0.75", "1"]
    assert worth["0.5"] > worth["0"]


def test_confidences_and_variances_that_are_handed_on_agree(improved: tuple[StageInput, StageFit]) -> None:
    _, result = improved
    kept = result.figures["parts"][-1].endswith(", kept")
    assert result.people is not None
    assert np.isfinite(result.people.variances).all() == kept


def test_a_fit_comes_back_from_its_folder(improved: tuple[StageInput, StageFit], tmp_path: Path) -> None:
    work, result = improved
    assert result.fitted is not None
    people, images = read_test(work), Images.of({})
    expected = result.fitted.apply(people, images)
    again = reloaded(STAGE, result.fitted, tmp_path / "kept")
    for name, column in vars(again.apply(people, images)).items():
        np.testing.assert_array_equal(column, getattr(expected, name))
    alone = again.apply(people.of_images([3]), images)
    np.testing.assert_allclose(alone.keypoints, expected.of_images([3]).keypoints, atol=1e-3)
    assert len(again.apply(people.select(slice(0)), images)) == 0
    (tmp_path / "kept" / "fit.json").write_text("{}")
    with pytest.raises(DataError, match=r"fit\.json can't be used: .*scales"):
        STAGE.load(tmp_path / "kept", Surroundings("cpu", 1, COCO_PERSON, None, tmp_path))


def test_the_same_input_gives_the_same(tmp_path: Path) -> None:
    work = work_of(tmp_path / "a", 0.6, count=50, steps=2)
    (tmp_path / "again").mkdir()
    first, second = fit(work), fit(replace(work, folder=tmp_path / "again"))
    assert first.figures == second.figures
    assert first.people is not None and second.people is not None
    for name, column in vars(first.people).items():
        np.testing.assert_array_equal(column, getattr(second.people, name))


def test_perfect_predictions_are_left_alone(tmp_path: Path) -> None:
    work = work_of(tmp_path / "a", 0.0, count=50, steps=2)
    result = fit(work)
    assert "no part raises AP" in result.declined
    assert result.fitted is not None
    assert ap(work, result.fitted.apply(read_test(work), Images.of({}))) > 0.9  # even when forced
    assert all(path.name.startswith("advice-") for path in result.images)


def test_too_few_people_are_a_reason_not_an_error(tmp_path: Path) -> None:
    result = fit(work_of(tmp_path / "a", 0.5, count=12))
    assert "too few" in result.declined
    assert result.fitted is None


def test_nobody_found_is_a_reason_not_an_error(tmp_path: Path) -> None:
    work = work_of(tmp_path / "a", 0.5, count=30)
    assert work.results is not None
    work.results.write_text("[]")
    work.results.with_suffix(".npz").unlink()
    assert "only 0 labelled people" in fit(work).declined


def test_a_missing_file_of_poses(tmp_path: Path) -> None:
    work = work_of(tmp_path / "a", 0.5, count=30)
    config = replace(work.config, prior_poses=tmp_path / "none.npz")
    with pytest.raises(DataError, match=r"none\.npz: no such file"):
        fit(replace(work, config=config))


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


def train_on(rank: int, world: int) -> list[np.ndarray]:
    """The weights that one of some ranks ends with."""
    labels = people(100)
    errors, scale = known_errors(0, 0.5), confidence_scale(spoilt(labels, 0, 0.5))
    with init_distributed("cpu") as ranks, BatchShare(ranks) as share:
        assert ranks.world_size == world
        network = train_prior(labels, errors, scale, COCO_PERSON, 0, 4, share=share).network
    return [value.double().numpy() for value in network.state_dict().values()]


def test_ranks_end_with_the_weights_of_one() -> None:
    (alone,) = together(1, train_on, 1)
    for weights in together(3, train_on, 3):
        for one, other in zip(alone, weights, strict=True):
            np.testing.assert_allclose(other, one, atol=1e-4)

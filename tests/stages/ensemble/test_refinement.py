"""The refinement network: what it restores of corrupted poses, what of it is kept, and when it is left out."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from datasets.coco.coco_pose import CocoPose
from sia.coco.coco_files import load_ground_truth, read_skeleton
from sia.errors import WeightsError
from sia.skeletons.skeleton import Skeleton
from stages.ensemble.refinement import choose, correct
from stages.ensemble.refinement_training import TrainingCrops, moves_in, train_refinement_network
from stages.ensemble.stage import run
from stages.error_model.folds import CalibrationSet
from stages.error_model.labels import LabelledPeople, labelled_people
from stages.error_model.pose_errors import errors_of_pairs
from stages.error_model.pose_input import confidence_scale
from stages.stage import StageWork
from utils.config.train_config import TrainConfig
from utils.metrics.predictions import Predictions, read_predictions

NAMES = ("top", "left", "right")
COLOURS = ((255, 40, 40), (40, 255, 40), (40, 40, 255))
SIDE = 96


def write_part(root: Path, name: str, count: int, seed: int, keypoints: int = 3) -> Path:
    """Images of one triangle each, with a dot of its own colour at each corner; one keypoint: only the first."""
    rng = np.random.default_rng(seed)
    images, people = [], []
    for number in range(1, count + 1):
        image = rng.integers(90, 140, (SIDE, SIDE, 3)).astype(np.uint8)
        points = np.array([[48, 22], [24, 70], [72, 70]])[:keypoints] + rng.normal(0, 6, (keypoints, 2))
        for (x, y), colour in zip(points, COLOURS, strict=False):
            cv2.circle(image, (round(x * 16 - 8), round(y * 16 - 8)), 4 * 16, colour, -1, cv2.LINE_AA, 4)
        cv2.imwrite(str(root / f"{name}{number}.png"), image[..., ::-1])
        images.append({"id": number, "file_name": f"{name}{number}.png", "width": SIDE, "height": SIDE})
        triples = np.concatenate([points, np.full((keypoints, 1), 2.0)], axis=1).ravel().tolist()
        people.append({"id": number, "image_id": number, "category_id": 7, "bbox": [10, 8, 76, 78], "area": 3000.0,
                       "iscrowd": 0, "num_keypoints": keypoints, "keypoints": triples})  # fmt: skip
    category = {"id": 7, "name": "triangle", "keypoints": list(NAMES[:keypoints]), "skeleton": []}
    path = root / f"{name}.json"
    path.write_text(json.dumps({"images": images, "annotations": people, "categories": [category]}))
    return path


def spoilt(labels: LabelledPeople, skeleton: Skeleton, seed: int, spread: float = 1.0) -> Predictions:
    rng = np.random.default_rng(seed)
    noise = spread * labels.units(skeleton.sigmas)[..., None] * rng.standard_normal(labels.keypoints.shape)
    sure = rng.uniform(0.4, 0.8, labels.labelled.shape)
    points = labels.keypoints + noise
    return Predictions(labels.image_ids, labels.boxes, sure.mean(1), points, sure, np.full(sure.shape, np.nan))


def make_work(root: Path, keypoints: int = 3, steps: int = 2, count: int = 30, spread: float = 1.0) -> StageWork:
    """Three parts with images, and predictions of two."""
    sizes = {"fit": 40, "calibrate": count, "test": 12}
    parts = {name: write_part(root, name, size, seed, keypoints) for seed, (name, size) in enumerate(sizes.items())}
    before = {}
    for seed, part in enumerate(("calibrate", "test")):
        skeleton, truth = open_part(parts[part])
        before[part] = root / f"before-{part}.json"
        spoilt(labelled_people(truth), skeleton, seed, spread).save(before[part], truth.category)
    config = TrainConfig("sia_pose_simple", root, parts["fit"], parts["test"], refinement_steps=steps, tta="none")
    (root / "stage").mkdir()
    return StageWork(root / "stage", config, root, parts, before, None, lambda line: None)


def open_part(path: Path):
    skeleton = read_skeleton(json.loads(path.read_text()), str(path))
    return skeleton, load_ground_truth(path, skeleton)


def people_of(work: StageWork) -> tuple[dict[str, Predictions], CalibrationSet]:
    skeleton, _ = open_part(work.parts["calibrate"])
    found = {
        part: read_predictions(path, load_ground_truth(work.parts[part], skeleton), skeleton)
        for part, path in work.before.items()
    }
    return found, CalibrationSet.open(work.parts["calibrate"], skeleton, 0)


@pytest.fixture
def work(tmp_path: Path) -> StageWork:
    return make_work(tmp_path)


def true_moves(people: Predictions, path: Path) -> np.ndarray:
    """Everybody's way to the labels; one person an image."""
    return labelled_people(open_part(path)[1]).keypoints - people.keypoints


def test_moves_towards_the_truth_are_kept(work: StageWork) -> None:
    people, calibrate = people_of(work)
    moves = {part: true_moves(found, work.parts[part]) for part, found in people.items()}
    kept = choose(people, moves, calibrate)
    assert not kept.refused and kept.figures["fraction of its moves"] == 1.0
    assert kept.figures["AP after"] == pytest.approx(1.0) and kept.figures["AP before"] < 0.9
    np.testing.assert_allclose(kept.people["test"].keypoints - people["test"].keypoints, moves["test"])
    double = choose(people, {part: 2 * way for part, way in moves.items()}, calibrate)
    assert double.figures["fraction of its moves"] == 0.5


def test_moves_anywhere_are_left_out(work: StageWork) -> None:
    people, calibrate = people_of(work)
    rng = np.random.default_rng(0)
    dropped = choose(people, {p: rng.normal(0, 20, found.keypoints.shape) for p, found in people.items()}, calibrate)
    assert "does not raise AP" in dropped.refused
    assert dropped.people is people and dropped.figures["decision"] == "left out"


def test_an_untrained_corrector_moves_nothing_and_is_left_out(work: StageWork) -> None:
    work = replace(work, config=replace(work.config, refinement_steps=1))
    people, calibrate = people_of(work)
    correction = correct(work, people, calibrate, "")
    assert correction.refused and correction.people is people


def test_a_short_training_brings_keypoints_nearer(tmp_path: Path) -> None:
    path, other = write_part(tmp_path, "fit", 100, 0), write_part(tmp_path, "other", 40, 1)
    skeleton, truth = open_part(path)
    labels = labelled_people(truth)
    training_crops = TrainingCrops.read(CocoPose(tmp_path, path), labels, 0)
    found = spoilt(labels, skeleton, 0)
    errors, scale = errors_of_pairs(found, labels, skeleton), confidence_scale(found)
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    trained = train_refinement_network(training_crops, errors, scale, skeleton, 0, 40)
    assert torch.equal(torch.rand(2), expected)  # others' random numbers are left alone
    unseen = labelled_people(open_part(other)[1])
    people = spoilt(unseen, skeleton, 5)
    moves = moves_in(CocoPose(tmp_path, other), people, lambda image_id: [trained])
    before, after = (
        np.linalg.norm(people.keypoints + share * moves - unseen.keypoints, axis=-1).mean() for share in (0, 1)
    )
    assert after < 0.85 * before


def test_the_stage_uses_it_on_its_input_where_there_is_one_member(work: StageWork) -> None:
    """Here nothing was learnt, so everything is declined, with both reasons."""
    result = run(work)
    assert "one member only" in result.declined and "the refinement network does not raise AP" in result.declined
    assert set(result.figures["refinement_network"]) == {"AP before", "AP after", "fraction of its moves", "decision"}
    assert result.after["test"] == work.before["test"]


def test_a_second_call_takes_the_trained_weights_from_the_folder(
    work: StageWork, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    work = replace(work, say=lines.append)
    first = run(work)
    files = sorted(work.folder.glob("refinement network-*.pt"))
    assert len(files) == 2 and sum("steps on 40 people" in line for line in lines) == 2
    monkeypatch.setattr("stages.ensemble.refinement.train_refinement_network", None)
    again = run(work)
    assert again.figures == first.figures
    files[0].write_bytes(b"broken")
    with pytest.raises(WeightsError, match=files[0].name):
        run(work)


def test_the_same_seed_gives_the_same_weights_and_another_one_others(tmp_path: Path) -> None:
    weights = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        (tmp_path / name).mkdir()
        work = make_work(tmp_path / name)
        run(replace(work, config=replace(work.config, seed=seed)))
        weights.append(
            [torch.load(path, weights_only=True) for path in sorted(work.folder.glob("refinement network-*.pt"))]
        )
    for first, second, third in zip(*weights, strict=True):
        assert all(torch.equal(first[key], second[key]) for key in first)
        assert not all(torch.equal(first[key], third[key]) for key in first)


@pytest.mark.parametrize("keypoints", [1, 2])
def test_few_keypoints_one_of_them_far_outside(tmp_path: Path, keypoints: int) -> None:
    work = make_work(tmp_path, keypoints)
    people, calibrate = people_of(work)
    people["test"].keypoints[0, 0] = (-5000.0, 90.0)
    assert np.isfinite(correct(work, people, calibrate, "").people["test"].keypoints).all()


def test_nobody_found_too_few_or_switched_off_are_reasons(work: StageWork) -> None:
    people, calibrate = people_of(work)
    nobody = {part: found.select(slice(0)) for part, found in people.items()}
    few = {part: found.select(slice(15)) for part, found in people.items()}
    assert "only 0 labelled people" in correct(work, nobody, calibrate, "").refused
    assert "too few for a refinement network" in correct(work, few, calibrate, "").refused
    off = replace(work, config=replace(work.config, refinement_steps=0))
    assert "-REFINEMENT_STEPS 0" in correct(off, people, calibrate, "").refused
    only_test = {**people, "test": nobody["test"]}
    assert len(correct(work, only_test, calibrate, "").people["test"]) == 0

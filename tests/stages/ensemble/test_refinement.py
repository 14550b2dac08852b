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
from sia.evaluation.labels import LabelledPeople, labelled_people
from sia.evaluation.predictions import Predictions
from sia.skeletons.skeleton import Skeleton
from stages.ensemble.members import OpenMembers
from stages.ensemble.refinement import (
    Refinement,
    TrainedRefinementNetwork,
    TrainingCrops,
    choose,
    moves_in,
    refine,
    train_refinement_network,
)
from stages.ensemble.refinement_network import PoseRefinementNetwork
from stages.ensemble.stage import STAGE, FittedEnsemble, fit
from stages.error_model.fitting import BatchShare
from stages.error_model.folds import CalibrationSet
from stages.error_model.pose_errors import errors_of_pairs
from stages.error_model.pose_input import confidence_scale
from stages.stage import Images, StageInput
from tests.processes import together
from tests.stages.pose_helpers import reloaded, stage_input
from utils.config.train_config import TrainConfig
from utils.distributed.context import init_distributed

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


def make_work(root: Path, keypoints: int = 3, steps: int = 2, count: int = 30, spread: float = 1.0) -> StageInput:
    """Splits with images, and predictions of one."""
    sizes = {"fit": 40, "calibrate": count, "test": 1}
    parts = {name: write_part(root, name, size, seed, keypoints) for seed, (name, size) in enumerate(sizes.items())}
    skeleton, truth = open_part(parts["calibrate"])
    results = root / "before-calibrate.json"
    spoilt(labelled_people(truth), skeleton, 0, spread).save(results, truth.category)
    config = TrainConfig("sia_pose_simple", root, parts["fit"], parts["test"], refinement_steps=steps, tta="none")
    return stage_input(root / "stage", config, parts, results)


def open_part(path: Path):
    skeleton = read_skeleton(json.loads(path.read_text()), str(path))
    return skeleton, load_ground_truth(path, skeleton)


def people_of(work: StageInput) -> tuple[Predictions, CalibrationSet]:
    calibrate = CalibrationSet.open(work)
    assert work.results is not None
    return calibrate.read(work.results), calibrate


@pytest.fixture
def work(tmp_path: Path) -> StageInput:
    return make_work(tmp_path)


def true_moves(people: Predictions, path: Path) -> np.ndarray:
    """Everybody's way to the labels; one person an image."""
    return labelled_people(open_part(path)[1]).keypoints - people.keypoints


def test_moves_towards_the_truth_are_kept(work: StageInput) -> None:
    people, calibrate = people_of(work)
    moves = true_moves(people, calibrate.path)
    fraction, crossed, figures = choose(people, moves, calibrate)
    assert figures["decision"] == "kept" and fraction == figures["fraction of its moves"] == 1.0
    assert figures["AP after"] == pytest.approx(1.0) and figures["AP before"] < 0.9
    np.testing.assert_allclose(crossed.keypoints - people.keypoints, moves)
    assert choose(people, 2 * moves, calibrate)[0] == 0.5


def test_moves_anywhere_are_left_out(work: StageInput) -> None:
    people, calibrate = people_of(work)
    moves = np.random.default_rng(0).normal(0, 20, people.keypoints.shape)
    assert choose(people, moves, calibrate)[2]["decision"] == "left out"


def test_an_untrained_corrector_moves_nothing_and_is_left_out(work: StageInput) -> None:
    work = replace(work, config=replace(work.config, refinement_steps=1))
    people, calibrate = people_of(work)
    correction = refine(work, people, calibrate, "")
    assert "does not raise AP" in correction.refused
    assert correction.people is people and correction.fitted is None


def test_a_refinement_comes_back_from_its_folder(work: StageInput, tmp_path: Path) -> None:
    people, calibrate = people_of(work)
    torch.manual_seed(0)
    networks = [PoseRefinementNetwork(3).eval() for _ in (0, 1)]
    for network in networks:
        torch.nn.init.normal_(network.last.weight, std=0.1)
    refinement_networks = [
        TrainedRefinementNetwork(network, confidence_scale(people), calibrate.skeleton) for network in networks
    ]
    opened = OpenMembers("cpu", calibrate.skeleton, None)
    made = FittedEnsemble([], None, Refinement(refinement_networks, 0.5), calibrate.skeleton, opened)
    images = Images.of_split(work.data("calibrate"))
    moved = made.apply(people, images)
    assert abs(moved.keypoints - people.keypoints).max() > 0.1
    again = reloaded(STAGE, made, tmp_path / "kept", calibrate.skeleton)
    np.testing.assert_array_equal(again.apply(people, images).keypoints, moved.keypoints)
    one = images.select(images.ids[3:4])
    alone = again.apply(people.of_images(one.ids), one)
    np.testing.assert_allclose(alone.keypoints, moved.of_images(one.ids).keypoints, atol=1e-4)


def test_a_short_training_brings_keypoints_nearer(tmp_path: Path) -> None:
    path, other = write_part(tmp_path, "fit", 100, 0), write_part(tmp_path, "other", 40, 1)
    skeleton, truth = open_part(path)
    labels = labelled_people(truth)
    training_crops = TrainingCrops.read(Images.of_split(CocoPose(tmp_path, path)), labels, 0)
    found = spoilt(labels, skeleton, 0)
    errors, scale = errors_of_pairs(found, labels, skeleton), confidence_scale(found)
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    trained = train_refinement_network(training_crops, errors, scale, skeleton, 0, 40)
    assert torch.equal(torch.rand(2), expected)  # others' random numbers are left alone
    unseen = labelled_people(open_part(other)[1])
    people = spoilt(unseen, skeleton, 5)
    moves = moves_in(Images.of_split(CocoPose(tmp_path, other)), people, lambda image_id: [trained])
    before, after = (
        np.linalg.norm(people.keypoints + share * moves - unseen.keypoints, axis=-1).mean() for share in (0, 1)
    )
    assert after < 0.85 * before


def test_the_stage_uses_it_on_its_input_where_there_is_one_member(work: StageInput) -> None:
    """Here nothing was learnt, so everything is declined, with both reasons."""
    result = fit(work)
    assert "one member only" in result.declined and "the refinement network does not raise AP" in result.declined
    assert set(result.figures["refinement network"]) == {"AP before", "AP after", "fraction of its moves", "decision"}
    assert result.fitted is None


def test_a_second_call_takes_the_trained_weights_from_the_folder(
    work: StageInput, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    work = replace(work, say=lines.append)
    first = fit(work)
    files = sorted(work.folder.glob("refinement-*.pt"))
    assert len(files) == 2 and sum("steps on 40 people" in line for line in lines) == 2
    monkeypatch.setattr("stages.ensemble.refinement.train_refinement_network", None)
    again = fit(work)
    assert again.figures == first.figures
    files[0].write_bytes(b"broken")
    with pytest.raises(WeightsError, match=files[0].name):
        fit(work)


def test_the_same_seed_gives_the_same_weights_and_another_one_others(tmp_path: Path) -> None:
    weights = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        (tmp_path / name).mkdir()
        work = make_work(tmp_path / name)
        fit(replace(work, config=replace(work.config, seed=seed)))
        weights.append([torch.load(path, weights_only=True) for path in sorted(work.folder.glob("refinement-*.pt"))])
    for first, second, third in zip(*weights, strict=True):
        assert all(torch.equal(first[key], second[key]) for key in first)
        assert not all(torch.equal(first[key], third[key]) for key in first)


@pytest.mark.parametrize("keypoints", [1, 2])
def test_few_keypoints_one_of_them_far_outside(tmp_path: Path, keypoints: int) -> None:
    work = make_work(tmp_path, keypoints)
    people, calibrate = people_of(work)
    people.keypoints[0, 0] = (-5000.0, 90.0)
    assert np.isfinite(refine(work, people, calibrate, "").people.keypoints).all()


def test_nobody_found_too_few_or_switched_off_are_reasons(work: StageInput) -> None:
    people, calibrate = people_of(work)
    assert "only 0 labelled people" in refine(work, people.select(slice(0)), calibrate, "").refused
    assert "too few for a refinement network" in refine(work, people.select(slice(15)), calibrate, "").refused
    off = replace(work, config=replace(work.config, refinement_steps=0))
    assert "-REFINEMENT_STEPS 0" in refine(off, people, calibrate, "").refused
    assert len(Refinement([], 1.0).apply(people.select(slice(0)), Images.of({}))) == 0


def train_on(rank: int, world: int, folder: Path) -> list[np.ndarray]:
    """The weights that one of some ranks ends with."""
    skeleton, truth = open_part(folder / "fit.json")
    labels = labelled_people(truth)
    found = spoilt(labels, skeleton, 0)
    errors, scale = errors_of_pairs(found, labels, skeleton), confidence_scale(found)
    training_crops = TrainingCrops.read(Images.of_split(CocoPose(folder, folder / "fit.json")), labels, 0)
    with init_distributed("cpu") as ranks, BatchShare(ranks) as share:
        assert ranks.world_size == world
        network = train_refinement_network(training_crops, errors, scale, skeleton, 0, 3, share=share).network
    return [value.double().numpy() for value in network.state_dict().values()]


def test_ranks_end_with_the_weights_of_one(tmp_path: Path) -> None:
    """Batch statistics included; ranks of unequal shares, too: 32 people do not divide by three."""
    write_part(tmp_path, "fit", 40, 0)
    (alone,) = together(1, train_on, 1, tmp_path)
    for world in (2, 3):
        for weights in together(world, train_on, world, tmp_path):
            for one, other in zip(alone, weights, strict=True):
                np.testing.assert_allclose(other, one, atol=2e-4)

"""Evaluation is the same on 1, 2 and 3 ranks, and whatever the batches; errors reach every rank."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
import torch
import torch.distributed as dist

from datasets.coco.coco_pose import CocoPose
from datasets.loader import validation_loader
from sia.errors import DataError, SiaError, WeightsError
from sia.registry import ModelConfig, create_model
from sia.runtimes.torch_runtime import torch_finder
from sia.skeletons.skeleton import Skeleton
from stages.evaluator import evaluate_model, predict_results
from tests.processes import together

SKELETON = Skeleton(("a", "b", "c"), ((0, 1),), (), (0.08, 0.1, 0.07), category="triangle")
SIZE = (64, 96)


def make_model():
    torch.manual_seed(0)
    mean_pose = ((-0.3, 0.3), (0.0, -0.4), (0.3, 0.3))
    config = ModelConfig("sia_pose_simple", "test", 3, SIZE, mean_pose, SKELETON.sigmas)
    return create_model(config)


def write_images(folder, count=7):
    rng = np.random.default_rng(0)
    images = []
    for i in range(count):
        height, width = (int(n) for n in rng.integers(40, 120, 2))
        cv2.imwrite(str(folder / f"{i}.png"), rng.integers(0, 255, (height, width, 3), dtype=np.uint8))
        images.append({"id": 10 * i + 3, "file_name": f"{i}.png", "height": height, "width": width})
    return images


def annotations_of(images, annotations):
    category = {"id": 4, "name": SKELETON.category, "keypoints": list(SKELETON.names)}
    return {"images": images, "annotations": annotations, "categories": [category]}


def person(image, number):
    box = [2.0, 3.0, image["width"] - 5.0, image["height"] - 6.0]
    keypoints = [9.0, 9.0, 2, 20.0, 9.0, 1, 9.0, 20.0, 2]
    common = {"image_id": image["id"], "category_id": 4, "iscrowd": 0, "num_keypoints": 3}
    return {**common, "id": number, "bbox": box, "area": box[2] * box[3], "keypoints": keypoints}


def own_labels(images, results):
    """Labels that the model finds with varying precision: its own predictions, moved a little."""
    rng = np.random.default_rng(1)
    annotations = []
    for image in images[:-2]:
        for row in [row for row in results if row["image_id"] == image["id"]][::3]:
            label = person(image, len(annotations))
            label["area"] = row["bbox"][2] * row["bbox"][3]
            points = np.array(row["keypoints"]).reshape(-1, 3)
            points[:, :2] += rng.normal(size=(3, 2)) * rng.choice([0.01, 0.1, 0.3]) * label["area"] ** 0.5
            points[:, :2] = np.clip(points[:, :2], 0, [image["width"], image["height"]])
            points[:, 2] = 2
            annotations.append({**label, "bbox": row["bbox"], "keypoints": points.ravel().tolist()})
    return annotations


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """(folder, annotation file) of seven images, the last two without people."""
    folder = tmp_path_factory.mktemp("evaluated")
    file = folder / "val.json"
    images = write_images(folder)
    file.write_text(json.dumps(annotations_of(images, [person(images[0], 1)])))
    results = run(folder, file, predict_results)
    file.write_text(json.dumps(annotations_of(images, own_labels(images, results))))
    return folder, file


def run(folder, file, function, *, batch_size=2, rank=0, world_size=1, model=None, truth=None):
    dataset = CocoPose(folder, file)
    loader = validation_loader(
        dataset, image_size=SIZE, batch_size=batch_size, workers=0, rank=rank, world_size=world_size
    )
    model = model or make_model()
    if function is predict_results:
        return function(torch_finder(model.eval(), torch.device("cpu")), loader, truth or file, SKELETON)
    return function(model, loader, truth or file, SKELETON, torch.device("cpu"))


def in_ranks(world_size, target, *arguments):
    """What target(rank, world_size, *arguments) returns in real processes joined by gloo."""
    return together(world_size, _one_rank, world_size, target, arguments)


def _one_rank(rank, world_size, target, arguments):
    dist.init_process_group("gloo")
    try:
        return target(rank, world_size, *arguments)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    finally:
        dist.destroy_process_group()


def metrics_of_rank(rank, world_size, folder, file):
    return run(folder, file, evaluate_model, rank=rank, world_size=world_size).to_dict()


@pytest.mark.parametrize("world_size", [2, 3])
def test_same_figures_on_every_number_of_ranks(data, world_size):
    alone = run(*data, evaluate_model).to_dict()
    assert 0.02 < alone["AP"] < 0.98
    assert (alone["images"], alone["found"] > 0) == (7, True)
    outcomes = in_ranks(world_size, metrics_of_rank, *data)
    assert outcomes == [alone] * world_size


@pytest.mark.parametrize("batch_size", [1, 7])
def test_batches_do_not_matter(data, batch_size):
    """But for the last digits: products are summed in another order."""
    (some, figures), (others, expected) = (
        apart(run(*data, evaluate_model, **flags).to_dict()) for flags in ({"batch_size": batch_size}, {})
    )
    assert some == others
    np.testing.assert_allclose(figures, expected, rtol=1e-4, atol=1e-6)


def apart(value):
    """What is no fraction, and all fractions."""
    fractions = []
    return json.loads(json.dumps(value), parse_float=lambda text: fractions.append(float(text))), fractions


def test_results_have_every_image_and_every_score(data):
    results = run(*data, predict_results)
    assert [row["image_id"] for row in results] == sorted(row["image_id"] for row in results)
    assert {row["image_id"] for row in results} == {10 * i + 3 for i in range(7)}
    assert {row["category_id"] for row in results} == {4}


def more_ranks_than_images(rank, world_size, folder, file):
    metrics = run(folder, file, evaluate_model, rank=rank, world_size=world_size)
    return metrics.images


def test_a_rank_without_images(tmp_path):
    images = write_images(tmp_path, count=1)
    file = tmp_path / "val.json"
    file.write_text(json.dumps(annotations_of(images, [person(images[0], 1)])))
    assert in_ranks(2, more_ranks_than_images, tmp_path, file) == [1, 1]


def failing_rank(rank, world_size, folder, file):
    """The second rank's share has an image that is gone."""
    try:
        run(folder, file, evaluate_model, rank=rank, world_size=world_size)
    except SiaError as error:
        return type(error).__name__, "4.png" in str(error)
    return "no error"


def test_an_error_of_one_rank_reaches_all(tmp_path):
    images = write_images(tmp_path, count=5)
    file = tmp_path / "val.json"
    file.write_text(json.dumps(annotations_of(images, [person(images[0], 1)])))
    (tmp_path / "4.png").write_bytes(b"broken")
    assert in_ranks(2, failing_rank, tmp_path, file) == [("DataError", True)] * 2


def test_annotations_of_other_images(data, tmp_path):
    folder, file = data
    content = json.loads(file.read_text())
    other = tmp_path / "other.json"
    other.write_text(json.dumps({**content, "images": [*content["images"], {"id": 999}]}))
    with pytest.raises(DataError, match=r"7 images were predicted, but the annotation file has 8.*\[999\]"):
        run(folder, file, evaluate_model, truth=other)


def test_broken_weights_and_mode_afterwards(data):
    model = make_model().train()
    with torch.no_grad():
        next(model.head.parameters()).fill_(float("nan"))
    with pytest.raises(WeightsError, match="NaN or infinity"):
        run(*data, evaluate_model, model=model)
    assert model.training

from pathlib import Path

import numpy as np
import pytest

from sia.errors import WeightsError
from sia.runtimes.predictor import Predictor
from sia.runtimes.views import back
from sia.skeletons.skeleton import COCO_PERSON
from stages.ensemble.experts.own import OwnExpert, View
from tests.inference_helpers import quarters, save_weights


def test_people_are_matched_to_the_boxes_and_others_are_nan(tmp_path: Path) -> None:
    expert = OwnExpert.load(save_weights(tmp_path / "model.pt"), "cpu")
    image = quarters(64, 96)
    people = expert.find(image)
    boxes = np.concatenate([people.boxes[[3, 0]], [[-50, -50, -40, -40]]]).astype(np.float64)
    poses = expert.predict(image, boxes)
    overlap = poses.keypoints[:2] - people.keypoints[[3, 0]]
    assert np.isnan(poses.keypoints[2]).all() and not poses.confidences[2].any()
    assert np.abs(overlap).max() < 1e-6


def test_mirroring_twice_changes_nothing(tmp_path: Path) -> None:
    expert = OwnExpert.load(save_weights(tmp_path / "model.pt", certainty=True), "cpu")
    people = expert.find(quarters(64, 96))
    once = back(people, 96, COCO_PERSON)
    assert np.array_equal(once.sigmas, people.sigmas[:, COCO_PERSON.flip_order])
    assert np.array_equal(once.visibilities, people.visibilities[:, COCO_PERSON.flip_order])
    twice = back(back(people, 96, COCO_PERSON), 96, COCO_PERSON)
    assert np.allclose(twice.keypoints, people.keypoints, atol=1e-3) and np.allclose(
        twice.boxes, people.boxes, atol=1e-3
    )


def test_a_view_shows_the_mirrored_or_scaled_image(tmp_path: Path) -> None:
    predictor = Predictor.load(save_weights(tmp_path / "model.pt"), "cpu")
    image = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    flipped = OwnExpert(predictor, View(flip=True)).find(np.ascontiguousarray(image[:, ::-1]))
    straight = OwnExpert(predictor, View()).find(image)
    assert np.allclose(back(straight, 64, COCO_PERSON).keypoints, flipped.keypoints, atol=1e-3)
    assert OwnExpert(predictor, View(scale=1.25)).predictor.image_size == (80, 80)


@pytest.mark.parametrize("name", ["model.onnx", "model.xml"])
def test_an_export_runs_on_the_cpu_beside_members_on_a_gpu(tmp_path: Path, name: str) -> None:
    with pytest.raises(WeightsError, match=name):  # that it is missing is found out after the device
        OwnExpert.load(tmp_path / name, "cuda")

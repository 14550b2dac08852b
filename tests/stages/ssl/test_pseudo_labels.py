"""Who becomes a person, who an ignored region, and who neither."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from datasets.labels import Labels
from stages.ssl.pseudo_batches import LEAST_JOINTS, passing, pseudo_labels
from stages.ssl.teacher import TeacherPrediction
from stages.ssl.thresholds import ConfidenceThresholds, Gates

GATES = Gates(ConfidenceThresholds(0.6, 0.8, 1, 1, 1), ConfidenceThresholds(0.5, 0.7, 1, 1, 1), 0.2)
K = 8


def random_opinion(seed: int, count: int = 12) -> TeacherPrediction:
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, 60, (count, 2))
    boxes = np.concatenate([low, low + rng.uniform(10, 60, (count, 2))], 1)
    return TeacherPrediction(
        boxes, np.sort(rng.random(count))[::-1], rng.uniform(0, 100, (count, K, 2)), rng.random((count, K)) ** 0.5,
        rng.random(count) ** 0.3, rng.random((count, K)) ** 0.3,
    )  # fmt: skip


def iou(a: np.ndarray, b: np.ndarray) -> float:
    width, height = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    shared = max(width, 0) * max(height, 0)
    return float(shared / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - shared))


def slow_labels(opinion: TeacherPrediction) -> tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray]]:
    """Person by person: boxes, keypoints, ignored."""
    boxes, keypoints, rest = [], [], []
    for i in range(len(opinion)):
        joints = np.zeros((K, 3))
        for k in range(K):
            if opinion.confidences[i, k] >= 0.5 and opinion.joint_agreement[i, k] >= 0.7:
                joints[k] = (*opinion.keypoints[i, k], 2)
        enough = (joints[:, 2] > 0).sum() >= LEAST_JOINTS * K
        if opinion.scores[i] >= 0.6 and opinion.agreement[i] >= 0.8 and enough:
            boxes.append(opinion.boxes[i])
            keypoints.append(joints)
        elif opinion.scores[i] >= 0.2:
            rest.append(opinion.boxes[i])
    ignored = [box for box in rest if all(iou(box, other) < 0.5 for other in boxes)]
    return boxes, keypoints, ignored


@pytest.mark.parametrize("seed", range(12))
def test_against_a_slow_version(seed: int) -> None:
    opinion = random_opinion(seed)
    labels = pseudo_labels(opinion, GATES)
    for mine, wanted in zip((labels.boxes, labels.keypoints, labels.ignored), slow_labels(opinion), strict=True):
        assert len(mine) == len(wanted)
        if wanted:
            np.testing.assert_allclose(mine, wanted, rtol=1e-6)
    np.testing.assert_allclose(labels.areas, 0.53 * (labels.boxes[:, 2:] - labels.boxes[:, :2]).prod(1), rtol=1e-5)


def test_all_cases_occur() -> None:
    """So that the comparison above compares something."""
    found = [slow_labels(random_opinion(seed)) for seed in range(12)]
    assert sum(len(boxes) for boxes, _, _ in found) > 5
    assert sum(len(ignored) for _, _, ignored in found) > 5


@pytest.mark.parametrize("part", ["scores", "agreement", "confidences", "joint_agreement"])
def test_each_gate_alone_closes(part: str) -> None:
    one = np.ones((1, K))
    sure = TeacherPrediction(np.array([[0.0, 0, 50, 80]]), np.ones(1), 20 * np.ones((1, K, 2)), one, np.ones(1), one)
    assert passing(sure, GATES)[0].all()
    assert len(pseudo_labels(sure, GATES)) == 1
    unsure = replace(sure, **{part: 0.45 * getattr(sure, part)})
    labels = pseudo_labels(unsure, GATES)
    assert (len(labels), len(labels.ignored)) == (0, 1)
    assert len(pseudo_labels(replace(unsure, scores=np.array([0.1])), GATES).ignored) == 0


def test_known_people_stay_and_only_bare_ones_get_keypoints() -> None:
    one = np.ones((3, K))
    boxes = np.array([[0.0, 0, 50, 80], [100, 0, 150, 80], [200, 0, 250, 80]])
    opinion = TeacherPrediction(boxes, np.ones(3), np.arange(3 * K * 2.0).reshape(3, K, 2), one, np.ones(3), one)
    posed = np.full((K, 3), 2.0)
    bare = np.zeros((K, 3))
    known = Labels(
        np.array([[2, 0, 50, 80], [100, 2, 150, 80], [400, 0, 450, 80]], np.float32),
        np.array([posed, bare, bare], np.float32), np.array([7, 8, 9], np.float32),
        np.array([[1, 2, 3, 4]], np.float32),
    )  # fmt: skip
    labels = pseudo_labels(opinion, GATES, known)
    np.testing.assert_array_equal(labels.boxes, known.boxes)
    np.testing.assert_array_equal(labels.ignored, known.ignored)
    np.testing.assert_array_equal(labels.keypoints[0], posed)
    np.testing.assert_array_equal(labels.keypoints[1, :, :2], opinion.keypoints[1])
    np.testing.assert_array_equal(labels.keypoints[2], bare)
    assert not known.keypoints[1].any()

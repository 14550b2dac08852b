"""Who is who: matches against a slow version, overlaps and rivals by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from sia.evaluation.labels import box_overlaps, match_labels, oks_matrix, qualities
from sia.skeletons.skeleton import COCO_PERSON
from tests.stages.pose_helpers import people, predictions

SIGMAS = COCO_PERSON.sigmas


def test_everybody_is_found_in_any_order() -> None:
    labels = people(11, per_image=3)
    order = np.random.default_rng(0).permutation(11)
    found = predictions(labels, labels.keypoints).select(order)
    assert match_labels(found, labels, SIGMAS).tolist() == order.tolist()
    np.testing.assert_allclose(qualities(found, labels, SIGMAS), 1.0)


def test_each_label_once_and_the_better_score_first() -> None:
    labels = people(1)
    found = predictions(labels, labels.keypoints).select(np.zeros(3, np.int64))
    found = replace(found, scores=np.array([0.2, 0.9, 0.4]))
    assert match_labels(found, labels, SIGMAS).tolist() == [-1, 0, -1]
    np.testing.assert_allclose(qualities(found, labels, SIGMAS), [0, 1, 0])


def test_a_good_box_is_enough_and_so_are_good_keypoints() -> None:
    labels = people(2, per_image=1)
    found = predictions(labels, labels.keypoints)
    wrong_points = replace(found, keypoints=found.keypoints + 300)
    wrong_boxes = replace(found, boxes=found.boxes + 300)
    assert match_labels(wrong_points, labels, SIGMAS).tolist() == [0, 1]
    assert match_labels(wrong_boxes, labels, SIGMAS).tolist() == [0, 1]
    assert match_labels(replace(wrong_points, boxes=found.boxes + 300), labels, SIGMAS).tolist() == [-1, -1]


def test_oks_is_cocos() -> None:
    labels = people(3, per_image=3)
    found = predictions(labels, labels.keypoints + np.random.default_rng(0).normal(0, 5, labels.keypoints.shape))
    for i in range(3):
        for j in range(3):
            offsets = ((found.keypoints[i] - labels.keypoints[j]) ** 2).sum(-1)
            terms = np.exp(-offsets / (2 * labels.areas[j] * (2 * np.array(SIGMAS)) ** 2))
            expected = terms[labels.labelled[j]].mean()
            np.testing.assert_allclose(oks_matrix(found, labels, SIGMAS)[i, j], expected, rtol=1e-9)


def test_overlaps() -> None:
    boxes = np.array([[0.0, 0, 4, 4], [2, 2, 6, 6], [9, 9, 9, 9]])
    np.testing.assert_allclose(box_overlaps(boxes, boxes)[0], [1, 4 / 28, 0])


def test_the_rival_is_the_nearest_other_person() -> None:
    labels = people(5, per_image=3, unlabelled=0)
    np.testing.assert_array_equal(labels.rivals[0], labels.keypoints[1])
    np.testing.assert_array_equal(labels.rivals[2], labels.keypoints[1])
    assert np.isnan(people(2, per_image=1).rivals).all()

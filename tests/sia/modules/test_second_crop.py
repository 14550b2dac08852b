"""The second crop of `sia_pose`: where it lies, and what both crops say together."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sia.modules.roi_keypoint_head import Found, Heatmaps, RoIs
from sia.modules.second_crop import DOUBT, LIKELY, MARGIN, likely, merge, pose_boxes

BOX = torch.tensor([[0.5, 0.5, 0.2, 0.4]])
SURE, UNSURE = 3.0, -3.0
ALL = torch.tensor([0])


def found(poses: list[list[float]], confidences: list[float], score: float = 0.0) -> Found:
    one = torch.zeros(1)
    rois = RoIs(one.long(), one.long(), torch.zeros(1, 2), torch.ones(1, 2))
    heatmaps = Heatmaps(torch.zeros(1, len(poses), 4), rois, (2, 2))
    features = torch.zeros(1, 1, 2, 2)
    return Found(
        torch.tensor([poses]), torch.tensor([confidences]), torch.tensor([score]), heatmaps, features, torch.zeros(1, 3)
    )


def corners(boxes: Tensor) -> list[float]:
    centre, size = boxes[0, :2], boxes[0, 2:]
    return torch.cat([centre - size / 2, centre + size / 2]).tolist()


def test_the_box_is_the_mean_of_the_detected_one_and_that_of_the_sure_keypoints() -> None:
    pose = found([[0.4, 0.2], [0.7, 0.8], [0.0, 0.0]], [SURE, SURE, UNSURE])
    margin = MARGIN * 0.6
    own = [0.4 - margin, 0.2 - margin, 0.7 + margin, 0.8 + margin]
    expected = [(a + b) / 2 for a, b in zip(own, [0.4, 0.3, 0.6, 0.7], strict=True)]
    assert corners(pose_boxes(BOX, pose)) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("confidences", [[UNSURE] * 4, [SURE, UNSURE, UNSURE, UNSURE]])
def test_a_pose_of_few_sure_keypoints_leaves_the_box_as_it_is(confidences: list[float]) -> None:
    pose = found([[0.1, 0.1], [0.9, 0.9], [0.2, 0.2], [0.3, 0.3]], confidences)
    torch.testing.assert_close(pose_boxes(BOX, pose), BOX)


def test_a_single_keypoint_has_no_box_of_its_own() -> None:
    torch.testing.assert_close(pose_boxes(BOX, found([[0.6, 0.4]], [SURE])), BOX)


def test_keypoints_on_which_the_crops_agree_are_averaged_by_confidence() -> None:
    first, second = found([[0.5, 0.5]], [2.0], score=1.0), found([[0.51, 0.49]], [0.0], score=-2.0)
    both = merge(first, second, BOX, ALL)
    share = torch.tensor([2.0, 0.0]).sigmoid()
    toward = float(share[1] / share.sum())
    assert both.poses[0, 0].tolist() == pytest.approx([0.5 + 0.01 * toward, 0.5 - 0.01 * toward], abs=1e-6)
    assert both.confidences.item() == pytest.approx(1.0)
    assert both.scores.item() == pytest.approx(-0.5)
    assert both.heatmaps is first.heatmaps


@pytest.mark.parametrize("surer", [0, 1])
def test_of_keypoints_far_apart_the_surer_is_taken_with_some_doubt(surer: int) -> None:
    crops = [found([[0.3, 0.3]], [-1.0]), found([[0.7, 0.7]], [-1.0])]
    crops[surer] = crops[surer]._replace(confidences=torch.tensor([[1.5]]))
    both = merge(crops[0], crops[1], BOX, ALL)
    assert both.poses.tolist() == crops[surer].poses.tolist()
    assert both.confidences.item() == pytest.approx(1.5 - DOUBT)


def people(scores: list[float]) -> Found:
    """So many people with two keypoints each, the scores as probabilities."""
    one, many = found([[0.4, 0.4], [0.6, 0.6]], [1.0, 2.0]), len(scores)
    return one._replace(
        poses=one.poses.repeat(many, 1, 1),
        confidences=one.confidences.repeat(many, 1),
        scores=torch.tensor(scores).logit(),
    )


def test_likely_people_and_the_first_of_each_image_get_a_second_crop() -> None:
    scores = [LIKELY - 0.1, LIKELY + 0.1, LIKELY - 0.1, LIKELY - 0.2]
    rois = RoIs(torch.tensor([0, 0, 0, 1]), torch.tensor([0, 2, 5, 0]), torch.zeros(4, 2), torch.ones(4, 2))
    assert likely(people(scores), rois).tolist() == [True, True, False, True]


def test_people_without_a_second_crop_stay_as_they_were() -> None:
    first, second = people([0.1, 0.6, 0.2]), people([0.8])
    second = second._replace(poses=second.poses + 0.3, confidences=second.confidences + 1)
    both = merge(first, second, BOX, torch.tensor([1]))
    for name in ("poses", "confidences", "scores"):
        before, after = getattr(first, name), getattr(both, name)
        torch.testing.assert_close(after[[0, 2]], before[[0, 2]], rtol=0, atol=0)
        assert not torch.equal(after[1], before[1])

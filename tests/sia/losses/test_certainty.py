"""What the certainty head learns is what it is meant to be."""

from __future__ import annotations

import pytest
import torch

from sia.losses.certainty import sigma_loss, visibility_loss
from sia.losses.matcher import UNMATCHED, targets_from
from sia.outputs import Certainty, Prediction

LENGTH = 96.0


def found_people(batch) -> tuple[Prediction, torch.Tensor]:
    """Every labelled person, placed exactly."""
    count, people = batch.people.shape
    centre = (batch.boxes[..., :2] + batch.boxes[..., 2:]) / 2
    boxes = torch.cat([centre, batch.boxes[..., 2:] - batch.boxes[..., :2]], -1) / LENGTH
    poses = batch.keypoints[..., :2] / LENGTH
    prediction = Prediction(torch.zeros(count, people), boxes, poses, torch.zeros(poses.shape[:3]))
    return prediction, torch.arange(people).expand(count, -1)


@pytest.mark.parametrize("kind", ["normal", "laplace", "cauchy"])
def test_sigma_holds_68_percent_of_any_errors(make_batch, kind):
    """Of each keypoint its own; where the errors are normal it is their standard deviation."""
    batch = make_batch([200] * 10, keypoints=3, labelled=1.0)
    scales = torch.tensor([0.002, 0.01, 0.05])
    torch.manual_seed(0)
    draw = {
        "normal": torch.distributions.Normal,
        "laplace": torch.distributions.Laplace,
        "cauchy": torch.distributions.Cauchy,
    }
    people, person = found_people(batch)
    errors = draw[kind](0.0, 1.0).sample(people.poses.shape) * scales[:, None]
    people = people._replace(poses=(people.poses + errors).requires_grad_())
    logs = torch.full((3,), -3.0, requires_grad=True)
    optimizer = torch.optim.Adam([logs], 0.05)
    targets = targets_from(batch, LENGTH)
    for step in range(400):
        optimizer.param_groups[0]["lr"] = 0.05 * (1 - step / 400)
        shape = people.confidences.shape
        loss = sigma_loss(Certainty(torch.zeros(shape), logs.expand(shape)), people, person, targets) / 2000
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    within = (errors.abs() <= logs.detach().exp()[:, None]).float().mean((0, 1))
    assert ((within - 0.6827).abs() < 0.02).all(), within
    assert people.poses.grad is None
    if kind == "normal":
        torch.testing.assert_close(logs.detach().exp(), scales, rtol=0.05, atol=0)


def test_visibility_is_of_labelled_keypoints_alone(make_batch):
    batch = make_batch([3, 1], keypoints=5)
    logits = torch.randn(2, 3, 5, requires_grad=True)
    person = torch.tensor([[0, 2, UNMATCHED], [UNMATCHED, 0, UNMATCHED]])
    loss = visibility_loss(Certainty(logits, logits), person, targets_from(batch, LENGTH))
    wanted = torch.zeros(())
    for image, row, who in ((0, 0, 0), (0, 1, 2), (1, 1, 0)):
        flags, given = batch.keypoints[image, who, :, 2], logits[image, row].sigmoid()
        terms = [-(p if v == 2 else 1 - p).log() for p, v in zip(given, flags, strict=True) if v > 0]
        wanted = wanted + torch.stack(terms).mean()
    torch.testing.assert_close(loss, wanted)
    loss.backward()
    assert (logits.grad[0, 2] == 0).all() and (logits.grad[0, 0][batch.keypoints[0, 0, :, 2] == 0] == 0).all()


def test_a_model_s_labels_teach_nothing(make_batch):
    """Their v, between 0 and 1, is a confidence."""
    batch = make_batch([2, 1], keypoints=4, labelled=1.0)
    people, person = found_people(batch)
    batch.keypoints[..., 2] *= 0.3
    logs = torch.zeros(2, 2, 4)
    assert sigma_loss(Certainty(logs, logs), people, person, targets_from(batch, LENGTH)) == 0
    assert visibility_loss(Certainty(logs, logs), person, targets_from(batch, LENGTH)) == 0


def test_whose_box_was_not_found_teaches_no_sigma(make_batch):
    batch = make_batch([1], keypoints=4, labelled=1.0)
    people, person = found_people(batch)
    targets = targets_from(batch, LENGTH)
    logs = torch.zeros(1, 1, 4)
    told = Certainty(logs, logs)
    assert sigma_loss(told, people, person, targets) > 0
    beside = people._replace(boxes=people.boxes + torch.tensor([1.0, 0, 0, 0]) * people.boxes[..., 2:3])
    assert sigma_loss(told, beside, person, targets) == 0
    assert sigma_loss(told, people, torch.full_like(person, UNMATCHED), targets) == 0

"""The criterion against a slow version in float64: values and gradients, one candidate and one keypoint at a time."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from sia.losses.criterion import DOUBLE, QUALITY_POWER, LossWeights, PoseCriterion
from sia.losses.matcher import PATCHES_PER_PERSON, UNMATCHED, match_patches, match_tokens, targets_from
from sia.modules.roi_keypoint_head import Heatmaps, RoIs
from sia.outputs import Certainty, PoseOutput, Prediction

SIGMAS = torch.tensor([0.03 + 0.005 * k for k in range(20)])
ROWS, COLUMNS = 16, 12
TERMS = ("score", "box", "giou", "oks", "pose", "confidence")

scenes = st.fixed_dictionaries(
    {
        "people": st.lists(st.integers(0, 4), min_size=1, max_size=2),
        "keypoints": st.sampled_from([1, 3, 5]),
        "padding": st.integers(0, 1),
        "labelled": st.sampled_from([0.0, 0.3, 1.0]),
        "ignored": st.integers(0, 2),
        "size": st.sampled_from([(64, 64), (48, 96)]),
        "seed": st.integers(0, 10_000),
    }
)
NOBODY = {"people": [0, 0], "keypoints": 3, "padding": 0, "labelled": 1.0, "ignored": 1, "size": (64, 64), "seed": 0}


def make_output(make_prediction, batch, tokens=3, groups=2, layers=2, refined=1, seed=0) -> PoseOutput:
    """A training output whose candidates are leaves; matched as a model matches them."""
    count, sigmas = len(batch.images), SIGMAS[: batch.keypoints.shape[2]]
    targets = targets_from(batch, float(max(batch.images.shape[-2:])))

    def leaves(candidates: int, offset: int) -> Prediction:
        return Prediction(*(p.requires_grad_() for p in make_prediction(batch, candidates, seed + offset)))

    stages = [leaves(tokens * groups, 10 + i) for i in range(layers)]
    proposals = leaves(12, 30)
    rows = min(2, tokens)
    y, x = torch.meshgrid(torch.arange(3), torch.arange(4), indexing="ij")
    centres = (torch.stack([x, y], -1).reshape(-1, 2) + 0.5) / 4
    return PoseOutput(
        people=stages[-1],
        layers=stages,
        proposals=proposals,
        patch_person=match_patches(proposals, centres, targets, sigmas).person,
        matched=match_tokens(stages[-1], targets, sigmas, groups),
        selected=torch.stack([torch.randperm(tokens)[:rows] for _ in range(count)]),
        refined=[leaves(rows, 50 + i) for i in range(refined)],
        heatmaps=make_heatmaps(count, rows, len(sigmas)),
    )


def make_heatmaps(count: int, rows: int, keypoints: int) -> Heatmaps:
    """A crop around the middle for every person but the first of the first image."""
    image, row = (part[1:] for part in torch.ones(count, rows).nonzero(as_tuple=True))
    rois = RoIs(image, row, 0.3 + 0.4 * torch.rand(len(image), 2), 0.5 + 0.5 * torch.rand(len(image), 2))
    return Heatmaps((-5 * torch.rand(len(image), keypoints, ROWS * COLUMNS)).requires_grad_(), rois, (ROWS, COLUMNS))


def bce(logit: Tensor, target: float) -> Tensor:
    p = 1 / (1 + torch.exp(-logit))
    return -(target * torch.log(p) + (1 - target) * torch.log(1 - p))


def slow_overlap(box: Tensor, truth: list[float]) -> tuple[Tensor, Tensor]:
    cx, cy, w, h = box
    x1, y1, x2, y2 = truth
    zero = torch.zeros((), dtype=torch.float64)
    wide = torch.maximum(zero, (cx + w / 2).clamp(max=x2) - (cx - w / 2).clamp(min=x1))
    high = torch.maximum(zero, (cy + h / 2).clamp(max=y2) - (cy - h / 2).clamp(min=y1))
    union = w * h + (x2 - x1) * (y2 - y1) - wide * high
    hull = ((cx + w / 2).clamp(min=x2) - (cx - w / 2).clamp(max=x1)) * (
        (cy + h / 2).clamp(min=y2) - (cy - h / 2).clamp(max=y1)
    )
    return wide * high / union, wide * high / union - (hull - union) / hull


def slow_pose(pose: Tensor, keypoints: Tensor, area: float, sigmas: list[float]) -> tuple[Tensor, Tensor, list[float]]:
    """OKS, mean log offset, and the similarity of each keypoint, 0 where it is not labelled."""
    terms, offsets, near = [], [], []
    for k, (x, y, v) in enumerate(keypoints.tolist()):
        dx, dy = pose[k, 0] - x, pose[k, 1] - y
        similarity = torch.exp(-(dx**2 + dy**2) / (2 * area * (2 * sigmas[k]) ** 2))
        near.append(float(similarity.detach()) if v > 0 else 0.0)
        if v > 0:
            terms.append(similarity)
            offsets.append(torch.log(1 + (dx.abs() + dy.abs()) / math.sqrt(area)))
    return sum(terms) / len(terms), sum(offsets) / len(offsets), near


def slow_losses(
    prediction: Prediction,
    owners: Tensor,
    batch,
    shares: dict[tuple[int, int], float],
    shown: dict[tuple[int, int], Tensor] | None = None,
    iou_share: float = 0.5,
) -> dict:
    """Sums over candidates.

    `shares` is what a candidate of an image's person counts, 1 where nothing is said; `shown` are the keypoints that
    the score of an (image, row) answers for, its own where nothing is said.
    """
    length, sigmas, w = float(max(batch.images.shape[-2:])), SIGMAS.double().tolist(), LossWeights()
    total = {name: torch.zeros((), dtype=torch.float64) for name in TERMS}
    for b in range(len(owners)):
        regions = (batch.ignored[b].double() / length).tolist()
        people = (batch.boxes[b, batch.people[b]].double() / length).tolist()
        for q, p in enumerate(owners[b].tolist()):
            score, box = prediction.scores[b, q].double(), prediction.boxes[b, q].double()
            if p == UNMATCHED:
                cx, cy = float(box[0].detach()), float(box[1].detach())
                double = any(float(slow_overlap(box, person)[0].detach()) >= DOUBLE for person in people)
                if double or not any(x1 < cx < x2 and y1 < cy < y2 for x1, y1, x2, y2 in regions):
                    wrong = float(1 / (1 + torch.exp(-score.detach()))) ** QUALITY_POWER
                    total["score"] = total["score"] + w.score * wrong * bce(score, 0.0)
                continue
            share = shares.get((b, p), 1.0)
            x1, y1, x2, y2 = truth = (batch.boxes[b, p].double() / length).tolist()
            iou, giou = slow_overlap(box, truth)
            quality = float(iou.detach())
            centres = torch.tensor([(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1], dtype=torch.float64)
            total["box"] = total["box"] + w.box * share * (box - centres).abs().sum()
            total["giou"] = total["giou"] + w.giou * share * (1 - giou)
            keypoints = batch.keypoints[b, p].double() / torch.tensor([length, length, 1.0], dtype=torch.float64)
            if (keypoints[:, 2] > 0).any():
                area = float(batch.areas[b, p].double()) / length**2
                oks, offset, near = slow_pose(prediction.poses[b, q].double(), keypoints, area, sigmas)
                answered = (shown or {}).get((b, q), prediction.poses[b, q]).detach().double()
                found = float(slow_pose(answered, keypoints, area, sigmas)[0])
                quality = iou_share * quality + (1 - iou_share) * found
                total["oks"] = total["oks"] + w.oks * share * (1 - oks)
                total["pose"] = total["pose"] + w.pose * share * offset
                seen = [bce(c.double(), t) for c, t in zip(prediction.confidences[b, q], near, strict=True)]
                total["confidence"] = total["confidence"] + w.confidence * share * sum(seen) / len(seen)
            total["score"] = total["score"] + w.score * bce(score, quality**QUALITY_POWER)
    return total


def slow_heatmap(heatmaps: Heatmaps, selected: Tensor, batch) -> Tensor:
    """Cross-entropy from a Gaussian of 0.7 cells around the label, over the labelled keypoints inside each crop."""
    length, total = float(max(batch.images.shape[-2:])), torch.zeros(()).double()
    for n, (b, r) in enumerate(zip(heatmaps.rois.image.tolist(), heatmaps.rois.row.tolist(), strict=True)):
        if selected[b, r] == UNMATCHED:
            continue
        centre, extent = heatmaps.rois.centre[n].tolist(), heatmaps.rois.extent[n].tolist()
        terms = []
        for k, (x, y, v) in enumerate(batch.keypoints[b, selected[b, r]].double().tolist()):
            u, w = (
                (p / length - middle) / side * count + count / 2
                for p, middle, side, count in zip((x, y), centre, extent, (COLUMNS, ROWS), strict=True)
            )
            if v > 0 and 0 < u < COLUMNS and 0 < w < ROWS:
                near = [
                    math.exp(-((u - i - 0.5) ** 2 + (w - j - 0.5) ** 2) / 0.98)
                    for j in range(ROWS)
                    for i in range(COLUMNS)
                ]
                shares = zip(near, heatmaps.log_probabilities[n, k].double(), strict=True)
                terms.append(-sum(share / sum(near) * found for share, found in shares))
        total = total + sum(terms) / max(1, len(terms))
    return total


def slow_criterion(output: PoseOutput, batch, num_people: float) -> dict[str, Tensor]:
    groups, rows = output.matched.shape[1], output.layers[0].scores.shape[1]
    owners = torch.full((len(output.matched), rows), UNMATCHED)
    for b, g, p in torch.nonzero(output.matched != UNMATCHED).tolist():
        owners[b, output.matched[b, g, p]] = p
    total = {name: torch.zeros((), dtype=torch.float64) for name in TERMS}
    refined = output.refined[0].poses
    shown = {(b, q): refined[b, r] for b, row in enumerate(output.selected.tolist()) for r, q in enumerate(row)}
    stages = [(layer, owners, groups, {}, 0.5) for layer in output.layers]
    stages[-1] = (*stages[-1][:3], shown, 0.5)
    selected = torch.tensor([[owners[b, q] for q in row] for b, row in enumerate(output.selected.tolist())])
    stages += [(layer, selected, 1, {}, 0.0) for layer in output.refined]
    for layer, owner, share, shown, iou_share in stages:
        for name, value in slow_losses(layer, owner, batch, {}, shown, iou_share).items():
            total[name] = total[name] + value / share / num_people
    shares: dict[tuple[int, int], float] = {}
    for b, row in enumerate(output.patch_person.tolist()):
        shares |= {(b, p): 1 / row.count(p) for p in set(row) - {UNMATCHED}}
    dense = slow_losses(output.proposals, output.patch_person, batch, shares)
    dense["score"] = dense["score"] / PATCHES_PER_PERSON
    total["heatmap"] = LossWeights().heatmap * slow_heatmap(output.heatmaps, selected, batch) / num_people
    return total | {"proposals": LossWeights().proposals * sum(dense.values()) / num_people}


def leaves_of(output: PoseOutput) -> list[Tensor]:
    return [output.heatmaps.log_probabilities] + [
        part for stage in [*output.layers, *output.refined, output.proposals] for part in stage
    ]


@settings(max_examples=12, deadline=None)
@given(scenes, st.integers(1, 3), st.integers(1, 3))
@example(NOBODY, 2, 1)
@example(NOBODY | {"people": [4, 4], "labelled": 0.0}, 1, 1)
def test_losses_and_gradients_equal_the_slow_version(make_batch, make_prediction, scene, groups, refined):
    scene = dict(scene)
    people = scene.pop("people")
    batch = make_batch(people, **scene)
    torch.manual_seed(scene["seed"])
    output = make_output(make_prediction, batch, groups=groups, refined=refined, seed=scene["seed"])
    num_people = max(1.0, sum(people) * 0.75)
    losses = PoseCriterion(SIGMAS[: scene["keypoints"]])(output, batch, num_people)
    expected = slow_criterion(output, batch, num_people)
    assert list(losses) == [*TERMS, "heatmap", "proposals"]
    for name, value in losses.items():
        assert value.item() == pytest.approx(expected[name].item(), rel=2e-4, abs=1e-4), name
    leaves = leaves_of(output)
    fast = torch.autograd.grad(sum(losses.values()), leaves)
    slow = torch.autograd.grad(sum(expected.values()), leaves, allow_unused=True, materialize_grads=True)
    for a, b in zip(fast, slow, strict=True):
        torch.testing.assert_close(a, b, rtol=2e-3, atol=2e-4)


def total(losses: dict[str, Tensor]) -> float:
    return float(sum(losses.values()).detach())


def test_padding_changes_nothing(make_batch, make_prediction):
    batch = make_batch([2, 1], padding=0)
    output = make_output(make_prediction, batch)
    criterion = PoseCriterion(SIGMAS[:17])
    wider = make_batch([2, 1], padding=3)
    for name in ("boxes", "keypoints", "areas"):
        getattr(wider, name)[:, :2] = getattr(batch, name)
        getattr(wider, name)[:, 2:] = 50.0  # what stands in padded rows must not matter
    fill = torch.full((2, 2, 3), UNMATCHED)
    padded = replace(output, matched=torch.cat([output.matched, fill], -1))
    assert total(criterion(padded, wider, 3.0)) == pytest.approx(total(criterion(output, batch, 3.0)), rel=1e-6)


def test_the_order_of_people_changes_nothing(make_batch, make_prediction):
    batch = make_batch([4], seed=2)
    torch.manual_seed(0)
    output = make_output(make_prediction, batch, tokens=5)
    order = torch.tensor([2, 0, 3, 1])
    shuffled = replace(
        batch, boxes=batch.boxes[:, order], keypoints=batch.keypoints[:, order], areas=batch.areas[:, order]
    )
    torch.manual_seed(0)
    other = make_output(make_prediction, batch, tokens=5)
    targets = targets_from(shuffled, 96.0)
    matched = match_tokens(other.layers[-1], targets, SIGMAS[:17], 2)
    inverse = torch.argsort(order)
    person = torch.where(output.patch_person == UNMATCHED, UNMATCHED, inverse[output.patch_person.clamp(min=0)])
    other = replace(other, matched=matched, patch_person=person)
    criterion = PoseCriterion(SIGMAS[:17])
    expected = criterion(output, batch, 4.0)
    for name, value in criterion(other, shuffled, 4.0).items():
        assert value.item() == pytest.approx(expected[name].item(), rel=1e-5), name


def test_images_of_two_ranks_count_as_in_one_batch(make_batch, make_prediction):
    """The mean over ranks, each divided by people over all ranks / ranks, is the loss of the joint batch."""
    batch = make_batch([3, 1], ignored=1)
    output = make_output(make_prediction, batch)
    criterion = PoseCriterion(SIGMAS[:17])
    parts = []
    for b in range(2):
        row = slice(b, b + 1)

        def cut(prediction: Prediction, row: slice = row) -> Prediction:
            return Prediction(*(part[row] for part in prediction))

        own = PoseOutput(
            people=cut(output.people),
            layers=[cut(layer) for layer in output.layers],
            proposals=cut(output.proposals),
            patch_person=output.patch_person[row],
            matched=output.matched[row],
            selected=output.selected[row],
            refined=[cut(layer) for layer in output.refined],
            heatmaps=heatmaps_of(output.heatmaps, b),
        )
        names = ("images", "boxes", "keypoints", "areas", "people", "ignored")
        labels = replace(batch, **{name: getattr(batch, name)[row] for name in names})
        parts.append(total(criterion(own, labels, 4 / 2)))
    assert sum(parts) / 2 == pytest.approx(total(criterion(output, batch, 4.0)), rel=1e-5)


def heatmaps_of(heatmaps: Heatmaps, image: int) -> Heatmaps:
    """Those of one image, alone in its batch."""
    own = heatmaps.rois.image == image
    rois = RoIs(*(part[own] for part in heatmaps.rois))
    rois = rois._replace(image=torch.zeros_like(rois.image))
    return heatmaps._replace(log_probabilities=heatmaps.log_probabilities[own], rois=rois)


def test_equal_groups_count_as_one(make_batch, make_prediction):
    batch = make_batch([2])
    one = make_output(make_prediction, batch, groups=1)
    twice = [Prediction(*(torch.cat([part, part], 1) for part in layer)) for layer in one.layers]
    matched = torch.where(one.matched == UNMATCHED, UNMATCHED, one.matched + 3)
    two = replace(one, layers=twice, matched=torch.cat([one.matched, matched], 1))
    criterion = PoseCriterion(SIGMAS[:17])
    expected = criterion(one, batch, 2.0)
    for name, value in criterion(two, batch, 2.0).items():
        if name != "score":  # that of the people who are shown is judged once, with their placed keypoints
            assert value.item() == pytest.approx(expected[name].item(), rel=1e-6), name


def test_people_without_keypoints_teach_score_and_box_only(make_batch, make_prediction):
    batch = make_batch([3], labelled=0.0)
    output = make_output(make_prediction, batch)
    losses = PoseCriterion(SIGMAS[:17])(output, batch, 3.0)
    assert losses["oks"] == losses["pose"] == losses["confidence"] == losses["heatmap"] == 0
    assert losses["box"] > 0
    sum(losses.values()).backward()
    for stage in [*output.layers, *output.refined, output.proposals]:
        assert not stage.poses.grad.any()
        assert not stage.confidences.grad.any()


def test_unlabelled_keypoints_move_nothing_and_are_not_expected_in_view(make_batch, make_prediction):
    batch = make_batch([1], labelled=1.0)
    batch.keypoints[0, 0, 5:] = 0
    output = make_output(make_prediction, batch, tokens=1, groups=1, layers=1)
    sum(PoseCriterion(SIGMAS[:17])(output, batch, 1.0).values()).backward()
    gradient = output.layers[0]
    assert not gradient.poses.grad[0, 0, 5:].any()
    assert gradient.poses.grad[0, 0, :5].any(-1).all()
    assert (gradient.confidences.grad[0, 0, 5:] > 0).all()


def test_ignored_regions_silence_what_nobody_owns(make_batch, make_prediction):
    batch = make_batch([0], ignored=1)
    batch.ignored[0, 0] = torch.tensor([0.0, 0.0, 48.0, 64.0])
    output = make_output(make_prediction, batch, tokens=6, groups=1, layers=2)
    with torch.no_grad():
        output.layers[0].boxes[0, :, 0] = torch.tensor([0.1, 0.2, 0.49, 0.51, 0.6, 0.9])
    sum(PoseCriterion(SIGMAS[:17])(output, batch, 1.0).values()).backward()
    taught = output.layers[0].scores.grad[0] != 0
    inside = output.layers[0].boxes[0, :, 0] < 0.5
    below = output.layers[0].boxes[0, :, 1] > 64 / 96
    assert torch.equal(taught, ~(inside & ~below))


def test_doubles_of_labelled_people_are_taught_where_people_may_be_unlabelled(make_batch, make_prediction):
    batch = make_batch([1], ignored=1)
    batch.ignored[0, 0] = torch.tensor([0.0, 0.0, 96.0, 96.0])
    batch.boxes[0, 0] = torch.tensor([20.0, 16.0, 40.0, 48.0])
    output = make_output(make_prediction, batch, tokens=5, groups=1, layers=2)
    output = replace(output, matched=torch.zeros_like(output.matched))
    widths = torch.tensor([20.0, 20.0, 11.0, 9.0, 20.0])  # of the box, which is 20 wide: IoU 1, 1, 0.55, 0.45, ...
    with torch.no_grad():
        output.layers[0].boxes[0] = torch.tensor([30.0, 32.0, 20.0, 32.0]) / 96
        output.layers[0].boxes[0, :, 2] = widths / 96
        output.layers[0].boxes[0, 4, 0] = 70 / 96  # beside the person
    sum(PoseCriterion(SIGMAS[:17])(output, batch, 1.0).values()).backward()
    assert (output.layers[0].scores.grad[0] != 0).tolist() == [True, True, True, False, False]


def test_no_box_and_no_ignored_row_of_zeros_silences_anything(make_batch, make_prediction):
    batch = make_batch([0], ignored=2)
    batch.ignored.zero_()
    output = make_output(make_prediction, batch)
    sum(PoseCriterion(SIGMAS[:17])(output, batch, 1.0).values()).backward()
    assert (output.layers[0].scores.grad != 0).all()


def test_a_perfect_candidate_has_no_loss_but_confidence(make_batch, make_prediction):
    batch = make_batch([1], labelled=1.0)
    targets = targets_from(batch, 96.0)
    output = make_output(make_prediction, batch, tokens=1, groups=1, layers=1)
    corners = targets.corners
    exact = Prediction(
        torch.full((1, 1), 20.0),
        torch.cat([(corners[..., :2] + corners[..., 2:]) / 2, corners[..., 2:] - corners[..., :2]], -1),
        targets.poses,
        torch.full((1, 1, 17), 20.0),
    )
    output = replace(output, layers=[exact], refined=[exact])
    losses = PoseCriterion(SIGMAS[:17])(output, batch, 1.0)
    for name in TERMS:
        assert losses[name].item() == pytest.approx(0, abs=1e-3), name


@pytest.mark.parametrize("scale", [1e2, 1e4])
def test_large_outputs_are_finite(make_batch, make_prediction, scale):
    batch = make_batch([2, 0], padding=1, ignored=1)
    output = make_output(make_prediction, batch)
    with torch.no_grad():
        for part in leaves_of(output):
            part.mul_(scale)
    losses = PoseCriterion(SIGMAS[:17])(output, batch, 2.0)
    sum(losses.values()).backward()
    assert all(value.isfinite() for value in losses.values())
    assert all(part.grad.isfinite().all() for part in leaves_of(output))


def test_a_box_of_no_size_and_a_joint_on_its_label_have_finite_gradients(make_batch, make_prediction):
    batch = make_batch([2], labelled=1.0)
    targets = targets_from(batch, 96.0)
    output = make_output(make_prediction, batch, tokens=2, groups=1)
    with torch.no_grad():
        for layer in output.layers:
            layer.boxes[..., 2:] = 0
            layer.poses.copy_(targets.poses)
    sum(PoseCriterion(SIGMAS[:17])(output, batch, 2.0).values()).backward()
    assert all(part.grad.isfinite().all() for part in leaves_of(output))


def test_certainty_is_taught_where_a_model_tells_it(make_batch, make_prediction):
    """Both what the tokens guess and what is said of the result; each is needed for the other."""
    batch = make_batch([2, 1])
    output = make_output(make_prediction, batch)
    told = [Certainty(*torch.randn(2, *output.refined[0].confidences.shape)) for _ in range(2)]
    criterion = PoseCriterion(SIGMAS[: batch.keypoints.shape[2]])
    without = criterion(output, batch, 3.0).keys()
    losses = criterion(replace(output, people=output.refined[-1], guess=told[0], certainty=told[1]), batch, 3.0)
    assert losses.keys() - without == {"visibility", "sigma"}
    assert losses["visibility"] > 0

"""The matcher against slow versions: one candidate, one person, one keypoint at a time; every assignment tried."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sia.losses.matcher import (
    AT_A_TIME,
    FAR,
    PATCHES_PER_PERSON,
    TOKEN_COST,
    UNMATCHED,
    MatchCost,
    Targets,
    keypoint_similarity,
    masked_mean,
    match_patches,
    match_tokens,
    targets_from,
)
from sia.outputs import Prediction

SIGMAS = torch.tensor([0.03 + 0.005 * k for k in range(20)])

scenes = st.fixed_dictionaries(
    {
        "people": st.lists(st.integers(0, 4), min_size=1, max_size=3),
        "keypoints": st.sampled_from([1, 3, 17]),
        "padding": st.integers(0, 2),
        "labelled": st.sampled_from([0.0, 0.3, 1.0]),
        "ignored": st.integers(0, 2),
        "size": st.sampled_from([(64, 64), (48, 96), (150, 100)]),
        "seed": st.integers(0, 10_000),
    }
)


def prepare(make_batch, make_prediction, scene, candidates):
    scene = dict(scene)
    people = scene.pop("people")
    batch = make_batch(people, **scene)
    targets = targets_from(batch, float(max(scene["size"])))
    return batch, targets, make_prediction(batch, candidates, scene["seed"]), SIGMAS[: scene["keypoints"]]


def slow_cost(prediction: Prediction, targets: Targets, sigmas: torch.Tensor, b: int, q: int, p: int) -> float:
    """The cost of one pair, in Python's floats."""
    weights = MatchCost()
    cx, cy, w, h = prediction.boxes[b, q].tolist()
    x1, y1, x2, y2 = targets.corners[b, p].tolist()
    box = abs(cx - (x1 + x2) / 2) + abs(cy - (y1 + y2) / 2) + abs(w - (x2 - x1)) + abs(h - (y2 - y1))
    left, right, top, bottom = cx - w / 2, cx + w / 2, cy - h / 2, cy + h / 2
    shared = max(0, min(right, x2) - max(left, x1)) * max(0, min(bottom, y2) - max(top, y1))
    union = w * h + (x2 - x1) * (y2 - y1) - shared
    hull = (max(right, x2) - min(left, x1)) * (max(bottom, y2) - min(top, y1))
    terms, offsets, area = [], [], float(targets.areas[b, p])
    for k, sigma in enumerate(sigmas.tolist()):
        if targets.labelled[b, p, k]:
            dx, dy = (prediction.poses[b, q, k] - targets.poses[b, p, k]).tolist()
            terms.append(math.exp(-(dx**2 + dy**2) / (2 * (2 * sigma) ** 2 * area)))
            offsets.append(math.log(1 + math.hypot(dx, dy) / math.sqrt(area)))
    oks, offset = (sum(v) / len(v) if v else 0.0 for v in (terms, offsets))
    score = 1 / (1 + math.exp(-float(prediction.scores[b, q])))
    giou = shared / union - (hull - union) / hull
    cost = weights.box * box - weights.giou * giou - weights.score * score
    return cost - weights.oks * oks + weights.pose * offset


@settings(max_examples=40, deadline=None)
@given(scenes)
@example({"people": [0], "keypoints": 3, "padding": 0, "labelled": 1.0, "ignored": 0, "size": (64, 64), "seed": 0})
@example({"people": [0, 0], "keypoints": 3, "padding": 2, "labelled": 1.0, "ignored": 1, "size": (64, 64), "seed": 0})
def test_costs_equal_the_slow_version(make_batch, make_prediction, scene):
    _, targets, prediction, sigmas = prepare(make_batch, make_prediction, scene, 5)
    costs = MatchCost()(prediction, targets, sigmas)
    assert costs.shape == (len(scene["people"]), 5, max(1, max(scene["people"]) + scene["padding"]))
    for b, q, p in itertools.product(*map(range, costs.shape)):
        expected = slow_cost(prediction, targets, sigmas, b, q, p) if p < scene["people"][b] else FAR
        assert float(costs[b, q, p]) == pytest.approx(expected, rel=1e-4, abs=1e-4)


def cheapest_assignment(costs: np.ndarray) -> float:
    """The least sum over all ways to give as many of Q rows to P columns as there can be."""
    rows, columns = costs.shape
    if rows >= columns:
        ways = ([(r, c) for c, r in enumerate(way)] for way in itertools.permutations(range(rows), columns))
    else:
        ways = (list(enumerate(way)) for way in itertools.permutations(range(columns), rows))
    return min(sum(float(costs[r, c]) for r, c in way) for way in ways)


@settings(max_examples=40, deadline=None)
@given(scenes, st.integers(1, 5), st.integers(1, 3))
@example(
    {"people": [0], "keypoints": 3, "padding": 0, "labelled": 1.0, "ignored": 0, "size": (64, 64), "seed": 0}, 3, 2
)
def test_assignment_is_the_cheapest_of_all(make_batch, make_prediction, scene, tokens, groups):
    _, targets, prediction, sigmas = prepare(make_batch, make_prediction, scene, tokens * groups)
    matched = match_tokens(prediction, targets, sigmas, groups)
    costs = TOKEN_COST(prediction, targets, sigmas).double()
    assert matched.shape == (len(scene["people"]), groups, targets.people.shape[1])
    for b, g in itertools.product(range(len(matched)), range(groups)):
        people = scene["people"][b]
        rows = matched[b, g].tolist()
        assert rows[people:] == [UNMATCHED] * (len(rows) - people)
        pairs = [(row, p) for p, row in enumerate(rows) if row != UNMATCHED]
        assert len(pairs) == min(tokens, people)
        assert len({row for row, _ in pairs}) == len(pairs)
        assert all(g * tokens <= row < (g + 1) * tokens for row, _ in pairs)
        if people:
            own = costs[b, g * tokens : (g + 1) * tokens, :people].numpy()
            assert sum(costs[b, r, p].item() for r, p in pairs) == pytest.approx(cheapest_assignment(own), abs=1e-6)


def slow_patches(costs: torch.Tensor, centres: torch.Tensor, targets: Targets, b: int) -> tuple[list[int], list[int]]:
    """Person of each patch and best patch of each person, person by person."""
    count = len(centres)
    least, owner, best = [math.inf] * count, [UNMATCHED] * count, []
    for p in range(int(targets.people[b].sum())):
        x1, y1, x2, y2 = targets.corners[b, p].tolist()
        middle = [math.dist(c, ((x1 + x2) / 2, (y1 + y2) / 2)) for c in centres.tolist()]
        inside = [n for n, (x, y) in enumerate(centres.tolist()) if x1 < x < x2 and y1 < y < y2]
        allowed = sorted({*inside, middle.index(min(middle))}, key=lambda n: float(costs[b, n, p]))
        best.append(allowed[0])
        for n in allowed[:PATCHES_PER_PERSON]:
            if float(costs[b, n, p]) < least[n]:
                least[n], owner[n] = float(costs[b, n, p]), p
    return owner, best


@settings(max_examples=40, deadline=None)
@given(scenes, st.integers(1, 7), st.integers(1, 9))
def test_patches_equal_the_slow_version(make_batch, make_prediction, scene, rows, columns):
    _, targets, prediction, sigmas = prepare(make_batch, make_prediction, scene, rows * columns)
    y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    centres = (torch.stack([x, y], -1).reshape(-1, 2) + 0.5) / max(rows, columns)
    match = match_patches(prediction, centres, targets, sigmas)
    costs = MatchCost()(prediction, targets, sigmas)
    for b, people in enumerate(scene["people"]):
        owner, best = slow_patches(costs, centres, targets, b)
        assert match.person[b].tolist() == owner
        assert match.best[b, :people].tolist() == best


def test_every_person_alone_has_a_patch_and_at_most_eight(make_batch, make_prediction):
    batch = make_batch([1] * 20, size=(64, 64), seed=3)
    targets = targets_from(batch, 64.0)
    y, x = torch.meshgrid(torch.arange(8), torch.arange(8), indexing="ij")
    centres = (torch.stack([x, y], -1).reshape(-1, 2) + 0.5) / 8
    counts = (match_patches(make_prediction(batch, 64), centres, targets, SIGMAS[:17]).person == 0).sum(1)
    assert (counts >= 1).all()
    assert (counts <= PATCHES_PER_PERSON).all()


def test_a_person_smaller_than_a_patch_or_outside_has_the_nearest_patch(make_batch, make_prediction):
    batch = make_batch([2], size=(64, 64))
    batch.boxes[0] = torch.tensor([[17.0, 1.0, 18.0, 2.0], [-30.0, -30.0, -10.0, -10.0]])
    centres = (torch.tensor([[x, y] for y in range(4) for x in range(4)]) + 0.5) / 4
    match = match_patches(make_prediction(batch, 16), centres, targets_from(batch, 64.0), SIGMAS[:17])
    assert match.person[0].tolist() == [1, 0] + [UNMATCHED] * 14
    assert match.best[0].tolist() == [1, 0]


def test_oks_is_that_of_pycocotools(make_batch, make_prediction):
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    batch = make_batch([4], labelled=0.6, seed=5)
    targets, found = targets_from(batch, 96.0), make_prediction(batch, 6, seed=5)
    assert bool(targets.posed.all())
    images, categories = [{"id": 1, "width": 96, "height": 64}], [{"id": 1, "name": "person"}]
    labels = [
        {"id": p + 1, "image_id": 1, "category_id": 1, "iscrowd": 0, "area": float(batch.areas[0, p]),
         "bbox": [0, 0, 1, 1], "num_keypoints": int(targets.labelled[0, p].sum()),
         "keypoints": batch.keypoints[0, p].flatten().tolist()}
        for p in range(4)
    ]  # fmt: skip
    results = [
        {"image_id": 1, "category_id": 1, "score": 1 - q / 10,
         "keypoints": torch.cat([found.poses[0, q] * 96, torch.ones(17, 1)], -1).flatten().tolist()}
        for q in range(6)
    ]  # fmt: skip
    truth = COCO()
    truth.dataset = {"images": images, "categories": categories, "annotations": labels}
    truth.createIndex()
    evaluation = COCOeval(truth, truth.loadRes(results), "keypoints")
    evaluation.params.kpt_oks_sigmas = SIGMAS[:17].double().numpy()
    evaluation._prepare()
    expected = evaluation.computeOks(1, 1)
    squared = (found.poses[:, :, None] - targets.poses[:, None]).square().sum(-1)
    oks = masked_mean(keypoint_similarity(squared, targets.areas[:, None], SIGMAS[:17]), targets.labelled[:, None])
    np.testing.assert_allclose(oks[0].numpy(), expected, atol=1e-5)
    assert oks.max() > 0.3


def test_targets_are_in_units_of_one_length_and_padding_has_no_labels(make_batch):
    batch = make_batch([2, 1], padding=1, ignored=1)
    batch.keypoints[1, 1, :, 2] = 2  # in a padded row: not to be believed
    targets = targets_from(batch, 96.0)
    torch.testing.assert_close(targets.corners * 96, batch.boxes)
    torch.testing.assert_close(targets.areas * 96**2, batch.areas)
    torch.testing.assert_close(targets.ignored * 96, batch.ignored)
    assert targets.posed.tolist() == [[True, True, False], [True, False, False]]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e30, -1e30])
@pytest.mark.parametrize("part", ["scores", "boxes", "poses", "confidences"])
def test_what_is_not_finite_gets_a_finite_cost(make_batch, make_prediction, part, value):
    batch = make_batch([3, 0], padding=1)
    targets, prediction = targets_from(batch, 96.0), make_prediction(batch, 6)
    getattr(prediction, part)[:, ::2] = value
    costs = MatchCost()(prediction, targets, SIGMAS[:17])
    assert costs.isfinite().all()
    assert costs.abs().max() <= FAR
    assert (match_tokens(prediction, targets, SIGMAS[:17], 2)[0, :, :3] != UNMATCHED).all()
    match = match_patches(prediction, torch.rand(6, 2), targets, SIGMAS[:17])
    assert match.person.shape == (2, 6)


def test_nothing_is_a_number_and_still_nothing_breaks(make_batch, make_prediction):
    batch = make_batch([3])
    targets = targets_from(batch, 96.0)
    broken = Prediction(*(torch.full_like(part, math.nan) for part in make_prediction(batch, 6)))
    assert sorted(match_tokens(broken, targets, SIGMAS[:17], 1)[0, 0].tolist())[0] >= 0
    best = match_patches(broken, torch.rand(6, 2), targets, SIGMAS[:17]).best
    assert best.min() >= 0
    assert best.max() < 6


def test_matching_takes_no_gradient_and_changes_nothing(make_batch, make_prediction):
    batch = make_batch([2])
    prediction = make_prediction(batch, 4)
    before = [part.clone() for part in prediction]
    prediction.boxes.requires_grad_()
    costs = MatchCost()(prediction, targets_from(batch, 96.0), SIGMAS[:17])
    assert not costs.requires_grad
    assert all(torch.equal(a, b) for a, b in zip(before, prediction, strict=True))


def test_half_precision_is_matched_in_full(make_batch, make_prediction):
    batch = make_batch([3, 2])
    targets, prediction = targets_from(batch, 96.0), make_prediction(batch, 6)
    half = Prediction(*(part.bfloat16() for part in prediction))
    full = Prediction(*(part.float() for part in half))
    assert MatchCost()(half, targets, SIGMAS[:17]).dtype == torch.float32
    assert torch.equal(MatchCost()(half, targets, SIGMAS[:17]), MatchCost()(full, targets, SIGMAS[:17]))


def test_a_crowd_of_thousands_costs_no_more_memory_than_its_costs(make_batch, make_prediction, monkeypatch):
    """People are taken some at a time, images without so many not at all, and nothing differs from all at once."""
    batch = make_batch([150, 3, 70])
    prediction, targets, seen = make_prediction(batch, 7), targets_from(batch, 96.0), []
    terms = MatchCost._pose_terms
    monkeypatch.setattr(
        MatchCost, "_pose_terms", staticmethod(lambda p, t, s: (seen.append(t.people.shape), terms(p, t, s))[1])
    )
    costs = MatchCost()(prediction, targets, SIGMAS[:17])
    assert [tuple(shape) for shape in seen] == [(3, AT_A_TIME), (2, AT_A_TIME), (1, 150 - 2 * AT_A_TIME)]
    monkeypatch.setattr("sia.losses.matcher.AT_A_TIME", 1000)
    assert torch.equal(costs, MatchCost()(prediction, targets, SIGMAS[:17]))

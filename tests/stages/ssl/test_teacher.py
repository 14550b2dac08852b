"""The teacher's two views: mirror images undone exactly, people paired and averaged."""

from __future__ import annotations

import numpy as np
import torch

from sia.evaluation.keypoint_scores import match_people
from sia.people import People
from sia.runtimes.runtime import Decoded
from sia.skeletons.oks import oks_terms
from sia.skeletons.skeleton import COCO_PERSON, Skeleton
from stages.ssl.teacher import SAME_PERSON, SHIFT, TeacherPrediction, ask, compare, distinct, mirror

SIGMAS = np.array(COCO_PERSON.sigmas)


def crowd(rng: np.random.Generator, count: int) -> People:
    low = rng.uniform(0, 60, (count, 2))
    boxes = np.concatenate([low, low + rng.uniform(20, 60, (count, 2))], 1)
    points = boxes[:, None, :2] + rng.random((count, 17, 2)) * (boxes[:, None, 2:] - boxes[:, None, :2])
    parts = boxes, np.sort(rng.random(count))[::-1], points, rng.random((count, 17))
    return People(*(part.astype(np.float32) for part in parts))


def disturbed(people: People, rng: np.random.Generator, spread: float) -> People:
    """The same people a little elsewhere, in another order of scores."""
    scores = rng.random(len(people)).astype(np.float32)
    order = np.argsort(-scores)
    points = people.keypoints + rng.normal(0, spread, people.keypoints.shape).astype(np.float32)
    boxes = people.boxes + rng.normal(0, spread, people.boxes.shape).astype(np.float32)
    return People(boxes[order], scores[order], points[order], people.confidences[::-1][order])


def test_a_mirror_image_comes_back() -> None:
    """Mirroring by hand, then `mirror`: each joint is where it was."""
    people = crowd(np.random.default_rng(0), 3)
    other = np.zeros((1, 3, 17, 3), np.float32)
    for k, name in enumerate(COCO_PERSON.names):
        twin = name.replace("left", "R").replace("right", "left").replace("R", "right")
        other[0, :, COCO_PERSON.names.index(twin), 0] = 128 - people.keypoints[:, k, 0]
        other[0, :, COCO_PERSON.names.index(twin), 1] = people.keypoints[:, k, 1]
        other[0, :, COCO_PERSON.names.index(twin), 2] = people.confidences[:, k]
    x1, y1, x2, y2 = people.boxes.T
    boxes = np.stack([128 - x2, y1, 128 - x1, y2], -1)[None]
    back = mirror(Decoded(people.scores[None], boxes, other), 128, COCO_PERSON)
    np.testing.assert_allclose(back.boxes[0], people.boxes, atol=1e-4)
    np.testing.assert_allclose(back.keypoints[0, ..., :2], people.keypoints, atol=1e-4)
    np.testing.assert_array_equal(back.keypoints[0, ..., 2], people.confidences)


def test_a_model_that_sees_the_same_in_a_mirror_agrees_with_itself() -> None:
    """A finder of a bright pixel, which is a symmetric model."""

    def find(images: np.ndarray) -> Decoded:
        flat = images.sum(1, dtype=int).reshape(len(images), -1).argmax(1)
        x, y = (flat % images.shape[-1]) + 0.5, (flat // images.shape[-1]) + 0.5
        points = np.stack([x, y, np.full(len(images), 0.5)], -1)[:, None, None].repeat(17, axis=2)
        boxes = np.stack([x - 10, y - 10, x + 10, y + 10], -1)[:, None]
        return Decoded(np.full((len(images), 1), 0.7), boxes, points)

    images = torch.zeros(2, 3, 40, 60, dtype=torch.uint8)
    images[0, :, 20, 15], images[1, :, 11, 40] = 255, 255
    letterboxes, sizes = torch.tensor([[0.5, 4.0, 0.0], [1.0, 0.0, 0.0]]), torch.tensor([[80, 104], [40, 60]])
    first, second = ask(find, images, letterboxes, sizes, COCO_PERSON)
    np.testing.assert_allclose(first.keypoints[0, 0], ((15.5 - 4) / 0.5, 20.5 / 0.5), atol=1e-4)
    np.testing.assert_allclose(second.keypoints[0, 0], (40.5, 11.5), atol=1e-4)
    np.testing.assert_allclose([first.agreement[0], second.agreement[0]], 1.0, atol=1e-6)


def test_without_known_sides_the_second_view_is_moved_not_mirrored() -> None:
    skeleton = Skeleton.from_category({"keypoints": ["paw_1", "paw_2"]})

    def find(images: np.ndarray) -> Decoded:
        np.testing.assert_array_equal(images[1], np.roll(images[0], SHIFT, -1))
        x, y = np.array([15.5, 15.5 + SHIFT]), np.array([20.5, 20.5])
        points = np.stack([x, y, [0.5, 0.5]], -1)[:, None, None] + np.array([[[0.0, 0.0, 0.0], [4.0, 0.0, 0.0]]])
        boxes = np.stack([x - 10, y - 10, x + 10, y + 10], -1)[:, None]
        return Decoded(np.full((2, 1), 0.7), boxes, points)

    images = torch.arange(60, dtype=torch.uint8).expand(1, 3, 40, 60)
    (opinion,) = ask(find, images, torch.tensor([[1.0, 0.0, 0.0]]), torch.tensor([[40, 60]]), skeleton)
    np.testing.assert_allclose(opinion.keypoints[0], [[15.5, 20.5], [19.5, 20.5]], atol=1e-4)
    np.testing.assert_allclose(opinion.agreement[0], 1.0, atol=1e-6)


def slow_compare(a: People, b: People) -> TeacherPrediction:
    """Pair by pair, number by number."""
    oks = np.zeros((len(a), len(b)))
    terms = np.zeros((len(a), len(b), 17))
    for i in range(len(a)):
        for j in range(len(b)):
            sides = [people.boxes[n].astype(float) for people, n in ((a, i), (b, j))]
            area = np.mean([0.53 * (s[2] - s[0]) * (s[3] - s[1]) for s in sides])
            for k in range(17):
                distance = np.hypot(*(a.keypoints[i, k].astype(float) - b.keypoints[j, k]))
                terms[i, j, k] = np.exp(-(distance**2) / (2 * (2 * SIGMAS[k]) ** 2 * area))
            oks[i, j] = terms[i, j].mean()
    expert = dict(match_people(oks, SAME_PERSON))
    rows = []
    for i in range(len(a)):
        box, score, points, trust = (part[i].astype(float) for part in (a.boxes, a.scores, a.keypoints, a.confidences))
        near = np.zeros(17)
        if i in expert:
            j = expert[i]
            near = terms[i, j]
            mine, theirs = trust[:, None] + 1e-6, b.confidences[j][:, None] + 1e-6
            points = (mine * points + theirs * b.keypoints[j]) / (mine + theirs)
            box, score, trust = (box + b.boxes[j]) / 2, (score + b.scores[j]) / 2, (trust + b.confidences[j]) / 2
        rows.append((box, score, points, trust, near.mean(), near))
    rows.sort(key=lambda row: -row[1])
    return TeacherPrediction(*(np.array(column) for column in zip(*rows, strict=True)))


def test_pairs_and_means() -> None:
    for seed in range(4):
        rng = np.random.default_rng(seed)
        a = crowd(rng, 5)
        b = disturbed(a, rng, 1.0 + seed)
        quick, slow = compare(a, b, COCO_PERSON), slow_compare(a, b)
        for name in ("boxes", "scores", "keypoints", "confidences", "agreement", "joint_agreement"):
            np.testing.assert_allclose(getattr(quick, name), getattr(slow, name), atol=1e-5)
        assert (quick.agreement > 0).any()
        assert (np.diff(quick.scores) <= 0).all()


def test_who_is_seen_once_agrees_with_nobody() -> None:
    people = crowd(np.random.default_rng(0), 3)
    nobody = people.above(2.0)
    opinion = compare(people, nobody, COCO_PERSON)
    assert not opinion.agreement.any()
    np.testing.assert_allclose(opinion.keypoints, people.keypoints)
    assert len(compare(nobody, people, COCO_PERSON)) == 0


def test_terms_are_those_of_oks() -> None:
    people = crowd(np.random.default_rng(1), 1)
    moved = People(people.boxes, people.scores, people.keypoints + 3, people.confidences)
    wanted = oks_terms(
        np.full((1, 17), np.hypot(3, 3)), 0.53 * np.prod(people.boxes[:, 2:] - people.boxes[:, :2], 1), SIGMAS
    )
    np.testing.assert_allclose(compare(people, moved, COCO_PERSON).joint_agreement, wanted, rtol=1e-4)


def test_who_is_found_twice_is_one_person() -> None:
    """The same box with another pose, and the same pose with another box, are doubles; a neighbour is not."""
    boxes = np.array([[0, 0, 40, 80], [0, 0, 40, 80], [10, 0, 60, 80], [30, 0, 70, 80]], float)
    rng = np.random.default_rng(0)
    pose = rng.uniform((0, 0), (40, 80), (17, 2))
    points = np.stack([pose, pose[::-1], pose, pose + np.array([30.0, 0.0])])
    scores = np.array([0.9, 0.8, 0.7, 0.6])
    opinion = TeacherPrediction(boxes, scores, points, np.ones((4, 17)), np.ones(4), np.ones((4, 17)))
    assert distinct(opinion, COCO_PERSON).scores.tolist() == [0.9, 0.6]
    nobody = TeacherPrediction(*(part[:0] for part in vars(opinion).values()))
    assert len(distinct(nobody, COCO_PERSON)) == 0

"""Proportions: COCO's table fits its skeleton, and those of another skeleton are measured in the file."""

from __future__ import annotations

import numpy as np

from datasets.validation.pose import COCO_PROPORTIONS, LEAST_PEOPLE, Proportions, check_poses
from sia.coco.annotation_file import AnnotationFile, Person
from sia.skeletons.skeleton import COCO_PERSON, Skeleton

WORM = Skeleton(("a", "b", "c", "d", "e", "f"), ((0, 1), (1, 2), (2, 3), (3, 4), (4, 5)), (), (0.05,) * 6, "worm")
LENGTHS = np.array([10.0, 20.0, 5.0, 20.0, 10.0])


def worm(rng, row):
    """Limbs of usual lengths in one size, each foreshortened or stretched by up to a fifth."""
    lengths = LENGTHS * rng.uniform(0.5, 3) * rng.uniform(0.8, 1.2, 5)
    x = np.concatenate([[0], np.cumsum(lengths)])
    joints = np.stack([x, np.full(6, 50.0), np.full(6, 2.0)], axis=1)
    return Person(row, row, np.array([0.0, 40, x[-1], 20]), joints.ravel().tolist(), 900.0, False)


def data(people):
    return AnnotationFile({"images": [], "annotations": []}, skeleton=WORM, people=people)


def test_the_table_has_a_row_for_each_limb():
    assert COCO_PROPORTIONS.usual.shape == COCO_PROPORTIONS.limits.shape == (len(COCO_PERSON.edges),)
    assert Proportions.of(COCO_PERSON, []) is COCO_PROPORTIONS


def test_proportions_are_measured():
    rng = np.random.default_rng(0)
    found = Proportions.of(WORM, [worm(rng, i) for i in range(500)])
    ratios = found.usual / found.usual.sum() / (LENGTHS / LENGTHS.sum())
    assert np.abs(ratios - 1).max() < 0.05
    assert (found.limits >= 2).all()


def test_few_people_have_no_proportions():
    rng = np.random.default_rng(0)
    people = [worm(rng, i) for i in range(LEAST_PEOPLE - 1)]
    assert Proportions.of(WORM, people) is None
    people[0].keypoints[15] += 500
    assert list(check_poses(data(people), {})) == []


def test_a_long_limb_of_an_own_skeleton_is_found():
    rng = np.random.default_rng(0)
    people = [worm(rng, i) for i in range(2000)]
    assert list(check_poses(data(people), {})) == []
    people[7].keypoints[15] += 300
    (issue,) = check_poses(data(people), {})
    assert (issue.check, issue.row, issue.joints) == ("limb", 7, (4, 5))


def test_limbs_that_nobody_has_are_no_problem():
    rng = np.random.default_rng(0)
    people = [worm(rng, i) for i in range(100)]
    for person in people:
        person.keypoints[2] = 0
    assert np.isnan(Proportions.of(WORM, people).usual[0])
    assert list(check_poses(data(people), {})) == []

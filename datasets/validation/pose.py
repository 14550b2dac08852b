"""Checks of poses: limbs too long for their person, sides swapped, people annotated twice or not at all."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sia.coco.annotation_file import AnnotationFile, Floats, Issue, Person, Row
from sia.coco.coco_files import GroundTruth, check_results, read_json
from sia.errors import DataError
from sia.evaluation.predictions import people_of_rows
from sia.people import People
from sia.skeletons.oks import oks_terms
from sia.skeletons.skeleton import COCO_PERSON, Skeleton

LEAST_LIMBS = 4
"""People with fewer labelled limbs show no proportions."""
LEAST_PEOPLE = 50
"""Fewer people than this don't say what is usual."""
SAME_PERSON = 0.95
"""OKS, or IoU of the boxes of people without keypoints, above which two annotations are one person."""
BODY_WIDTH, EARS_WIDTH, EYES_WIDTH = 0.3, 0.06, 0.1
"""Least widths, in lengths of the trunk, at which left and right can be told from each other."""
CONFIDENT = 0.7
"""Least score of a prediction that asks for an annotation, and least OKS of one that decides about sides."""


def check_poses(data: AnnotationFile, predictions: Mapping[int, People]) -> Iterator[Issue]:
    """All findings about poses.

    Args:
        data: the annotations.
        predictions: a model's people by index of the image, in pixels of the image; its findings are suspicions.
    """
    skeleton = data.skeleton
    if skeleton is None:
        return
    proportions = Proportions.of(skeleton, data.people)
    for person in data.people:
        if proportions is not None and not person.crowd:
            yield from _limbs(person, skeleton, proportions)
        if not person.crowd and _turns_its_back(person, skeleton):
            joints = tuple(i for i, name in enumerate(skeleton.names) if "shoulder" in name or "hip" in name)
            message = "Shoulders and hips are the other way round than the face."
            yield Issue("left-right", message, person.image, person.row, joints)
    for people in data.by_image.values():
        yield from _twice(data, [person for person in people if not person.crowd], skeleton)
    for image, predicted in predictions.items():
        yield from _compare(data.by_image.get(image, []), predicted, image, skeleton)


@dataclass(frozen=True)
class Proportions:
    """Usual lengths of the E limbs, relative to each other.

    Attributes:
        usual: (E,) lengths; only their ratios matter.
        limits: (E,) how many times its usual length, measured by the person's other limbs, a limb may have: the
            99.9th percentile, and at least 2 where the file itself has been measured.
    """

    usual: Floats
    limits: Floats

    @classmethod
    def of(cls, skeleton: Skeleton, people: list[Person]) -> Proportions | None:
        """COCO's for its keypoints, else those of the people themselves; None where these are too few."""
        if (skeleton.names, skeleton.edges) == (COCO_PERSON.names, COCO_PERSON.edges):
            return COCO_PROPORTIONS
        lengths = (limb_lengths(person.joints, skeleton) for person in people)
        rows = np.array([row for row in lengths if np.isfinite(row).sum() >= LEAST_LIMBS])
        return cls.measure(rows) if len(rows) >= LEAST_PEOPLE else None

    @classmethod
    def measure(cls, lengths: Floats) -> Proportions:
        """From (M, E) lengths, NaN where a limb isn't labelled; (the table below is that of COCO's train2017)."""
        logs, usual = np.log(lengths), np.zeros(lengths.shape[1])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # limbs that nobody has are NaN all through
            for _ in range(10):
                sizes = np.nanmedian(logs - usual, axis=1)
                usual = np.nanmedian(logs - sizes[:, None], axis=0)
            found = cls(np.exp(usual), np.full(len(usual), np.inf))
            ratios = np.array([found.ratios(row) for row in lengths])
            return cls(found.usual, np.fmax(np.nanquantile(ratios, 0.999, axis=0), 2.0))

    def ratios(self, lengths: Floats) -> Floats:
        """(E,) each limb's length over what the median of the person's other limbs lets expect; NaN if unknown."""
        relative = lengths / self.usual
        known = np.flatnonzero(np.isfinite(relative))
        ratios = np.full(len(lengths), np.nan)
        if len(known) >= LEAST_LIMBS:
            for limb in known:
                ratios[limb] = relative[limb] / np.median(relative[known[known != limb]])
        return ratios


COCO_PROPORTIONS = Proportions(
    np.array([
        1.92, 1.89, 1.92, 1.88, 0.97, 2.47, 2.46, 1.46, 1.35, 1.34, 1.11, 1.11, 0.34, 0.25, 0.25, 0.41, 0.41, 1.05, 1.06
    ]),
    np.array([
        1.93, 1.87, 1.92, 1.89, 2.26, 1.87, 1.89, 2.07, 2.04, 2.01, 2.08, 2.11, 2.42, 2.39, 2.42, 2.93, 2.93, 2.04, 2.02
    ]),
)  # fmt: skip
"""Measured on the 133,282 people of COCO's train2017 with at least four labelled limbs."""


def limb_lengths(joints: Floats, skeleton: Skeleton) -> Floats:
    """(E,) pixels; NaN where an end is not labelled, or both are at one point."""
    points = np.where(joints[:, 2:] > 0, joints[:, :2], np.nan)
    ends = np.array(skeleton.edges, np.int64).reshape(-1, 2)
    lengths = np.linalg.norm(points[ends[:, 0]] - points[ends[:, 1]], axis=-1)
    return np.where(lengths > 0, lengths, np.nan)


def _limbs(person: Person, skeleton: Skeleton, proportions: Proportions) -> Iterator[Issue]:
    ratios = proportions.ratios(limb_lengths(person.joints, skeleton))
    excess = np.nan_to_num(ratios / proportions.limits)
    if len(excess) and excess.max() > 1:
        limb = int(excess.argmax())
        a, b = skeleton.edges[limb]
        message = f"{skeleton.names[a]} to {skeleton.names[b]} is {ratios[limb]:.1f} times as long as usual."
        yield Issue("limb", message, person.image, person.row, (a, b))


def _turns_its_back(person: Person, skeleton: Skeleton) -> bool:
    """Whether shoulders and hips both turn their backs on the face."""
    joints = person.joints
    points = {skeleton.names[k]: joints[k, :2] for k in np.flatnonzero(joints[:, 2] > 0)}
    shoulders, hips, ears, eyes = (_width(points, part) for part in ("shoulder", "hip", "ear", "eye"))
    if shoulders is None or hips is None or abs(shoulders) < BODY_WIDTH or abs(hips) < BODY_WIDTH / 2:
        return False
    sign = np.sign(shoulders)
    if sign != np.sign(hips):
        return False
    return bool(-sign * ears > EARS_WIDTH if ears is not None else eyes is not None and -sign * eyes > EYES_WIDTH)


def _width(points: Mapping[str, Floats], part: str) -> float | None:
    """From the right joint to the left, across the trunk and in its lengths: above 0 where the person faces us."""
    names = [f"{side}_{joint}" for joint in (part, "shoulder", "hip") for side in ("left", "right")]
    if not points.keys() >= set(names):
        return None
    left, right, *corners = (points[name] for name in names)
    down = np.mean(corners[2:], axis=0) - np.mean(corners[:2], axis=0)
    length = float(down @ down)
    return float((left - right) @ np.array([down[1], -down[0]])) / length if length > 1 else None


def _twice(data: AnnotationFile, people: list[Person], skeleton: Skeleton) -> Iterator[Issue]:
    """One finding for each who is somebody before: thousands of copies are thousands of findings, not millions."""
    if len(people) < 2:
        return
    joints, boxes = np.stack([person.joints for person in people]), np.stack([person.box for person in people])
    areas = np.array([person.area for person in people])
    for i in range(1, len(people)):
        likeness = _likeness(joints[: i + 1], boxes[: i + 1], areas[: i + 1], skeleton)
        twin = int(likeness.argmax())
        if likeness[twin] > SAME_PERSON:
            kind = "OKS" if people[i].labelled.any() else "IoU of the boxes"
            named = f"annotation {data.content['annotations'][people[twin].row]['id']}"
            message = f"The same person as {named}: {kind} {likeness[twin]:.3f}."
            yield Issue("person-twice", message, people[i].image, people[i].row)


def _likeness(joints: Floats, boxes: Floats, areas: Floats, skeleton: Skeleton) -> Floats:
    """(N,) of the last of N + 1 people with those before: OKS over all joints that either has, 0 for what one lacks.

    IoU of the boxes where neither has joints.
    """
    labelled = np.asarray(joints[..., 2] > 0)
    posed = np.asarray(labelled.any(axis=1))
    likeness = np.where(posed[:-1] == posed[-1], _iou(boxes[:-1], boxes[-1]), 0.0)
    near = np.flatnonzero(likeness)
    if posed[-1] and len(near):
        distances = np.linalg.norm(joints[near, :, :2] - joints[-1, :, :2], axis=-1)
        terms = oks_terms(distances, np.minimum(areas[near], areas[-1]), np.array(skeleton.sigmas))
        both, either = labelled[near] & labelled[-1], labelled[near] | labelled[-1]
        likeness[near] = (terms * both).sum(axis=1) / either.sum(axis=1)
    return likeness


def _common(a: Floats, b: Floats) -> Floats:
    """(...,) area that boxes (..., 4) x y width height share."""
    sides = np.minimum(a[..., :2] + a[..., 2:], b[..., :2] + b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    return np.asarray(sides.clip(min=0).prod(axis=-1))


def _iou(a: Floats, b: Floats) -> Floats:
    common = _common(a, b)
    return np.asarray(common / (a[..., 2:].prod(axis=-1) + b[..., 2:].prod(axis=-1) - common))


def _compare(people: list[Person], predicted: People, image: int, skeleton: Skeleton) -> Iterator[Issue]:
    """What a model sees otherwise: people without annotation, and people whose sides it swaps."""
    predicted = predicted.above(CONFIDENT)
    for corners, score in zip(predicted.boxes.astype(np.float64), predicted.scores, strict=True):
        box = np.concatenate([corners[:2], corners[2:] - corners[:2]])
        if not any(_covers(person, box) for person in people):
            x1, y1, x2, y2 = corners
            message = f"A model finds a person at {x1:.0f}, {y1:.0f} to {x2:.0f}, {y2:.0f}, score {score:.2f}."
            yield Issue("person-missing", message, image)
    points = predicted.keypoints.astype(np.float64)
    for person in people:
        if not person.labelled.any() or not len(points):
            continue
        straight = _best_oks(person.joints, points, person.area, skeleton)
        swapped = _best_oks(person.joints[skeleton.flip_order], points, person.area, skeleton)
        if swapped >= CONFIDENT and swapped > straight + 0.3:
            message = f"A model agrees with OKS {swapped:.2f} when left and right are swapped, {straight:.2f} as it is."
            yield Issue("left-right", message, image, person.row, tuple(i for p in skeleton.flip_pairs for i in p))


def _covers(person: Person, box: Floats) -> bool:
    """Whether an annotation accounts for a predicted box; a crowd does where half of the box is in it."""
    if person.crowd:
        return bool(_common(person.box, box) > 0.5 * box[2:].prod())
    return bool(_iou(person.box, box) > 0.3)


def _best_oks(joints: Floats, points: Floats, area: float, skeleton: Skeleton) -> float:
    """Of annotated (K, 3) with any of predicted (N, K, 2) joints."""
    distances = np.linalg.norm(points - joints[:, :2], axis=-1)
    terms = oks_terms(distances, np.full(len(points), area), np.array(skeleton.sigmas))
    return float(terms[:, joints[:, 2] > 0].mean(axis=1).max())


def read_predictions(file: Path | None, data: AnnotationFile) -> Mapping[int, People]:
    """People by index of the image, best score first; nobody without a file.

    Raises:
        DataError: the file is not one of COCO keypoint results with boxes of these images and keypoints, or the
            annotations' own skeleton is faulty.
    """
    if file is None:
        return {}
    if data.skeleton is None:
        raise DataError(f"{data.path}: --results needs a category with usable keypoints. Correct it first.")
    truth = GroundTruth(list(data.images), [], min(data.merged), frozenset(data.merged), frozenset(data.declared))
    rows = check_results(read_json(file, "results file"), truth, data.skeleton)
    if not all("bbox" in row for row in rows):
        raise DataError(f"{file}: the results have no 'bbox'. Use those of scripts/evaluate.py.")
    groups: dict[int, list[Row]] = {}
    for row in rows:
        groups.setdefault(data.images[row["image_id"]], []).append(row)
    k = data.skeleton.num_keypoints
    return {image: people_of_rows(group, k).best_first().as_people() for image, group in groups.items()}

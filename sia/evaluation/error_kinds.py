"""What is wrong with the predicted people of a data set, in the kinds of Ronchi & Perona, "Benchmarking and Error
Diagnosis in Multi-Instance Pose Estimation" (ICCV 2017), cut where their coco-analyze cuts.

Of a person found, each labelled keypoint has similarities (its own terms of OKS) to where it should be, to its
left/right counterpart, and to both keypoints of everybody else in the image. The largest one names the kind: at least
0.85 to its own place good, at least 0.5 jitter, to the counterpart an inversion, to somebody else a swap; below 0.5 to
all of them a miss. `stages.error_model.mixture` has the same kinds, without cuts.

N: predicted people, at most COCO's 20 an image, the best of all images first; M: labelled people; K: keypoints.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sia.coco.coco_files import GroundTruth, Row, is_labelled
from sia.evaluation.coco_eval import run_coco
from sia.evaluation.keypoint_scores import MATCH_OKS, match_people
from sia.evaluation.labels import (
    SAME_BOX,
    LabelledPeople,
    Mask,
    Rows,
    box_overlaps,
    labelled_people,
    match_labels,
    oks_matrix,
    shared_images,
)
from sia.evaluation.matches import Matches, matches_of
from sia.evaluation.predictions import Array, Predictions, people_of_rows
from sia.skeletons.oks import oks_terms
from sia.skeletons.skeleton import Skeleton

KINDS = GOOD, JITTER, INVERSION, SWAP, MISS = ("good", "jitter", "inversion", "swap", "miss")
OUTCOMES = FOUND, DUPLICATE, BACKGROUND, IGNORED = ("found", "duplicate", "background", "ignored")
GOOD_FROM, NEAR_FROM = 0.85, 0.5
MOST = 20
"""COCO's maxDets."""


def keypoint_kinds(people: Predictions, labels: LabelledPeople, found: Rows, skeleton: Skeleton) -> NDArray[np.int8]:
    """(N, K) index in `KINDS`; -1 where the keypoint is not labelled, or the person is nobody (`found` is -1)."""
    kinds = np.full(people.confidences.shape, -1, np.int8)
    order, sigmas = np.array(skeleton.flip_order), np.asarray(skeleton.sigmas)
    for rows, columns in shared_images(people.image_ids, labels.image_ids):
        rows = rows[found[rows] >= 0]
        known, ours = labels.select(columns), np.arange(len(rows))
        own = np.searchsorted(columns, found[rows])
        points = people.keypoints[rows, None]  # (n, 1, K, 2)
        similar = []
        for targets, usable in (
            (known.keypoints, known.labelled),
            (known.keypoints[:, order], known.labelled[:, order] & (order != np.arange(len(order)))),
        ):
            distances = np.linalg.norm(points - targets, axis=-1)  # (n, m, K)
            areas = known.areas[None].repeat(len(rows), 0)
            similar.append(np.where(usable, oks_terms(distances, areas, sigmas), -1.0))
        straight, crossed = (values[ours, own] for values in similar)
        for values in similar:
            values[ours, own] = -1.0
        best = np.stack([straight, crossed, np.maximum(*similar).max(1)])  # (3, n, K)
        kind = np.choose(best.argmax(0), [1, 2, 3])
        kind[(kind == 1) & (straight >= GOOD_FROM)] = 0
        kind[best.max(0) < NEAR_FROM] = 4
        kinds[rows] = np.where(known.labelled[own], kind, -1)
    return kinds


@dataclass(frozen=True)
class ErrorAnalysis:
    """The predictions of a data set beside its labels.

    Attributes:
        truth: the annotations.
        skeleton: of all.
        people: N, without those beyond 20 an image.
        matches: the same people as COCO matches them, in the same order.
        labels: M people.
        found: (N,) rows of `labels`, -1 for nobody: as COCO matches at an OKS of 0.5, then the others by a box IoU of
            0.5, however wrong the keypoints are.
        kinds: (N, K); see `keypoint_kinds`.
        outcomes: (N,) index in `OUTCOMES`; ignored are those on a crowd or on somebody without keypoints.
        oks: (N,) to the person found, else to the most similar one of the image.
    """

    truth: GroundTruth
    skeleton: Skeleton
    people: Predictions
    matches: Matches
    labels: LabelledPeople
    found: Rows
    kinds: NDArray[np.int8]
    outcomes: NDArray[np.int8]
    oks: Array

    @classmethod
    def of(cls, truth: GroundTruth, rows: list[Row], skeleton: Skeleton) -> ErrorAnalysis:
        """`rows` are from `check_results`."""
        people = _first_of_images(people_of_rows(rows, skeleton.num_keypoints))
        matches, labels = matches_of(truth, rows, skeleton), labelled_people(truth)
        found, oks, near = np.full(len(people), -1, np.int64), np.zeros(len(people)), np.zeros(len(people), bool)
        for ours, columns in shared_images(people.image_ids, labels.image_ids):
            group, known = people.select(ours), labels.select(columns)
            similar = oks_matrix(group, known, skeleton.sigmas)
            overlaps = box_overlaps(group.boxes, known.boxes)
            near[ours] = ((similar >= MATCH_OKS) | (overlaps >= SAME_BOX)).any(1)
            oks[ours] = similar.max(1)
            for row, column in _pairs(similar, overlaps):
                found[ours[row]], oks[ours[row]] = columns[column], similar[row, column]
        counted = matches.counted[0]
        outcomes = np.select([found >= 0, near, counted], [0, 1, 2], 3).astype(np.int8)
        kinds = keypoint_kinds(people, labels, found, skeleton)
        return cls(truth, skeleton, people, matches, labels, found, kinds, outcomes, oks)

    @cached_property
    def missed(self) -> Mask:
        """(M,) labelled people whom nobody is."""
        missed = np.ones(len(self.labels), bool)
        missed[self.found[self.found >= 0]] = False
        return missed

    def corrected(self, chosen: Mask) -> Predictions:
        """The same people with the chosen (N, K) keypoints where they should be."""
        rows = self.found.clip(min=0)
        points = self.labels.keypoints[rows] if len(self.labels) else self.people.keypoints
        return replace(self.people, keypoints=np.where(chosen[..., None], points, self.people.keypoints))

    def precision(self, people: Predictions, without: Mask | None = None) -> float:
        """AP of other people instead, with some of the (M,) labelled people counted out."""
        rows, kept = people.rows(self.truth.category), self.truth.people
        if without is not None:
            counted = [i for i, row in enumerate(kept) if is_labelled(row)]
            gone = {counted[i] for i in np.flatnonzero(without)}
            kept = [row for i, row in enumerate(kept) if i not in gone]
        scored = run_coco("keypoints", replace(self.truth, people=kept), rows, self.skeleton)
        return max(0.0, float(scored.stats[0]))

    def improvements(self) -> dict[str, float]:
        """AP as it is, and if each kind of error had not been made: upper bounds, with the labels' help."""
        people, found = self.people, self.found >= 0
        kinds = {kind: self.kinds == number for number, kind in enumerate(KINDS) if kind != GOOD}
        kinds["all keypoint errors"] = self.kinds >= 0
        kept = {name: self.outcomes != OUTCOMES.index(name) for name in (DUPLICATE, BACKGROUND)}
        perfect = replace(people, scores=self.oks)
        wanted = match_labels(perfect, self.labels, self.skeleton.sigmas) >= 0
        return {
            "as it is": self.precision(people),
            **{name: self.precision(self.corrected(chosen)) for name, chosen in kinds.items()},
            **{name: self.precision(people.select(chosen)) for name, chosen in kept.items()},
            "missed": self.precision(people, self.missed),
            "order of scores": self.precision(replace(people, scores=np.where(wanted, self.oks, 0.0))),
            "all": self.precision(self.corrected(self.kinds >= 0).select(found), self.missed),
        }

    def to_dict(self) -> dict[str, Any]:
        """Counts and AP, in plain types."""
        counts = np.stack([(self.kinds == kind).sum(0) for kind in range(len(KINDS))], axis=-1)
        people = np.bincount(self.outcomes, minlength=len(OUTCOMES)).tolist()
        return {
            "people": {**dict(zip(OUTCOMES, people, strict=True)), "missed": int(self.missed.sum())},
            "keypoints": dict(zip(KINDS, counts.sum(0).tolist(), strict=True)),
            "each keypoint": {
                name: dict(zip(KINDS, row, strict=True))
                for name, row in zip(self.skeleton.names, counts.tolist(), strict=True)
            },
            "AP without": self.improvements(),
        }


def _pairs(similar: Array, overlaps: Array) -> list[tuple[int, int]]:
    """Rows, the best first, and columns of (N, M) OKS and IoU that are the same person."""
    pairs = match_people(similar)
    left = overlaps.copy()
    for row, column in pairs:
        left[row], left[:, column] = -1.0, -1.0
    return pairs + match_people(left, SAME_BOX)


def _first_of_images(people: Predictions) -> Predictions:
    """At most `MOST` of each image, in the order of `Matches`: by score, and equal ones by image."""
    best = people.best_first()
    best = best.select(np.argsort(best.image_ids, kind="stable"))
    _, starts, counts = np.unique(best.image_ids, return_index=True, return_counts=True)
    places = np.arange(len(best)) - starts.repeat(counts)
    return best.select(places < MOST).best_first()

"""Which predictions are right, found once for each image, so that the AP of any resample is only arithmetic.

I images, N predictions of all of them (at most COCO's 20 an image), T OKS thresholds, R recalls, B resamples.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sia.coco.coco_files import GroundTruth, Row, check_results, is_labelled, load_ground_truth
from sia.evaluation.coco_eval import run_coco
from sia.evaluation.keypoint_scores import match_people
from sia.skeletons.skeleton import Skeleton

Floats = NDArray[np.float64]

_LARGEST_AREA = 1e10
"""COCO's "all sizes" end here."""
_CHUNK = 64
"""Resamples at once: larger ones leave the processor's cache."""


@dataclass(frozen=True)
class Matches:
    """COCO's greedy matching of one results file.

    Attributes:
        image_ids: (I,) int64, ascending.
        people: (I,) int64, labelled people, who count for recall.
        owners: (N,) int64, index of the image of each prediction; the best score first.
        right: (T, N) bool, matched to a labelled person.
        counted: (T, N) bool, right or wrong; the others lie on a crowd or on somebody without keypoints.
        recalls: (R,) at which precision is read.
        closeness: (I,) mean OKS of an image's labelled people, 0 for those not found; NaN without people.
        joints: (I,) int64, labelled joints of its people.
    """

    image_ids: NDArray[np.int64]
    people: NDArray[np.int64]
    owners: NDArray[np.int64]
    right: NDArray[np.bool_]
    counted: NDArray[np.bool_]
    recalls: Floats
    closeness: Floats
    joints: NDArray[np.int64]

    def average_precision(self, weights: NDArray[np.int64]) -> Floats:
        """AP over OKS 0.50:0.05:0.95 of resamples.

        Equal to the AP of a data set in which each image stands as often as its weight says, as images of their
        own: copies of a prediction have equal scores and stand together, and precision is read at its best recall.

        Args:
            weights: (B, I) how often each image is drawn.

        Returns:
            (B,) in [0, 1]; NaN where nobody labelled is drawn.
        """
        parts = [np.zeros(0)]
        for part in (weights[i : i + _CHUNK] for i in range(0, len(weights), _CHUNK)):
            means = np.concatenate(self.precisions(part), axis=1).mean(axis=1)
            parts.append(np.where(part @ self.people > 0, means, np.nan))
        return np.concatenate(parts)

    def precisions(self, weights: NDArray[np.int64]) -> list[Floats]:
        """(B, R) for each OKS threshold: the best precision at each recall or beyond, of resamples."""
        people, drawn = weights @ self.people, weights[:, self.owners]
        # (B, R): the fewest people found that make a recall, in the same floating point as COCO's code.
        total = np.maximum(people, 1)[:, None]
        least = np.ceil(self.recalls * total).astype(np.int64)
        least -= (least - 1) / total >= self.recalls
        least += least / total < self.recalls
        return [_read(drawn, right, counted, least) for right, counted in zip(self.right, self.counted, strict=True)]


def _read(
    drawn: NDArray[np.int64], right: NDArray[np.bool_], counted: NDArray[np.bool_], least: NDArray[np.int64]
) -> Floats:
    """(B, R): best precision at each recall or beyond; 0 where it is never reached."""
    resamples, places = len(drawn), np.flatnonzero(right)
    predictions = np.cumsum(drawn * counted, axis=1)[:, places]
    hits = np.cumsum(drawn[:, places], axis=1)
    precision = hits / np.maximum(predictions, 1)
    best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    best = np.concatenate([best, np.zeros((resamples, 1))], axis=1)
    # One search for all rows: each row's numbers lie above those of the row before.
    step = int(max(hits.max(initial=0), least.max(initial=0))) + 1
    offsets = step * np.arange(resamples)[:, None]
    found = np.searchsorted((hits + offsets).ravel(), (least + offsets).ravel()).reshape(least.shape)
    columns = found - len(places) * np.arange(resamples)[:, None]
    return np.asarray(np.take_along_axis(best, columns, axis=1))


def find_matches(ground_truth: Path | Row, rows: list[Row], skeleton: Skeleton) -> Matches:
    """Matches COCO results with annotations; the arguments and errors are those of `coco_eval.evaluate`."""
    truth = load_ground_truth(ground_truth, skeleton)
    return matches_of(truth, check_results(rows, truth, skeleton), skeleton)


def matches_of(truth: GroundTruth, rows: list[Row], skeleton: Skeleton) -> Matches:
    """The same of what was read already; `rows` are from `check_results`."""
    scored = run_coco("keypoints", truth, rows, skeleton)
    image_ids = np.array(sorted(set(truth.images)), dtype=np.int64)
    images = [_Image.of(scored, int(image_id)) for image_id in image_ids]
    thresholds = [float(threshold) for threshold in scored.params.iouThrs]
    flags = [image.flags(thresholds) for image in images]
    right, counted = (np.concatenate([pair[i] for pair in flags], axis=1) for i in range(2))
    scores = np.concatenate([image.scores for image in images])
    owners = np.repeat(np.arange(len(images)), [len(image.scores) for image in images])
    order = np.argsort(-scores, kind="stable")  # ties stay in the order of the images, as in COCO's code
    people = np.array([len(image.labelled) for image in images], dtype=np.int64)
    closeness = np.array([image.closeness() for image in images])
    joints = np.array([image.joints for image in images], dtype=np.int64)
    recalls = np.asarray(scored.params.recThrs, dtype=np.float64)
    return Matches(image_ids, people, owners[order], right[:, order], counted[:, order], recalls, closeness, joints)


@dataclass(frozen=True)
class _Image:
    """D predictions, the best first, and G people of one image.

    Attributes:
        oks: (D, G).
        scores: (D,).
        large: (D,) bool, beyond COCO's largest size.
        labelled: indices of people who count.
        others: (index, whether it is a crowd, which takes any number of predictions) of those who don't.
        joints: labelled joints of all people with keypoints.
    """

    oks: Floats
    scores: Floats
    large: NDArray[np.bool_]
    labelled: list[int]
    others: list[tuple[int, bool]]
    joints: int

    @classmethod
    def of(cls, scored: Any, image_id: int) -> _Image:
        people = scored.cocoGt.imgToAnns.get(image_id, [])
        found = sorted(scored.cocoDt.imgToAnns.get(image_id, []), key=lambda row: -row["score"])
        found = found[: scored.params.maxDets[-1]]
        oks = np.zeros((len(found), len(people)))
        if oks.size:
            oks = np.asarray(scored.ious[image_id, scored.params.catIds[0]], dtype=np.float64)
        labelled = [i for i, row in enumerate(people) if is_labelled(row) and row["area"] <= _LARGEST_AREA]
        others = [(i, bool(row["iscrowd"])) for i, row in enumerate(people) if i not in labelled]
        large = np.array([row["area"] > _LARGEST_AREA for row in found], dtype=bool)
        joints = sum(int(v > 0) for row in people if is_labelled(row) for v in row["keypoints"][2::3])
        scores = np.array([row["score"] for row in found], dtype=np.float64)
        return cls(oks, scores, large, labelled, others, joints)

    def flags(self, thresholds: list[float]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """(T, D) right, and (T, D) counted."""
        right = np.zeros((len(thresholds), len(self.scores)), dtype=bool)
        counted = np.ones_like(right)
        for row, threshold in enumerate(thresholds):
            right[row, [d for d, _ in match_people(self.oks[:, self.labelled], threshold)]] = True
            left = np.flatnonzero(~right[row])
            counted[row, left[self.large[left]]] = False
            counted[row, list(self._excused(left, threshold))] = False
        return right, counted

    def _excused(self, left: NDArray[np.intp], threshold: float) -> Iterator[int]:
        """Predictions on people who don't count; one without keypoints excuses one prediction, a crowd all."""
        taken: set[int] = set()
        for d in left:
            near = [(self.oks[d, g], place, g) for place, (g, _) in enumerate(self.others) if g not in taken]
            value, place, g = max(near, default=(-1.0, 0, 0))
            if value >= threshold:
                taken |= set() if self.others[place][1] else {g}
                yield int(d)

    def closeness(self) -> float:
        """Mean OKS of the labelled people."""
        if not self.labelled:
            return float("nan")
        chosen = self.oks[:, self.labelled]
        return float(sum(chosen[d, g] for d, g in match_people(chosen, 0.0)) / len(self.labelled))

"""Which of the teacher's findings may teach: thresholds chosen on images whose truth is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datasets.labels import Labels
from sia.errors import SiaError
from sia.evaluation.keypoint_scores import MATCH_OKS, match_people
from sia.evaluation.labels import box_overlaps
from sia.evaluation.predictions import Array
from sia.skeletons.oks import oks_terms
from stages.ssl.teacher import SAME_PERSON, TeacherPrediction

AGREEMENTS = (0.0, 0.3, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95)
"""Thresholds on the agreement of two views that are tried."""
LEAST_TERM = 0.5
"""A joint with this OKS term or more is where it should be."""
SAME_BOX = 0.5
"""Least IoU of two boxes around one person."""
LOST = 0.05
"""Fraction of the people found whose score may be below `Gates.doubt`: they are taught as background."""


class NoThresholdError(SiaError):
    """The teacher is nowhere as sure as it must be."""


@dataclass(frozen=True)
class ConfidenceThresholds:
    """Lets pass what has at least this score (a joint: confidence) and at least this agreement of both views.

    Attributes:
        score, agreement: the thresholds.
        precision: fraction of right ones among those that passed where it was chosen.
        passed, tried: how many passed there, of how many.
    """

    score: float
    agreement: float
    precision: float
    passed: int
    tried: int

    def __call__(self, scores: Array, agreement: Array) -> NDArray[np.bool_]:
        """Arrays of any one shape -> whether each passes."""
        return np.asarray((scores >= self.score) & (agreement >= self.agreement))


@dataclass(frozen=True)
class Gates:
    """All thresholds.

    Attributes:
        person: for people.
        joint: for the joints of people who pass.
        doubt: people of a lower score are taken for background; those above who don't pass are doubtful.
    """

    person: ConfidenceThresholds
    joint: ConfidenceThresholds
    doubt: float

    def to_dict(self) -> dict[str, Any]:
        """Plain types only."""
        return asdict(self)


@dataclass(frozen=True)
class TeacherEvaluation:
    """The truth about the N people of an `TeacherPrediction`; NaN where the labels don't tell.

    Attributes:
        right: (N,) 1 where the person has an OKS of 0.5 or more, else 0.
        joints: (N, K) 1 where the joint is near, else 0.
        found: (N,) bool, whether it is the best one with the box of some labelled person, with keypoints or without.
    """

    right: Array
    joints: Array
    found: NDArray[np.bool_]


def choose_thresholds(
    opinions: Sequence[TeacherPrediction], verdicts: Sequence[TeacherEvaluation], wanted: float
) -> Gates:
    """The gates that let most pass at the wanted precision, of people and of the joints of those who pass.

    Raises:
        NoThresholdError: no threshold reaches that precision; the message says what is reached.
    """
    scores, agreement = _rows(opinions, "scores"), _rows(opinions, "agreement")
    person = choose_gate(scores, agreement, _rows(verdicts, "right"), wanted, "people")
    passes = person(scores, agreement)
    parts = [_rows(opinions, "confidences"), _rows(opinions, "joint_agreement"), _rows(verdicts, "joints")]
    trust, near, right = (part[passes].ravel() for part in parts)
    joint = choose_gate(trust, near, right, wanted, "joints")
    found = scores[_rows(verdicts, "found").astype(bool)]
    doubt = float(np.quantile(found, LOST)) if len(found) else person.score
    return Gates(person, joint, min(doubt, person.score))


def choose_gate(scores: Array, agreement: Array, right: Array, wanted: float, what: str) -> ConfidenceThresholds:
    """The pair of thresholds that lets most of N findings pass.

    Precision counts as (right + 1) / (passed + 2), so that a few lucky ones don't open the gate.

    Args:
        scores: (N,).
        agreement: (N,).
        right: (N,) 1, 0, or NaN for those that don't count.
        wanted: least precision.
        what: they are, for the message.

    Raises:
        NoThresholdError: no pair reaches the precision.
    """
    known = ~np.isnan(right)
    scores, agreement, right = scores[known], agreement[known], right[known]
    best, reached = None, 0.0
    for least in AGREEMENTS:
        chosen = agreement >= least
        order = np.argsort(-scores[chosen], kind="stable")
        ranked, hits = scores[chosen][order], np.cumsum(right[chosen][order])
        cuts = np.flatnonzero(np.append(ranked[1:] < ranked[:-1], True))[: len(ranked)]  # ends of equal scores
        precision = (hits[cuts] + 1) / (cuts + 3)
        reached = max(reached, float(precision.max(initial=0)))
        for cut in cuts[precision >= wanted][-1:]:
            if best is None or cut + 1 > best.passed:
                share = float(hits[cut] / (cut + 1))
                best = ConfidenceThresholds(float(ranked[cut]), least, share, int(cut + 1), len(scores))
    if best is None:
        raise NoThresholdError(
            f"of the {len(scores)} {what} that the teacher sees in the calibration images, no choice is right to "
            f"{100 * wanted:.0f} % (-PSEUDO_PRECISION); the surest are to {100 * reached:.0f} %"
        )
    return best


def judge(opinion: TeacherPrediction, truth: Labels, sigmas: Array) -> TeacherEvaluation:
    """Compares what the teacher sees with the labels of the image.

    What overlaps a person without keypoints, or lies in an ignored region, is neither right nor wrong.

    Args:
        opinion: of one image.
        truth: its labels.
        sigmas: (K,) OKS constants.
    """
    people, count = len(opinion), opinion.keypoints.shape[1]
    right, joints = np.zeros(people), np.zeros((people, count))
    overlap = box_overlaps(opinion.boxes, truth.boxes.astype(np.float64))
    labelled = truth.keypoints[..., 2] > 0
    posed = labelled.any(axis=1)
    unknown = (overlap[:, ~posed] >= SAME_BOX).any(axis=1) | _inside(opinion.boxes, truth.ignored)
    right[unknown], joints[unknown] = np.nan, np.nan
    distances = np.linalg.norm(opinion.keypoints[:, None] - truth.keypoints[None, posed, :, :2], axis=-1)
    terms = oks_terms(distances, np.broadcast_to(truth.areas[posed], distances.shape[:2]), sigmas)
    oks = (terms * labelled[posed]).sum(-1) / labelled[posed].sum(-1)
    for row, column in match_people(oks, SAME_PERSON) if people and posed.any() else []:
        right[row] = oks[row, column] >= MATCH_OKS
        joints[row] = np.where(labelled[posed][column], terms[row, column] >= LEAST_TERM, np.nan)
    found = np.zeros(people, bool)
    found[[row for row, _ in match_people(overlap, SAME_BOX)]] = True
    return TeacherEvaluation(right, joints, found)


def _inside(boxes: Array, regions: NDArray[np.float32]) -> NDArray[np.bool_]:
    """(N, 4) and (R, 4) corners -> (N,) whether the centre is in one of the regions."""
    centres = (boxes[:, None, :2] + boxes[:, None, 2:]) / 2
    inside = (centres > regions[None, :, :2]) & (centres < regions[None, :, 2:])
    return np.asarray(inside.all(axis=-1).any(axis=-1))


def _rows(parts: Sequence[TeacherPrediction] | Sequence[TeacherEvaluation], name: str) -> Array:
    """One array of all images."""
    return np.concatenate([np.asarray(getattr(part, name), np.float64) for part in parts])

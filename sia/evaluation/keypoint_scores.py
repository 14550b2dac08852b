"""How well each keypoint of the people found is placed: OKS, PCK and pixel error, one row per keypoint.

D: detections of an image, G: its labelled people, K: keypoints, M: people found in all images.
All coordinates are in original pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sia.skeletons.oks import oks_terms
from sia.skeletons.skeleton import Skeleton

Floats = NDArray[np.float64]

MATCH_OKS = 0.5
"""A labelled person is found when COCO's greedy matching gives it a prediction of at least this OKS."""


@dataclass(frozen=True)
class KeypointScore:
    """One keypoint over all people found; NaN where nobody has it labelled.

    Attributes:
        name: the keypoint.
        labelled: how many people have it labelled (v > 0), found or not.
        found: how many of these people were found; all that follows is about them.
        oks: mean OKS term, exp(-d^2 / (2 (2 sigma)^2 area)), in [0, 1].
        oks_occluded: the same where v = 1.
        oks_visible: the same where v = 2.
        pck_05: share nearer than 0.05 of the longer side of the labelled box.
        pck_10: the same for 0.1.
        pck_20: the same for 0.2.
        median_error: median distance in original pixels.
    """

    name: str
    labelled: int
    found: int
    oks: float
    oks_occluded: float
    oks_visible: float
    pck_05: float
    pck_10: float
    pck_20: float
    median_error: float

    def to_dict(self) -> dict[str, Any]:
        """Plain types; None in place of NaN, which JSON doesn't have."""
        return {key: None if value != value else value for key, value in asdict(self).items()}


def match_people(oks: Floats, threshold: float = MATCH_OKS) -> list[tuple[int, int]]:
    """COCO's greedy matching at one threshold: the best-scored prediction chooses first.

    Args:
        oks: (D, G), rows from the best score to the worst, columns labelled people only. COCO prefers these to
            crowds, so crowds don't change who is matched.
        threshold: the least OKS of a match.

    Returns:
        Pairs (row, column), each row and column at most once.
    """
    pairs: list[tuple[int, int]] = []
    free = np.ones(oks.shape[1], dtype=bool)
    for row, values in enumerate(oks):
        candidates = np.where(free, values, -1.0)
        if not free.any() or candidates.max() < threshold:
            continue
        # Of equal candidates COCO keeps the last one it looks at.
        column = len(candidates) - 1 - int(candidates[::-1].argmax())
        free[column] = False
        pairs.append((row, column))
    return pairs


def score_keypoints(
    matches: list[tuple[Mapping[str, Any], Mapping[str, Any]]], labelled: NDArray[np.int64], skeleton: Skeleton
) -> list[KeypointScore]:
    """One row per keypoint.

    Args:
        matches: M people found: the row of the prediction, and the annotation.
        labelled: (K,) in how many people each keypoint is labelled, found or not.
        skeleton: names and sigmas.
    """
    shape = (len(matches), skeleton.num_keypoints, 3)
    predicted = np.array([row["keypoints"] for row, _ in matches], dtype=np.float64).reshape(shape)
    labels = np.array([person["keypoints"] for _, person in matches], dtype=np.float64).reshape(shape)
    areas = np.array([person["area"] for _, person in matches], dtype=np.float64)
    sides = np.array([max(person["bbox"][2:]) for _, person in matches], dtype=np.float64)
    offsets, visibilities = predicted[..., :2] - labels[..., :2], labels[..., 2]
    distances = np.hypot(offsets[..., 0], offsets[..., 1])  # (M, K)
    relative = distances / np.maximum(sides[:, None], np.spacing(1.0))
    terms = oks_terms(distances, areas, np.asarray(skeleton.sigmas))
    scores = []
    for k, name in enumerate(skeleton.names):
        known = visibilities[:, k] > 0
        scores.append(
            KeypointScore(
                name=name,
                labelled=int(labelled[k]),
                found=int(known.sum()),
                oks=_mean(terms[known, k]),
                oks_occluded=_mean(terms[visibilities[:, k] == 1, k]),
                oks_visible=_mean(terms[visibilities[:, k] == 2, k]),
                pck_05=_mean(relative[known, k] < 0.05),
                pck_10=_mean(relative[known, k] < 0.1),
                pck_20=_mean(relative[known, k] < 0.2),
                median_error=float(np.median(distances[known, k])) if known.any() else float("nan"),
            )
        )
    return scores


def _mean(values: NDArray[Any]) -> float:
    return float(values.mean()) if values.size else float("nan")


HEADINGS = ("keypoint", "labelled", "found", "OKS", "v=1", "v=2", "PCK.05", "PCK.1", "PCK.2", "median px")


def format_table(scores: Sequence[KeypointScore]) -> str:
    """Aligned text for a terminal; shares are in percent."""
    rows: list[tuple[str, ...]] = [HEADINGS]
    for one in scores:
        shares = (one.oks, one.oks_occluded, one.oks_visible, one.pck_05, one.pck_10, one.pck_20)
        median = f"{one.median_error:.1f}" if one.median_error >= 0 else "-"
        rows.append((one.name, str(one.labelled), str(one.found), *map(percent, shares), median))
    first, *widths = (max(map(len, column)) for column in zip(*rows, strict=True))
    return "\n".join(
        "  ".join([row[0].ljust(first), *(cell.rjust(width) for cell, width in zip(row[1:], widths, strict=True))])
        for row in rows
    )


def percent(value: float) -> str:
    """'12.3' for 0.123; '-' for what is undefined (NaN, or COCO's -1)."""
    return f"{100 * value:.1f}" if value >= 0 else "-"


def csv_rows(scores: Sequence[KeypointScore]) -> list[list[str]]:
    """A heading and one row per keypoint; empty cells for what is undefined."""
    names = [field.name for field in fields(KeypointScore)]
    rows = [score.to_dict() for score in scores]
    return [names, *(["" if row[name] is None else str(row[name]) for name in names] for row in rows)]

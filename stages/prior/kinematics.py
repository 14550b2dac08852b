"""Limits of bones and angles, learnt from labelled poses: what nobody's body did, a predicted one hardly does."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np

from sia.evaluation.labels import LabelledPeople, Mask, Rows, to_box
from sia.evaluation.predictions import Array
from sia.skeletons.skeleton import Skeleton

RARE = 0.001
"""Fraction of the labelled poses that may break a limit: labels have mistakes too."""

BINS = 24
"""Of a full turn, for angles."""

FEWEST = 200
"""Poses below which a bone or an angle has no limits."""


@dataclass(frozen=True)
class KinematicLimits:
    """Limits of E bones and A angles.

    Attributes:
        edges: (E, 2) keypoints of each bone.
        longest: (E,) length relative to the longer side of the person's box.
        corners: (A, 3) keypoints of each angle: end, joint, end.
        usual: (A, BINS) bool, whether the angle occurs; a limb bent backwards doesn't, given what it is seen with.
    """

    edges: Rows
    longest: Array
    corners: Rows
    usual: Mask

    def broken(self, keypoints: Array, boxes: Array) -> Mask:
        """Which limits people break.

        Args:
            keypoints: (N, K, 2) pixels.
            boxes: (N, 4) x1, y1, x2, y2, pixels.

        Returns:
            (N, E + A) bool.
        """
        relative = to_box(keypoints, boxes)
        bones = _lengths(relative, self.edges) > self.longest
        bins = _bins(relative, self.corners)
        angles = ~self.usual[np.arange(len(self.corners)), bins]
        return np.concatenate([bones, angles], axis=1)


def learn_anatomy(poses: LabelledPeople, skeleton: Skeleton) -> KinematicLimits:
    """Limits that one labelled pose in a thousand breaks."""
    edges = np.array(skeleton.edges, dtype=np.int64).reshape(-1, 2)
    relative = np.where(poses.labelled[..., None], to_box(poses.keypoints, poses.boxes), np.nan)
    lengths = _lengths(relative, edges)
    corners = _corners(skeleton)
    bins = _bins(np.nan_to_num(relative), corners)
    known: Mask = np.all(poses.labelled[:, corners], axis=-1)
    longest = [_longest(lengths[:, e]) for e in range(len(edges))]
    usual = [_usual(bins[known[:, a], a]) for a in range(len(corners))]
    return KinematicLimits(edges, np.array(longest), corners, np.array(usual, dtype=bool).reshape(-1, BINS))


def _corners(skeleton: Skeleton) -> Rows:
    """Two bones that meet: (A, 3)."""
    found = []
    for first, second in combinations(skeleton.edges, 2):
        shared = set(first) & set(second)
        if len(shared) == 1:
            joint = shared.pop()
            found.append((sum(first) - joint, joint, sum(second) - joint))
    return np.array(found, dtype=np.int64).reshape(-1, 3)


def _lengths(relative: Array, edges: Rows) -> Array:
    return np.asarray(np.linalg.norm(relative[:, edges[:, 0]] - relative[:, edges[:, 1]], axis=-1))


def _bins(relative: Array, corners: Rows) -> Rows:
    """(N, A) bin of the signed angle from the first bone to the second."""
    first = relative[:, corners[:, 0]] - relative[:, corners[:, 1]]
    second = relative[:, corners[:, 2]] - relative[:, corners[:, 1]]
    cross = first[..., 0] * second[..., 1] - first[..., 1] * second[..., 0]
    angles = np.arctan2(cross, (first * second).sum(-1))
    return np.asarray(np.floor((angles + np.pi) / (2 * np.pi) * BINS).astype(np.int64) % BINS)


def _longest(lengths: Array) -> float:
    known = lengths[np.isfinite(lengths)]
    return float(np.quantile(known, 1 - RARE)) if len(known) >= FEWEST else np.inf


def _usual(bins: Array) -> Mask:
    if len(bins) < FEWEST:
        return np.ones(BINS, dtype=bool)
    shares = np.bincount(bins, minlength=BINS) / len(bins)
    return np.asarray(shares >= RARE)

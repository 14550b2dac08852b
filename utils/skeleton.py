"""Skeletons: names, edges, flip pairs and sigmas of keypoints. The one place where they are defined.

Sigmas are COCO's per-keypoint constants: OKS uses a standard deviation of ``2 * sigma * sqrt(area)``
(https://cocodataset.org/#keypoints-eval).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from utils.errors import DataError

DEFAULT_SIGMA = 0.067
"""Used for a keypoint whose sigma nobody states: the mean of COCO's seventeen."""


@dataclass(frozen=True)
class Skeleton:
    """K keypoints of one category.

    Attributes:
        names: K unique names, in annotation order.
        edges: pairs of 0-based indices drawn as limbs.
        flip_pairs: pairs of 0-based indices that trade places under a horizontal flip.
        sigmas: K positive OKS constants.
        category: the name of the category, such as ``person``.
    """

    names: tuple[str, ...]
    edges: tuple[tuple[int, int], ...]
    flip_pairs: tuple[tuple[int, int], ...]
    sigmas: tuple[float, ...]
    category: str = "person"

    def __post_init__(self) -> None:
        k = len(self.names)
        if k == 0:
            raise DataError("A skeleton needs at least one keypoint; 'keypoints' in the category is empty.")
        if len(set(self.names)) != k:
            raise DataError(f"Keypoint names must be unique, but got {list(self.names)}.")
        if len(self.sigmas) != k or not all(0 < s < math.inf for s in self.sigmas):
            raise DataError(f"A skeleton of {k} keypoints needs {k} positive sigmas, but got {list(self.sigmas)}.")
        bad = [pair for pair in (*self.edges, *self.flip_pairs) if not all(0 <= i < k for i in pair)]
        if bad:
            raise DataError(f"Skeleton pairs {bad} leave the range of its {k} keypoints.")
        flipped = [i for pair in self.flip_pairs for i in pair]
        if len(set(flipped)) != len(flipped):
            raise DataError(f"Each keypoint can be in one flip pair only, but got {list(self.flip_pairs)}.")

    @property
    def num_keypoints(self) -> int:
        """K."""
        return len(self.names)

    @property
    def flip_order(self) -> list[int]:
        """The permutation that swaps left and right: ``flipped[k] = original[flip_order[k]]``."""
        order = list(range(len(self.names)))
        for a, b in self.flip_pairs:
            order[a], order[b] = b, a
        return order

    def to_dict(self) -> dict[str, Any]:
        """Plain types only, for checkpoints and JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Skeleton:
        """Inverse of `to_dict`."""
        return cls(
            names=tuple(values["names"]),
            edges=tuple((int(a), int(b)) for a, b in values["edges"]),
            flip_pairs=tuple((int(a), int(b)) for a, b in values["flip_pairs"]),
            sigmas=tuple(float(s) for s in values["sigmas"]),
            category=str(values.get("category", "person")),
        )

    @classmethod
    def from_category(cls, category: Mapping[str, Any]) -> Skeleton:
        """Reads one entry of a COCO file's ``categories``.

        ``skeleton`` is 1-based, as in COCO. ``sigmas`` and ``flip_pairs`` (pairs of names) are optional
        extensions; without them, COCO's own names get COCO's sigmas, others the mean of COCO's, and
        flip pairs follow from ``left``/``right`` in the names.

        Raises:
            DataError: the category declares no keypoints, or pairs or sigmas that don't fit them.
        """
        names = tuple(str(name) for name in category.get("keypoints") or ())
        if not names:
            raise DataError(
                f"Category '{category.get('name', category.get('id'))}' declares no keypoints. "
                "Add its list of keypoint names as 'keypoints'."
            )
        pairs = category.get("flip_pairs")
        return cls(
            names=names,
            edges=tuple((int(a) - 1, int(b) - 1) for a, b in category.get("skeleton") or ()),
            flip_pairs=infer_flip_pairs(names) if pairs is None else _pairs_by_name(names, pairs),
            sigmas=tuple(float(s) for s in category.get("sigmas") or map(_sigma_of, names)),
            category=str(category.get("name", "person")),
        )


def _pairs_by_name(names: Sequence[str], pairs: Sequence[Sequence[str]]) -> tuple[tuple[int, int], ...]:
    unknown = [name for pair in pairs for name in pair if name not in names]
    if unknown:
        raise DataError(f"'flip_pairs' names {unknown}, which are not among the keypoints {list(names)}.")
    return tuple((names.index(a), names.index(b)) for a, b in pairs)


def infer_flip_pairs(names: Sequence[str]) -> tuple[tuple[int, int], ...]:
    """Pairs each name that has ``left`` (or a lone ``l``) with its twin that has ``right`` (or ``r``)."""
    index = {_side_words(name): i for i, name in enumerate(names)}
    twins = ((i, index.get(_swap_left(words))) for words, i in index.items())
    return tuple((i, j) for i, j in twins if j is not None and j != i)


def _side_words(name: str) -> tuple[str, ...]:
    spaced = name.lower().replace("left", " left ").replace("right", " right ")
    return tuple(spaced.replace("_", " ").replace("-", " ").split())


def _swap_left(words: tuple[str, ...]) -> tuple[str, ...]:
    return tuple({"left": "right", "l": "r"}.get(word, word) for word in words)


_COCO_SIGMAS = {
    "nose": 0.026,
    "eye": 0.025,
    "ear": 0.035,
    "shoulder": 0.079,
    "elbow": 0.072,
    "wrist": 0.062,
    "hip": 0.107,
    "knee": 0.087,
    "ankle": 0.089,
}


def _sigma_of(name: str) -> float:
    words = [word for word in _side_words(name) if word not in ("left", "right", "l", "r")]
    return _COCO_SIGMAS.get(" ".join(words), DEFAULT_SIGMA)


COCO_PERSON = Skeleton.from_category(
    {
        "name": "person",
        "keypoints": [
            "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder",
            "left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee",
            "right_knee", "left_ankle", "right_ankle",
        ],
        "skeleton": [
            [16, 14], [14, 12], [17, 15], [15, 13], [12, 13], [6, 12], [7, 13], [6, 7], [6, 8], [7, 9],
            [8, 10], [9, 11], [2, 3], [1, 2], [1, 3], [2, 4], [3, 5], [4, 6], [5, 7],
        ],
    }
)  # fmt: skip
"""COCO's seventeen keypoints of a person."""

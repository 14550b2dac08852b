"""Skeletons: names, edges, flip pairs and sigmas of keypoints. The one place where they are defined.

Sigmas are COCO's per-keypoint constants: OKS uses a standard deviation of ``2 * sigma * sqrt(area)``
(https://cocodataset.org/#keypoints-eval).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from itertools import accumulate, pairwise
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from sia.errors import DataError
from sia.skeletons.category import read_lines, read_names, read_pairs, read_sigmas
from sia.skeletons.sides import LEFT, RIGHT, read_sides, side_words

DEFAULT_SIGMA = 0.067
"""Used for a keypoint whose sigma nobody states: the mean of COCO's seventeen."""


DECLARED, INFERRED, UNKNOWN = "declared", "inferred", "unknown"
"""Where flip pairs are from."""


@dataclass(frozen=True)
class Category:
    """One of several categories of a skeleton.

    Attributes:
        name: such as ``dog``.
        id: that the annotation file gives it.
        num_keypoints: how many of the skeleton's keypoints are its own; those of the categories follow each other.
        flips: that of the category alone.
    """

    name: str
    id: int
    num_keypoints: int
    flips: str = field(default=UNKNOWN, compare=False)


@dataclass(frozen=True)
class Skeleton:
    """K keypoints of one category, or of several, one block after the other.

    Attributes:
        names: K unique names, in annotation order.
        edges: pairs of 0-based indices drawn as limbs.
        flip_pairs: pairs of 0-based indices that trade places under a horizontal flip.
        sigmas: K positive OKS constants.
        category: the name of the category, such as ``person``.
        flips: where the pairs are from: ``declared`` (no pairs then mean that every point is its own mirror image),
            ``inferred`` from the names, or ``unknown``; then nothing may be mirrored. Where it isn't said, as in files
            of earlier versions, no pairs are declared ones if the names speak of no sides.
        categories: where there are several; empty for one. Names are then ``CATEGORY.NAME``, and an instance has the
            keypoints of one block: `own` says which.
    """

    names: tuple[str, ...]
    edges: tuple[tuple[int, int], ...]
    flip_pairs: tuple[tuple[int, int], ...]
    sigmas: tuple[float, ...]
    category: str = "person"
    flips: str = field(default="", compare=False)
    categories: tuple[Category, ...] = ()

    def __post_init__(self) -> None:
        k = len(self.names)
        if not self.flips:
            sides = read_sides(self.names)
            sure = bool(self.flip_pairs) or not (sides.pairs or sides.doubt)
            object.__setattr__(self, "flips", DECLARED if sure else UNKNOWN)
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
        unsure = self.flips == UNKNOWN and self.flip_pairs and not self.categories
        if self.flips not in (DECLARED, INFERRED, UNKNOWN) or unsure:
            raise DataError(f"'flips' of a skeleton is {self.flips!r} with {len(self.flip_pairs)} pairs.")
        counts = [category.num_keypoints for category in self.categories]
        if self.categories and (
            sum(counts) != k or min(counts) < 1 or len(set(self.class_names)) < max(2, len(counts))
        ):
            raise DataError(f"Categories {self.class_names} with {counts} keypoints make no skeleton of {k} keypoints.")
        owner = [number for number, count in enumerate(counts or [k]) for _ in range(count)]
        apart = [(a, b) for a, b in (*self.edges, *self.flip_pairs) if owner[a] != owner[b]]
        if apart:
            raise DataError(f"Skeleton pairs {apart} join keypoints of two categories.")

    @property
    def num_keypoints(self) -> int:
        """K."""
        return len(self.names)

    @property
    def class_names(self) -> list[str]:
        """Of its categories."""
        return [category.name for category in self.categories] or [self.category]

    @property
    def blocks(self) -> list[slice]:
        """The keypoints of each category."""
        counts = [category.num_keypoints for category in self.categories] or [self.num_keypoints]
        return [slice(*ends) for ends in pairwise(accumulate(counts, initial=0))]

    @cached_property
    def parts(self) -> tuple[Skeleton, ...]:
        """The skeleton of each category on its own."""
        if not self.categories:
            return (self,)
        return tuple(
            Skeleton(
                names=tuple(name.removeprefix(f"{category.name}.") for name in self.names[block]),
                edges=tuple(_inside(self.edges, block)),
                flip_pairs=tuple(_inside(self.flip_pairs, block)),
                sigmas=self.sigmas[block],
                category=category.name,
                flips=category.flips,
            )
            for category, block in zip(self.categories, self.blocks, strict=True)
        )

    def refuse_several(self, what: str) -> None:
        """For what can't tell categories apart.

        Args:
            what: names it in the message.

        Raises:
            DataError: there are several.
        """
        if self.categories:
            several = ", ".join(f"'{name}'" for name in self.class_names)
            raise DataError(f"{what} takes the keypoints of one category, but here are those of {several}.")

    def class_ids(self, confidences: NDArray[np.floating[Any]]) -> NDArray[np.int64]:
        """(N, K) in [0, 1] -> (N,) index of the category of each instance: that of its surest keypoint.

        Not of the highest mean: of somebody at the border of the image, most keypoints are unsure.
        """
        surest = [confidences[:, block].max(axis=1) for block in self.blocks]
        return np.asarray(np.argmax(surest, axis=0), np.int64)

    def classes(self, confidences: NDArray[np.floating[Any]]) -> list[str]:
        """The names of `class_ids`."""
        return [self.class_names[number] for number in self.class_ids(confidences)]

    def own(self, confidences: NDArray[np.floating[Any]]) -> NDArray[np.bool_]:
        """(N, K) in [0, 1] -> (N, K) bool, the keypoints that belong to the category of each instance."""
        owners = np.repeat(np.arange(len(self.blocks)), [block.stop - block.start for block in self.blocks])
        return np.asarray(self.class_ids(confidences)[:, None] == owners)

    @property
    def flip_order(self) -> list[int]:
        """The permutation that swaps left and right: ``flipped[k] = original[flip_order[k]]``."""
        order = list(range(len(self.names)))
        for a, b in self.flip_pairs:
            order[a], order[b] = b, a
        return order

    @property
    def mirrors(self) -> bool:
        """Whether a mirror image can be labelled: which keypoints trade places is known."""
        return self.flips != UNKNOWN

    def describe_flips(self) -> str:
        """One line: what is mirrored into what and how that is known, or why nothing is mirrored."""
        if self.categories:
            parts = [part for part in self.parts if part.mirrors == self.mirrors]
            return "; ".join(f"'{part.category}' {part.describe_flips()}" for part in parts)
        if not self.mirrors:
            return (
                f"off, since {read_sides(self.names).doubt or 'its pairs are unknown'}: declare 'flip_pairs' in the "
                "category (pairs of names; [] where every keypoint is its own mirror image)"
            )
        pairs = ", ".join(f"{self.names[a]}/{self.names[b]}" for a, b in self.flip_pairs) or "none"
        return f"pairs {'from the names' if self.flips == INFERRED else 'as declared'}: {pairs}"

    def describe_sigmas(self, category: Mapping[str, Any]) -> str:
        """One line about those that the category doesn't declare and COCO doesn't know; empty where there are none."""
        unknown = [name for name in self.names if _coco_sigma(name) is None]
        if category.get("sigmas") or not unknown:
            return ""
        named = ", ".join(unknown[:5]) + (f" and {len(unknown) - 5} more" if len(unknown) > 5 else "")
        return f"sigmas are not declared: {DEFAULT_SIGMA}, the mean of COCO's, is taken for {named}"

    def to_dict(self) -> dict[str, Any]:
        """Plain types only, for checkpoints and JSON."""
        values = asdict(self)
        return values if self.categories else {name: value for name, value in values.items() if name != "categories"}

    def to_category(self, number: int = 1) -> dict[str, Any]:
        """An entry of a COCO file's ``categories``; inverse of `from_category`."""
        pairs = [[self.names[a], self.names[b]] for a, b in self.flip_pairs]
        return {
            "id": number,
            "name": self.category,
            "keypoints": list(self.names),
            "skeleton": [[a + 1, b + 1] for a, b in self.edges],
            **({"flip_pairs": pairs} if self.mirrors else {}),
            "sigmas": list(self.sigmas),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Skeleton:
        """Inverse of `to_dict`."""
        return msgspec.convert(values, cls)

    @classmethod
    def join(cls, parts: Sequence[tuple[int, Skeleton]]) -> Skeleton:
        """Several categories, with their ids, as one skeleton.

        Raises:
            DataError: two have one name.
        """
        ids, skeletons = zip(*parts, strict=True)
        names = [skeleton.category for skeleton in skeletons]
        twice = next((name for i, name in enumerate(names) if name in names[:i]), None)
        if twice is not None:
            raise DataError(f"Two categories with different keypoints are called '{twice}'. Give each its own name.")
        starts = [*accumulate((skeleton.num_keypoints for skeleton in skeletons), initial=0)]
        moved = [
            [tuple((a + start, b + start) for a, b in pairs) for pairs in (skeleton.edges, skeleton.flip_pairs)]
            for start, skeleton in zip(starts, skeletons, strict=False)
        ]
        flips = [skeleton.flips for skeleton in skeletons]
        return cls(
            names=tuple(f"{skeleton.category}.{name}" for skeleton in skeletons for name in skeleton.names),
            edges=sum((edges for edges, _ in moved), ()),
            flip_pairs=sum((pairs for _, pairs in moved), ()),
            sigmas=sum((skeleton.sigmas for skeleton in skeletons), ()),
            category=", ".join(names),
            flips=next(kind for kind in (UNKNOWN, INFERRED, DECLARED) if kind in flips),
            categories=tuple(
                Category(skeleton.category, number, skeleton.num_keypoints, skeleton.flips)
                for number, skeleton in zip(ids, skeletons, strict=True)
            ),
        )

    @classmethod
    def from_category(cls, category: Mapping[str, Any]) -> Skeleton:
        """Reads one entry of a COCO file's ``categories``.

        ``skeleton`` is 1-based, as in COCO; what else is understood, `sia.skeletons.category` says. ``sigmas`` and
        ``flip_pairs`` (pairs of names) are optional extensions; without them, COCO's own names get COCO's sigmas,
        others the mean of COCO's, and flip pairs follow from the sides in the names, where these say them.

        Raises:
            DataError: the category declares no keypoints, or pairs or sigmas that don't fit them.
        """
        names = read_names(category)
        pairs = category.get("flip_pairs")
        sides = read_sides(names)
        guessed = UNKNOWN if sides.doubt else INFERRED
        return cls(
            names=names,
            edges=read_lines(category.get("skeleton"), names).edges,
            flip_pairs=sides.pairs if pairs is None else read_pairs(pairs, names),
            sigmas=tuple(
                read_sigmas(category.get("sigmas"), len(names))
                or (_coco_sigma(name) or DEFAULT_SIGMA for name in names)
            ),
            category=str(category.get("name", "person")),
            flips=guessed if pairs is None else DECLARED,
        )


def _inside(pairs: Sequence[tuple[int, int]], block: slice) -> Iterator[tuple[int, int]]:
    """Those of one category, counted from its first keypoint."""
    return ((a - block.start, b - block.start) for a, b in pairs if block.start <= min(a, b) <= max(a, b) < block.stop)


_COCO_SIGMAS = {
    "nose": 0.026, "eye": 0.025, "ear": 0.035, "shoulder": 0.079, "elbow": 0.072, "wrist": 0.062, "hip": 0.107,
    "knee": 0.087, "ankle": 0.089,
}  # fmt: skip


def _coco_sigma(name: str) -> float | None:
    """That of the part of the body, whatever its side."""
    return _COCO_SIGMAS.get(" ".join(word for word in side_words(name) if word not in (LEFT, RIGHT)))


COCO_PERSON = Skeleton.from_category(
    {
        "name": "person",
        "keypoints": [
            "nose",
            *(f"{side}_{part}" for part in list(_COCO_SIGMAS)[1:] for side in (LEFT, RIGHT)),
        ],
        "skeleton": [
            [16, 14], [14, 12], [17, 15], [15, 13], [12, 13], [6, 12], [7, 13], [6, 7], [6, 8], [7, 9],
            [8, 10], [9, 11], [2, 3], [1, 2], [1, 3], [2, 4], [3, 5], [4, 6], [5, 7],
        ],
    }
)  # fmt: skip
"""COCO's seventeen keypoints of a person."""

"""Of whom a model, or a pipeline, is unsure: them the language model describes, all others the templates alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sia.people import People
from sia.skeletons.oks import AREA_OF_BOX, pairwise_oks_terms
from sia.skeletons.skeleton import Skeleton

Find = Callable[[Sequence[NDArray[np.uint8]]], list[People]]
"""Images -> the people of each, best first, in its pixels."""

BELOW, AGREE = 0.7, 0.7
"""Score, and OKS between two looks, below which someone is in doubt: half of the people whom the bundled weights show,
of whom half are right; of the others nine in ten are (docs/description.md)."""


@dataclass(frozen=True)
class Doubt:
    """Thresholds, both in [0, 1]: on the score, and on `People.agreement` where there is one."""

    below: float = BELOW
    agree: float = AGREE

    def reasons(self, people: People) -> list[str | None]:
        """Why each of the people is in doubt; None for those who aren't."""
        agreement = np.ones(len(people)) if people.agreement is None else people.agreement
        told = []
        for score, agreed in zip(people.scores.tolist(), agreement.tolist(), strict=True):
            parts = [f"score {score:.2f} below {self.below:g}"] * (score < self.below)
            parts += [f"two looks agree by {agreed:.2f}, below {self.agree:g}"] * (agreed < self.agree)
            told.append("; ".join(parts) or None)
        return told


def agreement(people: People, others: People, skeleton: Skeleton) -> NDArray[np.float64]:
    """(N,) OKS of each of the people with the closest of the others; 0 where there are none."""
    if not len(others):
        return np.zeros(len(people))
    areas = [AREA_OF_BOX * (who.boxes[:, 2:] - who.boxes[:, :2]).astype(np.float64).prod(1) for who in (people, others)]
    terms = pairwise_oks_terms(people.keypoints, areas[0], others.keypoints, areas[1], skeleton.sigmas)
    return np.asarray(terms.mean(-1).max(1))


def mirror(people: People, width: int, flip_order: list[int]) -> People:
    """The people of a mirrored image of this width, in the image as it was."""
    boxes = people.boxes.copy()
    boxes[:, [0, 2]] = width - people.boxes[:, [2, 0]]
    keypoints = people.keypoints[:, flip_order].copy()
    keypoints[..., 0] = width - keypoints[..., 0]
    return People(boxes, people.scores, keypoints, people.confidences[:, flip_order])


def look_twice(find: Find, skeleton: Skeleton) -> Find:
    """Also looks at the mirror images, which takes as long again; people get their `People.agreement`."""

    def find_twice(images: Sequence[NDArray[np.uint8]]) -> list[People]:
        found = find(images)
        again = find([np.ascontiguousarray(image[:, ::-1]) for image in images])
        back = (mirror(p, image.shape[1], skeleton.flip_order) for p, image in zip(again, images, strict=True))
        return [replace(p, agreement=agreement(p, other, skeleton)) for p, other in zip(found, back, strict=True)]

    return find_twice

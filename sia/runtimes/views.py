"""A second look at an image: at its mirror image, or where nothing may be mirrored, at the image moved aside."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from sia.people import People
from sia.skeletons.oks import AREA_OF_BOX, pairwise_oks_terms
from sia.skeletons.skeleton import Skeleton

Find = Callable[[Sequence[NDArray[np.uint8]]], list[People]]
"""Images -> the people of each, best first, in its pixels."""

SHIFT = 8
"""Pixels by which the second view is moved to the right where nothing may be mirrored."""


def second_view(image: NDArray[np.uint8], skeleton: Skeleton) -> NDArray[np.uint8]:
    """(H, W, 3): the mirror image; where the skeleton forbids it, the image moved by `SHIFT`."""
    return np.ascontiguousarray(image[:, ::-1] if skeleton.mirrors else np.roll(image, SHIFT, axis=1))


def back(people: People, width: int, skeleton: Skeleton) -> People:
    """People of the `second_view` of an image of this width -> people of the image."""
    if not skeleton.mirrors:
        boxes, keypoints = people.boxes.copy(), people.keypoints.copy()
        boxes[:, [0, 2]] -= SHIFT
        keypoints[..., 0] -= SHIFT
        return replace(people, boxes=boxes, keypoints=keypoints)
    order = skeleton.flip_order
    boxes, keypoints = people.boxes.copy(), people.keypoints[:, order]
    boxes[:, [0, 2]] = width - people.boxes[:, [2, 0]]
    keypoints[..., 0] = width - keypoints[..., 0]
    told = [None if part is None else part[:, order] for part in (people.visibilities, people.sigmas)]
    confidences = people.confidences[:, order]
    return replace(
        people, boxes=boxes, keypoints=keypoints, confidences=confidences, visibilities=told[0], sigmas=told[1]
    )


def agreement(people: People, others: People, skeleton: Skeleton) -> NDArray[np.float64]:
    """(N,) OKS of each of the people with the closest of the others; 0 where there are none."""
    if not len(others):
        return np.zeros(len(people))
    areas = [AREA_OF_BOX * (who.boxes[:, 2:] - who.boxes[:, :2]).astype(np.float64).prod(1) for who in (people, others)]
    terms = pairwise_oks_terms(people.keypoints, areas[0], others.keypoints, areas[1], skeleton.sigmas)
    own = skeleton.own(people.confidences)[:, None]  # keypoints of other categories lie anywhere
    return np.asarray(((terms * own).sum(-1) / own.sum(-1)).max(1))


def look_twice(find: Find, skeleton: Skeleton) -> Find:
    """Also looks at the second views, which takes as long again; people get their `People.agreement`."""

    def find_twice(images: Sequence[NDArray[np.uint8]]) -> list[People]:
        found = find(images)
        again = find([second_view(image, skeleton) for image in images])
        others = (back(p, image.shape[1], skeleton) for p, image in zip(again, images, strict=True))
        return [replace(p, agreement=agreement(p, other, skeleton)) for p, other in zip(found, others, strict=True)]

    return find_twice

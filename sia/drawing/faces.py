"""Makes the heads of people unrecognisable. In doubt it blurs: too much, too large, too long."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from sia.drawing.annotator import Image
from sia.people import People
from sia.skeletons.sides import side_words
from sia.skeletons.skeleton import Skeleton

Points = NDArray[np.float32]

_FACE = frozenset(("nose", "eye", "ear", "face", "head", "forehead", "chin", "mouth", "beak", "snout", "muzzle"))
"""Words in the names of keypoints of a head."""
_SEEN = 0.3
"""Least confidence of a keypoint that says where the head is."""
_CELLS = 5
"""Colours that remain along each side of a head, the margin included."""


LEAST = 1 / 3
"""People with at least this fraction of the score from which they are shown are blurred."""


def head_boxes(people: People, skeleton: Skeleton) -> Points:
    """(N, 4) corners around the heads, with a generous margin.

    Around the keypoints of the face, where one is seen; else above the shoulders; else the upper part of the box.
    """
    face = [k for k, name in enumerate(skeleton.names) if not _FACE.isdisjoint(side_words(name))]
    index = {name: k for k, name in enumerate(skeleton.names)}
    shoulders = [index[name] for name in ("left_shoulder", "right_shoulder") if name in index]
    hips = [index[name] for name in ("left_hip", "right_hip") if name in index]
    boxes = np.empty((len(people), 4), np.float32)
    for row, person in enumerate(people):
        seen = person.confidences >= _SEEN
        points = [person.keypoints[[k for k in group if seen[k]]] for group in (face, shoulders, hips)]
        boxes[row] = _head_box(person.box, *points)
    return boxes


def _head_box(box: Points, face: Points, shoulders: Points, hips: Points) -> Points:
    """Of one person, from the keypoints that are seen; a head is about half as high as a trunk is long."""
    longer = float((box[2:] - box[:2]).max())
    trunk = shoulders.mean(0) - hips.mean(0) if len(shoulders) and len(hips) else np.array([0, -1e-6], np.float32)
    length = float(np.linalg.norm(trunk))
    reach = max(1.3 * _spread(face), 0.5 * _spread(shoulders), 0.45 * length)
    if len(face) and reach > 0:
        centre, reach = face.mean(0), max(reach, 0.06 * longer)
    elif len(shoulders) and reach > 0:
        reach = max(reach, 0.1 * longer)
        centre, reach = shoulders.mean(0) + 1.2 * reach / max(length, 1e-6) * trunk, 2.0 * reach
    else:
        width, height = box[2:] - box[:2]
        margin = 0.05 * height
        return np.array([box[0] - margin, box[1] - margin, box[2] + margin, box[1] + min(0.5 * height, 1.2 * width)])
    return np.concatenate([centre - reach, centre + reach])


def _spread(points: Points) -> float:
    """The longest distance between two of them."""
    return float(np.linalg.norm(points[:, None] - points[None], axis=-1).max(initial=0))


def blur_boxes(image: Image, boxes: NDArray[np.floating]) -> None:
    """Leaves a few colours of each box in an image, which it changes; no pixel keeps its value.

    Args:
        image: (H, W, 3) uint8.
        boxes: (N, 4) corners in pixels; parts outside the image are left out.
    """
    height, width = image.shape[:2]
    before, inside = image.copy(), np.zeros((height, width), bool)
    low = np.floor(boxes[:, :2]).clip(0, (width, height)).astype(int)
    high = np.ceil(boxes[:, 2:]).clip(0, (width, height)).astype(int)
    for (x1, y1), (x2, y2) in zip(low.tolist(), high.tolist(), strict=True):
        if x2 <= x1 or y2 <= y1:
            continue
        region = image[y1:y2, x1:x2]
        few = cv2.resize(region, (min(_CELLS, x2 - x1), min(_CELLS, y2 - y1)), interpolation=cv2.INTER_AREA)
        region[:] = cv2.resize(few, (x2 - x1, y2 - y1), interpolation=cv2.INTER_LINEAR)
        inside[y1:y2, x1:x2] = True
    image[inside & (image == before).all(-1)] ^= 4  # what is even stays even, but not what it was

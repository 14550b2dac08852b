"""COCO's visibility flags, boxes and areas, read from the id map."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from datasets.synthetic.body import Array
from datasets.synthetic.parts import LABEL, Figure
from datasets.synthetic.render import SUPERSAMPLE, Camera, IdMap

_TRUNK = ("torso", "skirt")


def _own(*names: str) -> frozenset[int]:
    return frozenset(LABEL[name] for name in names)


def _limb_labels() -> list[frozenset[int]]:
    joints = []
    for upper, lower in (
        ("", "upper_arm"),
        ("upper_arm", "forearm"),
        ("forearm", "hand"),
        ("", "thigh"),
        ("thigh", "shank"),
        ("shank", "foot"),
    ):
        for side in ("left", "right"):
            near = [f"{side}_{name}" for name in (upper, lower) if name]
            joints.append(_own(*near, *(_TRUNK if not upper else ("skirt",) if upper == "thigh" else ())))
    return joints


_SHOWING: list[frozenset[int]] = [
    _own("face"), _own("face"), _own("face"), _own("left_ear"), _own("right_ear"), *_limb_labels(),
]  # fmt: skip
"""A keypoint is visible where the pixel under it belongs to one of these parts of its own person."""

_SHOWING[5] |= _own("neck")
_SHOWING[6] |= _own("neck")


def flag_keypoints(figure: Figure, camera: Camera, ids: IdMap, owner: int) -> Array:
    """Keypoints (17, 3): x, y in pixels of the image and COCO's v.

    0 (with x = y = 0): outside the image. 1: behind something, its own body included. 2: seen.
    """
    assert figure.keypoints is not None
    uv, depth = camera.project(figure.keypoints)
    height, width = ids.shape
    cell = np.floor(uv * SUPERSAMPLE).clip(-1, 1e6).astype(int)
    inside = (cell[:, 0] >= 0) & (cell[:, 1] >= 0) & (cell[:, 0] < width) & (cell[:, 1] < height) & (depth > 0)
    turned = _turned_away(figure, camera)
    result = np.zeros((17, 3))
    for k in np.flatnonzero(inside):
        found = int(ids[cell[k, 1], cell[k, 0]])
        seen = found // 32 == owner and found % 32 in _SHOWING[k] and not turned[k]
        result[k] = (*uv[k], 2 if seen else 1)
    return result


def _turned_away(figure: Figure, camera: Camera) -> NDArray[np.bool_]:
    """Nose, eyes and ears on the far side of the head; shoulders and hips on the far side of the trunk."""
    assert figure.keypoints is not None and figure.key_normals is not None
    to_eye = camera.position - figure.keypoints
    to_eye /= np.linalg.norm(to_eye, axis=1, keepdims=True)
    facing = np.einsum("ki,ki->k", figure.key_normals, to_eye)
    turned = facing < np.array([-0.1, 0.0, 0.0, -0.3, -0.3] + [-1.0] * 12)
    for left, right in ((5, 6), (11, 12)):
        across = figure.keypoints[left] - figure.keypoints[right]
        side = float(across @ to_eye[left]) / float(np.linalg.norm(across))
        turned[left] |= side < -0.9
        turned[right] |= side > 0.9
    return np.asarray(turned, bool)


def extent(ids: IdMap, owner: int) -> tuple[float, float, float, float, float]:
    """Box x, y, w, h and area of a person's visible pixels, in pixels of the image; zeros where none is seen."""
    mask = (ids >> 5) == owner
    columns = np.flatnonzero(mask.any(0))
    if len(columns) == 0:
        return (0.0, 0.0, 0.0, 0.0, 0.0)
    rows = np.flatnonzero(mask.any(1))
    x, y = columns[0] / SUPERSAMPLE, rows[0] / SUPERSAMPLE
    w, h = (columns[-1] + 1) / SUPERSAMPLE - x, (rows[-1] + 1) / SUPERSAMPLE - y
    return (float(x), float(y), float(w), float(h), float(mask.sum()) / SUPERSAMPLE**2)

"""Squares of images around people: cut out once, wide enough to be looked at from places nearby."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from sia.evaluation.labels import Rows, frame_of
from sia.evaluation.predictions import Array
from sia.modules.roi_keypoint_head import MARGIN
from sia.runtimes.letterbox import FILL, affine, warp_image
from stages.ensemble.refinement_network import SIDE as VIEW
from stages.stage import Images

SIDE = 112
"""Pixels along a crop."""

REACH = 1.75
"""Side of a crop over the longer side of the box."""

LARGEST = 4.0
"""Side of a crop over the longer side of the image: boxes may be anything."""

CONTRAST = 64.0
"""Grey levels that become 1 for the network."""


@dataclass(frozen=True)
class Crops:
    """N squares.

    Attributes:
        pixels: (N, SIDE, SIDE, 3) uint8, RGB; grey beyond the image.
        centres: (N, 2) x, y in pixels of the image.
        sides: (N,) likewise.
    """

    pixels: NDArray[np.uint8]
    centres: Array
    sides: Array

    def select(self, rows: Rows) -> Crops:
        """Some of them; an index may come twice."""
        return Crops(self.pixels[rows], self.centres[rows], self.sides[rows])


def crop_people(image: NDArray[np.uint8], boxes: Array) -> Crops:
    """Cuts the squares of (N, 4) boxes x1, y1, x2, y2 out of an (H, W, 3) image."""
    height, width = image.shape[:2]
    centres, sides = frame_of(boxes)
    sides = (REACH * sides[:, 0, 0]).clip(max=LARGEST * max(height, width))
    centres = centres[:, 0].clip(-sides[:, None], sides[:, None] + (width, height))
    pixels = np.zeros((len(boxes), SIDE, SIDE, 3), np.uint8)
    for row, (centre, side) in enumerate(zip(centres, sides, strict=True)):
        scale = SIDE / side
        pixels[row] = warp_image(image, affine(np.eye(2) * scale, SIDE / 2 - scale * centre), (SIDE, SIDE))
    return Crops(pixels, centres, sides)


def read_crops(images: Images, image_ids: Rows, boxes: Array) -> Crops:
    """Those of people in several images, each of which is read once; row by row as given.

    Raises:
        DataError: an image can't be read.
    """
    crops = Crops(np.zeros((len(boxes), SIDE, SIDE, 3), np.uint8), np.zeros((len(boxes), 2)), np.ones(len(boxes)))
    for image_id in images.ids:
        rows = np.flatnonzero(image_ids == image_id)
        if len(rows):
            found = crop_people(images.read(image_id), boxes[rows])
            crops.pixels[rows], crops.centres[rows], crops.sides[rows] = found.pixels, found.centres, found.sides
    return crops


def view_crops(crops: Crops, boxes: Array, turns: Array | None = None, pivots: Array | None = None) -> Tensor:
    """What `stages.ensemble.refinement_network` looks at: the square around each box, upright in a turned image.

    Args:
        crops: N of them.
        boxes: (N, 4) in the turned images.
        turns: (N, 2, 2) orthogonal: a point p of the image is at ``turn (p - pivot) + pivot`` of the turned one.
        pivots: (N, 2).

    Returns:
        (N, 3, VIEW, VIEW) float32; grey is 0.
    """
    middles, sides = frame_of(boxes)
    back = np.eye(2) + np.zeros((len(boxes), 2, 2)) if turns is None else turns.transpose(0, 2, 1)
    about = crops.centres if pivots is None else pivots
    linear = back * (MARGIN * sides / crops.sides[:, None, None])
    shift = (about - crops.centres + np.einsum("nij,nj->ni", back, middles[:, 0] - about)) * 2 / crops.sides[:, None]
    matrices = torch.from_numpy(np.concatenate([linear, shift[..., None]], axis=-1)).float()
    grid = F.affine_grid(matrices, [len(boxes), 3, VIEW, VIEW], align_corners=False)
    pixels = (torch.from_numpy(crops.pixels).permute(0, 3, 1, 2).float() - FILL) / CONTRAST
    return F.grid_sample(pixels, grid, align_corners=False)

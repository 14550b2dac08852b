"""Sheets of people whose keypoints the prior moved: those it brought nearer to their labels, and those led astray."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from datasets.coco.coco_pose import CocoPose
from sia.drawing.annotator import Image, PoseAnnotator, with_caption
from sia.drawing.crop import crop_around
from sia.evaluation.labels import Mask, Rows
from sia.evaluation.predictions import Array, Predictions
from sia.io.images import write_image
from sia.people import People
from stages.prior.parts import MatchedLabels
from utils.plots import grid

SHOWN = 6
"""People on a sheet."""
COLUMNS = 2
TILE = 240
"""Side of a drawing, pixels."""
FEWEST_JOINTS = 9
"""Labelled keypoints of a person worth showing."""
LEAST_CHANGE = 0.01
"""Of OKS; less can't be seen."""


@dataclass(frozen=True)
class Moved:
    """N people before and after.

    Attributes:
        name: of the sheets' files.
        title: what moved them.
        before, after: row by row the same people.
        truth: their labels.
    """

    name: str
    title: str
    before: Predictions
    after: Predictions
    truth: MatchedLabels

    def oks(self) -> Array:
        """(2, N) before and after."""
        return np.stack([self.truth.oks(self.before), self.truth.oks(self.after)])

    def extremes(self) -> tuple[Rows, Rows]:
        """Rows of the people who came nearest to their labels, and of those who left them most."""
        labelled = self.truth.labels.select(self.truth.found).labelled.sum(1)
        clear = self.truth.matched & (labelled >= FEWEST_JOINTS)
        gains = np.where(clear, np.diff(self.oks(), axis=0)[0], 0.0)
        order = np.argsort(-gains, kind="stable")
        better, worse = order[:SHOWN], order[::-1][:SHOWN]
        return better[gains[better] > LEAST_CHANGE], worse[gains[worse] < -LEAST_CHANGE]


def draw_sheets(data: CocoPose, moved: Moved, folder: Path) -> list[Path]:
    """Writes up to two sheets, ``NAME-better.jpg`` and ``NAME-worse.jpg``.

    Raises:
        DataError: an image can't be read.
        OutputError: a sheet can't be written.
    """
    sheets = []
    for kind, rows in zip(("better", "worse"), moved.extremes(), strict=True):
        if len(rows):
            path = folder / f"{moved.name}-{kind}.jpg"
            write_image(path, _sheet(data, moved, rows, f"{moved.title}: those who came out {kind}."))
            sheets.append(path)
    return sheets


def _sheet(data: CocoPose, moved: Moved, rows: Rows, title: str) -> Image:
    cells = [_cell(data, moved, int(row)) for row in rows]
    sheet = grid(cells, COLUMNS)
    head = with_caption(np.zeros((0, sheet.shape[1], 3), np.uint8), [f"Labels, before, after. {title}"])
    return np.concatenate([head, sheet])


def _cell(data: CocoPose, moved: Moved, row: int) -> Image:
    """Labels, before and after of one person; only labelled keypoints, as OKS counts no others."""
    index = data.image_ids.index(int(moved.before.image_ids[row]))
    label = moved.truth.labels.select(moved.truth.found[row : row + 1])
    boxes = np.concatenate([label.boxes, moved.before.boxes[row : row + 1]])
    annotator, image = PoseAnnotator(data.skeleton, boxes=False), data.read_image(index)
    poses = (label.keypoints, moved.before.keypoints[row : row + 1], moved.after.keypoints[row : row + 1])
    tiles = [_tile(annotator, image, boxes, pose, label.labelled) for pose in poses]
    oks = moved.oks()[:, row]
    text = f"{data.file(index).name}: OKS {oks[0]:.2f} -> {oks[1]:.2f}"
    return with_caption(grid(tiles, len(tiles)), [text])


def _tile(annotator: PoseAnnotator, image: Image, boxes: Array, points: Array, labelled: Mask) -> Image:
    """(TILE, TILE, 3) of the part of the image around (B, 4) boxes, with one person (1, K, 2) drawn on it."""
    crop = crop_around(image, boxes, TILE)
    box, score, pose, seen = (part.astype(np.float32) for part in (boxes[:1], np.ones(1), points, labelled))
    person = crop.people(People(box, score, pose, seen))
    height, width = crop.pixels.shape[:2]
    tile: Image = np.full((TILE, TILE, 3), 255, np.uint8)
    left, top = (TILE - width) // 2, (TILE - height) // 2
    tile[top : top + height, left : left + width] = annotator.draw(crop.pixels, person)
    return tile

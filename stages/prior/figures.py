"""Sheets of people whose keypoints the prior moved: those it brought nearer to their labels, and those led astray."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from datasets.coco.coco_pose import CocoPose
from sia.drawing.annotator import Image, PoseAnnotator, with_caption
from sia.evaluation.labels import Mask, Rows
from sia.evaluation.predictions import Array, Predictions
from sia.io.images import write_image
from sia.people import People
from stages.prior.parts import MatchedLabels

SHOWN = 6
"""People on a sheet."""
COLUMNS = 2
TILE = 240
"""Side of a drawing, pixels."""
MARGIN = 0.2
"""Around a person, as a fraction of the longer side."""
FEWEST_JOINTS = 9
"""Labelled keypoints of a person worth showing."""
LEAST_CHANGE = 0.01
"""Of OKS; less can't be seen."""
_GAP, _PAPER = 6, 255


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
        gains = np.where(self._clear(), np.diff(self.oks(), axis=0)[0], 0.0)
        order = np.argsort(-gains, kind="stable")
        better, worse = order[:SHOWN], order[::-1][:SHOWN]
        return better[gains[better] > LEAST_CHANGE], worse[gains[worse] < -LEAST_CHANGE]

    def _clear(self) -> Mask:
        """(N,) people of whom enough is labelled."""
        labelled = self.truth.labels.select(self.truth.found).labelled.sum(1)
        return np.asarray(self.truth.matched & (labelled >= FEWEST_JOINTS))


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
    cells += [np.full_like(cells[0], _PAPER)] * (-len(cells) % COLUMNS)
    bands = [np.concatenate(cells[i : i + COLUMNS], axis=1) for i in range(0, len(cells), COLUMNS)]
    head = with_caption(np.zeros((0, bands[0].shape[1], 3), np.uint8), [f"Labels, before, after. {title}"])
    return np.concatenate([head, *bands])


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
    gap = np.full((TILE, _GAP, 3), _PAPER, np.uint8)
    return with_caption(np.concatenate([part for tile in tiles for part in (tile, gap)], axis=1), [text])


def _tile(annotator: PoseAnnotator, image: Image, boxes: Array, points: Array, labelled: Mask) -> Image:
    """(TILE, TILE, 3) of the part of the image around (B, 4) boxes, with one person (1, K, 2) drawn on it."""
    start, stop = _region(boxes, image)
    cut = image[start[1] : stop[1], start[0] : stop[0]]
    scale = TILE / max(cut.shape[:2])
    size = (max(1, round(cut.shape[1] * scale)), max(1, round(cut.shape[0] * scale)))
    resized: Image = np.asarray(cv2.resize(cut, size, interpolation=cv2.INTER_AREA), np.uint8)
    person = People(
        ((boxes[:1] - np.tile(start, 2)) * scale).astype(np.float32), np.ones(1, np.float32),
        ((points - start) * scale).astype(np.float32), labelled.astype(np.float32),
    )  # fmt: skip
    tile: Image = np.full((TILE, TILE, 3), _PAPER, np.uint8)
    left, top = (TILE - size[0]) // 2, (TILE - size[1]) // 2
    tile[top : top + size[1], left : left + size[0]] = annotator.draw(resized, person)
    return tile


def _region(boxes: Array, image: Image) -> tuple[Rows, Rows]:
    """Corners x, y of the rectangle around all boxes with a margin, inside the image, at least one pixel wide."""
    low, high = boxes[:, :2].min(0), boxes[:, 2:].max(0)
    around = MARGIN * float((high - low).max())
    ends = np.array(image.shape[1::-1])
    start = np.floor(low - around).clip(0, ends - 1).astype(np.int64)
    stop = np.ceil(high + around).clip(0, ends).astype(np.int64)
    return start, np.maximum(stop, start + 1)

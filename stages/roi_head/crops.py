"""Crops of the people whom a model finds, on disk: it runs once, and the head can learn from them many times."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from datasets.augmentation.geometry import warp_labels
from datasets.coco.coco_pose import CocoPose
from datasets.labels import Labels
from sia.boxes import iou, to_corners
from sia.losses.criterion import centred_in
from sia.losses.matcher import UNMATCHED, Targets, match_tokens
from sia.model import PoseModel
from sia.outputs import Prediction
from sia.runtimes.device import autocast
from sia.runtimes.letterbox import affine, fit_letterbox, letterbox_matrix, scale_of, warp_image

CPU = torch.device("cpu")
SIDE = 256
"""Pixels along a cached crop."""

EXTENT = 2.0
"""Side of a cached crop over the longer side of the box: what heads see, and what turning and scaling bring in."""

FILL = (124, 116, 104)
"""Colour beyond the image: the mean that models subtract, so that it becomes 0."""

LEAST_LENGTH = 4.0
"""Floor of the longer side of a box, in pixels of the input."""

LEAST_SCORE = 0.02
"""Candidates below it are left out, unless they are the best for a person."""

LEAST_IOU, BACKGROUND_IOU = 0.3, 0.2
"""With the box of its person, for a candidate to count as found; with all people, for it to be background."""

BACKGROUND = 2
"""Most crops of background that are kept of an image."""

COLUMNS = ("tokens", "scores", "boxes", "keypoints", "areas")
"""Of `Crops`, a file each, beside the pixels."""


@dataclass(frozen=True)
class Crops:
    """N candidates and their crops. Lengths are in units of the longer side of the box, from its centre.

    Attributes:
        pixels: (N, SIDE, SIDE, 3) uint8 RGB, mapped from disk: `EXTENT` along, the box in the middle.
        tokens: (N, 2, D) float16, of the image and of its mirror image (NaN where it wasn't found there).
        scores: (N,) float32 logits before the head.
        boxes: (N, 2) float32, width and height; the longer one is 1.
        keypoints: (N, K, 3) float32, x, y and v; 0 for background.
        areas: (N,) float32 of the person; 0 for background.
    """

    pixels: NDArray[np.uint8]
    tokens: NDArray[np.float16]
    scores: NDArray[np.float32]
    boxes: NDArray[np.float32]
    keypoints: NDArray[np.float32]
    areas: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.scores)

    @classmethod
    def load(cls, folder: Path) -> Crops:
        """Those that `save_crops` wrote."""
        arrays = {name: np.load(folder / f"{name}.npy") for name in COLUMNS}
        file = folder / "pixels.u8"
        flat = np.memmap(file, np.uint8, "r") if file.stat().st_size else np.empty(0, np.uint8)
        pixels = flat.reshape(-1, SIDE, SIDE, 3)
        return cls(pixels, **arrays)


def save_crops(model: PoseModel, source: CocoPose, size: tuple[int, int], folder: Path) -> int:
    """Writes the crops of all images of a data set; returns how many.

    Args:
        model: in evaluation.
        source: the labelled images.
        size: H, W of the model's input.
        folder: is made when all are there; must be new.
    """
    unfinished = folder.with_name(f"{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    columns: dict[str, list[Any]] = {name: [] for name in COLUMNS}
    with (unfinished / "pixels.u8").open("wb") as pixels:
        for index in range(len(source)):
            for row in _candidates(model, source, index, size):
                pixels.write(row.pop("pixels").tobytes())
                for name, value in row.items():
                    columns[name].append(value)
    types = {"tokens": np.float16}
    for name, values in columns.items():
        np.save(unfinished / f"{name}.npy", np.asarray(values, types.get(name, np.float32)))
    unfinished.rename(folder)
    return len(columns["scores"])


@torch.inference_mode()
def _candidates(model: PoseModel, source: CocoPose, index: int, size: tuple[int, int]) -> Iterator[dict[str, Any]]:
    """The rows of one image: those who are found, and a few that are nobody."""
    image = source.read_image(index)
    matrix, unit = letterbox_matrix(fit_letterbox(image.shape[:2], size)), max(size)
    labels = warp_labels(source.annotation(index), matrix, size, source.skeleton.flip_order)
    warped = warp_image(image, matrix, size)
    both = torch.from_numpy(np.stack([warped, warped[:, ::-1]])).permute(0, 3, 1, 2)
    with autocast(CPU):
        candidates = model.find_candidates(model.normalise(both), size)
    tokens, people = candidates.tokens.float(), Prediction(*(part.float() for part in candidates.people))
    corners, other = to_corners(people.boxes)
    mirrored = torch.stack([size[1] / unit - other[:, 2], other[:, 1], size[1] / unit - other[:, 0], other[:, 3]], -1)
    overlap, twin = iou(corners[:, None], mirrored).max(1)
    first = Prediction(*(part[:1] for part in people))
    for row, person in _chosen(first, _targets(labels, unit), model.sigmas):
        centre, extent = np.split(people.boxes[0, row].numpy() * unit, 2)
        length = max(float(extent.max()), LEAST_LENGTH)
        keypoints, area = np.zeros((source.skeleton.num_keypoints, 3), np.float32), 0.0
        if person is not None:
            keypoints = labels.keypoints[person].copy()
            keypoints[:, :2] = (keypoints[:, :2] - centre) / length
            area = float(labels.areas[person]) / length**2
        twins = tokens[1, twin[row]] if overlap[row] > LEAST_IOU else torch.full_like(tokens[1, 0], torch.nan)
        yield {
            "pixels": _cut(image, np.linalg.inv(matrix)[:2] @ (*centre, 1.0), length / scale_of(matrix) * EXTENT),
            "tokens": torch.stack([tokens[0, row], twins]).numpy(),
            "scores": float(people.scores[0, row]),
            "boxes": extent / max(float(extent.max()), 1e-6),
            "keypoints": keypoints,
            "areas": area,
        }


def _targets(labels: Labels, unit: float) -> Targets:
    """One image's labels in the model's units."""
    corners, keypoints = torch.from_numpy(labels.boxes)[None] / unit, torch.from_numpy(labels.keypoints)[None]
    labelled, areas = keypoints[..., 2] > 0, torch.from_numpy(labels.areas)[None] / unit**2
    people, ignored = torch.ones_like(areas, dtype=torch.bool), torch.from_numpy(labels.ignored)[None] / unit
    return Targets(corners, keypoints[..., :2] / unit, labelled, labelled, labelled.float(), areas, people, ignored)


def _chosen(people: Prediction, targets: Targets, sigmas: Tensor) -> Iterator[tuple[int, int | None]]:
    """Rows of candidates (1, R) with the person of each, and after them a few rows of background."""
    corners = to_corners(people.boxes[0])
    overlap = iou(corners[:, None], targets.corners[0])
    matched = match_tokens(people, targets, sigmas, 1)[0, 0].tolist()
    for person, row in enumerate(matched):
        if row != UNMATCHED and overlap[row, person] > LEAST_IOU and targets.labelled[0, person].any():
            yield row, person
    likely = people.scores[0].sigmoid() > LEAST_SCORE
    alone = (overlap < BACKGROUND_IOU).all(1) & ~centred_in(people.boxes, targets.ignored)[0]
    rows = (likely & alone).nonzero()[:, 0].tolist()
    yield from ((row, None) for row in rows[:BACKGROUND] if row not in matched)


def _cut(image: NDArray[np.uint8], centre: NDArray[np.float64], length: float) -> NDArray[np.uint8]:
    """(SIDE, SIDE, 3) of a square of so many pixels; large ones are reduced without aliasing."""
    scale = SIDE / length
    return warp_image(image, affine(np.eye(2) * scale, SIDE / 2 - scale * centre), (SIDE, SIDE), FILL)

"""Images of a run: its curves, what the model is shown, and what it finds.

B images of H x W input pixels; coordinates are continuous input pixels unless said otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from sia.batch import PoseBatch
from sia.drawing.annotator import Image, PoseAnnotator
from sia.io.images import write_image
from sia.io.output_file import complete_file
from sia.people import People
from sia.skeletons.skeleton import Skeleton
from utils.logger import read_results

Column = NDArray[np.float64]
Lines = dict[str, tuple[Column, Column]]
"""Epochs and values by name."""
Floats = NDArray[np.float32]

_COLOURS = ("#1f5fa8", "#d1661d", "#3a8a4d", "#8c4fa3", "#7a7a7a")
_INK = "#333333"
_WIDTH = 4
"""Panels a row."""

_TILE = 400
"""Longer side of an image in a mosaic, in pixels of the mosaic."""
_GAP, _CAPTION = 6, 22
_PERSON, _BARE = (255, 255, 255), (255, 200, 60)
"""Box of a person with keypoints, and of one without."""


def plot_results(csv_file: Path, png: Path) -> None:
    """Draws the columns that are there; empty cells and -1 (nothing to measure) are left out.

    Args:
        csv_file: one row per epoch: ``epoch``, ``loss``, ``loss_*``, ``lr_*``, and ``AP``, ``AR``, ... as fractions.
        png: the image to write.

    Raises:
        DataError: the file can't be read.
        OutputError: the image can't be written.
    """
    columns = read_columns(csv_file)
    epochs = columns.get("epoch", np.arange(1.0, 1 + max(map(len, columns.values()), default=0)))
    panels = [(title, lines) for title, group in _panels(columns) if (lines := _drawn(epochs, group))]
    rows = max(1, math.ceil(len(panels) / _WIDTH))
    figure = Figure(figsize=(3.4 * _WIDTH, 2.6 * rows), layout="constrained")
    for number, (title, lines) in enumerate(panels):
        _draw(figure.add_subplot(rows, _WIDTH, number + 1), title, lines)
    if not panels:
        figure.text(0.5, 0.5, "no epoch is complete yet", ha="center", color=_INK)
    with complete_file(png) as partial:
        figure.savefig(partial, format="png", dpi=110)


def read_columns(csv_file: Path) -> dict[str, Column]:
    """Numbers by column name, NaN for empty cells and for what is no number.

    Raises:
        DataError: the file can't be read.
    """
    rows = read_results(csv_file)
    names = list(rows[0]) if rows else []
    return {name.strip(): np.array([_number(row.get(name)) for row in rows]) for name in names}


def _number(text: object) -> float:
    try:
        return float(str(text))
    except ValueError:
        return math.nan


def _panels(columns: dict[str, Column]) -> list[tuple[str, dict[str, Column]]]:
    """The whole loss, AP, AR and learning rates first, then each part of the loss."""

    def percent(*names: str) -> dict[str, Column]:
        return {name: 100 * columns[name] for name in names if name in columns}

    return [
        ("loss", {name: column for name, column in columns.items() if name == "loss"}),
        ("AP (%)", percent("AP", "AP50", "AP75")),
        ("by size, and recall (%)", percent("APM", "APL", "AR")),
        ("learning rate", _group(columns, "lr_")),
        *((f"loss: {name}", {name: column}) for name, column in _group(columns, "loss_").items()),
    ]


def _group(columns: dict[str, Column], prefix: str) -> dict[str, Column]:
    return {name.removeprefix(prefix): column for name, column in columns.items() if name.startswith(prefix)}


def _drawn(epochs: Column, columns: dict[str, Column]) -> Lines:
    """Epochs and values of the cells that have one, of the columns that have any."""
    shown = {name: np.isfinite(epochs) & np.isfinite(column) & (column >= 0) for name, column in columns.items()}
    return {name: (epochs[cells], columns[name][cells]) for name, cells in shown.items() if cells.any()}


def _draw(axes: Axes, title: str, lines: Lines) -> None:
    if "AP" in lines:  # the epoch of the highest is the one that is kept
        epochs, values = lines["AP"]
        title = f"{title}: best AP {values.max():.1f}, epoch {epochs[values.argmax()]:.0f}"
    axes.set_title(title, loc="left", fontsize=10, color=_INK)
    for number, (name, (xs, ys)) in enumerate(lines.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        marker = "o" if len(xs) < 25 else None
        last = f"{ys[-1]:.1e}" if 0 < ys[-1] < 0.01 else f"{ys[-1]:.3g}"
        axes.plot(xs, ys, color=colour, linewidth=1.4, marker=marker, markersize=2.5, label=f"{name} {last}")
        if len(lines) == 1:
            place = (xs[-1], ys[-1])
            axes.annotate(last, place, (4, 0), textcoords="offset points", fontsize=8, color=colour, va="center")
    if len(lines) > 1:
        axes.legend(frameon=False, fontsize=8, labelcolor="linecolor", handlelength=1, handletextpad=0.5, loc="best")
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#b0b0b0")
    axes.grid(axis="y", color="#e4e4e4", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=8, colors="#666666", length=2)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True, min_n_ticks=1))
    axes.margins(x=0.1)
    axes.set_xlabel("epoch", fontsize=8, color="#666666")
    if not title.startswith("loss"):
        axes.set_ylim(bottom=0)


def training_batch_image(batch: PoseBatch, skeleton: Skeleton, path: Path, *, most: int = 16) -> None:
    """A mosaic of augmented training images as the model sees them, with all labels.

    White boxes have keypoints, yellow ones have none. Joints with a dark centre are occluded (v = 1). Striped areas
    are ignored.

    Args:
        batch: on the CPU.
        skeleton: what the keypoints mean.
        path: .jpg or .png to write.
        most: the number of images shown.

    Raises:
        OutputError: the image can't be written.
    """
    count = min(most, len(batch.images))
    tiles = [_labelled(batch, i, skeleton) for i in range(count)]
    write_image(path, grid(tiles, columns=math.ceil(math.sqrt(count))))


def validation_image(
    batch: PoseBatch,
    predictions: Mapping[str, Sequence[People]],
    skeleton: Skeleton,
    path: Path,
    *,
    conf_thresh: float = 0.3,
) -> None:
    """Labels on the left, predictions beside them, for some validation images.

    Args:
        batch: on the CPU.
        predictions: by what they are called, the people of each image, in original pixels.
        skeleton: what the keypoints mean.
        path: .jpg or .png to write.
        conf_thresh: predictions of lower score are left out.

    Raises:
        OutputError: the image can't be written.
    """
    tiles = []
    for i in range(len(batch.images)):
        tiles.append(_labelled(batch, i, skeleton))
        for name, people in predictions.items():
            found = _to_tile(people[i].above(conf_thresh), batch.letterboxes[i].tolist(), _scale(batch))
            drawn = PoseAnnotator(skeleton).draw(_enlarged(batch, i), found)
            tiles.append(_captioned(drawn, f"{name}: {len(found)} of score {conf_thresh:g} or more"))
    across = 1 + len(predictions)
    write_image(path, grid(tiles, columns=across if len(tiles) <= 2 * across else 2 * across))


def _scale(batch: PoseBatch) -> float:
    return _TILE / max(batch.images.shape[-2:])


def _enlarged(batch: PoseBatch, index: int) -> Image:
    """(h, w, 3) RGB, longer side `_TILE`: lines drawn on it stay thin beside small people."""
    image = batch.images[index].permute(1, 2, 0).numpy()
    scale = _scale(batch)
    size = (round(image.shape[1] * scale), round(image.shape[0] * scale))
    resized = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    return np.asarray(resized, np.uint8)


def _labelled(batch: PoseBatch, index: int, skeleton: Skeleton) -> Image:
    """A tile with the labels and a caption."""
    scale, chosen = _scale(batch), batch.people[index]
    boxes: Floats = (batch.boxes[index][chosen] * scale).numpy()
    keypoints: Floats = batch.keypoints[index][chosen].numpy()
    visibilities: Floats = keypoints[..., 2]
    people = People(
        boxes,
        np.ones(len(boxes), np.float32),
        keypoints[..., :2] * np.float32(scale),
        (visibilities > 0).astype(np.float32),
    )
    canvas = _hatched(_enlarged(batch, index), (batch.ignored[index] * scale).numpy())
    for box, labels in zip(boxes, visibilities, strict=True):
        cv2.rectangle(canvas, *_corners(box), _PERSON if labels.any() else _BARE, 1, cv2.LINE_AA)
    canvas = PoseAnnotator(skeleton, kpt_thresh=0.5, boxes=False).draw(canvas, people)
    for x, y in people.keypoints[visibilities == 1]:
        cv2.circle(canvas, (round(float(x - 0.5)), round(float(y - 0.5))), 1, (0, 0, 0), -1, cv2.LINE_AA)
    return _captioned(canvas, f"{Path(batch.files[index]).name}: {len(boxes)} labelled")


def _corners(box: Floats) -> tuple[tuple[int, int], tuple[int, int]]:
    x1, y1, x2, y2 = (round(float(value)) for value in box)
    return (x1, y1), (x2, y2)


def _hatched(canvas: Image, regions: Floats) -> Image:
    """The image with ignored regions (R, 4) greyed and striped."""
    rows, columns = np.indices(canvas.shape[:2])
    stripes: NDArray[np.bool_] = np.asarray((rows + columns) % 12 < 3)
    for box in regions:
        (x1, y1), (x2, y2) = _corners(np.maximum(box, 0))
        part = canvas[y1:y2, x1:x2]
        part[:] = (0.55 * part + 0.45 * 128).astype(np.uint8)
        part[stripes[y1:y2, x1:x2]] = (230, 80, 80)
    return canvas


def _to_tile(people: People, letterbox: Sequence[float], enlarged: float) -> People:
    """Original pixels -> input pixels -> pixels of an enlarged image."""
    scale, pad, factor = np.float32(letterbox[0]), np.array(letterbox[1:], np.float32), np.float32(enlarged)
    boxes, keypoints = people.boxes * scale + np.tile(pad, 2), people.keypoints * scale + pad
    return People(boxes * factor, people.scores, keypoints * factor, people.confidences)


def _captioned(tile: Image, text: str) -> Image:
    strip = np.full((_CAPTION, tile.shape[1], 3), 255, np.uint8)
    shown = text.encode("ascii", "replace").decode()[:58]
    cv2.putText(strip, shown, (2, 15), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (60, 60, 60), 1, cv2.LINE_AA)
    return np.concatenate([strip, tile])


def grid(tiles: Sequence[Image], columns: int) -> Image:
    """Tiles of one size, row by row, on white."""
    height, width = tiles[0].shape[:2]
    rows = math.ceil(len(tiles) / columns)
    canvas = np.full((rows * (height + _GAP) + _GAP, columns * (width + _GAP) + _GAP, 3), 255, np.uint8)
    for number, tile in enumerate(tiles):
        top = _GAP + number // columns * (height + _GAP)
        left = _GAP + number % columns * (width + _GAP)
        canvas[top : top + height, left : left + width] = tile
    return canvas

"""Images for the report of a pipeline: its figures as a plot, and what each stage changed, best and worst."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from datasets.coco.coco_pose import CocoPose
from sia.drawing.annotator import PoseAnnotator
from sia.drawing.crop import crop_around
from sia.evaluation.matches import Matches
from sia.evaluation.predictions import Predictions
from sia.evaluation.significance import Interval
from sia.io.images import write_image
from sia.io.output_file import complete_file
from sia.people import People
from utils.plots import grid

SHOWN = 3
"""Best, and as many worst images of a stage."""
_TILE = 420
"""Longer side of an image in the report, in pixels."""
_SURE = 0.2
"""Joints of less confidence are not drawn."""
_COLOURS = {"applied": "#2e8b57", "forced": "#d1661d", "refused": "#9a9a9a"}
_INK = "#333333"


@dataclass(frozen=True)
class Change:
    """One image before and after a stage.

    Attributes:
        file: the drawing, before (or labels) on the left.
        caption: what it shows.
    """

    file: Path
    caption: str


@dataclass(frozen=True)
class Bar:
    """One stage in the plot.

    Attributes:
        name: of the stage.
        decision: about it.
        value: AP of what it made.
        gain: its difference to what came in; None for a first stage.
    """

    name: str
    decision: str
    value: Interval
    gain: Interval | None


def plot_stages(bars: Sequence[Bar], png: Path) -> None:
    """Draws AP and its changes with their intervals.

    Raises:
        OutputError: the image can't be written.
    """
    figure = Figure(figsize=(9.0, 1.3 + 0.42 * max(len(bars), 2)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    _intervals(left, "AP on test (%)", [(bar, bar.value) for bar in bars])
    _intervals(right, "change of AP, paired (points)", [(bar, bar.gain) for bar in bars])
    right.axvline(0, color=_INK, linewidth=0.9)
    left.set_yticks(range(len(bars)), [bar.name for bar in bars], fontsize=9, color=_INK)
    left.set_ylim(len(bars) - 0.5, -0.5)
    with complete_file(png) as partial:
        figure.savefig(partial, format="png", dpi=130)


def _intervals(axes: Axes, title: str, rows: Sequence[tuple[Bar, Interval | None]]) -> None:
    axes.set_title(title, loc="left", fontsize=10, color=_INK)
    for place, (bar, interval) in enumerate(rows):
        if interval is None:
            continue
        colour = _COLOURS[bar.decision]
        axes.plot([100 * interval.low, 100 * interval.high], [place, place], color=colour, linewidth=2.2)
        axes.plot(100 * interval.value, place, "o", color=colour, markersize=6)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.grid(axis="x", color="#e4e4e4", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelsize=8, colors="#666666")


def draw_changes(
    data: CocoPose,
    before: tuple[Predictions, Matches] | None,
    after: tuple[Predictions, Matches],
    folder: Path,
    stage: str,
) -> list[Change]:
    """The images whose people came closest to their labels by a stage, and those that moved away most.

    Args:
        data: the split.
        before: predictions of the split, and their matches; None for a first stage: then the labels stand on the left,
            and the images are the best and the worst.
        after: the same of the stage.
        folder: for the drawings.
        stage: name of the stage, with which the names of the files begin.

    Raises:
        DataError: an image can't be read.
        OutputError: a drawing can't be written.
    """
    matches = after[1]
    clear = 2 * matches.joints >= data.skeleton.num_keypoints  # something can be seen on more than a hand or an ear
    known = np.nanmean(matches.closeness) if before is None else before[1].closeness
    kinds, least = (("best", "worst"), 0.0) if before is None else (("better", "worse"), 1e-9)
    sides = [_labels(data) if before is None else _surest(*before), _surest(*after)]
    changes = []
    for name, kind, index in _extremes(np.where(clear, matches.closeness - known, 0.0), *kinds, above=least):
        text = f"{kind}: mean OKS " + (f"{before[1].closeness[index]:.2f} -> " if before is not None else "")
        path, caption = folder / f"{stage}-{name}.jpg", f"{text}{matches.closeness[index]:.2f}"
        changes.append(_draw(data, int(matches.image_ids[index]), path, sides, caption))
    return changes


def _extremes(values: NDArray[np.float64], high: str, low: str, above: float) -> list[tuple[str, str, int]]:
    """(name of the file, kind, index) of the highest and the lowest values."""
    order = [int(i) for i in np.argsort(-np.nan_to_num(values), kind="stable")]
    best = [i for i in order[:SHOWN] if values[i] > above]
    worst = [i for i in order[::-1][:SHOWN] if values[i] < -above]
    return [
        (f"{kind}-{number}", kind, i)
        for kind, chosen in ((high, best), (low, worst))
        for number, i in enumerate(chosen, 1)
    ]


def _surest(predictions: Predictions, matches: Matches) -> Callable[[int], People]:
    """As many predictions as there are labelled people, the surest of all: any scale of scores will do."""
    least = float(np.sort(predictions.scores)[-int(matches.people.sum()) :].min(initial=1.0))
    shown = predictions.select(predictions.scores >= least)
    return lambda image_id: shown.of_image(image_id).as_people()


def _labels(data: CocoPose) -> Callable[[int], People]:
    places: Mapping[int, int] = {image_id: index for index, image_id in enumerate(data.image_ids)}

    def people(image_id: int) -> People:
        labels = data.annotation(places[image_id])
        seen = (labels.keypoints[..., 2] > 0).astype(np.float32)
        return People(labels.boxes, np.ones(len(labels.boxes), np.float32), labels.keypoints[..., :2], seen)

    return people


def _draw(data: CocoPose, image_id: int, path: Path, sides: Sequence[Callable[[int], People]], caption: str) -> Change:
    index = data.image_ids.index(image_id)
    image = data.read_image(index)
    whole = crop_around(image, np.array([[0, 0, *image.shape[1::-1]]]), _TILE)
    annotator = PoseAnnotator(data.skeleton, kpt_thresh=_SURE, boxes=False)
    write_image(path, grid([annotator.draw(whole.pixels, whole.people(people(image_id))) for people in sides], 2))
    return Change(path, f"{data.file(index).name}, {caption}")

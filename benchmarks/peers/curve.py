"""AP against training time: rows, their files, the table of a finished arena, and the image."""

from __future__ import annotations

import csv
import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.peers.runner import Checkpoint, Row
from sia.coco.coco_files import load_skeleton
from utils.metrics.coco_eval import evaluate

LATE = 1.02
"""A checkpoint counts up to this fraction of the budget: no contestant can stop in the middle of a step."""
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#666666")
_INK, _GRID = "#222222", "#e6e6e6"


@dataclass(frozen=True)
class Point:
    """One evaluation. Figures are COCO's, in percent, on the original annotation file.

    Attributes:
        contestant: its label.
        seed: of the training.
        seconds: of training.
        images: seen so far, repetitions counted.
        AP, AP50: of the keypoints.
        box_AP: of the boxes.
    """

    contestant: str
    seed: int
    seconds: float
    images: int
    AP: float
    AP50: float
    box_AP: float


def score(contestant: str, seed: int, checkpoint: Checkpoint, results: list[Row], annotations: Path) -> Point:
    """The project's own evaluation, the same for all contestants."""
    skeleton = load_skeleton(annotations)
    metrics = evaluate(annotations, results, skeleton)
    figures = (round(100 * value, 2) for value in (metrics.AP, metrics.AP50, metrics.box_AP or 0.0))
    return Point(contestant, seed, round(checkpoint.seconds, 1), checkpoint.images, *figures)


def write_points(path: Path, points: Sequence[Point]) -> None:
    """A csv file."""
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, [entry.name for entry in fields(Point)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(point) for point in points)


def read_points(path: Path) -> list[Point]:
    """The same back."""
    with path.open(newline="") as stream:
        return [
            Point(
                row["contestant"], int(row["seed"]), float(row["seconds"]), int(row["images"]), float(row["AP"]),
                float(row["AP50"]), float(row["box_AP"]),
            )
            for row in csv.DictReader(stream)
        ]  # fmt: skip


def last_points(points: Sequence[Point], budget: float) -> list[Point]:
    """The last evaluation within the budget (seconds) of each contestant and seed."""
    last: dict[tuple[str, int], Point] = {}
    for point in sorted(points, key=lambda point: point.seconds):
        if point.seconds <= LATE * budget:
            last[point.contestant, point.seed] = point
    return list(last.values())


def table(points: Sequence[Point], budget: float, parameters: dict[str, int]) -> str:
    """Markdown: a line a contestant, best first; means over its seeds, with the range where there are several."""
    last = last_points(points, budget)
    names = sorted({point.contestant for point in last}, key=lambda name: -_mean(last, name, "AP"))
    lines = [
        "| contestant | parameters (M) | seeds | minutes | images seen | AP | AP50 | box AP |",
        "|-|-:|-|-:|-:|-:|-:|-:|",
    ]
    for name in names:
        seeds = ", ".join(str(seed) for seed in sorted(point.seed for point in last if point.contestant == name))
        minutes, images = _mean(last, name, "seconds") / 60, _mean(last, name, "images")
        figures = " | ".join(_figure(last, name, column) for column in ("AP", "AP50", "box_AP"))
        size = parameters.get(name, 0) / 1e6
        lines.append(f"| {name} | {size:.2f} | {seeds} | {minutes:.1f} | {images:,.0f} | {figures} |")
    return "\n".join(lines) + "\n"


def _values(points: Sequence[Point], name: str, column: str) -> list[float]:
    return [float(getattr(point, column)) for point in points if point.contestant == name]


def _mean(points: Sequence[Point], name: str, column: str) -> float:
    return statistics.fmean(_values(points, name, column))


def _figure(points: Sequence[Point], name: str, column: str) -> str:
    values = _values(points, name, column)
    spread = f" ({min(values):.1f} to {max(values):.1f})" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.1f}{spread}"


def plot(points: Sequence[Point], title: str, path: Path) -> None:
    """One colour a contestant, one line a seed."""
    figure = Figure(figsize=(8, 4.6), layout="constrained")
    axes = figure.add_subplot()
    for number, name in enumerate(dict.fromkeys(point.contestant for point in points)):
        _draw(axes, [point for point in points if point.contestant == name], _COLOURS[number % len(_COLOURS)])
    axes.set_title(title, loc="left", fontsize=10, color=_INK)
    axes.set_xlabel("minutes of training", fontsize=9, color=_INK)
    axes.set_ylabel("AP (%)", fontsize=9, color=_INK)
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    # Below the axes: a label may hold many settings.
    figure.legend(frameon=False, fontsize=8, labelcolor="linecolor", loc="outside lower left")
    _style(axes)
    figure.savefig(path, dpi=110)


def _draw(axes: Axes, points: Sequence[Point], colour: str) -> None:
    for number, seed in enumerate(sorted({point.seed for point in points})):
        line = sorted((point for point in points if point.seed == seed), key=lambda point: point.seconds)
        minutes, heights = [point.seconds / 60 for point in line], [point.AP for point in line]
        label = points[0].contestant if number == 0 else None
        axes.plot(minutes, heights, color=colour, linewidth=1.6, marker="o", markersize=3, label=label)


def _style(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#b0b0b0")
    axes.grid(axis="y", color=_GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=8, colors="#666666", length=2)

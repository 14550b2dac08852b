"""The rows of `benchmarks/prior.py`: kept in a file, so that a stopped run goes on, and shown as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sia.coco.coco_files import read_json
from sia.errors import ConfigError
from sia.io.output_file import write_json, write_text
from sia.skeletons.skeleton import Skeleton
from stages.error_model.pose_errors import PoseErrors

HEADINGS = (
    "predictions", "seed", "AP before", "stage", "gain and interval", "kept by stage", "decision", "proven", "CPU s",
)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One run of the stage. AP is that of the test half, percent.

    Attributes:
        kind: of predictions.
        seed: of the halves, the errors and the priors.
        before: AP that came in.
        stage: AP of what the stage hands on, by what it knows of the calibrate half; its input where it declines.
        gain: the stage's change with its interval, as text; "-" where it declined.
        parts: a line for each part tried.
        decision: declined by the stage, refused by the proof, or applied.
        moves: mean OKS term of people of calibrate, percent, by fraction of the advised move.
        seconds: CPU time of the stage.
    """

    kind: str
    seed: int
    before: float
    stage: float
    gain: str
    parts: Sequence[str]
    decision: str
    moves: Mapping[str, float]
    seconds: float

    @property
    def change(self) -> float:
        """Of the stage alone: on images that it has not chosen anything on, and before the proof."""
        return self.stage - self.before

    def cells(self) -> list[str]:
        """A line of the table."""
        proven = self.stage if self.decision == "applied" else self.before
        kept = [line.split(":")[0] for line in self.parts if line.endswith(", kept")]
        shown = ", ".join(kept) if kept and self.decision != "declined" else "-"
        return [
            self.kind, str(self.seed), f"{self.before:.1f}", f"{self.stage:.1f}", self.gain, shown, self.decision,
            f"{proven:.1f}", f"{self.seconds:.0f}",
        ]  # fmt: skip


class Rows:
    """Those done so far, in a folder.

    Args:
        folder: for rows.json and table.md.
        settings: what decides the figures.

    Raises:
        ConfigError: the folder has rows of other settings.
        DataError: rows.json can't be read.
        OutputError: nothing can be written there.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        self.folder, self.settings, self.rows = folder, dict(settings), list[Row]()
        if not (folder / "rows.json").is_file():
            return
        content = read_json(folder / "rows.json", "file of rows")
        if content["settings"] != self.settings:
            raise ConfigError(f"{folder} has rows of other settings: {content['settings']}. Name another --output_dir.")
        self.rows = [Row(**row) for row in content["rows"]]

    def has(self, kind: str, seed: int) -> bool:
        """Whether this run is done."""
        return any((row.kind, row.seed) == (kind, seed) for row in self.rows)

    def add(self, row: Row) -> None:
        """Writes both files anew."""
        self.rows.append(row)
        content = {"settings": self.settings, "rows": [asdict(row) for row in self.rows]}
        write_json(self.folder / "rows.json", content, indent=1)
        write_text(self.folder / "table.md", self.table())

    def table(self) -> str:
        """A line for each run, the worst change of all, confidences, and what moves would have brought."""
        rows = sorted(self.rows, key=lambda row: (row.kind, row.seed))
        worst = min(rows, key=lambda row: row.change)
        lines = [
            *_markdown(HEADINGS, [row.cells() for row in rows]), "",
            f"Worst change by the stage alone in {len(rows)} runs: {worst.change:+.2f} AP ({worst.kind}, seed "
            f"{worst.seed}, {worst.decision}). Settings: {self.settings}.", "", *_moves(rows), "", *_parts(rows),
        ]  # fmt: skip
        return "\n".join(lines) + "\n"


def _moves(rows: Sequence[Row]) -> list[str]:
    """Mean over the seeds, by fraction of the advised move."""
    groups = {row.kind: [other.moves for other in rows if other.kind == row.kind] for row in rows if row.moves}
    shares = next(iter(groups.values()))[0] if groups else {}
    cells = [
        [kind, *(f"{np.mean([moves[share] for moves in group]):.1f}" for share in shares)]
        for kind, group in groups.items()
    ]
    return _markdown(["fraction of the advised move", *shares], cells)


def _parts(rows: Sequence[Row]) -> list[str]:
    return [f"- {row.kind}, seed {row.seed}: {line}" for row in rows for line in row.parts]


def errors_table(errors: PoseErrors, skeleton: Skeleton) -> str:
    """What a model gets wrong, a line for each keypoint."""
    rates = [errors.inverted, errors.swapped, errors.missed]
    cells = [
        [name, f"{errors.spread[k]:.2f}", f"{errors.reach[k]:.2f}", *(f"{100 * rate[k]:.0f}" for rate in rates)]
        for k, name in enumerate(skeleton.names)
    ]
    headings = ("keypoint", "jitter, units", "reach of misses, units", "inverted, %", "swapped, %", "missed, %")
    last = f"{errors.people} people found, {100 * errors.turned:.0f} % of them turned as a whole."
    return "\n".join([*_markdown(headings, cells), "", last]) + "\n"


def _markdown(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [headings, ["-"] * len(headings), *rows]
    return ["| " + " | ".join(cells) + " |" for cells in lines]

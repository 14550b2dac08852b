"""The report of a pipeline: report.md, and report.html with everything in one file."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets.coco.coco_pose import CocoPose
from sia.coco.coco_files import load_ground_truth
from sia.drawing.html_page import data_uri, html_page
from sia.evaluation.matches import Matches
from sia.evaluation.predictions import read_predictions
from sia.io.output_file import output_error, write_text
from stages.pipeline.report_images import Bar, Change, draw_changes, plot_stages
from stages.pipeline.splits import describe, read_splits
from stages.pipeline.state import Handed, Record, State
from utils.config.declaration import STAGES
from utils.config.train_config import TrainConfig
from utils.logger import clock

PAGE = Path(__file__).with_name("report.html")
_HEADINGS = ("stage", "AP in", "AP out", "change [95 % interval]", "decision", "time")
_TYPES = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg"}
READING = (
    "AP is COCO's, in percent, on the test images. The interval holds 95 % of 2,000 resamples of these images, "
    "each scored before and after the stage. A stage is applied only where the whole interval lies above 0; otherwise "
    "the next stage gets what this one got. AP out is that of what the stage made, also where it was refused."
)
CHANGES = (
    "Left before, right after the stage: the images whose people came closest to their labels, and those that moved "
    "away most. As many predictions are drawn as there are labelled people, the surest of all."
)
FIRST = "Left the labels, right what was found: the best and the worst images."


@dataclass(frozen=True)
class Entry:
    """One stage in the report.

    Attributes:
        name: of the stage.
        record: what it did.
        decision: about it.
        ap_in: AP on ``test`` of what came in; None for a first stage.
        current: false where what stands before it has changed since, so that it has to be run again.
        changes: drawings.
        files: of the stage itself, to show.
    """

    name: str
    record: Record
    decision: str
    ap_in: float | None
    current: bool
    changes: Sequence[Change] = ()
    files: Sequence[Path] = ()

    def bar(self) -> Bar | None:
        """For the plot; None where it made nothing."""
        proof, measured = self.record.proof, self.record.measured
        if measured is not None:
            return Bar(self.name, self.decision, measured, None)
        return None if proof is None else Bar(self.name, self.decision, proof.after, proof.difference)

    def cells(self) -> tuple[str, ...]:
        """One row of the table."""
        proof, measured = self.record.proof, self.record.measured
        if measured is not None:
            figures = ("", measured.percent(), "")
        elif proof is not None:
            change = proof.difference.percent(sign=True)
            figures = (f"{100 * proof.before.value:.1f}", f"{100 * proof.after.value:.1f}", change)
        else:
            known = "" if self.ap_in is None else f"{100 * self.ap_in:.1f}"
            figures = (known, known, "")
        verdict = self.decision if self.current else f"{self.decision} (out of date)"
        return (self.name, *figures, verdict, clock(self.record.seconds))

    def reason(self) -> str:
        """Why it was decided so, in a sentence; empty where the figures say it."""
        if not self.current:
            return "A stage before it has changed: run it again."
        if self.decision == "forced":
            return "The proof refuses it; --FORCE_STAGE applied it all the same."
        if self.record.declined:
            return f"It declined by itself: {self.record.declined}"
        proof = self.record.proof
        return "It changed no figure, so there is nothing to apply." if proof is not None and not proof.changed else ""


def write_report(state: State, config: TrainConfig, matches: Callable[[str], Matches]) -> None:
    """Writes report.md, report.html and the folder of their images.

    Args:
        state: of the pipeline.
        config: every flag.
        matches: of a results file of ``test``, by its place in the state.

    Raises:
        DataError: an image can't be read.
        OutputError: something can't be written.
    """
    folder = state.folder / "report"
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise output_error(error, folder) from error
    entries = _entries(state, CocoPose(config.coco_root, state.split_files["test"]), matches, folder)
    bars = [bar for bar in (entry.bar() for entry in entries) if bar is not None]
    plot = folder / "stages.png"
    if bars:
        plot_stages(bars, plot)
    for page in (_Markdown(state.folder), _Html()):
        page.heading("Pipeline report", 1)
        page.facts(_facts(state, config))
        for text in _warnings(entries):
            page.warning(text)
        page.table(_HEADINGS, [entry.cells() for entry in entries], [entry.decision for entry in entries])
        page.paragraph(READING)
        page.images([Change(plot, "AP of the stages")] if bars else [], wide=True)
        for entry in entries:
            _describe(page, entry)
        write_text(state.folder / page.name, page.text())


def _describe(page: _Page, entry: Entry) -> None:
    page.heading(entry.name, 2)
    page.paragraph(entry.reason())
    figures = _flat(entry.record.figures)
    page.table(("figure", "value"), figures, [""] * len(figures))
    page.images([Change(path, path.name) for path in entry.files])
    if entry.changes:
        page.paragraph(FIRST if entry.record.measured is not None else CHANGES)
        page.images(entry.changes)


def _entries(state: State, data: CocoPose, matches: Callable[[str], Matches], folder: Path) -> list[Entry]:
    """One for each stage that has run."""
    entries, current, reached = list[Entry](), None, None
    for name in STAGES:
        record = state.stages.get(name)
        if record is None or not record.done:
            continue
        standing, decision = state.is_current(name, current), state.decision(name)
        changes = _changes(state, name, current, data, matches, folder) if standing else []
        files = [path for path in map(state.path, record.images) if path.is_file()]
        entries.append(Entry(name, record, decision, reached, standing, changes, files))
        bar = entries[-1].bar()
        if standing and decision != "refused" and bar is not None:
            current, reached = state.made(name, current), bar.value.value
    return entries


def _changes(
    state: State, name: str, before: Handed | None, data: CocoPose, matches: Callable[[str], Matches], folder: Path
) -> list[Change]:
    """Drawings of what a stage found or changed."""
    record = state.stages[name]
    if record.proof is None and record.measured is None:  # it declined, and nobody looked at the labels of test
        return []
    truth = load_ground_truth(data.annotation_file, data.skeleton)
    made = read_predictions(state.path(record.after["test"]), truth, data.skeleton), matches(record.after["test"])
    known = None
    if before is not None:
        earlier = before.results["test"]
        known = read_predictions(earlier, truth, data.skeleton), matches(state.place(earlier))
    return draw_changes(data, known, made, folder, name)


def _facts(state: State, config: TrainConfig) -> Mapping[str, str]:
    return {
        "images": describe(read_splits(state.folder / "splits")),
        "annotations": ", ".join(dict.fromkeys(stored.path for stored in state.sources.values())),
        "model": f"{config.model} {config.size}, seed {config.seed}",
        "last run": f"{state.environment['started']}, commit {state.environment['commit'] or 'unknown'}",
    }


def _warnings(entries: Sequence[Entry]) -> list[str]:
    forced = [entry.name for entry in entries if entry.decision == "forced"]
    stale = [entry.name for entry in entries if not entry.current]
    texts = []
    if forced:
        texts.append(f"Applied by --FORCE_STAGE against the proof: {', '.join(forced)}. What follows builds on it.")
    if stale:
        texts.append(f"Out of date, as a stage before has changed: {', '.join(stale)}. Run -STAGE all.")
    return texts


def _flat(figures: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested figures as rows, their names joined by dots."""
    rows: list[tuple[str, str]] = []
    for name, value in figures.items():
        if isinstance(value, Mapping):
            rows += _flat(value, f"{prefix}{name}.")
        else:
            text = f"{value:.4g}" if isinstance(value, float) else "-" if value is None else str(value)
            rows.append((f"{prefix}{name}", text))
    return rows


class _Markdown:
    """Images are named, relative to the folder."""

    name = "report.md"

    def __init__(self, folder: Path) -> None:
        self.folder, self.blocks = folder.absolute(), list[str]()

    def heading(self, text: str, level: int) -> None:
        self.blocks.append(f"{'#' * level} {text}")

    def facts(self, facts: Mapping[str, str]) -> None:
        self.blocks.append("\n".join(f"- {name}: {text}" for name, text in facts.items()))

    def warning(self, text: str) -> None:
        self.blocks.append(f"> **{text}**")

    def paragraph(self, text: str) -> None:
        self.blocks += [text] if text else []

    def table(self, headings: Sequence[str], rows: Sequence[Sequence[str]], kinds: Sequence[str]) -> None:
        lines = [headings, ["-"] * len(headings), *rows] if rows else []
        texts = ["| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines]
        self.blocks += ["\n".join(texts)] if texts else []

    def images(self, shown: Sequence[Change], wide: bool = False) -> None:
        for change in shown:
            path = change.file.absolute().relative_to(self.folder).as_posix()
            self.blocks.append(f"![{change.caption}]({path})")

    def text(self) -> str:
        return "\n\n".join(self.blocks) + "\n"


class _Html:
    """Images are part of the page."""

    name = "report.html"

    def __init__(self) -> None:
        self.parts: list[str] = []

    def heading(self, text: str, level: int) -> None:
        self.parts.append(f"<h{level}>{html.escape(text)}</h{level}>")

    def facts(self, facts: Mapping[str, str]) -> None:
        self.parts += [f"<div class=soft>{html.escape(f'{name}: {text}')}</div>" for name, text in facts.items()]

    def warning(self, text: str) -> None:
        self.parts.append(f'<p class="alarm">{html.escape(text)}</p>')

    def paragraph(self, text: str) -> None:
        self.parts += [f'<p class="soft">{html.escape(text)}</p>'] if text else []

    def table(self, headings: Sequence[str], rows: Sequence[Sequence[str]], kinds: Sequence[str]) -> None:
        head = "".join(f"<th>{html.escape(text)}</th>" for text in headings)
        body = "".join(f"<tr>{_cells(row, kind)}</tr>" for row, kind in zip(rows, kinds, strict=True))
        self.parts += [f'<div class="scroll"><table><tr>{head}</tr>{body}</table></div>'] if rows else []

    def images(self, shown: Sequence[Change], wide: bool = False) -> None:
        figures = "".join(
            f"<figure>{_image(change)}<figcaption>{html.escape(change.caption)}</figcaption></figure>"
            for change in shown
        )
        self.parts += [f'<div class="{"plot" if wide else "images"}">{figures}</div>'] if figures else []

    def text(self) -> str:
        return html_page("Pipeline report", PAGE.read_text("utf-8") + "\n".join(self.parts))


_Page = _Markdown | _Html


def _cells(row: Sequence[str], kind: str) -> str:
    """Those of a decision are coloured."""
    return "".join(
        f'<td class="{kind}">{html.escape(cell)}</td>' if kind and cell.startswith(kind) else
        f"<td>{html.escape(cell)}</td>"
        for cell in row
    )  # fmt: skip


def _image(change: Change) -> str:
    """An image as part of the page; other files by their name."""
    kind = _TYPES.get(change.file.suffix.lower())
    if kind is None:
        return f"<p>{html.escape(change.file.name)}</p>"
    return f'<img src="{data_uri(change.file.read_bytes(), kind)}" alt="{html.escape(change.caption)}">'

"""The report of a pipeline: report.md, and report.html with everything in one file."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from string import Template
from typing import Any

from sia.io.output_file import write_text
from stages.pipeline.manifest import Record
from stages.pipeline.report_images import Bar, Change
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
            figures = (f"{100 * proof.before.value:.1f}", f"{100 * proof.after.value:.1f}", _change(proof))
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


def _change(proof: Any) -> str:
    return str(proof.difference.percent(sign=True))


@dataclass(frozen=True)
class Report:
    """Everything that is told.

    Attributes:
        folder: of the pipeline.
        facts: of the data and the run, by name.
        entries: the stages.
        plot: image of the figures.
    """

    folder: Path
    facts: Mapping[str, str]
    entries: Sequence[Entry]
    plot: Path | None = None
    warnings: Sequence[str] = field(default_factory=tuple)

    def write(self) -> None:
        """Replaces report.md and report.html.

        Raises:
            OutputError: they can't be written.
        """
        write_text(self.folder / "report.md", self._markdown())
        page = Template(PAGE.read_text(encoding="utf-8"))
        write_text(self.folder / "report.html", page.substitute(title="Pipeline report", body=self._html()))

    def _markdown(self) -> str:
        lines = ["# Pipeline report", ""]
        lines += [f"- {name}: {value}" for name, value in self.facts.items()]
        lines += ["", *(f"> **{text}**\n" for text in self.warnings)]
        lines += [_row(_HEADINGS), _row(["-"] * len(_HEADINGS)), *(_row(entry.cells()) for entry in self.entries), ""]
        lines += [READING, ""]
        lines += [f"![AP of the stages]({_link(self.plot, self.folder)})", ""] if self.plot is not None else []
        for entry in self.entries:
            lines += [f"## {entry.name}", "", *([entry.reason(), ""] if entry.reason() else [])]
            lines += [_row(("figure", "value")), _row("--"), *map(_row, _flat(entry.record.figures)), ""] * bool(
                entry.record.figures
            )
            lines += [f"![{path.name}]({_link(path, self.folder)})\n" for path in entry.files]
            lines += [_legend(entry), ""] if entry.changes else []
            lines += [f"![{change.caption}]({_link(change.file, self.folder)})\n" for change in entry.changes]
        return "\n".join(lines).rstrip() + "\n"

    def _html(self) -> str:
        facts = "".join(f"<div class=soft>{html.escape(f'{name}: {text}')}</div>" for name, text in self.facts.items())
        parts = [f"<h1>Pipeline report</h1>{facts}"]
        parts += [f'<p class="alarm">{html.escape(text)}</p>' for text in self.warnings]
        rows = [_table_row(entry.cells(), entry.decision) for entry in self.entries]
        parts += ["<h2>Stages</h2>", _table(_HEADINGS, rows), f'<p class="soft">{html.escape(READING)}</p>']
        parts += [f'<div class="plot">{_image(self.plot, "AP of the stages")}</div>'] if self.plot is not None else []
        for entry in self.entries:
            parts += [f"<h2>{html.escape(entry.name)}</h2>", f"<p>{html.escape(entry.reason())}</p>"]
            figures = [_table_row(cells) for cells in _flat(entry.record.figures)]
            parts += [_table(("figure", "value"), figures)] if figures else []
            shown = [Change(path, path.name) for path in entry.files]
            parts += [_figures(shown)] + (
                [f"<p class=soft>{_legend(entry)}</p>", _figures(entry.changes)] * bool(entry.changes)
            )
        return "\n".join(parts)


def _legend(entry: Entry) -> str:
    return FIRST if entry.record.measured is not None else CHANGES


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"


def _flat(figures: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested figures as rows, their names joined by dots."""
    rows: list[tuple[str, str]] = []
    for name, value in figures.items():
        if isinstance(value, Mapping):
            rows += _flat(value, f"{prefix}{name}.")
        else:
            rows.append(
                (
                    f"{prefix}{name}",
                    f"{value:.4g}" if isinstance(value, float) else "-" if value is None else str(value),
                )
            )
    return rows


def _link(path: Path, folder: Path) -> str:
    return path.absolute().relative_to(folder.absolute()).as_posix()


def _table(headings: Sequence[str], rows: Sequence[str]) -> str:
    head = "".join(f"<th>{html.escape(text)}</th>" for text in headings)
    return f'<div class="scroll"><table><tr>{head}</tr>{"".join(rows)}</table></div>'


def _table_row(cells: Sequence[str], decision: str = "") -> str:
    texts = [
        f'<td class="{decision}">{html.escape(cell)}</td>' if decision and cell.startswith(decision) else
        f"<td>{html.escape(cell)}</td>"
        for cell in cells
    ]  # fmt: skip
    return f"<tr>{''.join(texts)}</tr>"


def _figures(changes: Sequence[Change]) -> str:
    shown = [
        f"<figure>{_image(change.file, change.caption)}<figcaption>{html.escape(change.caption)}</figcaption></figure>"
        for change in changes
    ]
    return f'<div class="images">{"".join(shown)}</div>' if shown else ""


def _image(path: Path, text: str) -> str:
    """An image as part of the page; other files by their name."""
    kind = _TYPES.get(path.suffix.lower())
    if kind is None:
        return f"<p>{html.escape(path.name)}</p>"
    data = base64.b64encode(path.read_bytes()).decode()
    return f'<img src="data:{kind};base64,{data}" alt="{html.escape(text)}">'

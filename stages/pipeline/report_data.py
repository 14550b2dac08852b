"""Gathers what the report of a pipeline tells."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from datasets.coco.coco_pose import CocoPose
from sia.coco.coco_files import load_ground_truth
from sia.io.output_file import output_error
from stages.pipeline.data import splits_folder
from stages.pipeline.report import Entry, Report
from stages.pipeline.report_images import Change, draw_changes, draw_people, plot_stages
from stages.pipeline.splits import describe, read_splits
from stages.pipeline.state import Handed, Ledger
from utils.config.train_config import STAGES
from utils.metrics.matches import Matches
from utils.metrics.predictions import read_predictions


def write_report(ledger: Ledger, parts: Mapping[str, Path], matches: Callable[[str], Matches]) -> None:
    """Writes report.md, report.html and the folder of their images.

    Args:
        ledger: of the pipeline.
        parts: the annotation file of each part.
        matches: of a results file of ``test``, by its place in the manifest.

    Raises:
        DataError: an image can't be read.
        OutputError: something can't be written.
    """
    manifest = ledger.manifest
    folder = manifest.folder / "report"
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise output_error(error, folder) from error
    data = CocoPose(ledger.config.coco_root, parts["test"])
    entries = _entries(ledger, data, matches, folder)
    bars = [bar for bar in (entry.bar() for entry in entries) if bar is not None]
    if bars:
        plot_stages(bars, folder / "stages.png")
    Report(
        manifest.folder, _facts(ledger), entries, folder / "stages.png" if bars else None, _warnings(entries)
    ).write()


def _entries(ledger: Ledger, data: CocoPose, matches: Callable[[str], Matches], folder: Path) -> list[Entry]:
    """One for each stage that has run."""
    entries, current, reached = list[Entry](), None, None
    for name in STAGES:
        record = ledger.manifest.stages.get(name)
        if record is None or not record.done:
            continue
        standing, decision = ledger.is_current(name, current), ledger.decision(name)
        changes = _changes(ledger, name, current, data, matches, folder) if standing else []
        files = [ledger.manifest.path(place) for place in record.images]
        files = [path for path in files if path.is_file()]
        entries.append(Entry(name, record, decision, reached, standing, changes, files))
        bar = entries[-1].bar()
        if standing and decision != "refused" and bar is not None:
            current, reached = ledger.made(name, current), bar.value.value
    return entries


def _changes(
    ledger: Ledger, name: str, before: Handed | None, data: CocoPose, matches: Callable[[str], Matches], folder: Path
) -> list[Change]:
    """Drawings of what a stage found or changed."""
    record, manifest = ledger.manifest.stages[name], ledger.manifest
    if record.proof is None and record.measured is None:  # it declined, and nobody looked at the labels of test
        return []
    truth = load_ground_truth(data.annotation_file, data.skeleton)
    found = matches(record.after["test"])
    people = read_predictions(manifest.path(record.after["test"]), truth, data.skeleton)
    if before is None:
        return draw_people(data, people, found, folder, name)
    earlier = read_predictions(before.results["test"], truth, data.skeleton)
    known = matches(manifest.place(before.results["test"]))
    return draw_changes(data, (earlier, known), (people, found), folder, name)


def _facts(ledger: Ledger) -> dict[str, str]:
    manifest, config = ledger.manifest, ledger.config
    return {
        "images": describe(read_splits(splits_folder(manifest))),
        "annotations": ", ".join(dict.fromkeys(stored.path for stored in manifest.sources.values())),
        "model": f"{config.model} {config.size}, seed {config.seed}",
        "last run": f"{manifest.environment['started']}, commit {manifest.environment['commit'] or 'unknown'}",
    }


def _warnings(entries: list[Entry]) -> list[str]:
    forced = [entry.name for entry in entries if entry.decision == "forced"]
    stale = [entry.name for entry in entries if not entry.current]
    texts = []
    if forced:
        texts.append(f"Applied by --FORCE_STAGE against the proof: {', '.join(forced)}. What follows builds on it.")
    if stale:
        texts.append(f"Out of date, as a stage before has changed: {', '.join(stale)}. Run -STAGE all.")
    return texts

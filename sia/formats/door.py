"""Opens formats by name: for ``--save``, and for Python as `save_results`."""

from __future__ import annotations

import contextlib
import importlib
import io
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, TextIO

from sia.errors import ConfigError, unknown
from sia.formats.writer import About, Record, ResultWriter
from sia.io.output_file import check_new
from sia.people import People

FORMATS = {
    "coco": "coco.CocoResults",
    "coco-annotations": "coco_annotations.CocoAnnotations",
    "jsonl": "jsonl.JsonlWriter",
    "csv": "csv_table.CsvWriter",
    "parquet": "parquet.ParquetWriter",
    "openpose": "openpose.OpenPoseWriter",
    "yolo": "yolo.YoloWriter",
    "cvat": "cvat.CvatWriter",
    "labelstudio": "label_studio.LabelStudioWriter",
    "labelme": "labelme.LabelMeWriter",
    "slp": "slp.SlpWriter",
}
"""Module in this folder and class of each."""

STDOUT = Path("-")
"""Stands for standard output."""


class Target(NamedTuple):
    """A format, and its file or folder; None for the usual name in the output folder."""

    format: str
    path: Path | None


def parse_targets(text: str) -> list[Target]:
    """Reads ``FORMAT[:PATH][,FORMAT...]``, such as ``coco,csv:people.csv`` or ``jsonl:-``.

    Raises:
        ConfigError: a format that is unknown or named twice, one that can't go to standard output, or a file that
            exists.
    """
    targets, taken = list[Target](), list[Path]()
    for part in text.split(","):
        name, colon, place = part.strip().partition(":")
        if name not in FORMATS:
            raise ConfigError(unknown("The format", name, list(FORMATS)) + " Give --save FORMAT[:PATH],...")
        if colon and not place:
            raise ConfigError(f"--save {part}: a path is missing after the colon. Leave the colon out, or name a file.")
        target = Target(name, Path(place) if colon else None)
        if name in (other.format for other in targets):
            raise ConfigError(f"--save {text}: {name} is there twice.")
        if target.path == STDOUT and not writer_class(name).STREAMS:
            raise ConfigError(f"--save {name}:- can't be: only jsonl and csv go to standard output. Name a file.")
        for file in [] if target.path is None else writer_class(name).files(target.path):
            if file in taken:
                raise ConfigError(f"--save {text}: two formats would go to {file}. Name two.")
            taken.append(file)
            if file != STDOUT:
                check_new(file, f"--save {name}:")
        targets.append(target)
    return targets


def writer_class(name: str) -> type[ResultWriter]:
    """That of a format."""
    module, kind = FORMATS[name].split(".")
    found: type[ResultWriter] = getattr(importlib.import_module(f"sia.formats.{module}"), kind)
    return found


class _Aside(io.TextIOBase):
    """Text goes to stderr; `buffer` stays that of standard output."""

    def __init__(self, stdout: TextIO) -> None:
        self.buffer = stdout.buffer

    def write(self, text: str) -> int:
        return sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()


def clear_stdout(targets: Sequence[Target]) -> contextlib.AbstractContextManager[object]:
    """While it lasts, all messages go to stderr if one of the targets is standard output."""
    if STDOUT not in (target.path for target in targets):
        return contextlib.nullcontext()
    return contextlib.redirect_stdout(_Aside(sys.stdout))


class Results:
    """Several formats written at once.

    Args:
        targets: from `parse_targets`.
        folder: of those without a path.
        stem: their name, before what each format adds.
        about: what all records share.

    Raises:
        ConfigError: a package is missing, or a format can't hold this skeleton.
    """

    def __init__(self, targets: Sequence[Target], folder: Path, stem: str, about: About) -> None:
        kinds = [(writer_class(target.format), target.path) for target in targets]
        self._writers = [kind(path or folder / f"{stem}{kind.SUFFIX}", about) for kind, path in kinds]

    def add(self, record: Record) -> None:
        """Adds an image or frame to all.

        Raises:
            OutputError: it can't be written; what was added before stays.
        """
        for writer in self._writers:
            writer.add(record)

    def close(self) -> None:
        """Makes all complete, also where one fails; nothing can be added after it.

        Raises:
            OutputError: one can't be written.
        """
        with contextlib.ExitStack() as stack:
            for writer in reversed(self._writers):
                stack.callback(writer.close)

    @property
    def paths(self) -> list[Path]:
        """What was written; standard output is not among it."""
        return [path for writer in self._writers for path in writer.paths if path.exists()]


def save_results(
    people: People | Iterable[People], path: str | Path, format: str | None = None, kpt_thresh: float = 0.3
) -> Path:
    """Writes people in the format of another program.

    Args:
        people: of one image, of several, or what `PoseEstimator.stream` yields.
        path: of the file, or of the folder for openpose, yolo and labelme; it must not exist.
        format: one of `FORMATS`; without it the suffix says it (.jsonl, .csv, .parquet, .slp).
        kpt_thresh: keypoints of a lower confidence, in [0, 1], are marked as hidden where a format has marks.

    Raises:
        ConfigError: an unknown format, a file that exists, a package that is missing, or nothing to save.
        OutputError: it can't be written.
    """
    path = Path(path)
    name = format or path.suffix[1:]
    if name not in FORMATS:
        raise ConfigError(unknown("The format", name, list(FORMATS)) + " Give it as format=...")
    for file in writer_class(name).files(path):
        check_new(file, "The file")
    writer = None
    try:
        for number, found in enumerate([people] if isinstance(people, People) else people, 1):
            if writer is None:
                writer = writer_class(name)(path, About(found.skeleton, kpt_thresh))
            writer.add(Record.of(found, number))
    finally:  # what came before an error is kept
        if writer is not None:
            writer.close()
    if writer is None:
        raise ConfigError("There is nothing to save: not one image came.")
    return path

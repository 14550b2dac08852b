"""Runs all checks on one annotation file, and on what it shares with the file of another split."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from datasets.validation.checks import CHECKS, Severity
from datasets.validation.images import ImageInfo, check_images, check_splits, locate_images, read_images
from datasets.validation.labels import check_labels
from datasets.validation.pose import check_poses, read_predictions
from datasets.validation.statistics import Statistics, check_statistics, measure
from sia.coco.annotation_file import AnnotationFile, Issue
from sia.coco.annotation_parser import parse
from sia.coco.coco_files import read_json
from sia.errors import DataError


@dataclass(frozen=True)
class ValidationReport:
    """All that was found in one file.

    Attributes:
        data: what could be understood of it; None where nothing could.
        infos: one for each image with a usable name.
        statistics: counts; None like ``data``.
        issues: the worst first.
    """

    data: AnnotationFile | None
    infos: list[ImageInfo]
    statistics: Statistics | None
    issues: list[Issue]

    def counts(self) -> dict[str, int]:
        """Findings by check, the worst first."""
        found = Counter(issue.check for issue in self.issues)
        return {name: found[name] for name in CHECKS if name in found}

    def total(self, severity: Severity) -> int:
        """Number of findings of one severity."""
        return sum(CHECKS[issue.check].severity is severity for issue in self.issues)


def validate(
    file: Path,
    folder: Path,
    other: tuple[Path, Path] | None = None,
    results: Path | None = None,
    workers: int = 1,
    progress: Callable[[int], object] = lambda count: None,
) -> ValidationReport:
    """Runs all checks.

    Args:
        file: COCO keypoint annotations.
        folder: of its images.
        other: file and folder of another split; its own faults are not reported.
        results: of a model on these images, COCO keypoint results, for the checks that ask a model.
        workers: threads that decode images.
        progress: called with 1 after each image.

    Raises:
        DataError: a folder is missing, or the other file or the results can't be read.
    """
    data, issues = _read(file)
    if data is None:
        return ValidationReport(None, [], None, issues)
    located = locate_images(data, folder)
    infos = read_images(data, folder, located, workers, progress)
    statistics = measure(data)
    issues += [
        *check_images(data, located, infos),
        *check_labels(data),
        *(issue for part in data.parts for issue in check_poses(part, read_predictions(results, part))),
        *check_statistics(data, statistics),
    ]
    if other is not None:
        theirs, faults = _read(other[0])
        if theirs is None:
            raise DataError(f"{other[0]}: {faults[0].message} Check it by itself first.")
        their_infos = read_images(theirs, other[1], locate_images(theirs, other[1]), workers, progress)
        issues += check_splits(data, infos, theirs, their_infos)
    order = {name: place for place, name in enumerate(CHECKS)}
    return ValidationReport(data, infos, statistics, sorted(issues, key=lambda issue: order[issue.check]))


def _read(file: Path) -> tuple[AnnotationFile | None, list[Issue]]:
    """What can be understood of a file, and what its reader says about it.

    Returns:
        None in place of the annotations where nothing can be looked at: no JSON, or a section is missing.
    """
    try:
        data = parse(read_json(file, "annotation file"))
    except DataError as error:
        return None, [Issue("json", str(error))]
    data.path = file
    return None if any(issue.check == "sections" for issue in data.faults) else data, [*data.faults, *data.taken]

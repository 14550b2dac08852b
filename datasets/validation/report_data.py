"""Runs all checks on one annotation file, and on what it shares with the file of another split."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from datasets.validation.annotations import Annotations
from datasets.validation.images import ImageInfo, check_images, check_splits, read_images
from datasets.validation.issue import CHECKS, Issue, Severity
from datasets.validation.labels import check_labels
from datasets.validation.names import check_names
from datasets.validation.pose import check_poses
from datasets.validation.statistics import Statistics, check_statistics, measure
from datasets.validation.structure import read_annotations
from sia.errors import DataError
from sia.people import People

Predict = Callable[[Annotations], Mapping[int, People]]


@dataclass(frozen=True)
class ValidationReport:
    """All that was found in one file.

    Attributes:
        data: what could be understood of it; None where nothing could.
        images: one for each image with a usable name.
        statistics: counts; None like ``data``.
        issues: the worst first.
    """

    data: Annotations | None
    infos: list[ImageInfo]
    statistics: Statistics | None
    issues: list[Issue]

    def counts(self) -> dict[str, int]:
        """Findings by check, the worst first."""
        found = Counter(issue.check for issue in self.issues)
        return {name: found[name] for name in CHECKS if name in found}

    def total(self, severity: Severity) -> int:
        """Number of findings of one severity."""
        return sum(issue.severity is severity for issue in self.issues)


def validate(
    file: Path,
    folder: Path,
    other: tuple[Path, Path] | None = None,
    predict: Predict | None = None,
    workers: int = 1,
    progress: Callable[[int], object] = lambda count: None,
) -> ValidationReport:
    """Runs all checks.

    Args:
        file: COCO keypoint annotations.
        folder: of its images.
        other: file and folder of another split; its own faults are not reported.
        predict: gives a model's people by index of the image, for the checks that ask a model.
        workers: threads that decode images.
        progress: called with 1 after each image.

    Raises:
        DataError: a folder is missing, or the other file can't be read.
    """
    data, issues = read_annotations(file)
    if data is None:
        return ValidationReport(None, [], None, issues)
    infos = read_images(data, folder, workers, progress)
    statistics = measure(data)
    issues += [
        *check_names(data, folder),
        *check_images(data, infos),
        *check_labels(data),
        *check_poses(data, predict(data) if predict else None),
        *check_statistics(data, statistics),
    ]
    if other is not None:
        issues += _against(data, infos, *other, workers, progress)
    order = {name: place for place, name in enumerate(CHECKS)}
    return ValidationReport(data, infos, statistics, sorted(issues, key=lambda issue: order[issue.check]))


def _against(
    data: Annotations,
    infos: list[ImageInfo],
    file: Path,
    folder: Path,
    workers: int,
    progress: Callable[[int], object],
) -> list[Issue]:
    other, faults = read_annotations(file)
    if other is None:
        raise DataError(f"{file}: {faults[0].message} Check it by itself first.")
    return list(check_splits(data, infos, other, read_images(other, folder, workers, progress)))

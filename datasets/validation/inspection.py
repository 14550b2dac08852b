"""Runs all checks on one annotation file, and on what it shares with the file of another split."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from datasets.validation.annotations import Annotations
from datasets.validation.finding import CHECKS, Finding, Severity
from datasets.validation.images import Picture, check_pictures, check_splits, read_pictures
from datasets.validation.labels import check_labels
from datasets.validation.names import check_names
from datasets.validation.pose import check_poses
from datasets.validation.statistics import Statistics, check_statistics, measure
from datasets.validation.structure import read_annotations
from sia.errors import DataError
from sia.people import People

Predict = Callable[[Annotations], Mapping[int, People]]


@dataclass(frozen=True)
class Inspection:
    """All that was found in one file.

    Attributes:
        data: what could be understood of it; None where nothing could.
        pictures: one for each image with a usable name.
        statistics: counts; None like ``data``.
        findings: the worst first.
    """

    data: Annotations | None
    pictures: list[Picture]
    statistics: Statistics | None
    findings: list[Finding]

    def counts(self) -> dict[str, int]:
        """Findings by check, the worst first."""
        found = Counter(finding.check for finding in self.findings)
        return {name: found[name] for name in CHECKS if name in found}

    def total(self, severity: Severity) -> int:
        """Number of findings of one severity."""
        return sum(finding.severity is severity for finding in self.findings)


def inspect(
    file: Path,
    folder: Path,
    other: tuple[Path, Path] | None = None,
    predict: Predict | None = None,
    workers: int = 1,
    progress: Callable[[int], object] = lambda count: None,
) -> Inspection:
    """Runs all checks.

    Args:
        file: COCO keypoint annotations.
        folder: of its pictures.
        other: file and folder of another split; its own faults are not reported.
        predict: gives a model's people by index of the image, for the checks that ask a model.
        workers: threads that decode pictures.
        progress: called with 1 after each picture.

    Raises:
        DataError: a folder is missing, or the other file can't be read.
    """
    data, findings = read_annotations(file)
    if data is None:
        return Inspection(None, [], None, findings)
    pictures = read_pictures(data, folder, workers, progress)
    statistics = measure(data)
    findings += [
        *check_names(data, folder),
        *check_pictures(data, pictures),
        *check_labels(data),
        *check_poses(data, predict(data) if predict else None),
        *check_statistics(data, statistics),
    ]
    if other is not None:
        findings += _against(data, pictures, *other, workers, progress)
    order = {name: place for place, name in enumerate(CHECKS)}
    return Inspection(data, pictures, statistics, sorted(findings, key=lambda finding: order[finding.check]))


def _against(
    data: Annotations,
    pictures: list[Picture],
    file: Path,
    folder: Path,
    workers: int,
    progress: Callable[[int], object],
) -> list[Finding]:
    other, faults = read_annotations(file)
    if other is None:
        raise DataError(f"{file}: {faults[0].message} Check it by itself first.")
    return list(check_splits(data, pictures, other, read_pictures(other, folder, workers, progress)))

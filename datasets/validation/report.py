"""The report of an inspection: one HTML page to look through without a server, its images, and all as JSON."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from itertools import zip_longest
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from datasets.validation.annotations import Annotations, Person
from datasets.validation.issue import CHECKS, Issue, Severity
from datasets.validation.report_data import ValidationReport
from sia.drawing.annotator import PoseAnnotator
from sia.io.images import read_image, write_image
from sia.io.output_file import output_error, write_bytes, write_json
from sia.people import People
from sia.skeletons.skeleton import Skeleton

PAGE = Path(__file__).with_name("report.html")
SIDES = (900, 1400)
"""Pixels; smaller images are enlarged to the first as longer side, larger ones reduced to the second."""
LISTED = 500
"""Findings of one check that the page lists; the JSON file has them all."""


def write_report(
    report_data: ValidationReport, folder: Path, samples: int, repaired: Mapping[str, int] | None = None, seed: int = 0
) -> None:
    """Writes index.html, findings.json and images/ into the folder.

    Args:
        report_data: what was found.
        folder: exists and is empty.
        samples: how many images to draw: those with findings first, in turn from each check, then others by chance.
        repaired: number of repairs by check, None where none were asked for.
        seed: of the choice by chance.

    Raises:
        OutputError: something can't be written.
    """
    content = _content(report_data, repaired)
    write_json(folder / "findings.json", content, indent=1)
    infos = _draw_images(report_data, folder, choose(report_data, samples, seed))
    page = {**content, "findings": _shortened(content["findings"]), "images": infos}
    data = json.dumps(page, allow_nan=False).replace("<", "\\u003c")  # nothing in the data can end the script
    write_bytes(folder / "index.html", PAGE.read_text("utf-8").replace("/*DATA*/null", data).encode())


def _content(report_data: ValidationReport, repaired: Mapping[str, int] | None) -> dict[str, Any]:
    """All but the images, in plain types."""
    counts = report_data.counts()
    return {
        "file": report_data.data.file.name if report_data.data else None,
        "totals": {severity.value: report_data.total(severity) for severity in Severity},
        "checks": [
            {
                "name": c.name,
                "severity": c.severity.value,
                "title": c.title,
                "remedy": c.remedy,
                "count": counts[c.name],
            }
            | {"mended": c.mended, "repaired": (repaired or {}).get(c.name, 0)}
            for c in (CHECKS[name] for name in counts)
        ],
        "checked": len(CHECKS),
        "statistics": report_data.statistics.to_dict() if report_data.statistics else None,
        "findings": [_plain(issue, report_data.data) for issue in report_data.issues],
    }


def _plain(issue: Issue, data: Annotations | None) -> dict[str, Any]:
    row: dict[str, Any] = {"check": issue.check, "message": issue.message}
    if data is not None and issue.image is not None:
        row |= {"image": issue.image, "file_name": data.name(issue.image)}
        row |= {"image_id": _simple(data.content["images"][issue.image].get("id"))}
    if data is not None and issue.row is not None:
        row |= {"row": issue.row, "annotation_id": _simple(data.content["annotations"][issue.row].get("id"))}
    return row | ({"joints": list(issue.joints)} if issue.joints else {})


def _simple(value: Any) -> Any:
    """Ids can be anything in a broken file, NaN too."""
    return value if isinstance(value, int | str) else repr(value)


def _shortened(issues: list[dict[str, Any]]) -> list[dict[str, Any]]:
    listed: dict[str, int] = {}
    short = []
    for issue in issues:
        listed[issue["check"]] = listed.get(issue["check"], 0) + 1
        if listed[issue["check"]] <= LISTED:
            short.append(issue)
    return short


def choose(report_data: ValidationReport, samples: int, seed: int) -> list[int]:
    """Indices of the images to draw: in turn one from each check, the worst check first, then others by chance."""
    usable = [info.image for info in report_data.infos if info.size is not None]
    by_check: dict[str, list[int]] = {}
    for issue in report_data.issues:
        if issue.image is not None:
            by_check.setdefault(issue.check, []).append(issue.image)
    in_turn = [image for turn in zip_longest(*by_check.values()) for image in turn if image is not None]
    others = random.Random(seed).sample(usable, len(usable))
    known = set(usable)
    return [image for image in dict.fromkeys([*in_turn, *others]) if image in known][:samples]


def _draw_images(report_data: ValidationReport, folder: Path, images: list[int]) -> list[dict[str, Any]]:
    """Draws the images and describes them for the page."""
    if not images or report_data.data is None:
        return []
    try:
        (folder / "images").mkdir()
    except OSError as error:
        raise output_error(error, folder / "images") from error
    files = {info.image: info.file for info in report_data.infos}
    return [_draw_image(report_data.data, image, files[image], folder / "images") for image in images]


def _draw_image(data: Annotations, image: int, file: Path | None, folder: Path) -> dict[str, Any]:
    assert file is not None
    pixels = read_image(file)
    height, width = pixels.shape[:2]
    scale = max(min(SIDES[1] / max(height, width), 1.0), SIDES[0] / max(height, width))
    people = data.by_image.get(image, [])
    drawn = _draw(pixels, people, data.skeleton, scale)
    name = f"{image:06d}.jpg"
    write_image(folder / name, drawn)
    return {
        "image": image, "src": f"images/{name}", "file_name": data.name(image), "width": width, "height": height,
        "people": [_person(data, person) for person in people],
    }  # fmt: skip


def _person(data: Annotations, person: Person) -> dict[str, Any]:
    """What the page draws itself: the box and, when a finding is chosen, the joints."""
    return {
        "row": person.row,
        "id": _simple(data.content["annotations"][person.row].get("id")),
        "crowd": person.crowd,
        "box": person.box.round(2).tolist(),
        "joints": None if person.joints is None else person.joints.round(2).tolist(),
    }


def _draw(
    pixels: NDArray[np.uint8], people: list[Person], skeleton: Skeleton | None, scale: float
) -> NDArray[np.uint8]:
    """The labelled joints and limbs on the scaled image."""
    size = (max(round(pixels.shape[1] * scale), 1), max(round(pixels.shape[0] * scale), 1))
    method = cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA
    scaled = np.asarray(cv2.resize(pixels, size, interpolation=method), np.uint8)
    posed = [person for person in people if person.joints is not None and person.labelled.any()]
    if skeleton is None or not posed:
        return scaled
    joints = np.array([person.joints for person in posed], np.float32)
    keypoints = joints[..., :2] * (np.array(size, np.float32) / (pixels.shape[1], pixels.shape[0])).astype(np.float32)
    confidences = (joints[..., 2] > 0).astype(np.float32)
    boxes = np.array([_extent(points[seen > 0]) for points, seen in zip(keypoints, confidences, strict=True)])
    labelled = People(boxes, np.ones(len(posed), np.float32), keypoints, confidences)
    return PoseAnnotator(skeleton, boxes=False).draw(scaled, labelled)


def _extent(points: NDArray[np.float32]) -> NDArray[np.float32]:
    """x1 y1 x2 y2 around points: lines are as thick as the person's joints spread."""
    return np.concatenate([points.min(axis=0), points.max(axis=0)])

"""The report of an inspection: one HTML page to look through without a server, its images, and all as JSON."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from itertools import zip_longest
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from datasets.validation.checks import CHECKS, Severity
from datasets.validation.fixes import REPAIRS
from datasets.validation.images import ImageInfo
from datasets.validation.report_data import ValidationReport
from sia.coco.annotation_file import AnnotationFile, Issue, Person, Row
from sia.drawing.annotator import PoseAnnotator
from sia.drawing.html_page import html_page
from sia.io.images import read_image, write_image
from sia.io.output_file import first_free_folder, write_json, write_text
from sia.people import People
from sia.skeletons.skeleton import Skeleton

PAGE = Path(__file__).with_name("report.html")
SIDES = (900, 1400)
"""Pixels; smaller images are enlarged to the first as longer side, larger ones reduced to the second."""
LISTED = 500
"""Findings of one check that the page lists; the JSON file has them all."""


def write_report(
    report_data: ValidationReport, folder: Path, samples: int, repaired: Mapping[str, int] | None = None
) -> None:
    """Writes index.html, findings.json and images/ into the folder.

    Args:
        report_data: what was found.
        folder: exists and is empty.
        samples: how many images to draw: those with findings first, in turn from each check, then others by chance.
        repaired: number of repairs by check, None where none were asked for.

    Raises:
        OutputError: something can't be written.
    """
    content = _content(report_data, repaired)
    write_json(folder / "findings.json", content, indent=1)
    images = []
    for info in choose(report_data, samples):
        assert report_data.data is not None
        images.append(_draw_image(report_data.data, info, folder / "images"))
    listed, findings = Counter[str](), []
    for issue in content["findings"]:
        listed[issue["check"]] += 1
        if listed[issue["check"]] <= LISTED:
            findings.append(issue)
    data = {**content, "findings": findings, "images": images}
    write_text(folder / "index.html", html_page("Annotation report", PAGE.read_text("utf-8"), data))


def _content(report_data: ValidationReport, repaired: Mapping[str, int] | None) -> dict[str, Any]:
    """All but the images, in plain types."""
    checks = [(CHECKS[name], count) for name, count in report_data.counts().items()]
    return {
        "file": report_data.data.path.name if report_data.data else None,
        "totals": {severity.value: report_data.total(severity) for severity in Severity},
        "checks": [
            {
                "name": check.name, "severity": check.severity.value, "title": check.title, "remedy": check.remedy,
                "count": count, "mended": check.name in REPAIRS, "repaired": (repaired or {}).get(check.name, 0),
            }
            for check, count in checks
        ],
        "checked": len(CHECKS),
        "statistics": asdict(report_data.statistics) if report_data.statistics else None,
        "findings": [_plain(issue, report_data.data) for issue in report_data.issues],
    }  # fmt: skip


def _plain(issue: Issue, data: AnnotationFile | None) -> dict[str, Any]:
    row: dict[str, Any] = {"check": issue.check, "message": issue.message}
    if data is not None and issue.image is not None:
        row |= {"image": issue.image, "file_name": data.file_name(issue.image)}
        key = data.content["images"][issue.image].get("id")
        row |= {"image_id": key if isinstance(key, int | str) else repr(key)}  # NaN too, in a broken file
    if data is not None and issue.row is not None:
        row |= {"row": issue.row, "annotation_id": data.content["annotations"][issue.row]["id"]}
    return row | ({"joints": list(issue.joints)} if issue.joints else {})


def choose(report_data: ValidationReport, samples: int) -> list[ImageInfo]:
    """The images to draw: in turn one from each check, the worst check first, then others by chance."""
    usable = {info.image: info for info in report_data.infos if info.size is not None}
    by_check: dict[str, list[int]] = {}
    for issue in report_data.issues:
        if issue.image is not None:
            by_check.setdefault(issue.check, []).append(issue.image)
    in_turn = [image for turn in zip_longest(*by_check.values()) for image in turn if image is not None]
    others = random.Random(0).sample(list(usable), len(usable))
    return [usable[image] for image in dict.fromkeys([*in_turn, *others]) if image in usable][:samples]


def _draw_image(data: AnnotationFile, info: ImageInfo, folder: Path) -> dict[str, Any]:
    """Draws it, and describes it for the page."""
    assert info.file is not None
    pixels = read_image(info.file)
    height, width = pixels.shape[:2]
    scale = max(min(SIDES[1] / max(height, width), 1.0), SIDES[0] / max(height, width))
    people = data.by_image.get(info.image, [])
    name = f"{info.image:06d}.jpg"
    if not folder.is_dir():
        first_free_folder([folder])
    size = (max(round(width * scale), 1), max(round(height * scale), 1))
    drawn = np.asarray(
        cv2.resize(pixels, size, interpolation=cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA), np.uint8
    )
    for block, skeleton in enumerate(data.skeleton.parts if data.skeleton else ()):
        drawn = _draw(drawn, [person for person in people if person.block == block], skeleton, (width, height))
    write_image(folder / name, drawn)
    return {
        "image": info.image, "src": f"images/{name}", "file_name": data.file_name(info.image),
        "width": width, "height": height,
        "people": [_person(person, data.content["annotations"][person.row]) for person in people],
    }  # fmt: skip


def _person(person: Person, row: Row) -> dict[str, Any]:
    """What the page draws itself: the box and, when a finding is chosen, the joints."""
    box, joints = (np.array(values).round(2).tolist() for values in (row["bbox"], person.joints))
    known = joints if row.get("keypoints") else None
    return {"row": person.row, "id": row["id"], "crowd": person.crowd, "box": box, "joints": known}


def _draw(
    scaled: NDArray[np.uint8], people: list[Person], skeleton: Skeleton, whole: tuple[int, int]
) -> NDArray[np.uint8]:
    """The labelled joints and limbs of a category on the scaled image, which was ``whole`` (width, height) before."""
    joints = np.array([person.joints for person in people if person.labelled.any()], np.float32)
    if not len(joints):
        return scaled
    size = np.array(scaled.shape[1::-1], np.float32)
    keypoints = joints[..., :2] * (size / whole).astype(np.float32)
    labelled = joints[..., 2] > 0
    extents = [  # lines are as thick as the person's joints spread
        np.concatenate([points[seen].min(axis=0), points[seen].max(axis=0)])
        for points, seen in zip(keypoints, labelled, strict=True)
    ]
    people_drawn = People(np.array(extents), np.ones(len(joints), np.float32), keypoints, labelled.astype(np.float32))
    return PoseAnnotator(skeleton, boxes=False).draw(scaled, people_drawn)

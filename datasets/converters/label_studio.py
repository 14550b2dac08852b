"""Label Studio's JSON export: a rectangle a person, and keypoints whose parent it is, in percent of the image."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import parse_qs, unquote, urlsplit

from datasets.converters.coco_writer import HIDDEN, CocoWriter, Joint, close_match
from sia.coco.annotation_values import Box
from sia.coco.coco_files import Row, finite_numbers, read_json
from sia.errors import DataError
from sia.io.images import image_size
from sia.skeletons.skeleton import COCO_PERSON, Skeleton

_UPLOAD = re.compile(r"^[0-9a-f]{8}-")
"""What Label Studio puts before the names of uploaded files."""


def import_label_studio(file: Path, images: Path | None = None, wanted: Skeleton | None = None) -> CocoWriter:
    """All tasks that somebody has labelled: the last annotation of each that was not cancelled.

    A keypoint belongs to the rectangle that is its parent; those without a parent are one person. The rotation of a
    rectangle is not taken. Keypoints with a note ``hidden`` are hidden (v = 1).

    Args:
        file: of "Export", format JSON.
        images: folder of the images; needed for tasks in which nobody is labelled, whose sizes are not in the file.
        wanted: keypoints and category, by default COCO's.

    Raises:
        DataError: what is wrong, in which task, and how to fix it.
    """
    tasks = read_json(file, "Label Studio file")
    if not isinstance(tasks, list) or not all(isinstance(task, dict) for task in tasks):
        raise DataError(f"{file}: no list of tasks. Export the project as JSON, not as JSON-MIN.")
    writer = CocoWriter(file, wanted or COCO_PERSON)
    for number, task in enumerate(tasks):
        _Task(writer, task, number, images).read()
    return writer


class _Task:
    """Reads one task."""

    def __init__(self, writer: CocoWriter, task: Row, number: int, images: Path | None) -> None:
        self.writer, self.task, self.images = writer, task, images
        self.name = f"task {task.get('id', number)}"

    def fail(self, message: str) -> NoReturn:
        raise DataError(f"{self.writer.source}: {self.name} {message}")

    def read(self) -> None:
        given = self.task.get("annotations")
        done = [row for row in given or [] if isinstance(row, dict) and not row.get("was_cancelled")]
        if not done:
            self.writer.report["left out: tasks that nobody has labelled"] += 1
            return
        regions = done[-1].get("result")
        if not isinstance(regions, list) or not all(isinstance(region, dict) for region in regions):
            self.fail("has no list 'result'. Export the project as JSON again.")
        name = self._image_name()
        width, height = self._size(regions, name)
        image_id = self.writer.add_image(name, width, height)
        boxes: dict[Any, Box] = {}
        joints: dict[Any, dict[str, Joint]] = {}
        for region in regions:
            kind, value = region.get("type"), region.get("value")
            if kind == "rectanglelabels" and self.writer.skeleton.category in self._labels(region):
                boxes[region.get("id")] = self._box(value, width, height)
            elif kind == "keypointlabels":
                self._put(joints.setdefault(region.get("parentID"), {}), region, width, height)
            else:
                self.writer.report[f"left out: regions of type '{kind}'"] += 1
        for owner in [*boxes, *(owner for owner in joints if owner not in boxes)]:
            self.writer.add_person(image_id, joints.get(owner, {}), boxes.get(owner))

    def _image_name(self) -> str:
        """Relative to the folder of the images: as `sia annotate` noted it, or from the address of the image."""
        data = self.task.get("data")
        data = data if isinstance(data, dict) else {}
        if isinstance(data.get("file_name"), str):
            return str(data["file_name"])
        place = next((value for value in data.values() if isinstance(value, str) and "/" in value), None)
        if place is None:
            self.fail("has no image in 'data'. Export the project as JSON.")
        parts = urlsplit(place)
        local = parse_qs(parts.query).get("d")
        path = local[0] if local else unquote(parts.path)
        return path.strip("/") if local else _UPLOAD.sub("", Path(path).name)

    def _size(self, regions: list[Row], name: str) -> tuple[int, int]:
        for region in regions:
            width, height = region.get("original_width"), region.get("original_height")
            if type(width) is int and type(height) is int:
                return width, height
        if self.images is None:
            self.fail(f"has nobody in {name}, so the size of the image is not in the file. Give --img_dir.")
        return image_size(self.images / name)

    def _labels(self, region: Row) -> list[str]:
        value = region.get("value")
        found = value.get(region.get("type")) if isinstance(value, dict) else None
        return [str(label) for label in found] if isinstance(found, list) else []

    def _box(self, value: Any, width: int, height: int) -> Box:
        x, y, w, h = self._numbers(value, "x", "y", "width", "height")
        return x * width / 100, y * height / 100, w * width / 100, h * height / 100

    def _put(self, joints: dict[str, Joint], region: Row, width: int, height: int) -> None:
        names = self._labels(region)
        if len(names) != 1 or names[0] not in self.writer.skeleton.names:
            name = ", ".join(names)
            self.fail(f"has the unknown keypoint '{name}'{close_match(name, self.writer.skeleton.names)}.")
        if names[0] in joints:
            self.fail(f"has '{names[0]}' twice for one person. Remove one, or give it another parent.")
        x, y = self._numbers(region["value"], "x", "y")
        meta = region.get("meta")
        notes = meta.get("text", []) if isinstance(meta, dict) else []
        hidden = any(str(note).strip().lower() in HIDDEN for note in (notes if isinstance(notes, list) else [notes]))
        joints[names[0]] = (x * width / 100, y * height / 100, 1 if hidden else 2)

    def _numbers(self, value: Any, *names: str) -> list[float]:
        numbers = finite_numbers([value.get(name) for name in names], len(names)) if isinstance(value, dict) else None
        if numbers is None:
            self.fail(f"has a region without {', '.join(names)}: {value!r:.60}. Label it again.")
        return numbers

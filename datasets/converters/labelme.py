"""LabelMe's json, one file an image: points that are named after keypoints, and rectangles, in groups."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NoReturn

from datasets.converters.coco_writer import HIDDEN, CocoWriter, Joint, close_match
from sia.coco.annotation_values import Box
from sia.coco.coco_files import Row, finite_numbers, read_json
from sia.errors import DataError
from sia.skeletons.skeleton import COCO_PERSON, Skeleton


def import_labelme(folder: Path, images: Path | None = None, wanted: Skeleton | None = None) -> CocoWriter:
    """All images that have a json file in the folder or below.

    Points and at most one rectangle with one ``group_id`` are a person; without ``group_id``, all that is in an image
    is one. Rectangles count if they have the category's name; one without points is a person without keypoints.
    Points with the flag ``occluded`` or ``hidden`` are hidden (v = 1).

    Args:
        folder: of the json files.
        images: folder of the images, the same by default; ``imagePath`` must lie inside it.
        wanted: keypoints and category, by default COCO's.

    Raises:
        DataError: what is wrong, in which file, and how to fix it.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder of LabelMe files. Check --input.")
    writer = CocoWriter(folder, wanted or COCO_PERSON)
    for file in sorted(folder.rglob("*.json")):
        _File(writer, file, images or folder).read()
    return writer


class _File:
    """Reads one json file."""

    def __init__(self, writer: CocoWriter, file: Path, images: Path) -> None:
        self.writer, self.file, self.images = writer, file, images
        self.skeleton = writer.skeleton

    def fail(self, message: str) -> NoReturn:
        raise DataError(f"{self.file}: {message}")

    def read(self) -> None:
        content = read_json(self.file, "LabelMe file")
        shapes = content.get("shapes") if isinstance(content, dict) else None
        if not isinstance(shapes, list) or not all(isinstance(shape, dict) for shape in shapes):
            self.fail("it has no list 'shapes'. Give the folder of LabelMe's files alone.")
        width, height = content.get("imageWidth"), content.get("imageHeight")
        if type(width) is not int or type(height) is not int:
            self.fail(f"imageWidth and imageHeight are {width!r} and {height!r}. Save it with LabelMe again.")
        image_id = self.writer.add_image(self._name(content.get("imagePath")), width, height)
        groups: dict[Any, list[Row]] = {}
        for shape in shapes:
            group = shape.get("group_id")
            if group is not None and not isinstance(group, int | str):
                self.fail(f"group_id {group!r:.40} is no number. Save it with LabelMe again.")
            groups.setdefault(group, []).append(shape)
        for group in groups.values():
            self._person(image_id, group)

    def _name(self, path: Any) -> str:
        """``imagePath`` is relative to the json file; the result to the images."""
        if not isinstance(path, str) or not path.strip() or "\0" in path:
            self.fail(f"imagePath is {path!r}. Save it with LabelMe again.")
        place = os.path.normpath(self.file.parent.resolve() / path.replace("\\", "/"))
        name = Path(os.path.relpath(place, self.images.resolve()))
        if name.parts[:1] == (os.pardir,):
            self.fail(f"imagePath {path!r} is outside {self.images}. Give the folder of the images as --img_dir.")
        return name.as_posix()

    def _person(self, image_id: int, shapes: list[Row]) -> None:
        joints: dict[str, Joint] = {}
        boxes: list[Box] = []
        for shape in shapes:
            kind, label = shape.get("shape_type"), str(shape.get("label"))
            if kind == "point":
                self._put(joints, label, shape)
            elif kind == "rectangle" and label == self.skeleton.category:
                (x1, y1), (x2, y2) = self._points(shape, 2)
                boxes.append((min(x1, x2), min(y1, y2), abs(x2 - x1), abs(y2 - y1)))
            else:
                what = f"rectangles labelled '{label}'" if kind == "rectangle" else f"shapes of type '{kind}'"
                self.writer.report[f"left out: {what}"] += 1
        if joints and len(boxes) > 1:
            self.fail(
                f"{len(boxes)} rectangles and {len(joints)} points are in one group. Give each person a group_id."
            )
        if joints and not boxes:
            self.writer.add_person(image_id, joints, None)
        for box in boxes:
            self.writer.add_person(image_id, joints, box)

    def _put(self, joints: dict[str, Joint], name: str, shape: Row) -> None:
        if name not in self.skeleton.names:
            self.fail(f"unknown keypoint '{name}'{close_match(name, self.skeleton.names)}.")
        if name in joints:
            self.fail(f"'{name}' is twice in one group. Give each person a group_id of its own.")
        flags = shape.get("flags")
        hidden = isinstance(flags, dict) and any(flags.get(flag) is True for flag in HIDDEN)
        ((x, y),) = self._points(shape, 1)
        joints[name] = (x, y, 1 if hidden else 2)

    def _points(self, shape: Row, count: int) -> list[list[float]]:
        points = shape.get("points")
        pairs = [finite_numbers(pair, 2) for pair in points] if isinstance(points, list) else []
        found = [pair for pair in pairs if pair is not None]
        if len(found) != count or len(pairs) != count:
            self.fail(f"'{shape.get('label')}' has points {points!r:.60}, not {count} of x, y. Label it again.")
        return found

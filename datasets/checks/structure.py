"""Reads an annotation file without stopping at its first fault: sections, ids, categories, lengths and values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from datasets.checks.annotations import Annotations, Floats, Person, Row
from datasets.checks.finding import Finding
from datasets.image_name import problem_of_name
from utils.coco_files import finite_numbers, read_json
from utils.errors import DataError
from utils.skeleton import COCO_PERSON, Skeleton

SECTIONS = ("images", "annotations", "categories")


def read_annotations(file: Path) -> tuple[Annotations | None, list[Finding]]:
    """What can be understood of a file, and the faults of its structure.

    Returns:
        None in place of the annotations where nothing can be looked at: no JSON, or a section is missing.
    """
    try:
        content = read_json(file, "annotation file")
    except DataError as error:
        return None, [Finding("json", str(error))]
    missing = [Finding("sections", f"'{name}' {state}.") for name in SECTIONS if (state := _section(content, name))]
    if missing:
        return None, missing
    reader = _Reader(file, content)
    return reader.read(), reader.findings


def _section(content: Any, name: str) -> str:
    """What is wrong with a section; empty where nothing is."""
    rows = content.get(name) if isinstance(content, dict) else None
    if rows is None:
        return "is missing"
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        return "is not a list of objects"
    return "is empty" if name != "annotations" and not rows else ""


class _Reader:
    """Collects findings while it reads."""

    def __init__(self, file: Path, content: Row) -> None:
        self.file, self.content = file, content
        self.findings: list[Finding] = []

    def read(self) -> Annotations:
        images = self._ids("images", "image")
        categories = self._ids("categories", "category")
        self._ids("annotations", "annotation")
        for index, row in enumerate(self.content["images"]):
            self._image(index, row)
        skeleton = self._skeleton()
        posed = {key for key, index in categories.items() if self.content["categories"][index].get("keypoints")}
        people = [
            person
            for index, row in enumerate(self.content["annotations"])
            if (person := self._person(index, row, images, set(categories), posed, skeleton)) is not None
        ]
        return Annotations(self.file, self.content, skeleton, images, people)

    def _found(self, check: str, message: str, **place: Any) -> None:
        self.findings.append(Finding(check, message, **place))

    def _ids(self, section: str, what: str) -> dict[int, int]:
        """The index of each id."""
        known: dict[int, int] = {}
        for index, row in enumerate(self.content[section]):
            key = row.get("id")
            place = {"images": {"image": index}, "annotations": {"row": index}, "categories": {}}[section]
            if type(key) is not int or abs(key) >= 2**63:
                self._found("id", f"{section}[{index}] has id {key!r}.", **place)
            elif key in known:
                self._found(f"{what}-id-twice", f"id {key} is that of {section}[{known[key]}] already.", **place)
            else:
                known[key] = index
        return known

    def _image(self, index: int, row: Row) -> None:
        problem = problem_of_name(row.get("file_name"))
        if problem:
            self._found("image-name", f"file_name {row.get('file_name')!r}{problem}", image=index)
        size = [row.get(key) for key in ("width", "height")]
        if not all(type(side) is int and 0 < side < 2**31 for side in size):
            self._found("image-size-missing", f"width and height are {size[0]!r} and {size[1]!r}.", image=index)

    def _skeleton(self) -> Skeleton | None:
        """The one skeleton of the file; None where there is none, or several."""
        posed = [row for row in self.content["categories"] if row.get("keypoints")]
        if not posed:
            self._found("skeleton", "No category declares keypoints.")
        if any(row["keypoints"] != posed[0]["keypoints"] for row in posed):
            names = ", ".join(repr(row.get("name")) for row in posed)
            self._found("skeleton", f"The categories {names} have different keypoints. Give each a file of its own.")
            return None
        return self._category(posed[0]) if posed else None

    def _category(self, row: Row) -> Skeleton | None:
        if counts_from_zero(row):
            self._found("skeleton-base", f"The lines of category '{row.get('name')}' start at keypoint 0.")
            row = {**row, "skeleton": [[a + 1, b + 1] for a, b in row["skeleton"]]}
        try:
            if not isinstance(row["keypoints"], list):
                raise DataError(f"'keypoints' is {row['keypoints']!r:.60}, which is no list of names.")
            skeleton = Skeleton.from_category(row)
        except (DataError, TypeError, ValueError, OverflowError) as error:
            self._found("skeleton", f"Category '{row.get('name')}': {error}")
            return None
        coco = COCO_PERSON.names
        if skeleton.names != coco and set(skeleton.names) == set(coco):
            first = next(i for i, pair in enumerate(zip(skeleton.names, coco, strict=True)) if pair[0] != pair[1])
            place = f"Keypoint {first + 1} is '{skeleton.names[first]}', but COCO's is '{coco[first]}'."
            self._found("skeleton-order", place)
        return skeleton

    def _person(
        self, index: int, row: Row, images: dict[int, int], known: set[int], posed: set[int], skeleton: Skeleton | None
    ) -> Person | None:
        image_id, category = row.get("image_id"), row.get("category_id")
        image = images.get(image_id) if type(image_id) is int else None
        if image is None:
            self._found("dangling-image", f"image_id {image_id!r} is not in section 'images'.", row=index)
        if type(category) is not int or category not in known:
            self._found("dangling-category", f"category_id {category!r} is unknown.", row=index, image=image)
            return None
        if image is None or category not in posed:
            return None
        place = {"row": index, "image": image}
        joints = self._joints(row, skeleton, place) if skeleton and row.get("keypoints") else None
        return Person(index, image, self._box(row, place), joints, self._area(row, place), bool(row.get("iscrowd")))

    def _box(self, row: Row, place: dict[str, int]) -> Floats | None:
        box = finite_numbers(row.get("bbox"), 4)
        if box is None:
            self._found("bbox-missing", f"bbox is {row.get('bbox')!r:.60}.", **place)
        elif min(box[2:]) <= 0:
            self._found("bbox-empty", f"Width and height of the box are {box[2]:g} and {box[3]:g}.", **place)
            return None
        return None if box is None else np.array(box)

    def _area(self, row: Row, place: dict[str, int]) -> float | None:
        if row.get("area") is None:
            self._found("area-missing", "There is no area.", **place)
            return None
        area = finite_numbers([row["area"]], 1)
        if area is None or area[0] <= 0:
            self._found("area-empty", f"area is {row['area']!r:.40}.", **place)
            return None
        return area[0]

    def _joints(self, row: Row, skeleton: Skeleton, place: dict[str, int]) -> Floats | None:
        values, k = row["keypoints"], skeleton.num_keypoints
        if not isinstance(values, list) or len(values) != 3 * k:
            got = f"{len(values)} values" if isinstance(values, list) else repr(values)[:40]
            self._found("keypoints-length", f"{got}, but {k} keypoints need {3 * k}.", **place)
            return None
        broken = [i for i in range(k) if finite_numbers(values[3 * i : 3 * i + 3], 3) is None]
        if broken:
            first = values[3 * broken[0] : 3 * broken[0] + 3]
            message = f"{skeleton.names[broken[0]]} is {first!r:.60}."
            self._found("keypoints-number", message, joints=tuple(broken), **place)
            return None
        joints = np.array(values, np.float64).reshape(k, 3)
        odd = np.flatnonzero(~np.isin(joints[:, 2], (0, 1, 2)))
        if len(odd):
            message = f"{skeleton.names[odd[0]]} has v = {joints[odd[0], 2]:g}."
            self._found("visibility", message, joints=tuple(odd.tolist()), **place)
            return None
        return joints


def counts_from_zero(category: Row) -> bool:
    """Whether the lines of a category count keypoints from 0, beyond doubt: 0 is in them, and K is not."""
    lines, names = category.get("skeleton"), category.get("keypoints")
    if not isinstance(lines, list) or not isinstance(names, list):
        return False
    if not all(isinstance(line, list) and len(line) == 2 and all(type(i) is int for i in line) for line in lines):
        return False
    numbers = {i for line in lines for i in line}
    return 0 in numbers and min(numbers) == 0 and max(numbers) < len(names)

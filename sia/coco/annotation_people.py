"""The people of an annotation file: each annotation as it was meant, or what is wrong with it."""

from __future__ import annotations

import numpy as np

from sia.coco.annotation_file import AnnotationFile, Person, Row
from sia.coco.annotation_rows import RowReader
from sia.coco.annotation_units import check_units
from sia.coco.annotation_values import Box, box_around, number, numbers
from sia.coco.annotation_values import whole as read_whole
from sia.skeletons.oks import AREA_OF_BOX
from sia.skeletons.skeleton import Skeleton

OUTSIDE_TOLERANCE = 1.0
"""Pixels by which a labelled joint may leave the image: rounding, not a mistake."""


class PeopleReader(RowReader):
    """Reads ``annotations``, when images and categories are known.

    Args:
        file: gets people and remarks.
    """

    def __init__(self, file: AnnotationFile) -> None:
        super().__init__(file)
        self.posed, self.declared = frozenset(file.merged), frozenset(file.declared)
        self.stated: list[Box] = []
        """Boxes that the file gives, for the check of units."""

    def read(self, rows: list[Row], skeleton: Skeleton) -> None:
        """All of them; rows get the right values."""
        self._ids(rows)
        for index in range(len(rows)):
            person = self._person(rows, index, skeleton)
            if person is not None:
                self.file.people.append(person)
        self.file.faults += check_units(self.stated, self.file.people, self.file.sizes, self.file.taken)
        if not self._somebody():
            self.fault(
                "nobody",
                "no annotation is a person with labelled keypoints: there is nothing to learn from "
                "and nothing to evaluate.",
            )

    def _ids(self, rows: list[Row]) -> None:
        """No reader needs them, so that those that are missing or double are given anew."""
        keys = [read_whole(row.get("id")) for row in rows]
        free = 1 + max((key for key in keys if key is not None), default=0)
        known: set[int] = set()
        for index, key in enumerate(keys):
            if key is None or key in known:
                given = rows[index].get("id")
                check = "annotation-id" if key is None else "annotation-id-twice"
                self.take(
                    check,
                    f"has {'the id of another' if key is not None else f'id {given!r:.40}'}: taken as {free}.",
                    row=index,
                )
                key, free = free, free + 1
            elif type(rows[index]["id"]) is not int:
                self.take("written-otherwise", f"has id {rows[index]['id']!r:.40}: taken as {key}.", row=index)
            known.add(key)
            if rows[index].get("id") != key or type(rows[index]["id"]) is not int:
                rows[index] = {**rows[index], "id": key}

    def _person(self, rows: list[Row], index: int, skeleton: Skeleton) -> Person | None:
        faults, row = len(self.file.faults), rows[index]
        category = self.whole(rows, index, "category_id", row=index)
        if category not in self.declared:
            self.fault(
                "dangling-category",
                f"has category_id {row.get('category_id')!r:.40}, which is not in section 'categories'.",
                row=index,
            )
        if category not in self.posed:
            return None
        image = self.file.images.get(self.whole(rows, index, "image_id", row=index))  # type: ignore[arg-type]
        if image is None:
            self.fault(
                "dangling-image",
                f"has image_id {row.get('image_id')!r:.40}, which is not in section 'images'.",
                row=index,
            )
            return None
        place = {"image": image, "row": index}
        crowd = self.flag(rows, index, "iscrowd", "Use 0 (a person) or 1 (a crowd region).", place)
        joints = self._joints(rows, index, skeleton, place)
        box = self._box(rows, index, joints, place)
        if len(self.file.faults) > faults:
            return None
        if box is None:
            self.take("person-empty", "has neither a box nor a labelled joint: left out.", **place)
            return None
        area = self._area(rows, index, box, place)
        if area is None:
            return None
        self._fill(rows, index, joints, crowd)
        return Person(index, image, box, joints, area, crowd)

    def _joints(self, rows: list[Row], index: int, skeleton: Skeleton, place: dict[str, int]) -> list[float]:
        given, k = rows[index].get("keypoints"), skeleton.num_keypoints
        if given is None or given == []:
            return []
        if not isinstance(given, list) or len(given) != 3 * k:
            got = f"of {len(given)}" if isinstance(given, list) else repr(given)[:40]
            self.fault(
                "keypoints-length",
                f"has keypoints {got}. Give a list of {3 * k} numbers, x y v for each of {k} keypoints.",
                **place,
            )
            return []
        values = numbers(given, 3 * k)
        if values is None:
            first = next(i for i in range(3 * k) if number(given[i]) is None)
            self.fault(
                "keypoints-number",
                "has NaN or infinity in keypoints, or what is no number or too large: "
                f"{given[first]!r:.40} for {skeleton.names[first // 3]}. Label it again, or set it to 0 0 0.",
                **place,
            )
            return []
        odd = next((i for i in range(2, 3 * k, 3) if values[i] not in (0, 1, 2)), None)
        if odd is not None:
            self.fault(
                "visibility",
                f"has visibility {values[odd]:g}. Use 0 (unlabelled), 1 (occluded) or 2 (visible).",
                **place,
            )
            return []
        if values is not given:
            self.take("written-otherwise", "has keypoints written as text: taken as numbers.", **place)
            rows[index] = {**rows[index], "keypoints": values}
        return values

    def _box(self, rows: list[Row], index: int, joints: list[float], place: dict[str, int]) -> Box | None:
        given = rows[index].get("bbox")
        missing = given is None or given == []
        values = [0.0] * 4 if missing else numbers(given, 4)
        if values is None or min(values[2:]) < 0:
            self.fault(
                "bbox-malformed",
                f"has bbox {given!r:.60} {_problem_of_box(given, values)}. Give a list of 4 numbers, x y width height "
                "in pixels; width and height must be above 0.",
                **place,
            )
            return None
        if min(values[2:]) > 0:
            self.stated.append((values[0], values[1], values[2], values[3]))
            if values is not given:
                self.take("written-otherwise", "has bbox written as text: taken as numbers.", **place)
                rows[index] = {**rows[index], "bbox": values}
            self._check_rotation(rows[index], place)
            return self.stated[-1]
        box = _box_of(joints, self.file.sizes[place["image"]])
        if box is not None:
            check = "bbox-missing" if missing else "bbox-empty"
            what = "has no bbox" if missing else f"has bbox {given!r:.60} without area"
            self.take(check, f"{what}: taken from the labelled joints.", **place)
            rows[index] = {**rows[index], "bbox": [round(value, 6) for value in box]}
        return box

    def _check_rotation(self, row: Row, place: dict[str, int]) -> None:
        """CVAT writes boxes as they were before they were turned."""
        attributes = row.get("attributes")
        angle = number(attributes.get("rotation")) if isinstance(attributes, dict) else None
        if angle and angle % 180:
            self.take(
                "bbox-rotated",
                f"has a box turned by {angle:g} degrees (attributes.rotation): taken as it "
                "stands, which is not the box around the person.",
                **place,
            )

    def _area(self, rows: list[Row], index: int, box: Box, place: dict[str, int]) -> float | None:
        given = rows[index].get("area")
        area = 0.0 if given is None else number(given)
        if area is None or area < 0:
            self.fault(
                "area-malformed",
                f"has area {given!r:.40}: it is NaN or infinity, no number, too large or "
                "below 0. Give the pixels that the person covers.",
                **place,
            )
            return None
        if area == 0:
            area = AREA_OF_BOX * box[2] * box[3]
            said = "no area" if given is None else "area 0"
            self.take("area-missing", f"has {said}: taken as {AREA_OF_BOX} of the box.", **place)
            rows[index] = {**rows[index], "area": area}
        elif isinstance(given, str):
            self.take("written-otherwise", f"has area {given!r:.40}: taken as {area:g}.", **place)
            rows[index] = {**rows[index], "area": area}
        return area

    def _fill(self, rows: list[Row], index: int, joints: list[float], crowd: bool) -> None:
        """``num_keypoints`` and ``iscrowd`` as they are; nobody needs to be told where these were left out."""
        row = rows[index]
        labelled = sum(v > 0 for v in joints[2::3])
        if row.get("num_keypoints") != labelled or type(row["num_keypoints"]) is not int:
            if row.get("num_keypoints") is not None:
                self.take(
                    "num-keypoints",
                    f"has num_keypoints {row['num_keypoints']!r:.40}, but {labelled} joints have v > 0: counted.",
                    row=index,
                )
            row = {**row, "num_keypoints": labelled}
        rows[index] = row if row.get("iscrowd") is not None else {**row, "iscrowd": int(crowd)}

    def _somebody(self) -> bool:
        """Whether anybody is labelled inside an image."""
        for person in self.file.people:
            size = self.file.sizes[person.image] or (np.inf, np.inf)
            x, y, width, height = person.box
            if person.crowd or x >= size[0] or y >= size[1] or x + width <= 0 or y + height <= 0:
                continue
            for x, y, v in zip(*[iter(person.joints)] * 3, strict=True):
                low, wide, high = -OUTSIDE_TOLERANCE, size[0] + OUTSIDE_TOLERANCE, size[1] + OUTSIDE_TOLERANCE
                if v > 0 and low <= x <= wide and low <= y <= high:
                    return True
        return False


def _problem_of_box(given: object, values: list[float] | None) -> str:
    if values is not None:
        return "without area"
    if isinstance(given, list) and len(given) != 4:
        return f"of {len(given)}"
    return "with NaN or infinity, or what is no number or too large"


def _box_of(joints: list[float], size: tuple[int, int] | None) -> Box | None:
    """Around the labelled joints that are in the image, or else around all; None where nothing is labelled."""
    points = np.array(joints, np.float64).reshape(-1, 3)
    points = points[points[:, 2] > 0, :2]
    inside = points[((points >= 0) & (points <= size)).all(axis=1)] if size is not None else points[:0]
    chosen = inside if len(inside) else points
    return box_around(chosen, *(size or (0, 0))) if len(chosen) else None

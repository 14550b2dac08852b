"""The people of an annotation file: each annotation as it was meant, or what is wrong with it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from sia.coco.annotation_file import AnnotationFile, Floats, Issue, Person
from sia.coco.annotation_values import Box, Entry, box_around, read_number, read_numbers, read_whole
from sia.skeletons.oks import AREA_OF_BOX
from sia.skeletons.skeleton import Skeleton

LEAST_SIDE = 17
"""Pixels; in smaller images, a person may well lie within the first pixel."""
MANY = 20
"""So many people, none of whom is beyond 100 px of images that are `LARGE`, are in percent, it seems."""
LARGE = 200
SAMPLE = 10_000
"""Boxes and people that are looked at."""


class PeopleReader:
    """Reads ``annotations``, when images and categories are known: each as it was meant, or what is wrong with it."""

    def __init__(self, file: AnnotationFile) -> None:
        assert file.skeleton is not None
        self.file, self.declared = file, frozenset(file.declared)
        self.parts, self.several = file.skeleton.parts, len(file.skeleton.parts) > 1
        self.unlabelled = [[0.0] * (3 * part.num_keypoints) for part in self.parts]
        self.stated: list[Box] = []
        """Boxes that the file gives, for the check of units."""

    def read(self) -> None:
        """All of them; rows get the right values."""
        entries = [Entry(self.file, "annotations", index) for index in range(len(self.file.content["annotations"]))]
        _number(entries)
        self.file.people = [person for entry in entries if (person := self._person(entry)) is not None]
        self.file.faults += check_units(self.stated, self.file.people, self.file.sizes, self.file.taken)
        if not any(map(self._is_labelled_inside, self.file.people)):
            message = "no annotation is a person with labelled keypoints: there is nothing to learn from and nothing"
            self.file.faults.append(Issue("nobody", f"{message} to evaluate."))

    def _person(self, entry: Entry) -> Person | None:
        faults, given = len(self.file.faults), entry["category_id"]
        category = entry.whole("category_id")
        if category not in self.declared:
            message = f"has category_id {given!r:.40}, which is not in section 'categories'."
            entry.fault("dangling-category", message)
        block = self.file.block_of.get(category)  # type: ignore[arg-type]
        if block is None:
            return None
        given = entry["image_id"]
        entry.image = image = self.file.images.get(entry.whole("image_id"))  # type: ignore[arg-type]
        if image is None:
            entry.fault("dangling-image", f"has image_id {given!r:.40}, which is not in section 'images'.")
            return None
        crowd = entry.flag("iscrowd", "Use 0 (a person) or 1 (a crowd region).")
        keypoints = self._keypoints(entry, self.parts[block]) or self.unlabelled[block]
        confidences = self._confidences(entry, self.parts[block].num_keypoints)
        box = self._box(entry, keypoints, self.file.sizes[image])
        if len(self.file.faults) > faults:
            return None
        if box is None:
            entry.take("person-empty", "has neither a box nor a labelled joint: left out.")
            return None
        area = _area(entry, box)
        if area is None:
            return None
        person = Person(entry.index, image, np.array(box, np.float64), keypoints, area, crowd, confidences, block)
        _count_joints(entry, sum(v > 0 for v in keypoints[2::3]))
        if entry["iscrowd"] is None:
            entry.put(iscrowd=int(crowd))
        return person

    def _keypoints(self, entry: Entry, skeleton: Skeleton) -> list[float]:
        """x, y, v of K keypoints, flat; empty where there are none, or where they are faulty."""
        given, names = entry["keypoints"], skeleton.names
        count = 3 * len(names)
        if given is None or given == []:
            return []
        if not isinstance(given, list) or len(given) != count:
            got = f"of {len(given)}" if isinstance(given, list) else repr(given)[:40]
            whose = f" of '{skeleton.category}'" if self.several else ""
            remedy = f"Give a list of {count} numbers, x y v for each of {len(names)} keypoints{whose}."
            entry.fault("keypoints-length", f"has keypoints {got}. {remedy}")
            return []
        values = read_numbers(given, count)
        if values is None:
            first = next(i for i in range(count) if read_number(given[i]) is None)
            place = f"{given[first]!r:.40} for {names[first // 3]}. Label it again, or set it to 0 0 0."
            message = f"has NaN or infinity in keypoints, or what is no number or too large: {place}"
            entry.fault("keypoints-number", message)
            return []
        odd = next((v for v in values[2::3] if v not in (0, 1, 2)), None)
        if odd is not None:
            entry.fault("visibility", f"has visibility {odd:g}. Use 0 (unlabelled), 1 (occluded) or 2 (visible).")
            return []
        if values is not given:
            message = "has keypoints written as text: taken as numbers."
            entry.take("written-otherwise", message, keypoints=values)
        return values

    def _confidences(self, entry: Entry, count: int) -> list[float] | None:
        """K numbers in [0, 1]; None where the file has none, or faulty ones."""
        given = entry["keypoint_confidences"]
        values = None if given is None else read_numbers(given, count)
        if given is not None and (values is None or not all(0 <= value <= 1 for value in values)):
            entry.fault("confidences", f"has keypoint_confidences {given!r:.60}. Give {count} numbers from 0 to 1.")
            return None
        return values

    def _box(self, entry: Entry, keypoints: list[float], size: tuple[int, int] | None) -> Box | None:
        given = entry["bbox"]
        missing = given is None or given == []
        values = [0.0] * 4 if missing else read_numbers(given, 4)
        if values is None or min(values[2:]) < 0:
            problem = "with NaN or infinity, or what is no number or too large"
            if values is not None:
                problem = "without area"
            elif isinstance(given, list) and len(given) != 4:
                problem = f"of {len(given)}"
            remedy = "Give a list of 4 numbers, x y width height in pixels; width and height must be above 0."
            entry.fault("bbox-malformed", f"has bbox {given!r:.60} {problem}. {remedy}")
            return None
        if min(values[2:]) > 0:
            self.stated.append((values[0], values[1], values[2], values[3]))
            if values is not given:
                entry.take("written-otherwise", "has bbox written as text: taken as numbers.", bbox=values)
            attributes = entry["attributes"]  # CVAT writes boxes as they were before they were turned
            angle = read_number(attributes.get("rotation")) if isinstance(attributes, dict) else None
            if angle and angle % 180:
                taken = "taken as it stands, which is not the box around the person."
                entry.take("bbox-rotated", f"has a box turned by {angle:g} degrees (attributes.rotation): {taken}")
            return self.stated[-1]
        box = _box_of(np.array(keypoints, np.float64).reshape(-1, 3), size)
        if box is not None:
            check = "bbox-missing" if missing else "bbox-empty"
            what = "has no bbox" if missing else f"has bbox {given!r:.60} without area"
            rounded = [round(value, 6) for value in box]
            entry.take(check, f"{what}: taken from the labelled joints.", bbox=rounded)
        return box

    def _is_labelled_inside(self, person: Person) -> bool:
        """Whether a joint is labelled inside the image, of somebody whose box is."""
        size = np.array(self.file.sizes[person.image] or (np.inf, np.inf))
        low, high = person.box[:2], person.box[:2] + person.box[2:]
        if person.crowd or (low >= size).any() or (high <= 0).any():
            return False
        return bool((person.labelled & ~person.outside(self.file.sizes[person.image])).any())


def _number(entries: list[Entry]) -> None:
    """Ids of annotations: no reader needs them, so that those that are missing or double are given anew."""
    keys = [read_whole(entry["id"]) for entry in entries]
    free = 1 + max((key for key in keys if key is not None), default=0)
    known: set[int] = set()
    for entry, key in zip(entries, keys, strict=True):
        given = entry["id"]
        if key is None:
            entry.take("annotation-id", f"has id {given!r:.40}: taken as {free}.", id=free)
        elif key in known:
            entry.take("annotation-id-twice", f"has the id of another: taken as {free}.", id=free)
        else:
            known.add(key)
            if type(given) is not int:
                entry.take("written-otherwise", f"has id {given!r:.40}: taken as {key}.", id=key)
            continue
        known.add(free)
        free += 1


def _area(entry: Entry, box: Box) -> float | None:
    given = entry["area"]
    area = 0.0 if given is None else read_number(given)
    if area is None or area < 0:
        problem = "it is NaN or infinity, no number, too large or below 0. Give the pixels that the person covers."
        entry.fault("area-malformed", f"has area {given!r:.40}: {problem}")
        return None
    if area == 0:
        area = AREA_OF_BOX * box[2] * box[3]
        said = "no area" if given is None else "area 0"
        entry.take("area-missing", f"has {said}: taken as {AREA_OF_BOX} of the box.", area=area)
    elif isinstance(given, str):
        entry.take("written-otherwise", f"has area {given!r:.40}: taken as {area:g}.", area=area)
    return area


def _count_joints(entry: Entry, labelled: int) -> None:
    """``num_keypoints`` as they are; nobody needs to be told where these were left out."""
    given = entry["num_keypoints"]
    if given == labelled and type(given) is int:
        return
    if given is not None:
        message = f"has num_keypoints {given!r:.40}, but {labelled} joints have v > 0: counted."
        entry.take("num-keypoints", message)
    entry.put(num_keypoints=labelled)


def _box_of(joints: Floats, size: tuple[int, int] | None) -> Box | None:
    """Around the labelled joints that are in the image, or else around all; None where nothing is labelled."""
    points = joints[joints[:, 2] > 0, :2]
    inside = points[((points >= 0) & (points <= size)).all(axis=1)] if size is not None else points[:0]
    chosen = inside if len(inside) else points
    return box_around(chosen, *(size or (0, 0))) if len(chosen) else None


def check_units(
    boxes: Sequence[Box], people: Sequence[Person], sizes: Sequence[tuple[int, int] | None], taken: list[Issue]
) -> list[Issue]:
    """Faults; what only seems so goes to ``taken``.

    Args:
        boxes: as the file gives them, without those that were made of joints.
        people: all of them.
        sizes: width and height of the images.
        taken: gets a remark more.
    """
    people = people[:SAMPLE]
    sides = [min(size) for size in sizes if size is not None]
    if not people or not sides or min(sides) < LEAST_SIDE:
        return []
    corners = np.array(boxes[:SAMPLE], np.float64).reshape(-1, 4)
    joints = np.array([*chain.from_iterable(person.keypoints for person in people)], np.float64).reshape(-1, 3)
    points = joints[joints[:, 2] > 0, :2]
    for what, values in {"boxes": corners, "labelled joints": points}.items():
        inside: NDArray[np.bool_] = np.asarray(((values >= 0) & (values <= 1)).all(axis=1))
        if len(inside) and inside.mean() > 0.5:
            message = f"{int(inside.sum())} of {len(inside)} {what} lie between 0 and 1, as fractions of the image."
            return [Issue("units", f"{message} Give pixels: multiply by width and height.")]
    largest = np.concatenate([corners[:, :2] + corners[:, 2:], points]).max()
    if len(people) >= MANY and min(sides) >= LARGE and 50 < largest <= 100:
        message = f"no coordinate of {len(people)} people is above 100, as if they were in percent: taken as pixels."
        taken.append(Issue("units-percent", message))
    sized = [(person.box, size) for person in people if (size := sizes[person.image]) is not None]
    if sized:
        boxes_sized, limits = (np.array(column, np.float64) for column in zip(*sized, strict=True))
        _check_corners(boxes_sized, limits, taken)
    return []


def _check_corners(boxes: Floats, limits: Floats, taken: list[Issue]) -> None:
    """Boxes (M, 4) that leave images of width, height (M, 2) as x y width height, and all of which fit as corners."""
    fits = (boxes[:, 2:] > boxes[:, :2]).all() and (boxes[:, 2:] <= limits + 1).all()
    leaves = (boxes[:, :2] + boxes[:, 2:] > limits + 1).any(axis=1)
    if fits and leaves.mean() > 1 / 3:
        message = f"{int(leaves.sum())} of {len(boxes)} boxes leave their image, and all fit as x1 y1 x2 y2: taken as"
        taken.append(Issue("bbox-corners", f"{message} x y width height, as COCO has it."))

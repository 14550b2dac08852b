"""Collects images and people of any source, checks them, and gives them as COCO keypoint json."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from sia.coco.annotation_values import Box, box_around
from sia.coco.coco_files import Row, finite_numbers, read_json, read_skeleton
from sia.coco.image_name import problem_of_name
from sia.errors import DataError
from sia.skeletons.oks import AREA_OF_BOX
from sia.skeletons.skeleton import COCO_PERSON, Skeleton

Joint = tuple[float, float, int]
"""x, y in pixels of the image, and COCO's v."""

HIDDEN = ("hidden", "occluded")
"""Flags of LabelMe, and words in a note of Label Studio, that make a keypoint hidden (v = 1)."""


class CocoWriter:
    """COCO content in the making.

    Args:
        source: file or folder, for messages.
        skeleton: of all people.
        categories: names of the categories; all have the skeleton's keypoints.
    """

    def __init__(self, source: Path, skeleton: Skeleton, categories: Sequence[str] | None = None) -> None:
        self.source, self.skeleton = source, skeleton
        self.categories = list(categories or [skeleton.category])
        self.images: list[Row] = []
        self.people: list[Row] = []
        self.report: Counter[str] = Counter()
        self._names: set[str] = set()

    def add_image(self, name: str, width: int, height: int) -> int:
        """Its id, counted from 1.

        Args:
            name: relative to the image folder, with forward slashes.
            width: in pixels.
            height: in pixels.

        Raises:
            DataError: a name outside the folder, one that was there before, or no size.
        """
        problem = problem_of_name(name)
        if problem:
            raise DataError(f"{self.source}: the image {name!r}{problem}")
        if name in self._names:
            raise DataError(f"{self.source}: the image {name!r} is there twice. Remove one of the two.")
        if not (0 < width < 2**31 and 0 < height < 2**31):
            raise DataError(f"{self.source}: the image {name!r} has the size {width}x{height}. Give it in pixels.")
        self._names.add(name)
        self.images.append({"id": len(self.images) + 1, "file_name": name, "width": width, "height": height})
        return len(self.images)

    def add_person(self, image_id: int, joints: Mapping[str, Joint], box: Box | None, category: int = 0) -> None:
        """One person; a box is made from the joints where there is none.

        Args:
            image_id: from `add_image`.
            joints: by name; those that are left out are not labelled.
            box: x, y, width, height in pixels.
            category: index among the categories.

        Raises:
            DataError: neither joints nor box, a box without area, or a number that is not finite.
        """
        place = f"{self.source}: a {self.categories[category]} of {self.images[image_id - 1]['file_name']!r}"
        values: list[float] = []
        for name in self.skeleton.names:
            x, y, v = joints.get(name, (0.0, 0.0, 0))
            values += [x, y, v] if v else [0, 0, 0]
        if box is None:
            points = np.array(values, np.float64).reshape(-1, 3)
            points = points[points[:, 2] > 0, :2]
            if not len(points):
                raise DataError(f"{place} has neither a box nor a labelled joint. Remove it, or label it.")
            self.report["boxes made from the joints: none given"] += 1
            image = self.images[image_id - 1]
            box = box_around(points, image["width"], image["height"])
        if finite_numbers(values, len(values)) is None or finite_numbers(box, 4) is None:
            raise DataError(f"{place} has a value that is no finite number: {[*values, *box]!r:.80}.")
        if min(box[2:]) <= 0:
            raise DataError(f"{place} has a box of {box[2]:g}x{box[3]:g} px. Draw it again.")
        self.people.append({
            "id": len(self.people) + 1, "image_id": image_id, "category_id": category + 1, "iscrowd": 0,
            "keypoints": values, "num_keypoints": sum(v > 0 for v in values[2::3]),
            "bbox": list(box), "area": AREA_OF_BOX * box[2] * box[3],
        })  # fmt: skip

    def content(self) -> Row:
        """The COCO file.

        Raises:
            DataError: there is no image at all.
        """
        if not self.images:
            raise DataError(f"{self.source}: there is no image in it. Check that all was exported.")
        categories = [{**self.skeleton.to_category(i), "name": name} for i, name in enumerate(self.categories, 1)]
        return {"images": self.images, "annotations": self.people, "categories": categories}

    def describe(self) -> str:
        """What was imported, and what was made up or left out, for the console."""
        labelled = sum(person["num_keypoints"] > 0 for person in self.people)
        head = f"{len(self.images)} images, {len(self.people)} people, {labelled} with keypoints"
        share = f"areas are {AREA_OF_BOX} of the box: the format has none"
        return "\n  ".join([head, share, *(f"{reason}: {count}" for reason, count in sorted(self.report.items()))])


def close_match(name: str, known: Sequence[str]) -> str:
    """The end of a message about an unknown keypoint."""
    near = difflib.get_close_matches(name.lower().replace(" ", "_"), known, 1)
    return (
        f"; did you mean '{near[0]}'?" if near else f" (known: {', '.join(known)}). Name the keypoints with --category"
    )


def order_of_names(names: Sequence[str], edges: Sequence[tuple[int, int]], category: str) -> Skeleton:
    """COCO's skeleton where the names are COCO's, in whatever order; else one with the names as they come.

    Raises:
        DataError: no names, or one of them twice.
    """
    if set(names) == set(COCO_PERSON.names) and len(names) == len(COCO_PERSON.names):
        values = COCO_PERSON.to_dict()
    else:
        row = Skeleton.from_category({"name": category, "keypoints": list(names)}).to_dict()
        values = {**row, "edges": list(edges)}
    return Skeleton.from_dict({**values, "category": category})


def read_category(file: Path) -> Skeleton:
    """The keypoints that a user wants, from any COCO keypoint json or from one with the category alone.

    Raises:
        DataError: no JSON, or not one category with usable keypoints.
    """
    content = read_json(file, "category file")
    if isinstance(content, dict) and "categories" not in content:
        content = {"categories": [content]}
    if not isinstance(content, dict):
        raise DataError(f"The category file {file} holds a {type(content).__name__}. Give one JSON object.")
    whole = {"images": [], "annotations": [], **content}
    skeleton = read_skeleton(whole, f"The category file {file}")
    skeleton.refuse_several(f"--category {file}")
    return skeleton

"""Reads a COCO keypoint file for everybody: training, evaluation, the checks, the repairs, splits and merges.

What is right beyond doubt is taken, however it is written, and noted; what is not is a fault. Training and evaluation
stop at the first fault, `scripts/validate_annotations.py` reports all of them: so these can't disagree.
"""

from __future__ import annotations

from typing import Any

from sia.coco.annotation_file import AnnotationFile, Remark, Row
from sia.coco.annotation_people import PeopleReader
from sia.coco.annotation_rows import RowReader
from sia.errors import DataError, first_line
from sia.skeletons.category import read_lines
from sia.skeletons.skeleton import Skeleton

SECTIONS = ("images", "annotations", "categories")


def parse(content: Any, only: Skeleton | None = None) -> AnnotationFile:
    """Everything that a file says; the content itself stays as it is.

    Args:
        content: as JSON has it.
        only: categories with other keypoints are left out of it; without it, they are a fault.
    """
    faults = [Remark("sections", problem) for section in SECTIONS if (problem := _problem(content, section))]
    if faults:
        return AnnotationFile(content if isinstance(content, dict) else {}, faults=faults)
    file = AnnotationFile({**content, **{section: list(content[section]) for section in SECTIONS}})
    reader = _Parser(file)
    reader.categories(file.content["categories"], only)
    reader.images(file.content["images"])
    if file.skeleton is not None:
        PeopleReader(file).read(file.content["annotations"], file.skeleton)
    return file


def _problem(content: Any, section: str) -> str:
    """What is wrong with a section; empty where nothing is."""
    if not isinstance(content, dict):
        kind = type(content).__name__
        return f"must hold one json object with {', '.join(SECTIONS)}, not a {kind}." if section == SECTIONS[0] else ""
    rows, remedy = content.get(section), "A COCO keypoint file has images, annotations and categories."
    if rows is None:
        return f"section '{section}' is missing. {remedy}"
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        return f"section '{section}' is not a list of objects. {remedy}"
    return f"section '{section}' is empty. {remedy}" if section == "images" and not rows else ""


class _Parser(RowReader):
    """Reads categories and images."""

    def categories(self, rows: list[Row], only: Skeleton | None) -> None:
        """Which have the skeleton's keypoints."""
        places: dict[int, int] = {}
        for index in range(len(rows)):
            given = rows[index].get("id")
            key = self.whole(rows, index, "id")
            if key is None:
                self.fault("id", f"categories[{index}] has id {given!r:.40}. Give it an integer.")
            elif places.setdefault(key, index) != index:
                self.fault("category-id-twice", f"section 'categories' has id {key} twice. Make the ids unique.")
        self.file.declared = list(places)
        posed = [index for index in places.values() if rows[index].get("keypoints") not in (None, [], "", {})]
        skeletons = {index: skeleton for index in posed if (skeleton := self._skeleton(rows, index)) is not None}
        if only is not None:
            skeletons = {index: found for index, found in skeletons.items() if found.names == only.names}
        elif len({skeleton.names for skeleton in skeletons.values()}) > 1:
            several = ", ".join(f"'{found.category}' ({len(found.names)})" for found in skeletons.values())
            self.fault(
                "skeleton",
                f"its categories have different keypoints: {several}. Keep the category to train in a file of its own.",
            )
            return
        if not posed:
            self.fault(
                "skeleton",
                "no category declares keypoints. Add the list of keypoint names as 'keypoints' to the category.",
            )
        if skeletons:
            self.file.skeleton = next(iter(skeletons.values()))
            self.file.merged = [rows[index]["id"] for index in skeletons]

    def _skeleton(self, rows: list[Row], index: int) -> Skeleton | None:
        row = rows[index]
        name = f"category '{str(row.get('name'))[:60]}'"
        try:
            skeleton = Skeleton.from_category(row)
            lines = read_lines(row.get("skeleton"), skeleton.names)
        except DataError as error:
            self.fault("skeleton", f"{name}: {first_line(error)}")
            return None
        names = list(skeleton.names)
        if row["keypoints"] != names:
            self.take("keypoint-names", f"{name} names its keypoints by numbers: taken as texts.")
        if lines.taken:
            self.take("skeleton-base", f"{name} has its skeleton {lines.taken}: taken as pairs that count from 1.")
        if lines.taken or row["keypoints"] != names:
            edges = [[a + 1, b + 1] for a, b in skeleton.edges]
            rows[index] = {**row, "keypoints": names, **({"skeleton": edges} if "skeleton" in row else {})}
        return skeleton

    def images(self, rows: list[Row]) -> None:
        """Ids, names and sizes."""
        for index in range(len(rows)):
            self._image(rows, index)

    def _image(self, rows: list[Row], index: int) -> None:
        given = rows[index].get("id")
        key = self.whole(rows, index, "id", image=index)
        if key is None:
            self.fault("id", f"has id {given!r:.40}. Give it an integer.", image=index)
        elif self.file.images.setdefault(key, index) != index:
            self.fault(
                "image-id-twice",
                f"has the id of images[{self.file.images[key]}], too: make these duplicate ids unique.",
                image=index,
            )
        name = rows[index].get("file_name")
        if not isinstance(name, str) or not name.strip("./\\ ") or "\0" in name:
            self.fault(
                "image-name", f"has file_name {name!r:.80}. Give a path relative to the image folder.", image=index
            )
        if rows[index].get("complete") is not None and not isinstance(rows[index]["complete"], bool):
            complete = self.flag(rows, index, "complete", "Use true or false.", {"image": index})
            rows[index] = {**rows[index], "complete": complete}
        self.file.sizes.append(self._size(rows, index))

    def _size(self, rows: list[Row], index: int) -> tuple[int, int] | None:
        sides: list[int] = []
        for key in ("width", "height"):
            side = self.whole(rows, index, key, image=index)
            if side is None or not 0 < side < 2**31:
                given = rows[index].get(key)
                message = f"has {key} {given!r:.40}. Give it as a whole number of pixels."
                self.fault("image-size-missing", message, image=index)
                return None
            sides.append(side)
        return sides[0], sides[1]

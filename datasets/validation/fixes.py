"""Repairs that can't do harm: what they change is beyond doubt, and everything else stays as it is."""

from __future__ import annotations

import copy
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from datasets.validation.images import ImageInfo
from sia.coco.annotation_file import AnnotationFile, Issue, Row
from sia.coco.image_name import tails_of_name


def fix(data: AnnotationFile, infos: list[ImageInfo], issues: list[Issue]) -> tuple[Row, dict[str, int]]:
    """A repaired copy of the file's content, and how many repairs were made, by check.

    What the reader took for right is written as it took it. Joints with v = 0 and joints at (0, 0) become 0 0 0, boxes
    are cut at the border, exact copies of annotations and those with nothing to see are removed, missing sizes are
    taken from the images, and foreign names become those of the files that were found.
    """
    work = _Work(data, copy.deepcopy(data.content), {info.image: info for info in infos})
    made = Counter(issue.check for issue in issues if issue.check in REPAIRS and REPAIRS[issue.check](work, issue))
    rows = work.content["annotations"]
    work.content["annotations"] = [row for index, row in enumerate(rows) if index not in work.removed]
    return work.content, dict(made)


@dataclass
class _Work:
    """The copy that is being repaired; indices are those of the file until the end."""

    data: AnnotationFile
    content: Row
    infos: dict[int, ImageInfo]
    removed: set[int] = field(default_factory=set)

    @cached_property
    def copies(self) -> set[int]:
        """Indices of annotations that are the same as an earlier one in everything but their ids."""
        first: dict[str, int] = {}
        texts = [json.dumps(row | {"id": 0}, sort_keys=True) for row in self.data.content["annotations"]]
        return {index for index, text in enumerate(texts) if first.setdefault(text, index) != index}

    def row(self, issue: Issue) -> Row:
        section, index = ("images", issue.image) if issue.row is None else ("annotations", issue.row)
        found: Row = self.content[section][index]
        return found


def _clear_joints(work: _Work, issue: Issue) -> bool:
    row = work.row(issue)
    for joint in issue.joints:
        row["keypoints"][3 * joint : 3 * joint + 3] = [0, 0, 0]
    row["num_keypoints"] = sum(v > 0 for v in row["keypoints"][2::3])
    return True


def _as_taken(work: _Work, issue: Issue) -> bool:
    """The reader has put it right already."""
    return True


def _remove(work: _Work, issue: Issue) -> bool:
    assert issue.row is not None
    work.removed.add(issue.row)
    return True


def _remove_copy(work: _Work, issue: Issue) -> bool:
    """Only where an earlier annotation is the same in everything but its id."""
    return issue.row not in work.removed and issue.row in work.copies and _remove(work, issue)


def _name_found(work: _Work, issue: Issue) -> bool:
    """The longest tail of the name that the found file has, too."""
    image = issue.image or 0
    file = work.infos[image].file
    tails = [
        tail for tail in tails_of_name(work.data.file_name(image)) if file and file.as_posix().endswith(f"/{tail}")
    ]
    if tails:
        work.row(issue)["file_name"] = tails[0]
    return bool(tails)


def _cut_box(work: _Work, issue: Issue) -> bool:
    """Not where nothing would be left of it."""
    row, size = work.row(issue), work.data.sizes[issue.image or 0]
    corner = np.array(row["bbox"][:2], float)
    low, high = np.clip(corner, 0, size), np.clip(corner + row["bbox"][2:], 0, size)
    if (high <= low).any():
        return False
    row["bbox"] = [round(float(value), 6) for value in (*low, *(high - low))]
    return True


def _number_image(work: _Work, issue: Issue) -> bool:
    """A number for an image whose id is a text that no other image has; its annotations get it, too."""
    images = work.content["images"]
    old = None if issue.image is None else images[issue.image].get("id")
    if not isinstance(old, str) or sum(image.get("id") == old for image in images) > 1:
        return False
    new = 1 + max((image["id"] for image in images if type(image.get("id")) is int), default=0)
    work.row(issue)["id"] = new
    for row in work.content["annotations"]:
        if row.get("image_id") == old:
            row["image_id"] = new
    return True


def _take_size(work: _Work, issue: Issue) -> bool:
    info = work.infos.get(issue.image or 0)
    if info is None or info.size is None:
        return False
    work.row(issue).update(width=info.size[0], height=info.size[1])
    return True


REPAIRS: dict[str, Callable[[_Work, Issue], bool]] = {
    **dict.fromkeys(
        (
            "skeleton-base", "keypoint-names", "written-otherwise", "annotation-id", "annotation-id-twice",
            "bbox-missing", "bbox-empty", "area-missing", "num-keypoints",
        ),
        _as_taken,
    ),
    "person-empty": _remove,
    "id": _number_image,
    "image-name-foreign": _name_found,
    "image-size-missing": _take_size,
    "unlabelled-with-place": _clear_joints,
    "joint-at-origin": _clear_joints,
    "bbox-outside-image": _cut_box,
    "person-twice": _remove_copy,
}  # fmt: skip
"""What ``--fix`` does about each check that it repairs; False where one finding had to be left."""

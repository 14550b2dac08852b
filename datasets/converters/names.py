"""Names of keypoints in files of other programs: their order, and what a wrong one may have meant."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path

from sia.coco.coco_files import read_json, read_skeleton
from sia.errors import DataError
from sia.skeletons.skeleton import COCO_PERSON, Skeleton


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
        DataError: no JSON, or no category with usable keypoints.
    """
    content = read_json(file, "category file")
    if isinstance(content, dict) and "categories" not in content:
        content = {"categories": [content]}
    if not isinstance(content, dict):
        raise DataError(f"The category file {file} holds a {type(content).__name__}. Give one JSON object.")
    whole = {"images": [], "annotations": [], **content}
    return read_skeleton(whole, f"The category file {file}")

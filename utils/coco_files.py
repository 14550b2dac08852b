"""COCO annotation and results files as the evaluation reads them: checked, and reduced to what it needs."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from utils.errors import DataError
from utils.skeleton import Skeleton


def read_json(path: Path, what: str) -> Any:
    """The content of a JSON file.

    Raises:
        DataError: the file is missing, unreadable or not JSON; ``what`` names it in the message.
    """
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise DataError(f"Can't read the {what} {path}: {error.strerror or error}. Check the path.") from None
    except ValueError as error:
        raise DataError(f"The {what} {path} is not valid JSON ({error}). Write it again.") from None


def load_ground_truth(source: Path | dict[str, Any], skeleton: Skeleton) -> dict[str, Any]:
    """A COCO dict of the skeleton's one category with only what the evaluation reads, defaults filled in.

    Annotations get new ids from 1 on: COCO's code takes a match with id 0 for none. A missing ``area`` becomes that
    of the box, a missing ``num_keypoints`` the number of those with v > 0.

    Raises:
        DataError: missing sections, no matching category, entries that don't fit, or no labelled person.
    """
    content = source if isinstance(source, dict) else read_json(Path(source), "annotation file")
    name = "The ground truth" if isinstance(source, dict) else f"The annotation file {source}"
    missing = [s for s in ("images", "annotations", "categories") if not isinstance(_get(content, s), list)]
    if missing:
        raise DataError(f"{name} has no list {missing[0]!r}. It must be a COCO keypoint file.")
    category = find_category(content["categories"], skeleton, name)
    images = [{"id": _whole(image, "id", f"{name}: image {i}")} for i, image in enumerate(content["images"])]
    people = [entry for entry in content["annotations"] if _get(entry, "category_id") == category["id"]]
    known = {image["id"] for image in images}
    annotations = [_person(entry, i + 1, known, skeleton, name) for i, entry in enumerate(people)]
    if not any(is_labelled(person) for person in annotations):
        raise DataError(f"{name} has no '{category['name']}' with labelled keypoints: there is nothing to evaluate.")
    return {"images": images, "annotations": annotations, "categories": [category]}


def find_category(categories: list[dict[str, Any]], skeleton: Skeleton, name: str) -> dict[str, Any]:
    """The category of the skeleton's name or, failing that, the only one that declares keypoints.

    Raises:
        DataError: there is none, or its keypoints are others.
    """
    same = [entry for entry in categories if _get(entry, "name") == skeleton.category]
    declared = [entry for entry in categories if _get(entry, "keypoints")]
    found = same[:1] or (declared if len(declared) == 1 else [])
    if not found:
        names = [_get(entry, "name") for entry in categories]
        raise DataError(f"{name} has no category '{skeleton.category}', only {names}. Rename the one to evaluate.")
    points = found[0].get("keypoints") or skeleton.names
    if [str(point).casefold() for point in points] != [point.casefold() for point in skeleton.names]:
        raise DataError(
            f"{name} labels the {len(points)} keypoints {list(points)}, but the predictions have "
            f"the {len(skeleton.names)} keypoints {list(skeleton.names)}. Use annotations of the same skeleton."
        )
    return {"id": _whole(found[0], "id", f"{name}: category"), "name": str(found[0].get("name", skeleton.category))}


def _person(entry: dict[str, Any], number: int, known: set[int], skeleton: Skeleton, name: str) -> dict[str, Any]:
    where = f"{name}: annotation {entry.get('id', number)}"
    image_id = _whole(entry, "image_id", where)
    if image_id not in known:
        raise DataError(f"{where} belongs to image {image_id}, which is not among its images.")
    keypoints = _numbers(entry.get("keypoints") or [0.0] * (3 * skeleton.num_keypoints), 3 * skeleton.num_keypoints)
    box = _numbers(entry.get("bbox"), 4)
    if keypoints is None or box is None:
        what = "'bbox' of 4" if box is None else f"'keypoints' of {3 * skeleton.num_keypoints}"
        raise DataError(f"{where} needs {what} finite numbers.")
    area = _numbers([entry.get("area", box[2] * box[3])], 1)
    if area is None:
        raise DataError(f"{where} has the area {entry.get('area')}, which is no number.")
    return {
        "id": number,
        "image_id": image_id,
        "category_id": entry["category_id"],
        "keypoints": keypoints,
        "num_keypoints": int(entry.get("num_keypoints", sum(v > 0 for v in keypoints[2::3]))),
        "bbox": box,
        "area": area[0],
        "iscrowd": int(entry.get("iscrowd") or 0),
    }


def check_results(results: Any, truth: dict[str, Any], skeleton: Skeleton) -> list[dict[str, Any]]:
    """The rows of the evaluated category, with only what the evaluation reads.

    Raises:
        DataError: not COCO keypoint results, or of images that the annotations don't have. A coordinate that is not
            finite is an error too: COCO's code would count it as a perfect match.
    """
    if not isinstance(results, list) or not all(isinstance(row, dict) for row in results):
        raise DataError(
            "The results are not a list of COCO keypoint results (image_id, category_id, keypoints, score)."
        )
    known = {image["id"] for image in truth["images"]}
    category = truth["categories"][0]["id"]
    rows = [_result(row, f"Result {i}", known, skeleton) for i, row in enumerate(results) if _in(row, category, i)]
    boxed = sum("bbox" in row for row in rows)
    if boxed not in (0, len(rows)):
        raise DataError(f"{boxed} of {len(rows)} results have a 'bbox'; give it to all or to none.")
    return rows


def _in(row: dict[str, Any], category: int, number: int) -> bool:
    return _whole(row, "category_id", f"Result {number}") == category


def _result(row: dict[str, Any], where: str, known: set[int], skeleton: Skeleton) -> dict[str, Any]:
    image_id = _whole(row, "image_id", where)
    if image_id not in known:
        raise DataError(f"{where} is of image {image_id}, which the annotations don't have. Use the matching file.")
    count = 3 * skeleton.num_keypoints
    keypoints = _numbers(row.get("keypoints"), count)
    if keypoints is None:
        given = row.get("keypoints")
        got = f"{len(given)} values" if isinstance(given, list) else repr(given)
        raise DataError(f"{where} needs 'keypoints' of {count} finite numbers ({count // 3} keypoints), but got {got}.")
    score = _numbers([row.get("score")], 1)
    if score is None:
        raise DataError(f"{where} needs a finite 'score', but got {row.get('score')!r}.")
    checked = {"image_id": image_id, "category_id": row["category_id"], "keypoints": keypoints, "score": score[0]}
    if "bbox" in row:
        box = _numbers(row["bbox"], 4)
        if box is None:
            raise DataError(f"{where} needs a 'bbox' of 4 finite numbers, but got {row['bbox']!r}.")
        checked["bbox"] = box
    return checked


def _get(entry: Any, key: str) -> Any:
    return entry.get(key) if isinstance(entry, dict) else None


def _whole(entry: Any, key: str, where: str) -> int:
    value = _get(entry, key)
    if isinstance(value, bool) or not isinstance(value, int):
        raise DataError(f"{where} needs a whole number as {key!r}, but got {value!r}.")
    return value


def _numbers(values: Any, count: int) -> list[float] | None:
    """The values as floats; None unless they are ``count`` finite numbers."""
    if not isinstance(values, list | tuple) or len(values) != count:
        return None
    if not all(isinstance(value, int | float) and math.isfinite(value) for value in values):
        return None
    return [float(value) for value in values]


def is_labelled(person: Mapping[str, Any]) -> bool:
    """Whether the person counts for recall: no crowd, and with labelled keypoints."""
    return bool(person["num_keypoints"] > 0 and not person["iscrowd"])

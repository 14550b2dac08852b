"""COCO annotation and results files as the evaluation reads them: checked, and reduced to what it needs."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sia.coco.annotation_file import OF_IMAGES, AnnotationFile
from sia.coco.annotation_file import Row as Row
from sia.coco.annotation_parser import parse
from sia.coco.annotation_values import LARGEST
from sia.errors import DataError, OutputError
from sia.io.input_file import check_input_file
from sia.io.output_file import write_json
from sia.skeletons.skeleton import Skeleton


@dataclass(frozen=True)
class GroundTruth:
    """What the evaluation reads of an annotation file.

    Attributes:
        images: ids of all images.
        people: annotations of the skeleton's categories: ``id`` (from 1 on: COCO's code takes a match with id 0 for
            none), ``image_id``, ``keypoints``, ``num_keypoints``, ``bbox``, ``area``, ``iscrowd``.
        category: the id that people and results are evaluated under.
        merged: ids of all categories with the skeleton's keypoints; they count as one, as in training.
        declared: ids of all categories.
        rows: the images as the file has them.
        parts: of several categories, each by itself; `people` are all of them, `category` is the first's.
    """

    images: list[int]
    people: list[Row]
    category: int
    merged: frozenset[int]
    declared: frozenset[int]
    rows: list[Row] = field(default_factory=list, compare=False, repr=False)
    parts: tuple[GroundTruth, ...] = ()

    @property
    def category_ids(self) -> int | tuple[int, ...]:
        """That of the category, or those of the skeleton's categories, for results."""
        return tuple(part.category for part in self.parts) or self.category

    def coco(self) -> Row:
        """A COCO dict of its own: COCO's tools add keys to the entries, but leave their lists alone."""
        return {
            "images": [{"id": image_id} for image_id in self.images],
            "annotations": [{**person, "category_id": self.category} for person in self.people],
            "categories": [{"id": self.category, "name": "person"}],
        }


def read_json(path: Path, what: str, hook: Callable[[Row], Any] | None = None) -> Any:
    """The content of a JSON file.

    Args:
        path: a regular file.
        what: names it in the message.
        hook: changes every object as soon as it is read.

    Raises:
        DataError: the file is missing, unreadable or not JSON.
    """
    check_input_file(path, f"Check the path of the {what}.")
    try:
        return json.loads(path.read_bytes(), object_hook=hook)
    except OSError as error:
        raise DataError(f"Can't read the {what} {path}: {error.strerror or error}. Check the path.") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"The {what} {path} is not valid JSON ({error}). Write it again.") from None


def write_annotations(path: Path, content: Row) -> None:
    """Writes COCO content, whole or not at all.

    Raises:
        OutputError: it can't be written, or json can't hold its numbers.
    """
    try:
        write_json(path, content)
    except ValueError:
        raise OutputError(f"Can't write {path}: the annotations hold NaN or infinity. Mend these first.") from None


def load_ground_truth(
    source: Path | Row, skeleton: Skeleton, *, labelled: bool = True, opened: bool = False
) -> GroundTruth:
    """Reads annotations of the skeleton's keypoints.

    Args:
        source: an annotation file or its content.
        skeleton: whose keypoints are evaluated.
        labelled: whether somebody has to be labelled; not where images are only looked at.
        opened: whether the images will be opened, so that their names and sizes matter.

    Raises:
        DataError: it can't be read, has other keypoints, or a fault that the validator would report.
    """
    name = "The ground truth" if isinstance(source, dict) else f"The annotation file {source}"
    file = parse(source if isinstance(source, dict) else read_json(Path(source), "annotation file"), skeleton)
    file.refuse_faults(name, (*(() if opened else OF_IMAGES), *(() if labelled else ("nobody",))))
    if file.skeleton is None:
        declared = [row["keypoints"] for row in file.content["categories"] if row.get("keypoints")]
        raise DataError(
            f"{name} declares {declared or 'no keypoints'}, but the predictions have the "
            f"{skeleton.num_keypoints} keypoints {list(skeleton.names)}. Use annotations of the same skeleton."
        )
    truth = _truth(file)
    parts = tuple(map(_truth, file.parts)) if file.skeleton.categories else ()
    return replace(truth, parts=parts)


def _truth(file: AnnotationFile) -> GroundTruth:
    ids = [row["id"] for row in file.content["images"]]
    people = [
        {
            "id": number,
            "image_id": ids[person.image],
            "keypoints": list(map(float, person.keypoints)),
            "num_keypoints": sum(v > 0 for v in person.keypoints[2::3]),
            "bbox": person.box.tolist(),
            "area": person.area,
            "iscrowd": int(person.crowd),
        }
        for number, person in enumerate(file.people, 1)
    ]
    sets = frozenset(file.merged), frozenset(file.declared)
    return GroundTruth(ids, people, file.merged[0], *sets, rows=file.content["images"])


def split(truth: GroundTruth, rows: list[Row], skeleton: Skeleton) -> list[tuple[GroundTruth, list[Row], Skeleton]]:
    """Each category of the skeleton with its annotations and its results, which are from `check_results`."""
    parts = truth.parts or (truth,)
    return [
        (part, [row for row in rows if row["category_id"] == part.category], own)
        for part, own in zip(parts, skeleton.parts, strict=True)
    ]


def read_skeleton(content: Any, name: str) -> Skeleton:
    """The skeleton that an annotation file declares.

    Raises:
        DataError: it declares none.
    """
    if isinstance(content, dict) and isinstance(content.get("categories"), list):
        rows = content["categories"]
        ids = [row.get("id") for row in rows if isinstance(row, dict)]
        if not all(type(key) is int for key in ids) or len(set(ids)) < len(ids):  # no annotation needs them here
            rows = [{**row, "id": i} if isinstance(row, dict) else row for i, row in enumerate(rows)]
        content = {"images": [{}], "annotations": [], "categories": rows}
    file = parse(content)
    file.refuse_faults(name, ("image-name", "image-size-missing", "id", "nobody"))
    assert file.skeleton is not None  # or there was a fault
    return file.skeleton


def load_skeleton(path: Path) -> Skeleton:
    """That of an annotation file.

    Raises:
        DataError: it can't be read, or declares no skeleton.
    """
    return read_skeleton(read_json(path, "annotation file"), f"The annotation file {path}")


def check_results(results: Any, truth: GroundTruth, skeleton: Skeleton) -> list[Row]:
    """The rows of the evaluated categories, with only what the evaluation reads, ordered by image.

    Within an image the order stays, so that files written by one or by many processes give one figure.

    Raises:
        DataError: not COCO keypoint results, or of images or categories that the annotations don't have. A
            coordinate that is not finite is an error too: COCO's code would count it as a perfect match.
    """
    if not isinstance(results, list) or not all(isinstance(row, dict) for row in results):
        columns = "image_id, category_id, keypoints, score"
        raise DataError(f"The results are not a list of COCO keypoint results ({columns}).")
    known, rows = frozenset(truth.images), []
    for i, row in enumerate(results):
        category = _whole(row, "category_id", f"Result {i}")
        if category not in truth.declared:
            raise DataError(f"Result {i} has category {category}, but the annotations have {sorted(truth.declared)}.")
        for part, own in zip(truth.parts or (truth,), skeleton.parts, strict=True):
            if category in part.merged:
                result = _result(row, f"Result {i}", known, own.num_keypoints)
                rows.append({**result, "category_id": part.category})
    boxed = sum("bbox" in row for row in rows)
    if boxed not in (0, len(rows)):
        raise DataError(f"{boxed} of {len(rows)} results have a 'bbox'. Give it to all or to none.")
    return sorted(rows, key=lambda row: int(row["image_id"]))


def _result(row: Row, where: str, known: frozenset[int], k: int) -> Row:
    image_id = _whole(row, "image_id", where)
    if image_id not in known:
        raise DataError(f"{where} is of image {image_id}, which the annotations don't have. Use the matching file.")
    given = row.get("keypoints")
    keypoints = finite_numbers(given, 3 * k)
    if keypoints is None:
        got = f"{len(given)} values" if isinstance(given, list) else repr(given)
        raise DataError(f"{where} needs 'keypoints' of {3 * k} finite numbers ({k} keypoints), but got {got}.")
    score = finite_numbers([row.get("score")], 1)
    if score is None:
        raise DataError(f"{where} needs a finite 'score', but got {row.get('score')!r}.")
    box = finite_numbers(row.get("bbox"), 4)
    if "bbox" in row and box is None:
        raise DataError(f"{where} needs a 'bbox' of 4 finite numbers, but got {row['bbox']!r}.")
    told = {name: finite_numbers(row.get(name), k) for name in ("visibilities", "sigmas")}  # of our own weights only
    given = {name: numbers for name, numbers in (("bbox", box), *told.items()) if numbers}
    return {"image_id": image_id, "keypoints": keypoints, "score": score[0], **given}


def is_labelled(person: Mapping[str, Any]) -> bool:
    """Whether the person counts for recall: no crowd, and with labelled keypoints."""
    return bool(person["num_keypoints"] > 0 and not person["iscrowd"])


def _whole(row: Row, key: str, where: str) -> int:
    value = row.get(key)
    if type(value) is not int:
        raise DataError(f"{where} needs a whole number as {key!r}, but got {value!r}.")
    return value


def finite_numbers(values: Any, count: int) -> list[float] | None:
    """The values as floats; None unless they are ``count`` finite numbers, none so large that its square overflows."""
    if not isinstance(values, list | tuple) or len(values) != count:
        return None
    if not all(isinstance(value, int | float) and abs(value) < LARGEST for value in values):
        return None
    return [float(value) for value in values]

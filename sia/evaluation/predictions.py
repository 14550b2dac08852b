"""People found in a set of images, as arrays: what the stages of the pipeline hand to each other.

On disk: COCO keypoint results (JSON, for every tool there is) and, beside it, an npz of the same name with what that
format has no place for. The JSON alone is enough: results of another tool can be fed in.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from sia.coco.coco_files import GroundTruth, Row, check_results, read_json
from sia.errors import DataError
from sia.io.npz_file import Wanted, read_npz
from sia.io.output_file import complete_file, write_json
from sia.people import People
from sia.skeletons.skeleton import Skeleton

Array = NDArray[np.float64]


def digest_of(arrays: Iterable[NDArray[np.generic]]) -> str:
    """Changes with any number in the arrays."""
    return hashlib.sha256(b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)).hexdigest()


P = TypeVar("P", bound="ImageRows")


@dataclass(frozen=True)
class ImageRows:
    """Arrays with a row a person.

    Attributes:
        image_ids: (N,) int64, whose image.
    """

    image_ids: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.image_ids)

    def map(self: P, function: Callable[[NDArray[np.generic]], NDArray[np.generic]]) -> P:
        """Applies a function of the rows to every array."""
        return type(self)(*(function(getattr(self, entry.name)) for entry in fields(self)))  # type: ignore[arg-type]

    def select(self: P, chosen: NDArray[np.integer[Any]] | NDArray[np.bool_] | slice) -> P:
        """Some of the people; an index may come twice."""
        return self.map(lambda rows: rows[chosen])


@dataclass(frozen=True)
class Predictions(ImageRows):
    """N people with K keypoints, ordered by image, in the pixels of their images.

    Attributes:
        image_ids: (N,) int64.
        boxes: (N, 4) x1, y1, x2, y2.
        scores: (N,) in [0, 1].
        keypoints: (N, K, 2) x, y; may lie outside the image.
        confidences: (N, K) in [0, 1].
        variances: (N, K) expected squared error of x, and of y, in pixels^2; NaN where nobody measured it.
    """

    boxes: Array
    scores: Array
    keypoints: Array
    confidences: Array
    variances: Array

    def of_image(self, image_id: int) -> Predictions:
        """The people of one image."""
        return self.select(self.image_ids == image_id)

    def of_images(self, image_ids: Iterable[int]) -> Predictions:
        """The people of some images, in their order here."""
        return self.select(np.isin(self.image_ids, np.array(list(image_ids), np.int64)))

    @classmethod
    def join(cls, parts: Sequence[Predictions]) -> Predictions:
        """Rows of several predictions, one after the other."""
        columns = zip(*(vars(part).values() for part in parts), strict=True)
        return cls(*(np.concatenate(column) for column in columns))

    @classmethod
    def nobody(cls, num_keypoints: int) -> Predictions:
        """No people."""
        shapes: tuple[tuple[int, ...], ...] = ((4,), (), (num_keypoints, 2), (num_keypoints,), (num_keypoints,))
        return cls(np.zeros(0, np.int64), *(np.zeros((0, *shape)) for shape in shapes))

    def as_read(self) -> Predictions:
        """The same people as `read_predictions` reads what `save` writes, to the last bit."""
        corner, size = self.boxes[:, :2], self.boxes[:, 2:] - self.boxes[:, :2]
        written = replace(
            self, boxes=np.concatenate([corner, corner + size], axis=-1), confidences=self.confidences.clip(0, 1),
            variances=self.variances.astype(np.float32).astype(np.float64),
        )  # fmt: skip
        return written._by_image()

    def best_first(self) -> Predictions:
        """The same people by their scores; equal ones stay in their order."""
        return self.select(np.argsort(-self.scores, kind="stable"))

    def as_people(self) -> People:
        """The same people, of one image; without variances."""
        boxes, scores = self.boxes.astype(np.float32), self.scores.astype(np.float32)
        return People(boxes, scores, self.keypoints.astype(np.float32), self.confidences.astype(np.float32))

    def rows(self, category_id: int) -> list[Row]:
        """COCO keypoint results."""
        triples = np.concatenate([self.keypoints, self.confidences[..., None]], axis=-1)
        triples = triples.reshape(len(self), 3 * self.keypoints.shape[1])
        boxes = np.concatenate([self.boxes[:, :2], self.boxes[:, 2:] - self.boxes[:, :2]], axis=-1)
        columns = self.image_ids.tolist(), boxes.tolist(), self.scores.tolist(), triples.tolist()
        return [
            {"image_id": i, "category_id": category_id, "score": s, "bbox": box, "keypoints": points}
            for i, box, s, points in zip(*columns, strict=True)
        ]

    def save(self, path: Path, category_id: int) -> None:
        """Writes `path` (JSON), ordered by image as it is read, and the npz of the same name, each whole or not at all.

        Raises:
            OutputError: a file can't be written.
        """
        ordered = self._by_image()
        with complete_file(path.with_suffix(".npz")) as partial, partial.open("wb") as stream:
            np.savez_compressed(stream, variances=ordered.variances.astype(np.float32))
        write_json(path, ordered.rows(category_id))

    def _by_image(self) -> Predictions:
        return self.select(np.argsort(self.image_ids, kind="stable"))


def people_of_rows(checked: Sequence[Row], num_keypoints: int) -> Predictions:
    """COCO keypoint results from `check_results` -> arrays; variances are unknown.

    A missing ``bbox`` becomes the extent of the keypoints that were found: with a confidence, where any has one.
    """
    triples = np.array([row["keypoints"] for row in checked]).reshape(-1, num_keypoints, 3)
    points, confidences = triples[..., :2], triples[..., 2].clip(0, 1)
    if checked and "bbox" in checked[0]:
        boxes = np.array([row["bbox"] for row in checked]).reshape(-1, 4)
        boxes = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=-1)
    else:
        found = ((confidences > 0) | (confidences <= 0).all(1, keepdims=True))[..., None]
        low, high = (np.where(found, points, edge) for edge in (np.inf, -np.inf))
        boxes = np.concatenate([low.min(1), high.max(1)], axis=-1) if checked else np.zeros((0, 4))
    image_ids = np.array([row["image_id"] for row in checked], dtype=np.int64)
    scores = np.array([row["score"] for row in checked], dtype=np.float64)
    return Predictions(image_ids, boxes, scores, points, confidences, np.full(confidences.shape, np.nan))


def read_predictions(path: Path, truth: GroundTruth, skeleton: Skeleton) -> Predictions:
    """Reads results of this or another program; variances too, where the npz is there.

    Raises:
        DataError: a file is missing or broken, or doesn't belong to these annotations.
    """
    rows = check_results(read_json(path, "results file"), truth, skeleton)
    people = people_of_rows(rows, skeleton.num_keypoints)
    sidecar = path.with_suffix(".npz")
    if not sidecar.is_file():
        return people
    remedy = f"It has to belong to {path.name}: delete it, or make the results again."
    content = read_npz(sidecar, {"variances": Wanted("f", people.confidences.shape)}, "file of variances", remedy)
    variances = content["variances"].astype(np.float64)
    if (variances < 0).any() or np.isinf(variances).any():
        raise DataError(f"The file of variances {sidecar} holds some that are negative or infinite. {remedy}")
    return replace(people, variances=variances)

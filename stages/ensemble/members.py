"""What each member of an ensemble finds in a set of images."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from datasets.coco.coco_pose import CocoPose
from sia.people import People
from stages.ensemble.experts.expert import Expert
from stages.ensemble.experts.own import OwnExpert
from stages.error_model.labels import box_overlaps
from utils.metrics.predictions import Predictions, digest_of

Image = NDArray[np.uint8]
Floats = NDArray[np.float64]

MOST = 30
"""People of a member in one image; COCO counts 20."""

SAME_BOX = 0.7
"""IoU from which two boxes are one, for partners that are told where the people are."""

SEEN = 0.2
"""Confidence from which a keypoint counts in a partner's score for a person, as in MMPose."""


@dataclass(frozen=True)
class Boxes:
    """Where people may be.

    Attributes:
        image_ids: (N,) int64.
        corners: (N, 4) x1, y1, x2, y2.
        scores: (N,) in [0, 1].
    """

    image_ids: NDArray[np.int64]
    corners: Floats
    scores: Floats

    def of_image(self, image_id: int) -> tuple[Floats, Floats]:
        """Boxes and scores of one image."""
        chosen = self.image_ids == image_id
        return self.corners[chosen], self.scores[chosen]

    def fingerprint(self) -> str:
        """Changes with any number of it."""
        return digest_of(vars(self).values())


def join(parts: Sequence[Predictions]) -> Predictions:
    """Rows of several predictions, one after the other."""
    columns = zip(*(vars(part).values() for part in parts), strict=True)
    return Predictions(*(np.concatenate(column) for column in columns))


def as_predictions(image_ids: Sequence[int], people: Iterable[People], num_keypoints: int) -> Predictions:
    """The best people of several images; variances are unknown."""
    parts = [Predictions(np.zeros(0, np.int64), *(np.zeros((0, *shape)) for shape in _shapes(num_keypoints)))]
    for image_id, found in zip(image_ids, people, strict=True):
        best = np.argsort(-found.scores, kind="stable")[:MOST]
        unknown = np.full(found.confidences.shape, np.nan)
        columns = (found.boxes, found.scores, found.keypoints, found.confidences, unknown)
        ids = np.full(len(best), image_id, np.int64)
        parts.append(Predictions(ids, *(np.asarray(column[best], np.float64) for column in columns)))
    return join(parts)


def _shapes(k: int) -> list[tuple[int, ...]]:
    return [(4,), (), (k, 2), (k,), (k,)]


def find_everybody(expert: OwnExpert, images: CocoPose) -> Predictions:
    """What a model of ours finds by itself."""
    people = (expert.find(image) for image in _read(images))
    return as_predictions(images.image_ids, people, expert.predictor.skeleton.num_keypoints)


def pose_in_boxes(expert: Expert, images: CocoPose, boxes: Boxes) -> Predictions:
    """What a partner finds in given boxes; a person's score is the box's times the mean of sure confidences."""
    people = []
    for image_id, image in zip(images.image_ids, _read(images), strict=True):
        corners, scores = boxes.of_image(image_id)
        poses = expert.predict(image, corners)
        seen = poses.confidences > SEEN
        sure = np.where(seen.any(-1), (poses.confidences * seen).sum(-1) / seen.sum(-1).clip(min=1), 0.0)
        people.append(People(corners, scores * sure, poses.keypoints, poses.confidences))  # type: ignore[arg-type]
    return as_predictions(images.image_ids, people, images.skeleton.num_keypoints)


def _read(images: CocoPose) -> Iterable[Image]:
    for index in range(len(images)):
        yield images.read_image(index)


def shared_boxes(finders: Sequence[Predictions], image_ids: Sequence[int]) -> Boxes:
    """The boxes of all finders, the best first; of those that overlap, the best stays (non-maximum suppression)."""
    everybody = join(finders)
    kept = []
    for image_id in image_ids:
        rows = np.flatnonzero(everybody.image_ids == image_id)
        rows = rows[np.argsort(-everybody.scores[rows], kind="stable")]
        kept += _suppress(rows, box_overlaps(everybody.boxes[rows], everybody.boxes[rows]))[:MOST]
    chosen = np.array(kept, dtype=np.int64)
    return Boxes(everybody.image_ids[chosen], everybody.boxes[chosen], everybody.scores[chosen])


def _suppress(rows: NDArray[np.intp], overlaps: Floats) -> list[int]:
    kept: list[int] = []
    for place in range(len(rows)):
        if all(overlaps[place, other] < SAME_BOX for other in kept):
            kept.append(place)
    return [int(rows[place]) for place in kept]

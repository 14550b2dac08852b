"""People with labels, and members of an ensemble that find them with errors of a known kind."""

import numpy as np

from sia.evaluation.labels import LabelledPeople, people_from
from sia.evaluation.predictions import Predictions
from sia.skeletons.skeleton import COCO_PERSON
from stages.error_model.calibration import units_of

SIGMAS = np.array(COCO_PERSON.sigmas)


def labels(images: int = 40, people: int = 3, seed: int = 0) -> LabelledPeople:
    """People side by side, 60 to 120 pixels high."""
    rng = np.random.default_rng(seed)
    ids = np.repeat(np.arange(1, images + 1), people)
    heights = rng.uniform(60, 120, len(ids))
    corners = np.stack([np.tile(np.arange(people) * 150.0 + 20, images), rng.uniform(10, 60, len(ids))], axis=-1)
    points = corners[:, None] + rng.random((len(ids), 17, 2)) * np.stack([heights / 2, heights], -1)[:, None]
    boxes = np.concatenate([corners, np.stack([heights / 2, heights], -1)], axis=1)
    triples = np.concatenate([points, np.full((len(ids), 17, 1), 2.0)], axis=-1)
    return people_from(ids.astype(np.int64), boxes, 0.53 * boxes[:, 2] * boxes[:, 3], triples)


def member(truth: LabelledPeople, spread: float, seed: int, shared: np.ndarray | None = None) -> Predictions:
    """Gaussian errors of this many units, twice that for half of the keypoints, whose confidence tells it.

    Args:
        truth: who is found.
        spread: in units.
        seed: of the errors.
        shared: (M, 17, 2) standard normal errors to use in place of own ones.
    """
    rng = np.random.default_rng(seed)
    sure = rng.random(truth.labelled.shape) < 0.5
    noise = rng.standard_normal(truth.keypoints.shape) if shared is None else shared
    scale = spread * np.where(sure, 1.0, 2.0) * units_of(truth.boxes, COCO_PERSON)
    confidences = np.where(sure, 0.9, 0.5)
    scores = confidences.mean(-1)
    points = truth.keypoints + noise * scale[..., None]
    unknown = np.full(confidences.shape, np.nan)
    return Predictions(truth.image_ids, truth.boxes, scores, points, confidences, unknown)


def annotations(truth: LabelledPeople) -> dict:
    """As COCO's json."""
    ids = sorted(set(truth.image_ids.tolist()))
    rows = []
    for i in range(len(truth)):
        box = truth.boxes[i]
        triples = np.concatenate([truth.keypoints[i], np.full((17, 1), 2.0)], axis=-1)
        rows.append(
            {
                "id": i + 1, "image_id": int(truth.image_ids[i]), "category_id": 1, "iscrowd": 0, "num_keypoints": 17,
                "bbox": [*box[:2].tolist(), *(box[2:] - box[:2]).tolist()], "area": float(truth.areas[i]),
                "keypoints": triples.ravel().tolist(),
            }
        )  # fmt: skip
    category = {"id": 1, "name": "person", "keypoints": list(COCO_PERSON.names), "skeleton": []}
    images = [{"id": i, "file_name": f"{i}.jpg", "width": 500, "height": 200} for i in ids]
    return {"images": images, "annotations": rows, "categories": [category]}

"""Labelled people at random places, and predictions of them with chosen errors."""

from __future__ import annotations

import numpy as np

from sia.evaluation.predictions import Predictions
from sia.skeletons.skeleton import COCO_PERSON
from tests.sia.description.people import STANDING

POSE = np.array([STANDING[name] for name in COCO_PERSON.names], dtype=np.float64)
SIDE = 640


def truth_of(images: int, people: int = 3, seed: int = 0) -> dict:
    rng = np.random.default_rng(seed)
    annotations = []
    for image in range(1, images + 1):
        for n in range(people):
            points = POSE * rng.uniform(0.5, 0.9) + [n * 200 + rng.uniform(-20, 20), rng.uniform(0, 300)]
            points = points.clip(0, SIDE)
            low, high = points.min(0) - 5, points.max(0) + 5
            annotations.append(
                {
                    "id": len(annotations) + 1, "image_id": image, "category_id": 1, "iscrowd": 0,
                    "bbox": [*low.tolist(), *(high - low).tolist()], "area": float((high - low).prod() * 0.53),
                    "keypoints": np.concatenate([points, np.full((17, 1), 2)], 1).ravel().tolist(),
                    "num_keypoints": 17,
                }
            )  # fmt: skip
    rows = [{"id": i, "file_name": f"{i}.jpg", "width": SIDE, "height": SIDE} for i in range(1, images + 1)]
    category = {"id": 1, "name": "person", "keypoints": list(COCO_PERSON.names), "skeleton": []}
    return {"images": rows, "annotations": annotations, "categories": [category]}


def predict(
    truth: dict, jitter: float = 0.5, ghosts: float = 0.0, doubles: float = 0.0, blind: float = 0.0, seed: int = 1
) -> Predictions:
    """Noise in COCO's tolerances; `ghosts` more people that aren't there, `doubles` found twice; `blind` noise of the
    scores beside that of the keypoints' confidences."""
    rng = np.random.default_rng(seed)
    rows = []
    for person in truth["annotations"]:
        for _ in range(1 + int(rng.random() < doubles)):
            spread = jitter * rng.uniform(0.3, 2)
            unit = 2 * np.asarray(COCO_PERSON.sigmas) * np.sqrt(person["area"])
            points = np.array(person["keypoints"]).reshape(17, 3)[:, :2]
            noisy = points + rng.normal(0, 1, (17, 2)) * spread * unit[:, None]
            close = np.exp(-((noisy - points) ** 2).sum(1) / 2 / unit**2)
            score = np.clip(close.mean() + rng.normal(0, 0.05 + blind), 0.01, 0.99)
            x, y, w, h = person["bbox"]
            rows.append((person["image_id"], [x, y, x + w, y + h], score, noisy, np.clip(close, 0.02, 1)))
            if rng.random() < ghosts:
                rows.append((person["image_id"], [0, 0, 90, 200], rng.uniform(0.01, 0.6),
                             POSE * 0.6 + rng.normal(0, 40, (17, 2)), rng.uniform(0, 0.3, 17)))  # fmt: skip
    ids, boxes, scores, points, confidences = (np.array(column) for column in zip(*rows, strict=True))
    return Predictions(ids, boxes.astype(float), scores, points, confidences, np.full(confidences.shape, np.nan))

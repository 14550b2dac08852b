"""Made-up people: simple bodies in different places, and predictions of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sia.evaluation.labels import LabelledPeople, people_from
from sia.evaluation.predictions import Array, Predictions
from sia.runtimes.device import choose_device
from sia.skeletons.skeleton import COCO_PERSON, Skeleton
from stages.stage import Fitted, Stage, StageInput, Surroundings
from utils.config.train_config import TrainConfig
from utils.distributed.context import DistributedContext

STANDING = np.array(
    [(0, -90), (4, -94), (-4, -94), (9, -91), (-9, -91), (18, -70), (-18, -70), (26, -45), (-26, -45), (30, -20),
     (-30, -20), (12, -10), (-12, -10), (14, 30), (-14, 30), (15, 70), (-15, 70)], dtype=np.float64,
)  # fmt: skip
"""COCO's seventeen keypoints, facing us."""


def stage_input(
    folder: Path,
    config: TrainConfig,
    splits: Mapping[str, Path],
    results: Path | None = None,
    weights: Path | None = None,
    say: Callable[[str], None] = lambda line: None,
    ranks: DistributedContext | None = None,
) -> StageInput:
    """What the runner would give to a stage; of one process by default."""
    folder.mkdir(exist_ok=True)
    alone = DistributedContext(0, 1, 1, choose_device("cpu"))
    return StageInput(folder, config, splits, results, weights, (), {}, ranks or alone, say)


def reloaded(stage: Stage, fitted: Fitted, folder: Path, skeleton: Skeleton = COCO_PERSON, model: Any = None) -> Any:
    """A fitted stage as it comes back from a folder."""
    folder.mkdir()
    fitted.save(folder)
    return stage.load(folder, Surroundings("cpu", 4, skeleton, model, folder))


def people(count: int, seed: int = 0, per_image: int = 2, unlabelled: float = 0.1) -> LabelledPeople:
    """Standing people of different sizes who lean and stretch a little; two an image, side by side."""
    rng = np.random.default_rng(seed)
    angles, sizes = rng.normal(0, 0.25, count), np.exp(rng.normal(0, 0.3, (count, 2)))
    turn = np.stack([np.cos(angles), -np.sin(angles), np.sin(angles), np.cos(angles)], -1).reshape(-1, 2, 2)
    bodies = STANDING * sizes[:, None] + rng.normal(0, 2, (count, 17, 2))
    points = np.einsum("mij,mkj->mki", turn, bodies)
    number = np.arange(count)
    points += np.stack([150 + 130 * (number % per_image), np.full(count, 200)], -1)[:, None]
    low, high = points.min(1) - 8, points.max(1) + 8
    visible = 2.0 * (rng.random((count, 17, 1)) >= unlabelled)
    boxes = np.concatenate([low, high - low], axis=1)
    triples = np.concatenate([points, visible], axis=-1)
    return people_from(1 + number // per_image, boxes, 0.5 * (high - low).prod(1), triples)


def predictions(labels: LabelledPeople, points: Array, confidences: Array | None = None) -> Predictions:
    """Everybody found, in the boxes of the labels."""
    sure = np.full(points.shape[:2], 0.7) if confidences is None else confidences
    unknown = np.full(points.shape[:2], np.nan)
    return Predictions(labels.image_ids, labels.boxes, np.full(len(labels), 0.5), points, sure, unknown)


def write_annotations(path: Path, labels: LabelledPeople) -> Path:
    """As COCO annotations of 512 x 512 images."""
    sizes = labels.boxes[:, 2:] - labels.boxes[:, :2]
    boxes = np.concatenate([labels.boxes[:, :2], sizes], axis=1).tolist()
    triples = np.concatenate([labels.keypoints, 2.0 * labels.labelled[..., None]], axis=-1).reshape(len(labels), -1)
    rows = [
        {"id": i + 1, "image_id": int(labels.image_ids[i]), "category_id": 1, "bbox": boxes[i], "iscrowd": 0,
         "area": float(labels.areas[i]), "keypoints": triples[i].tolist()}
        for i in range(len(labels))
    ]  # fmt: skip
    ids = np.unique(labels.image_ids).tolist()
    images = [{"id": i, "file_name": f"{i}.jpg", "width": 512, "height": 512} for i in ids]
    names, edges = list(COCO_PERSON.names), [[a + 1, b + 1] for a, b in COCO_PERSON.edges]
    category = {"id": 1, "name": "person", "keypoints": names, "skeleton": edges}
    path.write_text(json.dumps({"images": images, "annotations": rows, "categories": [category]}))
    return path

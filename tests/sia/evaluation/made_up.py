"""People whose errors are known: labels of COCO's keypoints, and results made of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from sia.skeletons.skeleton import COCO_PERSON

K = 17
AREA = 10_000.0
UNITS = 2 * np.array(COCO_PERSON.sigmas) * np.sqrt(AREA)
"""Pixels of each keypoint's standard deviation."""


def labels(images: int = 40, names: list[str] | None = None) -> dict[str, Any]:
    """Two people an image, far from each other, their keypoints farther apart than any is mistaken for another."""
    rng = np.random.default_rng(0)
    people = []
    for number in range(2 * images):
        grid = np.stack(np.divmod(np.arange(K), 5)[::-1], axis=-1) * 60.0
        points = np.array([30.0 + 420 * (number % 2), 40.0]) + grid + rng.uniform(-5, 5, (K, 2))
        low, high = points.min(0) - 5, points.max(0) + 5
        people.append(
            {"id": number + 1, "image_id": number // 2 + 1, "category_id": 1, "iscrowd": 0, "area": AREA,
             "num_keypoints": K, "bbox": [*low.tolist(), *(high - low).tolist()],
             "keypoints": np.concatenate([points, np.full((K, 1), 2.0)], axis=1).ravel().tolist()}
        )  # fmt: skip
    files = names or [f"{i}.png" for i in range(1, images + 1)]
    rows = [{"id": i, "file_name": name, "width": 800, "height": 400} for i, name in enumerate(files, 1)]
    lines = [[a + 1, b + 1] for a, b in COCO_PERSON.edges]
    category = {"id": 1, "name": "person", "keypoints": list(COCO_PERSON.names), "skeleton": lines}
    return {"images": rows, "annotations": people, "categories": [category]}


def results(content: dict[str, Any]) -> list[dict[str, Any]]:
    """The labels as predictions."""
    rng = np.random.default_rng(1)
    keys = ("image_id", "category_id", "bbox", "keypoints")
    return [
        {**{key: row[key] for key in keys}, "score": round(float(rng.random()), 3)} for row in content["annotations"]
    ]


def spoil(rows: list[dict[str, Any]], kind: str, share: float) -> list[dict[str, Any]]:
    """The same with this share of all keypoints made wrong in one way."""
    rng = np.random.default_rng(2)
    points = np.array([row["keypoints"] for row in rows]).reshape(len(rows), K, 3)
    wrong, count = points.copy(), round(share * len(rows) * K)
    if kind == "inversion":
        pairs = [(i, a, b) for i in range(len(rows)) for a, b in COCO_PERSON.flip_pairs]
        for i, a, b in (pairs[j] for j in rng.choice(len(pairs), count // 2, replace=False)):
            wrong[i, [a, b]] = points[i, [b, a]]
    else:
        for place in rng.choice(len(rows) * K, count, replace=False):
            i, k = divmod(int(place), K)
            angle = rng.uniform(0, 2 * np.pi)
            way = np.array([np.cos(angle), np.sin(angle)])
            if kind == "swap":
                wrong[i, k] = points[i ^ 1, k]
            elif kind == "jitter":  # a similarity of 0.7
                wrong[i, k, :2] += way * UNITS[k] * np.sqrt(-2 * np.log(0.7))
            else:  # where nobody is
                wrong[i, k, :2] = [390 + 5 * way[0], 390 + 5 * way[1]]
    return [{**row, "keypoints": one.ravel().tolist()} for row, one in zip(rows, wrong, strict=True)]


def save(folder: Path, **contents: Any) -> None:
    """Each as NAME.json."""
    for name, content in contents.items():
        (folder / f"{name}.json").write_text(json.dumps(content))

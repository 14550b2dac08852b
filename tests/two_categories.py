"""Images of people and of dogs, drawn for the tests of several categories."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from datasets.synthetic import write_dataset

DOG = {
    "id": 18, "name": "dog", "keypoints": ["nose", "tail", "front_paw", "back_paw"],
    "skeleton": [[1, 3], [3, 4], [4, 2]], "flip_pairs": [], "sigmas": [0.05, 0.05, 0.06, 0.06],
}  # fmt: skip
_TRIES = 40


def write_people_and_dogs(folder: Path, train: int, val: int, size: int, seed: int = 0) -> None:
    """A synthetic data set with a dog in each image, as category 18 beside category 1."""
    write_dataset(folder, train, val, size, seed, 0, close=True)
    rng = np.random.default_rng(seed)
    for split in ("train", "val"):
        file = folder / f"{split}.json"
        content = json.loads(file.read_text())
        for image in content["images"]:
            path = folder / "images" / split / image["file_name"]
            people = [row["bbox"] for row in content["annotations"] if row["image_id"] == image["id"]]
            pixels, row = _with_dog(cv2.imread(str(path)), people, rng)
            cv2.imwrite(str(path), pixels)
            content["annotations"].append({"id": len(content["annotations"]) + 1, "image_id": image["id"], **row})
        content["categories"].append(DOG)
        file.write_text(json.dumps(content))


def _with_dog(pixels: Any, people: list[list[float]], rng: np.random.Generator) -> tuple[Any, dict[str, Any]]:
    """A brown dog of a third to half of the image where it covers least of the people, looking left or right."""
    side = len(pixels)
    places = []
    for _ in range(_TRIES):
        width = rng.uniform(0.3, 0.5) * side
        x, y, height = rng.uniform(0, side - width), rng.uniform(0, side - 0.7 * width), 0.7 * width
        hidden = sum(
            max(0.0, min(x + width, a + w) - max(x, a)) * max(0.0, min(y + height, b + h) - max(y, b))
            for a, b, w, h in people
        )
        places.append((hidden, x, y, width, height))
    _, x, y, width, height = min(places)
    shape = np.array([[0.08, 0.3], [0.92, 0.1], [0.28, 0.95], [0.75, 0.95], [0.28, 0.45], [0.75, 0.45]])
    shape[:, 0] = 1 - shape[:, 0] if rng.random() < 0.5 else shape[:, 0]
    nose, tail, front, back, chest, rump = np.rint(shape * (width, height) + (x, y)).astype(int).tolist()
    brown, thick = (30, int(rng.integers(60, 110)), int(rng.integers(130, 200))), max(2, round(width / 9))
    for start, end in ((chest, nose), (rump, tail), (chest, front), (rump, back)):
        cv2.line(pixels, start, end, brown, thick, cv2.LINE_AA)
    cv2.line(pixels, chest, rump, brown, 3 * thick, cv2.LINE_AA)
    points = [[px + 0.5, py + 0.5, 2] for px, py in (nose, tail, front, back)]
    return pixels, {
        "category_id": DOG["id"], "iscrowd": 0, "bbox": [round(v, 2) for v in (x, y, width, height)],
        "area": round(0.5 * width * height, 2), "keypoints": [v for point in points for v in point],
        "num_keypoints": 4,
    }  # fmt: skip

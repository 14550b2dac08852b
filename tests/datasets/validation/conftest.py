"""Four images with people and faultless annotations, of COCO's photographs and drawn ones, to plant defects in."""

from __future__ import annotations

import copy
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from datasets.synthetic import write_dataset
from datasets.validation import CHECKS, Severity, ValidationReport, validate


@dataclass
class Sample:
    """A faultless data set; `content` is bent by tests, and person 0 is one whom they can bend in every way."""

    folder: Path
    content: dict[str, Any]

    @property
    def file(self) -> Path:
        return self.folder / "train.json"

    @property
    def person(self) -> dict[str, Any]:
        return self.content["annotations"][0]

    @property
    def image(self) -> dict[str, Any]:
        return self.content["images"][0]

    @property
    def image_path(self) -> Path:
        return self.folder / "images" / self.image["file_name"]

    def save(self, name: str = "train.json") -> Path:
        path = self.folder / name
        path.write_text(self.content if isinstance(self.content, str) else json.dumps(self.content))
        return path

    def validate(self, **options: Any) -> ValidationReport:
        self.save()
        return validate(self.file, self.folder / "images", **options)

    def copy(self, folder: Path) -> Sample:
        shutil.copytree(self.folder, folder)
        return Sample(folder, copy.deepcopy(self.content))


def faces_us(row: dict[str, Any]) -> bool:
    """Upright, complete, looking into the camera: shoulders, hips and eyes have their left joint on the right."""
    points = row["keypoints"]
    if len(points) != 51 or min(points[2::3]) == 0 or row["iscrowd"]:
        return False
    widths = [points[3 * left] - points[3 * left + 3] for left in (1, 3, 5, 11)]
    trunk = points[3 * 11 + 1] - points[3 * 5 + 1]
    return min(widths[0] / 0.15, widths[1] / 0.1, widths[2] / 0.4, widths[3] / 0.2) > trunk > 20


def choose(content: dict[str, Any], folder: Path, file: Path) -> dict[str, Any]:
    """Four images without findings; the first annotation is of a person who faces us."""
    found = validate(file, folder)
    faulty = {issue.image for issue in found.issues if CHECKS[issue.check].severity is not Severity.NOTE}
    clean = [image["id"] for index, image in enumerate(content["images"]) if index not in faulty]
    rows = [row for row in content["annotations"] if row["image_id"] in clean]
    facing = next(row for row in rows if faces_us(row))
    peopled = [key for key in clean if any(row["image_id"] == key for row in rows)]
    chosen = [facing["image_id"], *(key for key in peopled if key != facing["image_id"])][:4]
    images = sorted((i for i in content["images"] if i["id"] in chosen), key=lambda image: chosen.index(image["id"]))
    kept = [facing, *(row for row in rows if row["image_id"] in chosen and row is not facing)]
    return {**content, "images": copy.deepcopy(images), "annotations": copy.deepcopy(kept)}


@pytest.fixture(scope="session", params=["photographs", "drawn"])
def faultless(request, tmp_path_factory) -> Sample:
    """Not to be changed."""
    root = tmp_path_factory.mktemp("faultless")
    if request.param == "photographs":
        source = request.getfixturevalue("photographs") / "coco_person"
        folder, content = source / "images", json.loads((source / "val.json").read_text())
        few = [image["id"] for image in content["images"][:120]]
        content["images"] = content["images"][:120]
        content["annotations"] = [row for row in content["annotations"] if row["image_id"] in few]
    else:
        write_dataset(root / "drawn", 30, 1, 192, 3, close=True)
        folder, content = root / "drawn" / "images" / "train", json.loads((root / "drawn" / "train.json").read_text())
        for image in content["images"]:
            image["file_name"] = Path(image["file_name"]).name
    file = root / "all.json"
    file.write_text(json.dumps(content))
    sample = Sample(root / "sample", choose(content, folder, file))
    (sample.folder / "images").mkdir(parents=True)
    for image in sample.content["images"]:
        shutil.copyfile(folder / image["file_name"], sample.folder / "images" / image["file_name"])
    return sample


@pytest.fixture
def sample(faultless: Sample, tmp_path: Path) -> Sample:
    """A copy to bend."""
    return faultless.copy(tmp_path / "sample")

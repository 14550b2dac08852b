"""Annotations, results, labels of other programs, flags and arrays, of a few synthetic people."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from datasets.coco.coco_pose import CocoPose, mean_pose
from datasets.converters import import_cvat, import_labelme, import_yolo
from datasets.loader import training_loader
from datasets.synthetic import write_dataset
from datasets.validation import validate
from datasets.validation.fixes import fix
from sia.coco.coco_files import load_ground_truth, load_skeleton, read_json
from sia.errors import SiaError
from sia.evaluation.coco_eval import evaluate
from sia.evaluation.predictions import Predictions, read_predictions
from sia.skeletons.skeleton import COCO_PERSON
from stages.prior.poses import read_poses
from utils.config.builder import build_config
from utils.config.config_file import with_config_files
from utils.config.flags import parse_flags

PEOPLE = "shared/people"
"""A data set beside the good files of a kind; inputs share it."""
CVAT = """<annotations><version>1.1</version><meta><task><labels><label><name>person</name><type>skeleton</type>
<svg>&lt;line data-node-from="1" data-node-to="2"&gt;&lt;/line&gt;</svg></label>
<label><name>left_end</name><type>points</type><parent>person</parent></label>
<label><name>right_end</name><type>points</type><parent>person</parent></label></labels></task></meta>
<image id="0" name="a.jpg" width="100" height="80"><skeleton label="person" z_order="0">
<points label="left_end" outside="0" occluded="1" points="10.00,20.00"></points>
<points label="right_end" outside="0" occluded="0" points="50.50,60.00"></points></skeleton>
<box label="person" occluded="0" xtl="5.00" ytl="6.00" xbr="60.00" ybr="70.00"></box></image></annotations>
"""
LABELME: dict[str, Any] = {
    "flags": {}, "imagePath": "a.jpg", "imageData": None, "imageHeight": 80, "imageWidth": 100,
    "shapes": [
        {"label": label, "points": points, "group_id": 1, "shape_type": kind, "flags": {}}
        for label, points, kind in (
            ("person", [[1, 2], [60, 70]], "rectangle"), ("left_eye", [[10, 20]], "point"),
            ("right_eye", [[50, 60]], "point"),
        )
    ],
}  # fmt: skip
YOLO = "path: ..\ntrain: images/train\nkpt_shape: [2, 3]\nflip_idx: [1, 0]\nnames: {0: person}\nkpt_names: {0: [a, b]}"
FLAGS = """MODEL: sia_pose\nCOCO_ROOT: images\nTRAIN_ANN: a.json\nVAL_ANN: b.json\nEPOCH: 50\nIMGSZ: 192x256\nLR: 1e-3
SAVE: true\nMEMBERS: [own:a.pt, own:b.pt]\nWORKERS: auto\n"""


def people(folder: Path, images: int = 4) -> dict[str, Any]:
    """Draws the data set, and returns the content of its annotation file."""
    write_dataset(folder / PEOPLE, images, images, 64, 0, 0)
    content: dict[str, Any] = json.loads((folder / PEOPLE / "train.json").read_text())
    return content


def write(path: Path, content: Any) -> Path:
    """As JSON, or as it is if it is text."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def results(content: dict[str, Any]) -> list[dict[str, Any]]:
    """Annotations as somebody's results."""
    names = ("image_id", "category_id", "bbox", "keypoints")
    return [{"score": 0.5, **{name: row[name] for name in names}} for row in content["annotations"]]


def make_annotations(folder: Path) -> Sequence[Path]:
    """COCO annotations of all images, and of one."""
    content = people(folder)
    rows = [row for row in content["annotations"] if row["image_id"] == content["images"][0]["id"]]
    one = {**content, "images": content["images"][:1], "annotations": rows[:2]}
    return [write(folder / "all.json", content), write(folder / "one.json", one)]


def read_annotations(path: Path) -> None:
    """As the validator, the evaluation and a training do."""
    root = path.parent / PEOPLE / "images" / "train"
    report = validate(path, root)
    if report.data is not None:
        fix(report.data, report.infos, report.issues)
    with contextlib.suppress(SiaError):
        load_ground_truth(path, COCO_PERSON)
    data = CocoPose(root, path)
    mean_pose(data)
    loader = training_loader(data, image_size=(64, 64), batch_size=1, workers=0, seed=0)
    loader.set_epoch(0)
    next(iter(loader))


def make_results(folder: Path) -> Sequence[Path]:
    """COCO keypoint results."""
    rows = results(people(folder))
    return [write(folder / "results.json", rows), write(folder / "one.json", rows[:1])]


def read_results(path: Path) -> None:
    """As the evaluation does."""
    annotations = path.parent / PEOPLE / "train.json"
    evaluate(annotations, read_json(path, "results file"), load_skeleton(annotations))


def make_importers(folder: Path) -> Sequence[Path]:
    """A file of each program."""
    (folder / "images").mkdir()
    Image.new("RGB", (100, 80)).save(folder / "images" / "a.png")
    contents = {
        "cvat.xml": CVAT, "labelme/a.json": LABELME, "data.yaml": YOLO,
        "labels/a.txt": "0 0.5 0.5 0.4 0.6 0.1 0.2 2 0.5 0.6 1\n",
    }  # fmt: skip
    return [write(folder / name, content) for name, content in contents.items()]


def read_importers(path: Path) -> None:
    """By the importer of its program."""
    if path.suffix == ".xml":
        import_cvat(path).content()
    elif path.suffix == ".json":
        import_labelme(path.parent).content()
    else:
        folder = path.parent if path.suffix == ".yaml" else path.parent.parent
        import_yolo(folder / "data.yaml", folder / "images").content()


def make_configs(folder: Path) -> Sequence[Path]:
    """Flags of a training."""
    return [write(folder / "run.yaml", FLAGS)]


def read_configs(path: Path) -> None:
    """As -CONFIG does."""
    build_config(parse_flags(with_config_files(["-CONFIG", str(path)])))


def make_arrays(folder: Path) -> Sequence[Path]:
    """The npz beside a results file, and a file of poses for the prior."""
    rows = people(folder)["annotations"]
    points = np.array([row["keypoints"] for row in rows]).reshape(-1, 17, 3)
    boxes, ids = np.array([row["bbox"] for row in rows]), np.array([row["image_id"] for row in rows])
    corners, ones = np.hstack([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]]), np.ones((len(rows), 17))
    found = Predictions(ids, corners, ones[:, 0], points[..., :2], ones, ones)
    found.save(folder / "found.json", load_ground_truth(folder / PEOPLE / "train.json", COCO_PERSON).category)
    names = np.array(COCO_PERSON.names)
    np.savez(folder / "poses.npz", image_id=ids, bbox=boxes, keypoints=points, keypoint_names=names)
    return [folder / "found.npz", folder / "poses.npz"]


def read_arrays(path: Path) -> None:
    """As the stages of the pipeline do."""
    if path.stem == "poses":
        read_poses(path, COCO_PERSON)
    else:
        truth = load_ground_truth(path.parent / PEOPLE / "train.json", COCO_PERSON)
        read_predictions(path.with_suffix(".json"), truth, COCO_PERSON)

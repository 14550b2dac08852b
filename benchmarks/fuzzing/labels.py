"""Annotations, results, labels of other programs, flags and arrays, of a few synthetic people."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

PEOPLE = "shared/people"
"""A data set beside the good files of a kind; inputs share it."""


def people(folder: Path, images: int = 4) -> dict[str, Any]:
    """Draws the data set, and returns the content of its annotation file."""
    from datasets.synthetic import write_dataset

    write_dataset(folder / PEOPLE, images, images, 64, 0, 0)
    content: dict[str, Any] = json.loads((folder / PEOPLE / "train.json").read_text())
    return content


def write(path: Path, content: Any) -> Path:
    """As JSON, or as it is if it is text."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def make_annotations(folder: Path) -> Sequence[Path]:
    """COCO annotations."""
    content = people(folder)
    small = {**content, "images": content["images"][:1]}
    small["annotations"] = [row for row in content["annotations"] if row["image_id"] == small["images"][0]["id"]][:2]
    return [write(folder / "all.json", content), write(folder / "one.json", small)]


def read_annotations(path: Path) -> None:
    """As training, evaluation and the validator do."""
    from datasets.coco.coco_pose import CocoPose, mean_pose
    from datasets.loader import training_loader
    from datasets.validation import validate
    from datasets.validation.fixes import repair
    from sia.coco.coco_files import load_ground_truth
    from sia.errors import SiaError

    root = path.parent / PEOPLE / "images" / "train"
    inspection = validate(path, root)
    if inspection.data is not None:
        repair(inspection.data, inspection.images, inspection.findings)
    refused: SiaError | None = None
    try:
        data = CocoPose(root, path)
        mean_pose(data)
        loader = training_loader(data, image_size=(64, 64), batch_size=1, workers=0, seed=0)
        loader.set_epoch(0)
        next(iter(loader))
    except SiaError as error:
        refused = error
    load_ground_truth(path, data.skeleton if refused is None else _skeleton())
    if refused is not None:
        raise refused


def _skeleton() -> Any:
    from sia.skeletons.skeleton import COCO_PERSON

    return COCO_PERSON


def make_results(folder: Path) -> Sequence[Path]:
    """COCO keypoint results."""
    content = people(folder)
    rows = [
        {"image_id": row["image_id"], "category_id": row["category_id"], "score": 0.5, "bbox": row["bbox"],
         "keypoints": row["keypoints"]}
        for row in content["annotations"]
    ]  # fmt: skip
    return [write(folder / "results.json", rows), write(folder / "one.json", rows[:1])]


def read_results(path: Path) -> None:
    """As the evaluation does."""
    from sia.coco.coco_files import load_skeleton, read_json
    from utils.metrics.coco_eval import evaluate

    annotations = path.parent / PEOPLE / "train.json"
    evaluate(annotations, read_json(path, "results file"), load_skeleton(annotations))


_CVAT = """<?xml version="1.0" encoding="utf-8"?>
<annotations><version>1.1</version><meta><task><id>7</id><labels>
<label><name>person</name><type>skeleton</type><attributes></attributes><svg>
&lt;line data-node-from="1" data-node-to="2"&gt;&lt;/line&gt;</svg></label>
<label><name>left_end</name><type>points</type><attributes></attributes><parent>person</parent></label>
<label><name>right_end</name><type>points</type><attributes></attributes><parent>person</parent></label>
</labels></task></meta>
<image id="0" name="a.jpg" width="100" height="80">
<skeleton label="person" source="manual" z_order="0">
<points label="left_end" source="manual" outside="0" occluded="1" points="10.00,20.00"></points>
<points label="right_end" source="manual" outside="0" occluded="0" points="50.50,60.00"></points></skeleton>
<box label="person" source="manual" occluded="0" xtl="5.00" ytl="6.00" xbr="60.00" ybr="70.00" z_order="0"></box>
</image></annotations>
"""
_YAML = (
    "path: ..\ntrain: images/train\nkpt_shape: [2, 3]\nflip_idx: [1, 0]\nnames: {0: person}\nkpt_names: {0: [a, b]}\n"
)


def make_importers(folder: Path) -> Sequence[Path]:
    """A file of each program."""
    from PIL import Image

    shapes = [
        {"label": label, "points": points, "group_id": 1, "shape_type": kind, "flags": {}}
        for label, points, kind in (
            ("person", [[1, 2], [60, 70]], "rectangle"), ("left_eye", [[10, 20]], "point"),
            ("right_eye", [[50, 60]], "point"),
        )
    ]  # fmt: skip
    labelme: dict[str, Any] = {
        "version": "5.5.0", "flags": {}, "shapes": shapes, "imagePath": "a.jpg", "imageData": None, "imageHeight": 80,
        "imageWidth": 100,
    }  # fmt: skip
    (folder / "images").mkdir()
    Image.new("RGB", (100, 80)).save(folder / "images" / "a.png")
    return [
        write(folder / "cvat.xml", _CVAT),
        write(folder / "labelme" / "a.json", labelme),
        write(folder / "data.yaml", _YAML),
        write(folder / "labels" / "a.txt", "0 0.5 0.5 0.4 0.6 0.1 0.2 2 0.5 0.6 1\n"),
    ]


def read_importers(path: Path) -> None:
    """By the importer of its program."""
    from datasets.converters import import_cvat, import_labelme, import_yolo

    if path.suffix == ".xml":
        import_cvat(path).content()
    elif path.suffix == ".json":
        import_labelme(path.parent).content()
    else:
        folder = path.parent if path.suffix == ".yaml" else path.parent.parent
        import_yolo(folder / "data.yaml", folder / "images").content()


def make_configs(folder: Path) -> Sequence[Path]:
    """Flags of a training."""
    lines = (
        "MODEL: sia_pose\nCOCO_ROOT: images\nTRAIN_ANN: a.json\nVAL_ANN: b.json\nEPOCH: 50\nIMGSZ: 192x256\nLR: 1e-3\n"
    )
    return [write(folder / "run.yaml", lines + "SAVE: true\nMEMBERS: [own:a.pt, own:b.pt]\nWORKERS: auto\n")]


def read_configs(path: Path) -> None:
    """As -CONFIG does."""
    from utils.config.builder import build_config
    from utils.config.config_file import with_config_files
    from utils.config.flags import parse_flags

    build_config(parse_flags(with_config_files(["-CONFIG", str(path)])))


def make_arrays(folder: Path) -> Sequence[Path]:
    """The npz beside a results file, and a file of poses for the prior."""
    from sia.coco.coco_files import load_ground_truth
    from sia.skeletons.skeleton import COCO_PERSON
    from utils.metrics.predictions import Predictions

    people(folder)
    truth = load_ground_truth(folder / PEOPLE / "train.json", COCO_PERSON)
    count = len(truth.people)
    points = np.array([row["keypoints"] for row in truth.people]).reshape(count, 17, 3)
    boxes = np.array([row["bbox"] for row in truth.people])
    ids = np.array([row["image_id"] for row in truth.people])
    corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
    found = Predictions(ids, corners, np.ones(count), points[..., :2], np.ones((count, 17)), np.ones((count, 17)))
    found.save(folder / "found.json", truth.category)
    names = np.array(COCO_PERSON.names)
    np.savez(folder / "poses.npz", image_id=ids, bbox=boxes, keypoints=points, keypoint_names=names)
    return [folder / "found.npz", folder / "poses.npz"]


def read_arrays(path: Path) -> None:
    """As the stages of the pipeline do."""
    from sia.coco.coco_files import load_ground_truth
    from sia.skeletons.skeleton import COCO_PERSON
    from stages.prior.poses import read_poses
    from utils.metrics.predictions import read_predictions

    if path.stem == "poses":
        read_poses(path, COCO_PERSON)
    else:
        truth = load_ground_truth(path.parent / PEOPLE / "train.json", COCO_PERSON)
        read_predictions(path.with_suffix(".json"), truth, COCO_PERSON)

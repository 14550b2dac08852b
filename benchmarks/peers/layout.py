"""The data of an arena as all contestants find it: COCO files for some, YOLO's folders for others, the same images.

    folder/images -> the images; folder/train.json, folder/val.json -> the annotations
    folder/yolo/images/{train,val}/ID.jpg -> each image; folder/yolo/labels/{train,val}/ID.txt; folder/yolo/data.yaml

Images and annotations are links, not copies. Nothing is resized: every contestant letterboxes by itself.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from datasets.coco.coco_pose import CocoPose
from sia.coco.coco_files import read_json, with_images, write_annotations
from sia.errors import ConfigError
from sia.skeletons.skeleton import Skeleton

SPLITS = ("train", "val")


def prepare(source: Path, folder: Path, images: int | None = None) -> None:
    """Lays out a data set; one that lies there already is taken as it is.

    Args:
        source: with images/, train.json and val.json, as scripts/make_synthetic.py writes it.
        folder: where to.
        images: take the first so many of train.json only.

    Raises:
        DataError: images or annotations that can't be used.
        ConfigError: another number of images was laid out there before.
    """
    if (folder / "yolo" / "data.yaml").is_file():
        check_count(source, folder, images)
        return
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("images", "train.json", "val.json"):
        if name == "train.json" and images is not None:
            write_first(source / name, images, folder / name)
        else:
            link(source / name, folder / name)
    skeleton = None
    for split in SPLITS:
        dataset = CocoPose(folder / "images", folder / f"{split}.json", skeleton=skeleton)
        skeleton = dataset.skeleton
        write_yolo_split(dataset, folder / "yolo", split)
    assert skeleton is not None
    write_yolo_data(folder / "yolo", skeleton, SPLITS)


def check_count(source: Path, folder: Path, images: int | None) -> None:
    """Whether as many training images lie there as are asked for.

    Raises:
        ConfigError: they don't.
    """
    there, here = (len(read_json(place / "train.json", "annotation file")["images"]) for place in (folder, source))
    wanted = here if images is None else min(images, here)
    if there != wanted:
        raise ConfigError(f"{folder} has {there} training images, not the {wanted} asked for. Name another --output.")


def write_first(source: Path, images: int, path: Path) -> None:
    """Annotations of the first images only."""
    content = read_json(source, "annotation file")
    write_annotations(path, with_images(content, {image["id"] for image in content["images"][:images]}))


def link(target: Path, path: Path) -> None:
    """A symbolic link, made once."""
    if not path.is_symlink():
        path.symlink_to(target.resolve())


def write_yolo_split(dataset: CocoPose, folder: Path, split: str) -> None:
    """Links and label files of one split, named by image id. Images without people have an empty label file."""
    images, labels = folder / "images" / split, folder / "labels" / split
    for path in (images, labels):
        path.mkdir(parents=True, exist_ok=True)
    for index, file in enumerate(dataset.files):
        name = str(dataset.image_id(index))
        link(file, images / f"{name}{file.suffix}")
        (labels / f"{name}.txt").write_text("\n".join(yolo_lines(dataset, index)))


def write_yolo_data(folder: Path, skeleton: Skeleton, splits: tuple[str, ...]) -> None:
    """data.yaml, in the part of YAML that is JSON; the last of the splits is validated on."""
    data = {
        "path": str(folder.resolve()),
        "train": f"images/{splits[0]}",
        "val": f"images/{splits[-1]}",
        "names": {0: skeleton.category},
        "nc": 1,
        "channels": 3,
        "kpt_shape": [skeleton.num_keypoints, 3],
        **({"flip_idx": skeleton.flip_order} if skeleton.mirrors else {}),
    }
    (folder / "data.yaml").write_text(json.dumps(data))


def yolo_lines(dataset: CocoPose, index: int) -> list[str]:
    """One line a person: class, box centre and size, x y v of each joint, all relative to the image, in [0, 1]."""
    height, width = dataset.size(index)
    labels = dataset.annotation(index)
    corners = (labels.boxes.astype(np.float64) / [width, height, width, height]).clip(0, 1)
    joints = labels.keypoints.astype(np.float64) / [width, height, 1]
    joints[..., :2] = joints[..., :2].clip(0, 1)
    boxes = np.hstack([(corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]])
    return [
        " ".join(f"{value:.6g}" for value in (0, *box, *person.reshape(-1)))
        for box, person in zip(boxes, joints, strict=True)
    ]

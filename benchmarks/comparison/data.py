"""The data of a comparison as every method finds it: COCO files and YOLO's folders, the same images.

    folder/images -> the images; folder/train.json, folder/val.json -> the annotations
    folder/yolo/images/{train,val}/ID.jpg -> each image; folder/yolo/labels/{train,val}/ID.txt; folder/yolo/data.yaml

Images are links, not copies. Nothing is resized: every method letterboxes by itself.
"""

from __future__ import annotations

import json
from collections.abc import Container
from pathlib import Path

import numpy as np

from datasets.coco.coco_pose import CocoPose
from sia.coco.coco_files import Row, read_json, write_annotations
from sia.skeletons.skeleton import Skeleton


def lay_out(source: Path, folder: Path, images: int | None = None) -> None:
    """Lays out a data set; one that lies there already is taken as it is.

    Args:
        source: with images/, train.json and val.json, as scripts/make_synthetic.py writes it.
        folder: where to.
        images: take the first so many of train.json only.

    Raises:
        DataError: images or annotations that can't be used.
    """
    if (folder / "yolo" / "data.yaml").is_file():
        return
    folder.mkdir(parents=True, exist_ok=True)
    link(source / "images", folder / "images")
    link(source / "val.json", folder / "val.json")
    write_first(source / "train.json", images, folder / "train.json")
    train = CocoPose(folder / "images", folder / "train.json")
    val = CocoPose(folder / "images", folder / "val.json", skeleton=train.skeleton)
    write_yolo_split(train, folder / "yolo", "train")
    write_yolo_split(val, folder / "yolo", "val")
    write_yolo_data(folder / "yolo", train.skeleton)


def write_first(source: Path, images: int | None, path: Path) -> None:
    """Annotations of the first images only."""
    content = read_json(source, "annotation file")
    write_annotations(path, with_images(content, {image["id"] for image in content["images"][:images]}))


def with_images(content: Row, ids: Container[int]) -> Row:
    """COCO content with some of its images, in their order, and all people in these."""
    images = [image for image in content["images"] if image["id"] in ids]
    people = [row for row in content["annotations"] if row["image_id"] in ids]
    return {**content, "images": images, "annotations": people}


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


def write_yolo_data(folder: Path, skeleton: Skeleton, val: str = "val") -> None:
    """data.yaml, in the part of YAML that is JSON."""
    data = {
        "path": str(folder.resolve()),
        "train": "images/train",
        "val": f"images/{val}",
        "names": {0: skeleton.category},
        "nc": 1,
        "channels": 3,
        "kpt_shape": [skeleton.num_keypoints, 3],
        **({"flip_idx": skeleton.flip_order} if skeleton.mirrors else {}),
    }
    (folder / "data.yaml").write_text(json.dumps(data))


def yolo_lines(dataset: CocoPose, index: int) -> list[str]:
    """One line a person: class, box centre and size, x y v of each keypoint, relative to the image, in [0, 1]."""
    height, width = dataset.size(index)
    labels = dataset.annotation(index)
    corners = (labels.boxes.astype(np.float64) / [width, height, width, height]).clip(0, 1)
    keypoints = labels.keypoints.astype(np.float64) / [width, height, 1]
    keypoints[..., :2] = keypoints[..., :2].clip(0, 1)
    boxes = np.hstack([(corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]])
    numbers = keypoints.reshape(len(boxes), 3 * keypoints.shape[1])
    rows = np.hstack([np.zeros((len(boxes), 1)), boxes, numbers])
    return [" ".join(f"{value:.6g}" for value in row) for row in rows]

"""A teacher's keypoints as labels: a bigger model, or the results of any program, poses people who have a box alone."""

from __future__ import annotations

import hashlib
import os
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np

from sia.coco.annotation_file import AnnotationFile, Person
from sia.coco.annotation_parser import parse
from sia.coco.coco_files import Row, read_json, write_annotations
from sia.coco.image_name import ImageFolders
from sia.errors import ConfigError, DataError
from sia.evaluation.labels import box_overlaps
from sia.evaluation.predictions import Array
from sia.io.images import read_image
from sia.io.output_file import writing
from sia.skeletons.skeleton import COCO_PERSON, Skeleton
from stages.ensemble.experts.expert import Expert, Poses
from stages.ensemble.experts.loading import load_expert, parse_members
from stages.ensemble.members import SEEN, digests

SAME_BOX = 0.5
"""Least IoU of a labelled box and a result's for these to be one person."""
WAIT = 0.5
"""Seconds between looks of other processes for the file of the first."""

Ask = Callable[[int, Array], Poses]
"""Index of an image and (N, 4) boxes x1, y1, x2, y2 -> the pose in each."""


def open_teacher(name: str, device: str) -> Expert:
    """The model of ``KIND:PATH``.

    Raises:
        ConfigError: it names none, or several.
        SiaError: its files can't be used.
    """
    members = parse_members(name)
    if len(members) != 1:
        raise ConfigError(f"The teacher {name} must be one KIND:PATH, such as vitpose:weights/vitpose-base.")
    return load_expert(members[0], device)


def teacher_labels(annotations: Path, images: Path, teacher: str, device: str, folder: Path) -> Path:
    """The annotations with the teacher's keypoints for people who have a box and no keypoints; labels by people stay.

    Args:
        annotations: COCO annotations (json).
        images: their folder.
        teacher: ``KIND:PATH`` of a model (see -MEMBERS), or a json of COCO results or annotations of the same images.
        device: where a model runs.
        folder: gets the file, whose name changes with all that goes into it, so that a second call finds it there. The
            first process of each machine writes it, whether machines share the folder or not; others wait for it.

    Raises:
        ConfigError: the teacher can't be had, or has other keypoints.
        DataError: nobody lacks keypoints, or files that can't be used.
    """
    source = Path(teacher) if teacher.lower().endswith(".json") else None
    files = [source] if source is not None else [member.path for member in parse_members(teacher)]
    content = read_json(annotations, "annotation file")
    key = hashlib.sha256(annotations.read_bytes())
    for path in files:
        key.update("".join(digests(path).values()).encode())
    target = folder / f"{annotations.stem}-{key.hexdigest()[:12]}.json"
    if int(os.environ.get("LOCAL_RANK", "0")):
        while not target.is_file():
            time.sleep(WAIT)
    if not target.is_file():
        labels = parse(content)
        labels.refuse_faults(f"The annotation file {annotations}", ("nobody",))
        assert labels.skeleton is not None
        labels.skeleton.refuse_several("-TEACHER")
        if source is not None:
            ask = ask_results(source, labels)
        else:
            if labels.skeleton.names != COCO_PERSON.names:
                raise ConfigError(f"-TEACHER {teacher} has COCO's 17 keypoints, not {list(labels.skeleton.names)}.")
            ask = ask_model(open_teacher(teacher, device), labels, images, annotations)
        taught, count = fill_in(labels, ask)
        if not count:
            raise DataError(f"-TEACHER has nothing to add: all people of {annotations} with a box have keypoints.")
        about = {**content.get("info", {}), "teacher": teacher, "people posed by the teacher": count}
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        draft = target.with_name(f".{os.environ.get('GROUP_RANK', '0')}-{target.name}")  # one of each machine
        with writing(target):
            write_annotations(draft, {**taught, "info": about})
            draft.replace(target)
        print(f"-TEACHER {teacher}: {count} people without keypoints posed. Training on {target}", flush=True)
    return target


def fill_in(labels: AnnotationFile, ask: Ask) -> tuple[Row, int]:
    """The content with ``keypoints`` and ``keypoint_confidences`` for people without keypoints; how many got some.

    Keypoints of a confidence below `SEEN` stay unlabelled; all others get v = 2 and count by their confidence.
    """
    without = defaultdict[int, list[Person]](list)
    for person in labels.people:
        if not person.crowd and not person.labelled.any():
            without[person.image].append(person)
    rows, count = list(labels.content["annotations"]), 0
    for image, people in without.items():
        poses = ask(image, np.array([_corners(person.box) for person in people]))
        for person, points, confidences in zip(people, poses.keypoints, poses.confidences, strict=True):
            known = (confidences >= SEEN) & np.isfinite(points).all(-1)
            if known.any():
                joints = np.where(known[:, None], np.concatenate([points, np.full((len(points), 1), 2.0)], 1), 0.0)
                rows[person.row] = {
                    **rows[person.row],
                    "keypoints": joints.round(3).ravel().tolist(),
                    "num_keypoints": int(known.sum()),
                    "keypoint_confidences": np.where(known, confidences, 0.0).clip(0, 1).round(6).tolist(),
                }
                count += 1
    return {**labels.content, "annotations": rows}, count


def ask_model(model: Expert, labels: AnnotationFile, images: Path, annotations: Path) -> Ask:
    """A model that is told where people are.

    Raises:
        DataError: an image is missing or can't be read.
    """
    paths = ImageFolders(images, annotations).locate([str(row["file_name"]) for row in labels.content["images"]]).paths

    def ask(image: int, boxes: Array) -> Poses:
        path = paths[image]
        if path is None:
            raise DataError(f"{images}: {labels.content['images'][image]['file_name']} is missing. Check -COCO_ROOT.")
        return model.predict(read_image(images / path), boxes)

    return ask


def ask_results(source: Path, labels: AnnotationFile) -> Ask:
    """Results or annotations of the same images; a person is whose box has the largest IoU with the one asked for.

    Raises:
        DataError: neither can be read from the file.
        ConfigError: it has other keypoints.
    """
    assert labels.skeleton is not None
    content = read_json(source, "file of the teacher")
    rows = content["annotations"] if isinstance(content, dict) and "annotations" in content else content
    found = defaultdict[int, list[tuple[Array, Array]]](list)
    for place, row in enumerate(rows if isinstance(rows, list) else [None]):
        try:
            image, joints = int(row["image_id"]), np.array(row["keypoints"], np.float64).reshape(-1, 3)
            box = np.array(row["bbox"], np.float64) if row.get("bbox") else None
            confidences = np.array(row.get("keypoint_confidences", joints[:, 2]), np.float64).clip(0, 1)
        except (TypeError, KeyError, ValueError, AttributeError):
            message = f"{source}: row {place} is no COCO result or annotation with image_id and keypoints."
            raise DataError(message) from None
        _check_keypoints(joints, confidences, labels.skeleton, f"{source}: row {place}")
        points = np.concatenate([joints[:, :2], (confidences * (joints[:, 2] > 0))[:, None]], 1)
        if (points[:, 2] > 0).any():
            seen = points[points[:, 2] > 0, :2]
            around = np.concatenate([seen.min(0), seen.max(0)])
            found[image].append((around if box is None else _corners(box), points))
    ids = [row["id"] for row in labels.content["images"]]

    def ask(image: int, boxes: Array) -> Poses:
        points = np.full((len(boxes), labels.skeleton.num_keypoints, 3), np.nan)  # type: ignore[union-attr]
        points[..., 2] = 0
        known = found[ids[image]]
        if known:
            overlaps = box_overlaps(boxes, np.array([corners for corners, _ in known]))
            while overlaps.max() >= SAME_BOX:
                row, column = np.unravel_index(overlaps.argmax(), overlaps.shape)
                points[row] = known[column][1]
                overlaps[row], overlaps[:, column] = 0, 0
        return Poses(points[..., :2], points[..., 2])

    return ask


def _check_keypoints(joints: Array, confidences: Array, skeleton: Skeleton, where: str) -> None:
    if len(joints) != skeleton.num_keypoints or len(confidences) != len(joints):
        raise ConfigError(f"{where} has {len(joints)} keypoints, the annotations have {skeleton.num_keypoints}.")
    if not np.isfinite(joints).all():
        raise DataError(f"{where} has numbers that are not finite.")


def _corners(box: Array) -> Array:
    """x, y, width, height -> x1, y1, x2, y2."""
    return np.concatenate([box[:2], box[:2] + box[2:]])

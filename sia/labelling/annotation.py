"""Labels by a model, and where wanted by a teacher, in the format of a labelling tool."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sia.commands.jobs.run import announce, output_folder, remove_if_empty
from sia.drawing.annotator import Image
from sia.errors import ConfigError
from sia.formats.door import Results, Target
from sia.formats.writer import About, Record
from sia.io.image_folder import common_folder, name_below
from sia.io.optional import need_stages
from sia.labelling.batches import read_batches
from sia.people import People, Source
from sia.runtimes.predictor import Predictor

OPENER = "stages.ensemble.teacher"
"""Has the function that opens a teacher."""


class Teacher(Protocol):
    """A model that is told where people are."""

    def predict(self, image: Image, boxes: NDArray[np.float64]) -> Any:
        """(N, 4) boxes x1, y1, x2, y2 -> ``keypoints`` (N, 17, 2) and ``confidences`` (N, 17)."""


def run(args: argparse.Namespace, files: Sequence[Path], form: str) -> int:
    """The whole job; returns the exit status, 1 where an image couldn't be read.

    Raises:
        SiaError: bad input.
    """
    teacher: Teacher | None = None
    if args.teacher is not None:
        teacher = need_stages(OPENER, f"--teacher {args.teacher}").open_teacher(args.teacher, args.device)
    predictor = Predictor.load(args.weight_path, args.device, args.imgsz)
    if teacher is not None and predictor.skeleton.num_keypoints != 17:
        raise ConfigError(f"--teacher has COCO's 17 keypoints, {args.weight_path} has others.")
    announce(predictor)
    folder = output_folder(args.output_dir, "annotate")
    results = Results([Target(form, None)], folder, "labels", About(predictor.skeleton, args.kpt_thresh))
    above = common_folder(files)
    images = people = 0
    with remove_if_empty(folder):
        try:
            for batch in read_batches(files, args.batch_size):
                found = predictor.predict(list(batch.values()))
                for (path, image), those in zip(batch.items(), found, strict=True):
                    images += 1
                    kept = those.above(args.conf_thresh)
                    if teacher is not None and len(kept):
                        kept = _posed(kept, teacher, image)
                    people += len(kept)
                    source = Source(predictor.skeleton, (image.shape[0], image.shape[1]), str(path))
                    results.add(Record(replace(kept, source=source), images, name_below(path, above)))
        finally:  # what was done before Ctrl-C is kept
            if images:
                results.close()
    print(f"{images} of {len(files)} images, {people} people. File names are relative to {above}. Written:")
    print("\n".join(str(path.resolve()) for path in results.paths))
    return int(images < len(files))


def _posed(people: People, teacher: Teacher, image: Image) -> People:
    """The same people with the teacher's keypoints; those whom it doesn't find keep theirs."""
    poses = teacher.predict(image, people.boxes.astype(np.float64))
    found = np.isfinite(poses.keypoints).all((1, 2))
    keypoints = np.where(found[:, None, None], poses.keypoints, people.keypoints).astype(np.float32)
    confidences = np.where(found[:, None], poses.confidences, people.confidences).astype(np.float32)
    return replace(people, keypoints=keypoints, confidences=confidences)

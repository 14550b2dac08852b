"""Which images of a folder to label next: those the model is unsure of, each unlike the ones chosen before it."""

from __future__ import annotations

import argparse
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sia.coco.image_ids import ImageIds
from sia.commands.jobs.run import announce, output_folder, remove_if_empty
from sia.errors import ConfigError, DataError
from sia.io.output_file import write_bytes, write_json, writing
from sia.labelling.batches import read_batches
from sia.labelling.uncertainty import Uncertainty, UncertaintyEstimator
from sia.runtimes.predictor import Predictor

SHOWN = 10
"""Rows that are printed; suggested.json has all."""
Row = dict[str, Any]
Floats = NDArray[np.float64]


def run(args: argparse.Namespace, files: Sequence[Path]) -> int:
    """The whole job; returns the exit status, 1 where an image couldn't be read.

    Raises:
        SiaError: bad input.
    """
    predictor = Predictor.load(args.weight_path, args.device)
    estimator = UncertaintyEstimator(predictor)
    labelled = set(ImageIds.annotated(files, args.ann_file, predictor.skeleton).of) if args.ann_file else set()
    if len(labelled) == len(files):
        raise ConfigError(f"All {len(files)} images of --images have labels in {args.ann_file}: nothing to suggest.")
    announce(predictor)
    folder = output_folder(args.output_dir, "suggest")
    with remove_if_empty(folder):
        seen: dict[Path, Uncertainty] = {}
        for images in read_batches(files, args.batch_size):
            seen |= zip(images, estimator.estimate(list(images.values())), strict=True)
        chosen = choose(seen, labelled, args.n)
        write(folder, chosen, args.copy)
    say(chosen, folder)
    return int(len(seen) < len(files))


def choose(seen: dict[Path, Uncertainty], labelled: set[Path], count: int) -> list[Row]:
    """The images to label, the most useful first, and why."""
    pool = [path for path in seen if path not in labelled]
    if not pool:
        raise DataError("No image without labels can be read, so there is nothing to suggest.")
    embeddings = np.array([seen[path].embedding for path in pool])
    known = np.array([seen[path].embedding for path in seen if path in labelled], np.float32)
    rows, distances = select(np.array([seen[path].value for path in pool]), embeddings, count, known)
    return [_row(pool[row], seen[pool[row]], distance) for row, distance in zip(rows, distances, strict=True)]


def select(
    uncertainties: Floats, embeddings: NDArray[np.float32], count: int, labelled: NDArray[np.float32] | None = None
) -> tuple[NDArray[np.int64], Floats]:
    """Greedy k-centre (Sener & Savarese 2018, Active Learning for CNNs, algorithm 1), weighted by uncertainty.

    Each step takes the image with the largest product of uncertainty and distance to the closest one that is labelled
    or taken already, so a copy of one is never taken while others are left.

    Args:
        uncertainties: (N,) in [0, 1].
        embeddings: (N, D) of length 1.
        count: how many to take, at most N.
        labelled: (L, D) embeddings of images that have labels.

    Returns:
        Rows in the order of taking, and the cosine distance of each at that moment, in [0, 2].
    """
    distances = np.full(len(uncertainties), 1.0)
    if labelled is not None and len(labelled):
        distances = 1.0 - (embeddings @ labelled.T).max(1).astype(np.float64)
    free = np.ones(len(uncertainties), dtype=bool)
    rows, at = [], []
    for _ in range(min(count, len(uncertainties))):
        row = int(np.where(free, uncertainties * distances.clip(min=0), -1.0).argmax())
        rows.append(row)
        at.append(float(distances[row]))
        free[row] = False
        distances = np.minimum(distances, 1.0 - (embeddings @ embeddings[row]).astype(np.float64))
    return np.array(rows, np.int64), np.array(at)


def _row(path: Path, found: Uncertainty, distance: float) -> Row:
    return {
        "file": str(path.absolute()),
        "uncertainty": round(found.value, 4),
        "flip_agreement": round(found.agreement, 4),
        "score": round(found.score, 4),
        "people": found.people,
        "distance": round(float(distance), 4),
    }


def write(folder: Path, chosen: Sequence[Row], copy: bool) -> None:
    """suggested.txt for `sia annotate`, suggested.json with the reasons, and copies where they are wanted."""
    write_bytes(folder / "suggested.txt", b"".join(os.fsencode(row["file"]) + b"\n" for row in chosen))
    write_json(folder / "suggested.json", {"format": "sia-suggestions", "version": 1, "images": chosen}, indent=1)
    if copy:
        (folder / "images").mkdir()
        for place, row in enumerate(chosen, 1):  # numbered: files of several folders may share a name
            target = folder / "images" / f"{place:0{len(str(len(chosen)))}}_{Path(row['file']).name}"
            with writing(target):
                shutil.copyfile(row["file"], target)


def say(chosen: Sequence[Row], folder: Path) -> None:
    """The first rows, and what was written."""
    print(f"{'uncertainty':>11}  {'agreement':>9}  {'score':>5}  {'people':>6}  {'distance':>8}  image")
    for row in chosen[:SHOWN]:
        numbers = f"{row['uncertainty']:>11.3f}  {row['flip_agreement']:>9.3f}  {row['score']:>5.2f}"
        print(f"{numbers}  {row['people']:>6}  {row['distance']:>8.3f}  {row['file']}")
    print(
        f"{len(chosen)} images. Written:\n{folder.resolve() / 'suggested.txt'}\n{folder.resolve() / 'suggested.json'}"
    )
    print(f"Next: sia annotate --images {folder / 'suggested.txt'} --format cvat")

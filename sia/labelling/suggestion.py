"""Looks at all images of a folder and suggests which to label next."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sia.coco.image_ids import ImageIds
from sia.commands.jobs.run import announce, output_folder, remove_if_empty
from sia.errors import ConfigError
from sia.io.output_file import write_json, write_text, writing
from sia.labelling.batches import read_batches
from sia.labelling.selection import select
from sia.labelling.uncertainty import Uncertainty, UncertaintyEstimator
from sia.runtimes.predictor import Predictor

SHOWN = 10
"""Rows that are printed; suggested.json has all."""
Row = dict[str, Any]


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
        seen = look_at(estimator, files, args.batch_size)
        chosen = choose(seen, labelled, args.n)
        write(folder, chosen, args.copy)
    say(chosen, folder)
    return int(len(seen) < len(files))


def look_at(estimator: UncertaintyEstimator, files: Sequence[Path], batch_size: int) -> dict[Path, Uncertainty]:
    """What the model makes of each image that can be read; the others are named.

    Raises:
        DataError: none can be.
    """
    seen: dict[Path, Uncertainty] = {}
    for images in read_batches(files, batch_size):
        seen |= zip(images, estimator.estimate(list(images.values())), strict=True)
    return seen


def choose(seen: dict[Path, Uncertainty], labelled: set[Path], count: int) -> list[Row]:
    """The images to label, the most useful first, and why."""
    pool = [path for path in seen if path not in labelled]
    embeddings = np.array([seen[path].embedding for path in pool])
    known = np.array([seen[path].embedding for path in seen if path in labelled], np.float32)
    rows, distances = select(np.array([seen[path].value for path in pool]), embeddings, count, known)
    return [_row(pool[row], seen[pool[row]], distance) for row, distance in zip(rows, distances, strict=True)]


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
    write_text(folder / "suggested.txt", "".join(f"{row['file']}\n" for row in chosen))
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

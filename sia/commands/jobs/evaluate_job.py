"""Scores a results file, or weights on all ranks, and writes the report into a new folder."""

from __future__ import annotations

import argparse
import csv
import io
import os
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from sia.coco.annotated_images import AnnotatedImages
from sia.coco.coco_files import (
    GroundTruth,
    Row,
    check_results,
    is_labelled,
    load_ground_truth,
    load_skeleton,
    read_json,
    split,
)
from sia.commands.jobs.run import load_predictor, output_folder, remove_if_empty
from sia.errors import SiaError, complain
from sia.evaluation.coco_eval import Metrics
from sia.evaluation.crowdpose import as_crowdpose, crowd_levels
from sia.evaluation.keypoint_scores import csv_rows
from sia.evaluation.matches import matches_of
from sia.evaluation.predict import Alone, Ranks, predict_images, time_model
from sia.evaluation.report import Evaluation
from sia.evaluation.significance import prove
from sia.io.optional import need_stages
from sia.io.output_file import write_json, write_text
from sia.runtimes.predictor import RUNTIMES, Predictor
from sia.skeletons.skeleton import Skeleton

SEED = 0
"""Of the resamples of --compare: the same files give the same interval."""
PROCESSES = "utils.distributed.context"
"""Lets several processes meet. Named, not imported: nothing here depends on what is above."""


@dataclass(frozen=True)
class Labels:
    """What predictions are compared with: annotations, their skeleton, and where images are known, these."""

    truth: GroundTruth
    skeleton: Skeleton
    images: AnnotatedImages | None

    @classmethod
    def open(cls, args: argparse.Namespace, skeleton: Skeleton | None = None) -> Labels:
        """Those of --ann_file, as the flags want them.

        Raises:
            DataError: annotations or images can't be used.
        """
        skeleton = skeleton or load_skeleton(args.ann_file)
        truth = load_ground_truth(args.ann_file, skeleton, opened=args.coco_root is not None)
        images = AnnotatedImages.of(truth, args.coco_root, args.ann_file) if args.coco_root else None
        return cls(*(as_crowdpose(truth, skeleton) if args.crowdpose else (truth, skeleton)), images)

    def check(self, results: Any) -> list[Row]:
        """The rows of a results file that count."""
        return check_results(results, self.truth, self.skeleton)


def run(args: argparse.Namespace) -> int:
    """Scores what the flags name.

    Returns:
        The exit status; an error of all ranks is printed by the first one.

    Raises:
        SiaError: flags or files that can't be used.
    """
    if args.results is not None:
        labels = Labels.open(args)
        rows = labels.check(read_json(args.results, "results file"))
        source = {"results": str(args.results), "annotations": str(args.ann_file)}
        other = labels.check(read_json(args.compare, "results file")) if args.compare is not None else []
        finish(args, labels, rows, other, source)
        return 0
    if os.environ.get("WORLD_SIZE", "1") == "1":
        evaluate_weights(args, Alone(), args.device)
        return 0
    processes = need_stages(PROCESSES, "Evaluation by several processes, not by one,")
    is_main = True
    try:
        with processes.init_distributed(args.device) as ranks:
            is_main = ranks.is_main
            evaluate_weights(args, ranks, ranks.device.name)
    except SiaError as error:
        if is_main:  # what the training says about its flag, in the name that it has here
            complain(str(error).replace("-DEVICE", "--device"))
        return 1
    return 0


def evaluate_weights(args: argparse.Namespace, ranks: Ranks, device: str) -> None:
    """Runs the model on all ranks; the first one scores and writes."""
    predictor, labels, predict = prepare(args, args.weight_path, ranks, device)
    compared, other = None, None
    if args.compare is not None and args.compare.suffix.lower() == ".json":
        with ranks.shared_errors():  # read now, so that whatever is wrong is said before anything is computed
            other = labels.check(read_json(args.compare, "results file"))
    elif args.compare is not None:
        compared, _, predict_other = prepare(args, args.compare, ranks, device)
    if ranks.rank == 0:
        print(predictor.describe(), *filter(None, [predictor.device.warning]), sep="\n")
        print(f"{args.ann_file}: {len(labels.truth.images)} images", flush=True)
        if compared is not None:
            print(f"compared with {compared.describe()}", flush=True)
    rows = predict()
    if compared is not None:
        other = predict_other()
    source = {
        "weights": str(args.weight_path),
        "annotations": str(args.ann_file),
        "image_size": list(predictor.image_size),
        "roi_size": list(predictor.runtime.description.roi_size),
        "roi_score_thresh": predictor.runtime.description.roi_score_thresh,
        "tta": predictor.runtime.tta,
        "precision": predictor.runtime.description.precision,
    }
    with ranks.shared_errors():
        if ranks.rank == 0:
            assert labels.images is not None
            source["speed"] = time_model(predictor, labels.images)
            finish(args, labels, rows, other or [], source)


def prepare(
    args: argparse.Namespace, weights: Path, ranks: Ranks, device: str
) -> tuple[Predictor, Labels, Callable[[], list[Row]]]:
    """The model, its labels, and what gives its results; an error of one rank is raised on all."""
    exported = weights.suffix.lower() in RUNTIMES  # these choose for themselves
    with ranks.shared_errors():
        chosen = args.device if exported else device
        predictor = load_predictor(weights, chosen, args)
        labels = Labels.open(args, predictor.skeleton)
    images = labels.images
    assert images is not None

    def predict() -> list[Row]:
        hidden = None if ranks.rank == 0 else True
        with tqdm(total=len(images), unit="img", leave=False, disable=hidden) as bar:
            rows = predict_images(
                predictor, images, labels.truth.category_ids, batch_size=args.batch_size, threads=args.workers,
                ranks=ranks, progress=lambda count: bar.update(min(count * ranks.world_size, bar.total - bar.n)),
            )  # fmt: skip
        return rows

    return predictor, labels, predict


def finish(args: argparse.Namespace, labels: Labels, rows: list[Row], other: list[Row], source: Row) -> None:
    """Scores and writes, on the first rank; of several categories each into a folder of its own, beside their mean.

    A category in which nobody is labelled has no figures.
    """
    parts, others = (
        [
            part
            for part in split(labels.truth, labels.check(given), labels.skeleton)
            if any(map(is_labelled, part[0].people))
        ]
        for given in (rows, other)
    )
    every = [Evaluation.of(*part, source) for part in parts]
    if args.crowdpose:
        every = [replace(done, crowd=crowd_levels(labels.truth, done.errors.matches)) for done in every]
    several, mean = bool(labels.skeleton.categories), Metrics.mean({done.category: done.metrics for done in every})
    for done in every:  # before the files, which may meet a full disk
        print(*([f"\n{done.category}"] if several else []), done.table(), sep="\n", flush=True)
    if several:
        print(f"\n{mean.categories_table()}", flush=True)
    folder = output_folder(args.output_dir, "evaluate")
    with remove_if_empty(folder):
        if args.results is None:
            write_json(folder / "results.json", rows)
        for number, (done, (_, second, _)) in enumerate(zip(every, others, strict=True), 1):
            own = folder
            if several:
                own = folder / f"{number}-{re.sub(r'[^A-Za-z0-9]+', '-', done.category)}"
                own.mkdir()
            write(args, labels.images, done, second, own)
        if several:
            write_json(folder / "metrics.json", {**source, **mean.to_dict()}, indent=2)
    print("\nWritten:", *sorted(str(path.resolve()) for path in folder.iterdir()), sep="\n  ")


def write(
    args: argparse.Namespace, images: AnnotatedImages | None, done: Evaluation, second: list[Row], folder: Path
) -> None:
    """The files of one category."""
    if args.compare is not None:
        compare(args, done, second, folder)
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(csv_rows(done.metrics.keypoints))
    write_text(folder / "keypoints.csv", text.getvalue())
    write_json(folder / "metrics.json", done.to_dict(), indent=2)
    write_text(folder / "report.html", done.page(images, args.samples))


def compare(args: argparse.Namespace, first: Evaluation, second: list[Row], folder: Path) -> None:
    """Prints and writes how much better the second results are, on the same resampled images."""
    errors = first.errors
    proof = prove(errors.matches, matches_of(errors.truth, second, errors.skeleton), SEED)
    word = "better" if proof.difference.low > 0 else "worse" if proof.difference.high < 0 else "no clear difference"
    print(f"\n{args.results or args.weight_path}  AP {proof.before.percent()}")
    print(f"{args.compare}  AP {proof.after.percent()}")
    print(f"change of AP {proof.difference.percent(sign=True)} over {proof.images} images: {word}", flush=True)
    write_json(folder / "comparison.json", {"with": str(args.compare), **asdict(proof)}, indent=2)

"""COCO's AP and AR of a results file, or of weights on all ranks, written into a new folder."""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from datasets.coco.coco_pose import CocoPose
from datasets.loader import ValidationLoader, validation_loader
from sia.coco.coco_files import Row, load_skeleton, read_json
from sia.commands.export_job import spread
from sia.errors import SiaError, complain
from sia.evaluation.coco_eval import Metrics, evaluate
from sia.evaluation.keypoint_scores import csv_rows
from sia.evaluation.matches import find_matches
from sia.evaluation.significance import prove
from sia.io.output_file import named_folder, numbered_folder, write_json, write_text
from sia.runtimes.predictor import RUNTIMES, Predictor
from sia.skeletons.skeleton import Skeleton
from stages.evaluation.evaluator import on_first_rank, predict_results
from utils.distributed.context import DistributedContext, init_distributed

SEED = 0
"""Of the resamples of --compare: the same files give the same interval."""


def run(args: argparse.Namespace) -> int:
    """Scores what the flags of scripts/evaluate.py name.

    Returns:
        The exit status; an error of all ranks is printed by the first one.

    Raises:
        SiaError: flags or files that can't be used.
    """
    if args.results is not None:
        evaluate_results(args)
        return 0
    is_main = True
    try:
        with init_distributed(args.device) as ranks:
            is_main = ranks.is_main
            evaluate_weights(args, ranks)
    except SiaError as error:
        if is_main:
            text = str(error)  # what the training says about its flags, in the names that they have here
            for flag, own in (("-DEVICE", "--device"), ("-WORKERS", "--workers"), ("-BS", "--batch_size")):
                text = text.replace(flag, own)
            complain(text)
        return 1
    return 0


def evaluate_results(args: argparse.Namespace) -> None:
    """Scores a results file."""
    results, skeleton = read_json(args.results, "results file"), load_skeleton(args.ann_file)
    source = {"results": str(args.results), "annotations": str(args.ann_file)}
    finish(args, results, lambda: read_json(args.compare, "results file"), skeleton, source)


def compare(args: argparse.Namespace, first: list[Row], second: list[Row], skeleton: Skeleton, folder: Path) -> None:
    """Prints and writes how much better the second results are, on the same resampled images."""
    before, after = (find_matches(args.ann_file, rows, skeleton) for rows in (first, second))
    proof = prove(before, after, SEED)
    word = "better" if proof.difference.low > 0 else "worse" if proof.difference.high < 0 else "no clear difference"
    print(f"\n{args.results or args.weight_path}  AP {proof.before.percent()}")
    print(f"{args.compare}  AP {proof.after.percent()}")
    print(f"change of AP {proof.difference.percent(sign=True)} over {proof.images} images: {word}", flush=True)
    write_json(folder / "comparison.json", {"with": str(args.compare), **proof.to_dict()}, indent=2)


def evaluate_weights(args: argparse.Namespace, ranks: DistributedContext) -> None:
    """Runs the model on all ranks; the first one scores and writes."""
    predictor, dataset, loader = prepare(args, ranks)
    if ranks.is_main:
        print(predictor.describe(), *filter(None, [predictor.device.warning]), dataset.describe(), sep="\n", flush=True)
    other = prepare_other(args, ranks)
    bar = tqdm(total=len(dataset), unit="img", leave=False, disable=None if ranks.is_main else True)
    with bar:
        results = predict_results(
            predictor.runtime.find, loader, args.ann_file, predictor.skeleton,
            progress=lambda images: bar.update(min(images * ranks.world_size, bar.total - bar.n)),
        )  # fmt: skip
    compared = other()
    source = {
        "weights": str(args.weight_path),
        "annotations": str(args.ann_file),
        "image_size": list(predictor.image_size),
        "roi_score_thresh": predictor.runtime.description.roi_score_thresh,
    }
    on_first_rank(lambda: finish(args, results, lambda: compared, predictor.skeleton, source))


def prepare_other(args: argparse.Namespace, ranks: DistributedContext) -> Callable[[], list[Row]]:
    """What gives the results to compare with: of a file, or of other weights, which all ranks run.

    Files are read here, so that whatever is wrong with them is said before anything is computed.
    """
    if args.compare is None:
        return list
    if args.compare.suffix.lower() == ".json":
        rows = on_first_rank(lambda: list(read_json(args.compare, "results file")))
        return lambda: rows
    second = argparse.Namespace(**{**vars(args), "weight_path": args.compare})
    predictor, _, loader = prepare(second, ranks)
    if ranks.is_main:
        print(f"compared with {predictor.describe()}", flush=True)
    return lambda: predict_results(predictor.runtime.find, loader, args.ann_file, predictor.skeleton)


def finish(
    args: argparse.Namespace, results: list[Row], other: Callable[[], list[Row]], skeleton: Skeleton, source: Row
) -> None:
    """Scores and writes, on the first rank."""
    metrics = evaluate(args.ann_file, results, skeleton)
    print(metrics.table(), flush=True)  # before the files, which may meet a full disk
    with output_folder(args.output_dir) as folder:
        if args.results is None:
            write_json(folder / "results.json", results)
        if args.compare is not None:
            compare(args, results, other(), skeleton, folder)
        report(metrics, folder, source)


def prepare(args: argparse.Namespace, ranks: DistributedContext) -> tuple[Predictor, CocoPose, ValidationLoader]:
    """The model and this rank's images; an error of one rank is raised on all, so that none waits in vain."""
    exported = args.weight_path.suffix.lower() in RUNTIMES  # these choose for themselves
    device = args.device if ranks.world_size == 1 or exported else ranks.device.name
    with ranks.shared_errors():
        predictor = Predictor.load(args.weight_path, device, args.imgsz, args.roi_score_thresh)
        dataset = CocoPose(args.coco_root, args.ann_file, skeleton=predictor.skeleton)
        loader = validation_loader(
            dataset, image_size=predictor.image_size, batch_size=args.batch_size, workers=args.workers, rank=ranks.rank,
            world_size=ranks.world_size, pin_memory=predictor.device.type == "cuda",
        )  # fmt: skip
    return predictor, dataset, loader


@contextlib.contextmanager
def output_folder(wanted: Path | None) -> Iterator[Path]:
    """A new folder, gone again where nothing could be written into it."""
    folder = named_folder(wanted) if wanted is not None else numbered_folder(Path("runs"), "evaluate")
    try:
        yield folder
    finally:
        with contextlib.suppress(OSError):
            folder.rmdir()


def report(metrics: Metrics, folder: Path, source: Row) -> None:
    """Writes metrics.json and keypoints.csv, and names all that is in the folder."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(csv_rows(metrics.keypoints))
    write_text(folder / "keypoints.csv", text.getvalue())
    write_json(folder / "metrics.json", {**source, **metrics.to_dict()}, indent=2)
    print("\nWritten:", *sorted(str(path.resolve()) for path in folder.iterdir()), sep="\n  ")


class Annotated:
    """The images of a COCO annotation file, for the check of an export.

    Args:
        coco_root: folder of the images.
        ann_file: their annotations.
    """

    def __init__(self, coco_root: Path, ann_file: Path) -> None:
        self.coco_root, self.ann_file = coco_root, ann_file

    def images(self) -> list[NDArray[np.uint8]]:
        """Some of them, spread evenly, (H, W, 3) uint8 RGB each."""
        dataset = CocoPose(self.coco_root, self.ann_file)
        indices = spread(range(len(dataset)))
        print(f"Images: {len(indices)} of the {len(dataset)} of {self.ann_file}", flush=True)
        return [dataset.read_image(index) for index in indices]

    def score(self, predictor: Predictor) -> Metrics:
        """COCO's figures on the annotations."""
        dataset = CocoPose(self.coco_root, self.ann_file, skeleton=predictor.skeleton)
        loader = validation_loader(dataset, image_size=predictor.image_size, batch_size=8, workers=0)
        rows = predict_results(predictor.runtime.find, loader, self.ann_file, predictor.skeleton)
        return evaluate(self.ann_file, rows, predictor.skeleton)

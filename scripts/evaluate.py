"""COCO keypoint AP and AR, and a table per keypoint, of weights or of any COCO results file.

python scripts/evaluate.py --weight_path runs/.../weights/best.pt --coco_root pictures --ann_file val.json
torchrun --nproc_per_node=4 scripts/evaluate.py --weight_path ... --coco_root ... --ann_file ...
python scripts/evaluate.py --results results.json --ann_file val.json
python scripts/evaluate.py --results before.json --compare after.json --ann_file val.json
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from datasets.coco_pose import CocoPose
from datasets.loader import ValidationLoader, validation_loader
from sia.model import LIKELY
from stages.evaluator import on_first_rank, predict_results
from stages.matches import find_matches
from stages.predictor import RUNTIMES, Predictor
from stages.proof import prove
from utils.coco_eval import Metrics, evaluate
from utils.coco_files import Row, load_skeleton, read_json
from utils.config import fraction, input_size
from utils.distributed import Ranks, start_ranks
from utils.errors import ConfigError, SiaError
from utils.keypoint_scores import csv_rows
from utils.output import named_folder, numbered_folder, write_json, write_text
from utils.results import write_coco_results
from utils.skeleton import Skeleton

SEED = 0
"""Of the resamples of --compare: the same files give the same interval."""


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The flags, from the command line by default."""
    parser = argparse.ArgumentParser(
        description="COCO keypoint AP and AR, and a table per keypoint, of weights or of any COCO results file.",
        allow_abbrev=False,
    )
    what = parser.add_argument_group("what to evaluate (one of the two)").add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--weight_path", type=Path, metavar="FILE", help="weights: best.pt or last.pt of a run, or an export"
    )
    what.add_argument("--results", type=Path, metavar="FILE", help="COCO keypoint results (json) of any program")
    parser.add_argument(
        "--compare", type=Path, metavar="FILE", help="results (json), or with --weight_path also weights: how much "
        "better or worse they are, with the 95 %% interval over resampled pictures",
    )  # fmt: skip
    data = parser.add_argument_group("data")
    data.add_argument("--ann_file", type=Path, required=True, metavar="FILE", help="COCO keypoint annotations (json)")
    data.add_argument("--coco_root", type=Path, metavar="DIR", help="folder of the pictures; needed with --weight_path")
    model = parser.add_argument_group("with --weight_path")
    model.add_argument("--batch_size", type=int, default=16, metavar="N", help="pictures at once (default: 16)")
    model.add_argument("--workers", type=int, default=2, metavar="N", help="processes that load pictures (default: 2)")
    model.add_argument("--device", default="auto", help="cpu, cuda, mps or auto (default: auto)")
    model.add_argument(
        "--imgsz", type=input_size, metavar="N|HxW", help="input size in pixels (default: that of the weights)"
    )
    model.add_argument(
        "--look_thresh", type=fraction, metavar="0-1",
        help=f"first score from which on people get a second look (default: {LIKELY}, or what an export was made with)",
    )  # fmt: skip
    parser.add_argument(
        "--output_dir",
        type=Path,
        metavar="DIR",
        help="folder of metrics.json, keypoints.csv and results.json; never overwritten (default: runs/evaluate-N)",
    )
    return parser.parse_args(argv)


def check_args(args: argparse.Namespace) -> None:
    """Combinations that argparse doesn't know.

    Raises:
        ConfigError: flags that can't work together.
    """
    if args.weight_path is not None and args.coco_root is None:
        raise ConfigError("--weight_path needs --coco_root, the folder of the pictures.")
    if args.results is not None and args.compare is not None and _is_weights(args.compare):
        raise ConfigError("--compare takes weights beside --weight_path only; name the results with --compare instead.")


def _is_weights(path: Path) -> bool:
    return path.suffix.lower() != ".json"


def evaluate_results(args: argparse.Namespace) -> None:
    """Scores a results file."""
    results = read_json(args.results, "results file")
    skeleton = load_skeleton(args.ann_file)
    metrics = evaluate(args.ann_file, results, skeleton)
    print(metrics.table(), flush=True)  # before the files, which may meet a full disk
    with output_folder(args.output_dir) as folder:
        if args.compare is not None:
            compare(args, results, read_json(args.compare, "results file"), skeleton, folder)
        report(metrics, folder, {"results": str(args.results), "annotations": str(args.ann_file)})


def compare(args: argparse.Namespace, first: list[Row], second: list[Row], skeleton: Skeleton, folder: Path) -> None:
    """Prints and writes how much better the second results are, on the same resampled pictures."""
    before, after = (find_matches(args.ann_file, rows, skeleton) for rows in (first, second))
    proof = prove(before, after, SEED)
    word = "better" if proof.difference.low > 0 else "worse" if proof.difference.high < 0 else "no clear difference"
    print(f"\n{args.results or args.weight_path}  AP {proof.before.percent()}")
    print(f"{args.compare}  AP {proof.after.percent()}")
    print(f"change of AP {proof.difference.percent(sign=True)} over {proof.images} pictures: {word}", flush=True)
    write_json(folder / "comparison.json", {"with": str(args.compare), **proof.to_dict()}, indent=2)


def evaluate_weights(args: argparse.Namespace, ranks: Ranks) -> None:
    """Runs the model on all ranks; the first one scores and writes."""
    predictor, dataset, loader = prepare_together(args, ranks)
    if ranks.is_main:
        print(predictor.describe(), *filter(None, [predictor.device.warning]), dataset.describe(), sep="\n", flush=True)
    other = prepare_other(args, ranks)
    bar = tqdm(total=len(dataset), unit="img", leave=False, disable=None if ranks.is_main else True)
    with bar:
        results = predict_results(
            predictor.runtime.find, loader, args.ann_file, predictor.skeleton,
            progress=lambda images: _advance(bar, images * ranks.world_size),
        )  # fmt: skip
    compared = other()
    on_first_rank(lambda: finish(args, predictor, results, compared))


def prepare_other(args: argparse.Namespace, ranks: Ranks) -> Callable[[], list[Row]]:
    """What gives the results to compare with: of a file, or of other weights, which all ranks run.

    Files are read here, so that whatever is wrong with them is said before anything is computed.
    """
    if args.compare is None:
        return list
    if not _is_weights(args.compare):
        rows = on_first_rank(lambda: list(read_json(args.compare, "results file")))
        return lambda: rows
    second = argparse.Namespace(**{**vars(args), "weight_path": args.compare})
    predictor, _, loader = prepare_together(second, ranks)
    if ranks.is_main:
        print(f"compared with {predictor.describe()}", flush=True)
    return lambda: predict_results(predictor.runtime.find, loader, args.ann_file, predictor.skeleton)


def _advance(bar: Any, images: int) -> None:
    bar.update(min(images, bar.total - bar.n))


def finish(args: argparse.Namespace, predictor: Predictor, results: list[Row], other: list[Row]) -> None:
    """Scores and writes, on the first rank."""
    metrics = evaluate(args.ann_file, results, predictor.skeleton)
    print(metrics.table(), flush=True)
    source = {
        "weights": str(args.weight_path),
        "annotations": str(args.ann_file),
        "image_size": list(predictor.image_size),
        "look_thresh": predictor.runtime.description.look_thresh,
    }
    with output_folder(args.output_dir) as folder:
        write_coco_results(folder / "results.json", results)
        if args.compare is not None:
            compare(args, results, other, predictor.skeleton, folder)
        report(metrics, folder, source)


def prepare_together(args: argparse.Namespace, ranks: Ranks) -> tuple[Predictor, CocoPose, ValidationLoader]:
    """The model and this rank's pictures; an error of one rank is raised on all, so that none waits in vain."""
    prepared, error = None, None
    try:
        prepared = prepare(args, ranks)
    except SiaError as problem:
        error = problem
    for other in ranks.gather(error):
        if other is not None:
            raise other
    assert prepared is not None
    return prepared


def prepare(args: argparse.Namespace, ranks: Ranks) -> tuple[Predictor, CocoPose, ValidationLoader]:
    """Reads weights and annotations."""
    exported = args.weight_path.suffix.lower() in RUNTIMES  # these choose for themselves
    device = args.device if ranks.world_size == 1 or exported else str(ranks.device.torch)
    predictor = Predictor.load(args.weight_path, device, args.imgsz, args.look_thresh)
    dataset = CocoPose(args.coco_root, args.ann_file, skeleton=predictor.skeleton)
    loader = validation_loader(
        dataset,
        image_size=predictor.image_size,
        batch_size=args.batch_size,
        workers=args.workers,
        rank=ranks.rank,
        world_size=ranks.world_size,
        pin_memory=predictor.device.torch.type == "cuda",
    )
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


def _own_flags(text: str) -> str:
    """What the training says about its flags, in the names that they have here."""
    for flag, own in (("-DEVICE", "--device"), ("-WORKERS", "--workers"), ("-BS", "--batch_size")):
        text = text.replace(flag, own)
    return text


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; bad input ends in one line and status 1."""
    args = parse_args(argv)
    is_main = True
    try:
        check_args(args)
        if args.results is not None:
            evaluate_results(args)
            return 0
        with start_ranks(args.device) as ranks:
            is_main = ranks.is_main
            evaluate_weights(args, ranks)
    except SiaError as error:
        if is_main:
            print(f"error: {_own_flags(str(error))}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())

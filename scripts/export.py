"""Writes trained weights as ONNX or OpenVINO, checks them against PyTorch, and measures their speed.

python scripts/export.py --weight_path runs/NAME/weights/best.pt --format onnx --image_path pictures/
python scripts/export.py --weight_path runs/NAME/weights/best.pt --format openvino-int8 --image_path pictures/train
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from datasets.coco_pose import CocoPose
from datasets.geometry import letterbox_image
from datasets.loader import validation_loader
from datasets.synthetic import SyntheticScenes
from sia.model import LIKELY
from stages.agreement import CLOSE, Agreement, compare
from stages.evaluator import predict_results
from stages.export_onnx import export_onnx
from stages.export_openvino import export_int8, export_openvino
from stages.interruption import sigterm_like_ctrl_c
from stages.openvino_runtime import OpenVinoRuntime
from stages.predictor import Predictor
from stages.runtime import TorchRuntime
from utils.coco_eval import Metrics, evaluate
from utils.config import fraction, input_size
from utils.errors import ConfigError, OutputError, WeightsError, exit_status
from utils.image_folder import find_images
from utils.images import read_image
from utils.output import output_error

T = TypeVar("T")
Pictures = list[NDArray[np.uint8]]

ENDINGS = {"onnx": ".onnx", "openvino": ".xml", "openvino-int8": "-int8.xml"}

MOST_MOVED = 0.001
"""Share of the keypoints of a float export that may be elsewhere: of two places that a heat map rates alike, rounding
decides which one it is. Measured: 2 of 58,820."""

SCORE_TOLERANCE = 0.01
MOST_MISSED = 0.02
LEAST_MATCHED = 0.5
"""Largest difference of a score; share of the people that a float export need not find again where PyTorch is sure of
them, and that it must find, sure or not. Untrained weights are sure of nobody, and 7 % of their candidates change."""

MOST_PICTURES = 200
"""What calibration and check read of a large folder, spread evenly."""

SYNTHETIC = 24
TIMED = 20


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The flags, from the command line by default."""
    parser = argparse.ArgumentParser(
        description="Writes trained weights as ONNX or OpenVINO, and checks the file against PyTorch on pictures.",
        epilog="The file takes any number of pictures of any size, has the decoding inside, and is used as it is: "
        "--weight_path best.onnx. A backbone with DINOv3's positions, or an --imgsz of a patch or two, gives a file of "
        "one input size, which is said.",
        allow_abbrev=False,
    )
    what = parser.add_argument_group("what to export")
    what.add_argument("--weight_path", type=Path, required=True, metavar="FILE", help="best.pt or last.pt of a run")
    what.add_argument("--format", choices=list(ENDINGS), required=True, help="int8 is for the CPU only")
    what.add_argument(
        "--output_path", type=Path, metavar="FILE",
        help="file to write, .onnx or .xml (with a .bin beside it); never overwritten (default: beside the weights)",
    )  # fmt: skip
    what.add_argument(
        "--imgsz", type=input_size, metavar="N|HxW", help="input size in pixels (default: that of the weights)"
    )
    what.add_argument(
        "--look_thresh", type=fraction, default=LIKELY, metavar="0-1",
        help="people whose first score is lower get no second look, except for the best of each picture: higher is "
        "faster and finds fewer (default: %(default)s)",
    )  # fmt: skip
    check = parser.add_argument_group("check, and calibration of int8")
    check.add_argument(
        "--image_path", metavar="PATH",
        help="pictures, a folder or a glob in quotes; for int8 such as the model will meet, best those it was trained "
        "on (default: those of --ann_file, else synthetic people)",
    )  # fmt: skip
    check.add_argument("--ann_file", type=Path, metavar="FILE", help="COCO keypoint annotations (json): AP of both")
    check.add_argument("--coco_root", type=Path, metavar="DIR", help="folder of the pictures of --ann_file")
    return parser.parse_args(argv)


def output_path(args: argparse.Namespace) -> Path:
    """Where to write.

    Raises:
        ConfigError: flags that can't work together.
        OutputError: something is there already.
    """
    if (args.ann_file is None) != (args.coco_root is None):
        raise ConfigError("--ann_file and --coco_root go together: the annotations and the folder of their pictures.")
    path: Path = args.output_path or args.weight_path.with_name(args.weight_path.stem + ENDINGS[args.format])
    suffix = ".onnx" if args.format == "onnx" else ".xml"
    if path.suffix != suffix:
        raise ConfigError(f"--output_path {path} must end in {suffix} for --format {args.format}.")
    for file in _files(path):
        if file.exists():
            raise OutputError(f"{file} exists and is not overwritten. Name another --output_path, or remove it.")
    return path


def _files(path: Path) -> list[Path]:
    """All that belongs to an export; the file that is opened comes last."""
    return [path] if path.suffix == ".onnx" else [path.with_suffix(".bin"), path]


def check_pictures(args: argparse.Namespace, size: tuple[int, int]) -> Pictures:
    """What to compare and to calibrate on."""
    if args.image_path is not None:
        files = find_images(args.image_path)
        chosen = _spread(files)
        print(f"Pictures: {len(chosen)} of the {len(files)} of {args.image_path}", flush=True)
        return [read_image(file) for file in chosen]
    if args.ann_file is not None:
        dataset = CocoPose(args.coco_root, args.ann_file)
        indices = _spread(range(len(dataset)))
        print(f"Pictures: {len(indices)} of the {len(dataset)} of {args.ann_file}", flush=True)
        return [dataset.read_image(index) for index in indices]
    print(f"Pictures: {SYNTHETIC} of synthetic people. Give real ones with --image_path.", flush=True)
    scenes = SyntheticScenes(max(size), seed=0)
    return [scenes.scene(index).image for index in range(SYNTHETIC)]


def _spread(items: Sequence[T]) -> list[T]:
    """At most `MOST_PICTURES`, evenly."""
    step = max(1, -(-len(items) // MOST_PICTURES))
    return list(items[::step])


def write(
    args: argparse.Namespace, runtime: TorchRuntime, path: Path, pictures: Pictures, size: tuple[int, int]
) -> None:
    """Writes the export in the wanted format."""
    onnx_path = path.with_suffix(".onnx")
    description = export_onnx(runtime, onnx_path, size)
    if args.format == "openvino":
        export_openvino(onnx_path, path, description)
    elif args.format == "openvino-int8":
        inputs = [letterbox_image(picture, size)[0].transpose(2, 0, 1)[None] for picture in pictures]
        export_int8(onnx_path, path, description, [np.ascontiguousarray(image) for image in inputs])
    if description.fixed_size is not None:
        why = "this backbone's positions" if description.is_large(size) else "its few patches"
        print(f"Size:     {size[0]}x{size[1]} only, because of {why}", flush=True)


def check(args: argparse.Namespace, before: Predictor, path: Path, pictures: Pictures) -> None:
    """Prints how the export compares: its people in float32, then AP and speed as the commands will run it.

    Raises:
        WeightsError: a float export gives other people.
    """
    after = Predictor.load(path, "cpu")
    exact = Predictor(OpenVinoRuntime.load(path, "cpu", exact=True)) if path.suffix == ".xml" else after
    agreement = compare(before, exact, pictures)
    print(f"Check:    {agreement}", flush=True)
    if args.format != "openvino-int8":
        refuse_if_wrong(agreement)
    if args.ann_file is not None:
        first, second = (score(args, predictor) for predictor in (before, after))
        print(f"AP:       PyTorch {100 * first.AP:.2f}, export {100 * second.AP:.2f}", flush=True)
        print(f"AP50:     PyTorch {100 * first.AP50:.2f}, export {100 * second.AP50:.2f}", flush=True)
    times = milliseconds(before, after, pictures)
    print(
        f"Speed:    PyTorch {times[0]:.1f} ms a picture, export {times[1]:.1f} ms: {times[0] / times[1]:.2f} times as "
        f"fast (medians, one picture at a time, {before.device})",
        flush=True,
    )


def refuse_if_wrong(agreement: Agreement) -> None:
    """For exports that should give the same numbers.

    Raises:
        WeightsError: they don't.
    """
    wrong = agreement.moved > MOST_MOVED or agreement.score > SCORE_TOLERANCE
    lost = agreement.missed > MOST_MISSED * agreement.people or agreement.matched < LEAST_MATCHED * agreement.people
    if wrong or lost:
        raise WeightsError(
            f"The export differs from PyTorch ({agreement}); at most {100 * MOST_MOVED} % of the keypoints may be more "
            f"than {CLOSE} pixels away. It was removed. Please report this with the versions of torch, onnxscript and "
            "the runtime; the .pt file works."
        )


def score(args: argparse.Namespace, predictor: Predictor) -> Metrics:
    """COCO's figures on the annotations."""
    dataset = CocoPose(args.coco_root, args.ann_file, skeleton=predictor.skeleton)
    loader = validation_loader(dataset, image_size=predictor.image_size, batch_size=8, workers=0)
    return evaluate(
        args.ann_file, predict_results(predictor.runtime.find, loader, args.ann_file, predictor.skeleton),
        predictor.skeleton,
    )  # fmt: skip


def milliseconds(before: Predictor, after: Predictor, pictures: Pictures) -> list[float]:
    """Median time of one picture, of both in turns, so that a busy moment of the machine hits them alike."""
    times: list[list[float]] = [[], []]
    for picture in itertools.islice(itertools.cycle(pictures), TIMED):
        for number, predictor in enumerate((before, after)):
            begin = time.perf_counter()
            predictor.predict([picture])
            times[number].append(1000 * (time.perf_counter() - begin))
    return [statistics.median(each) for each in times]


def run(args: argparse.Namespace) -> None:
    """The whole job: written beside its place, checked, then moved there."""
    path = output_path(args)
    runtime = TorchRuntime.load(args.weight_path, "cpu")
    runtime.look_from(args.look_thresh)
    size = args.imgsz or runtime.description.config.image_size
    print(runtime.describe(size), flush=True)
    pictures = check_pictures(args, size)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".export-", dir=path.parent) as folder:
            partial = Path(folder) / path.name
            write(args, runtime, partial, pictures, size)
            check(args, Predictor(runtime, size), partial, pictures)
            for file in _files(path):
                (partial.parent / file.name).replace(file)
    except OSError as error:
        raise output_error(error, path) from error
    print("Written: ", *(file.resolve() for file in _files(path)), flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; bad input ends in one line and status 1."""
    args = parse_args(argv)
    return exit_status(lambda: run(args))


if __name__ == "__main__":
    with sigterm_like_ctrl_c():
        sys.exit(main())

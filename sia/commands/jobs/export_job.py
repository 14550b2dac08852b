"""Writes an export, checks it against PyTorch, and measures its speed."""

from __future__ import annotations

import argparse
import itertools
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from sia.coco.annotated_images import AnnotatedImages
from sia.coco.coco_files import GroundTruth, check_results, load_ground_truth, load_skeleton
from sia.errors import WeightsError
from sia.io.bundled_weights import FOLDER
from sia.io.image_folder import find_images
from sia.io.images import read_image
from sia.io.output_file import writing
from sia.registry import ROI_SCORE_THRESH
from sia.runtimes.export_onnx import export_onnx
from sia.runtimes.export_openvino import export_int8, export_openvino
from sia.runtimes.letterbox import letterbox_image
from sia.runtimes.openvino_runtime import OpenVinoRuntime
from sia.runtimes.parity import CLOSE, Parity, compare
from sia.runtimes.predictor import Predictor
from sia.runtimes.torch_runtime import TorchRuntime
from sia.skeletons.skeleton import Skeleton

if TYPE_CHECKING:
    from sia.evaluation.coco_eval import Metrics

T = TypeVar("T")
Images = list[NDArray[np.uint8]]

MOST_MOVED = 0.001
"""Fraction of the keypoints of a float export that may be elsewhere: of two places that a heatmap rates alike, rounding
decides which one it is. Measured: 2 of 58,820."""

SCORE_TOLERANCE = 0.01
MOST_MISSED = 0.02
LEAST_MATCHED = 0.5
"""Largest difference of a score; fraction of the people that a float export need not find again where PyTorch is sure
of them, and that it must find, sure or not. Untrained weights are sure of nobody, and 7 % of their candidates
change."""

MOST_IMAGES = 200
"""What calibration and check read of a large folder, spread evenly."""

CHECK_IMAGES, TILE = FOLDER / "check_images.jpg", 256
"""Images of synthetic people, side by side, and the side of each in pixels."""

TIMED = 20


class Labelled:
    """The images of a COCO annotation file, for the check of an export.

    Args:
        coco_root: folder of the images.
        ann_file: their annotations.
    """

    def __init__(self, coco_root: Path, ann_file: Path) -> None:
        self.coco_root, self.ann_file = coco_root, ann_file

    def _open(self, skeleton: Skeleton) -> tuple[GroundTruth, AnnotatedImages]:
        truth = load_ground_truth(self.ann_file, skeleton, opened=True)
        return truth, AnnotatedImages.of(truth, self.coco_root, self.ann_file)

    def images(self) -> Images:
        """Some of them, (H, W, 3) uint8 RGB each; says how many."""
        _, images = self._open(load_skeleton(self.ann_file))
        indices = spread(range(len(images)))
        print(f"Images: {len(indices)} of the {len(images)} of {self.ann_file}", flush=True)
        return [images.read_image(index) for index in indices]

    def score(self, predictor: Predictor) -> Metrics:
        """COCO's figures, with ``AP`` and ``AP50`` from 0 to 1."""
        from sia.evaluation.coco_eval import score
        from sia.evaluation.predict import predict_images

        truth, images = self._open(predictor.skeleton)
        rows = predict_images(predictor, images, truth.category_ids, batch_size=8, threads=0)
        return score(truth, check_results(rows, truth, predictor.skeleton), predictor.skeleton)


def run(args: argparse.Namespace, files: Sequence[Path], labelled: Labelled | None = None) -> None:
    """The whole job: written beside its place, checked, then moved there.

    Args:
        args: the flags of `sia.commands.export`.
        files: what to write; the file that is opened comes last.
        labelled: for AP of both models.
    """
    path = files[-1]
    runtime = TorchRuntime.load(args.weight_path, "cpu")
    runtime.set_roi_score_thresh(ROI_SCORE_THRESH if args.roi_score_thresh is None else args.roi_score_thresh)
    if args.roi_size is not None:
        runtime.set_roi_size(args.roi_size)
    size = args.imgsz or runtime.description.config.image_size
    print(runtime.describe(size), flush=True)
    images = check_images(args.image_path, labelled)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".export-", dir=path.parent) as folder:
            partial = Path(folder) / path.name
            write(args, runtime, partial, images, size)
            check(args, Predictor(runtime, size), partial, images, labelled)
            for file in files:
                (partial.parent / file.name).replace(file)
    print("Written: ", *(file.resolve() for file in files), flush=True)


def check_images(pattern: str | None, labelled: Labelled | None) -> Images:
    """What to compare and to calibrate on."""
    if pattern is not None:
        files = find_images(pattern)
        chosen = spread(files)
        print(f"Images: {len(chosen)} of the {len(files)} of {pattern}", flush=True)
        return [read_image(file) for file in chosen]
    if labelled is not None:
        return labelled.images()
    sheet = read_image(CHECK_IMAGES)
    corners = itertools.product(range(0, sheet.shape[0], TILE), range(0, sheet.shape[1], TILE))
    tiles = [sheet[y : y + TILE, x : x + TILE] for y, x in corners]
    print(f"Images: {len(tiles)} of synthetic people. Give real ones with --image_path.", flush=True)
    return tiles


def spread(items: Sequence[T]) -> list[T]:
    """At most `MOST_IMAGES`, evenly."""
    step = max(1, -(-len(items) // MOST_IMAGES))
    return list(items[::step])


def write(args: argparse.Namespace, runtime: TorchRuntime, path: Path, images: Images, size: tuple[int, int]) -> None:
    """Writes the export in the wanted format."""
    onnx_path = path.with_suffix(".onnx")
    description = export_onnx(runtime, onnx_path, size)
    if args.format == "openvino":
        export_openvino(onnx_path, path, description)
    elif args.format == "openvino-int8":
        inputs = [letterbox_image(image, size)[0].transpose(2, 0, 1)[None] for image in images]
        export_int8(onnx_path, path, description, [np.ascontiguousarray(image) for image in inputs])
    if description.fixed_size is not None:
        why = "this backbone's positions" if description.is_large(size) else "its few patches"
        print(f"Size:     {size[0]}x{size[1]} only, because of {why}", flush=True)


def check(args: argparse.Namespace, before: Predictor, path: Path, images: Images, labelled: Labelled | None) -> None:
    """Prints how the export compares: its people in float32, then AP and speed as the commands will run it.

    Raises:
        WeightsError: a float export gives other people.
    """
    after = Predictor.load(path, "cpu")
    exact = Predictor(OpenVinoRuntime.load(path, "cpu", exact=True)) if path.suffix == ".xml" else after
    parity = compare(before, exact, images)
    print(f"Check:    {parity}", flush=True)
    if args.format != "openvino-int8":
        refuse_if_wrong(parity)
    if labelled is not None:
        first, second = (labelled.score(predictor) for predictor in (before, after))
        print(f"AP:       PyTorch {100 * first.AP:.2f}, export {100 * second.AP:.2f}", flush=True)
        print(f"AP50:     PyTorch {100 * first.AP50:.2f}, export {100 * second.AP50:.2f}", flush=True)
    times = milliseconds(before, after, images)
    print(
        f"Speed:    PyTorch {times[0]:.1f} ms an image, export {times[1]:.1f} ms: {times[0] / times[1]:.2f} times as "
        f"fast (medians, one image at a time, {before.device})",
        flush=True,
    )


def refuse_if_wrong(parity: Parity) -> None:
    """For exports that should give the same numbers.

    Raises:
        WeightsError: they don't.
    """
    wrong = parity.moved > MOST_MOVED or parity.score > SCORE_TOLERANCE
    lost = parity.missed > MOST_MISSED * parity.people or parity.matched < LEAST_MATCHED * parity.people
    if wrong or lost:
        raise WeightsError(
            f"The export differs from PyTorch ({parity}); at most {100 * MOST_MOVED} % of the keypoints may be more "
            f"than {CLOSE} pixels away. It was removed. Please report this with the versions of torch, onnxscript and "
            "the runtime; the .pt file works."
        )


def milliseconds(before: Predictor, after: Predictor, images: Images) -> list[float]:
    """Median time of one image, of both in turns, so that a busy moment of the machine hits them alike."""
    times: list[list[float]] = [[], []]
    for image in itertools.islice(itertools.cycle(images), TIMED):
        for number, predictor in enumerate((before, after)):
            begin = time.perf_counter()
            predictor.predict([image])
            times[number].append(1000 * (time.perf_counter() - begin))
    return [statistics.median(each) for each in times]

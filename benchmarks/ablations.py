"""What each mechanism is worth: short trainings with one of them taken away, equal passes, on synthetic people.

    python benchmarks/ablations.py --output runs/ablations --seeds 0 1

Each row trains `sia_pose_simple` n16 from random weights through `train_pose.py`, with the settings of the demo, and
changes one thing. Smaller than the demo, so read the order, not the digits; all of its 36 patches are tokens, and
tokens.py measures how to choose them. A command that was stopped goes on with the rows that are missing.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.masked_images import images_of, pretrain

import train_pose
from datasets.synthetic import write_dataset
from sia.boxes import to_centres
from sia.io.output_file import write_json
from sia.losses.criterion import PoseCriterion
from sia.losses.matcher import Targets, targets_from
from sia.model import PoseModel
from sia.modules.detection_tokens import DetectionTokens, _disturbed
from sia.modules.person_head import Reference
from sia.outputs import Prediction
from sia.registry import HEAD_CONFIGS
from stages.training.initialization import build_model, describe_model

COLUMNS = ("AP", "AP50", "AR")
Patch = Callable[[], Any]


@dataclass(frozen=True)
class Row:
    """One thing that is changed: flags of the training, or a patch of the code while it runs."""

    name: str
    flags: str = ""
    patch: Patch = nullcontext


def _see_all() -> Any:
    """Patches and tokens see each other."""

    def all_see(count: int, groups: int, each: int, device: Any = None) -> Tensor:
        return torch.ones(count + groups * each, count + groups * each, dtype=torch.bool, device=device)

    return mock.patch("sia.sia_pose_simple.one_way_mask", all_see)


def _score_is_one() -> Any:
    """The score learns whether somebody is there, not how well the pose is placed."""
    score = PoseCriterion._score

    def one(prediction: Any, owned: Tensor, quality: Tensor, unsure: Tensor) -> Tensor:
        return score(prediction, owned, torch.ones_like(quality), unsure)

    return mock.patch.object(PoseCriterion, "_score", staticmethod(one))


def _start_in_the_middle() -> Any:
    """Every keypoint starts in the middle of the box."""
    return mock.patch(
        "stages.training.initialization.mean_pose", lambda train: np.zeros((train.skeleton.num_keypoints, 2))
    )


def _one_more_group() -> Any:
    return mock.patch.dict(
        HEAD_CONFIGS, {size: replace(width, groups=width.groups + 1) for size, width in HEAD_CONFIGS.items()}
    )


def _keep_scores() -> Any:
    return mock.patch(
        "sia.modules.duplicate_suppression.DuplicateSuppression.forward",
        lambda self, tokens, prediction, groups: prediction,
    )


def _look_in_poor_boxes() -> Any:
    """Training looks in the model's own boxes, also where they miss."""
    return mock.patch("sia.model.replace_poor_boxes", lambda boxes, truth: boxes)


def _look_at_people_only() -> Any:
    """Training looks at nobody who isn't there, so scores never learn who that is."""
    return mock.patch("sia.model.OTHERS", 0)


def _plain_stem() -> Any:
    return mock.patch("sia.sia_vision.ResidualUnit.forward", lambda self, x: x)


@contextmanager
def _denoise() -> Iterator[None]:
    """In training, another group of tokens; those of the patches on which people stand start from these, disturbed.

    After Li et al., DN-DETR, section 4, but matched like the other group; of two people on one patch, one counts.
    """
    run, choose = PoseModel.forward, DetectionTokens.forward
    truth: list[Targets] = []

    def remember(self: PoseModel, images: Tensor, batch: Any = None) -> Any:
        truth[:] = [] if batch is None else [targets_from(batch, float(max(images.shape[-2:])))]
        return run(self, images, batch)

    def add_true(self: DetectionTokens, patches: Tensor, head: Any, proposals: Any, sure: Any = None) -> Any:
        tokens, reference = choose(self, patches, head, proposals, sure)
        if not (self.training and truth):
            return tokens, reference
        with mock.patch.object(self, "groups", 1):
            others, start = choose(self, patches, head, _disturbed_truth(truth[0], proposals))
        joined = (torch.cat(parts, dim=1) for parts in zip(reference, start, strict=True))
        return torch.cat([tokens, others], dim=1), Reference(*joined)

    with mock.patch.object(PoseModel, "forward", remember), mock.patch.object(DetectionTokens, "forward", add_true):
        yield


def _disturbed_truth(truth: Targets, proposals: Prediction) -> Prediction:
    """Proposals of a square image, with the true people, disturbed, as the best of those patches they stand on."""
    image, person = truth.people.nonzero(as_tuple=True)
    side = round(proposals.scores.shape[1] ** 0.5)
    centre, size = to_centres(truth.corners[image, person]).chunk(2, dim=-1)
    column, row = (centre * side).long().clamp(0, side - 1).unbind(-1)
    known = truth.labelled[image, person][..., None]
    poses = torch.where(known, (truth.poses[image, person] - centre[:, None]) / size[:, None], 0)
    start = _disturbed(Reference(torch.cat([centre, size], dim=-1), poses))
    at, (centre, size) = (image, row * side + column), start.boxes.chunk(2, dim=-1)
    return proposals._replace(
        scores=proposals.scores.detach().index_put(at, torch.full_like(size[:, 0], 50.0)),
        boxes=proposals.boxes.detach().index_put(at, start.boxes),
        poses=proposals.poses.detach().index_put(at, start.poses * size[:, None] + centre[:, None]),
    )


MASKED_A_STEP = 2.2
"""Steps on masked images in the time of one step with labels."""


@contextmanager
def _masked_first() -> Iterator[None]:
    """The backbone learns to tell the pixels of hidden squares in the third of the time that the labels don't get."""
    given: list[tuple[Any, Any]] = []

    def remember(config: Any, train: Any, start: Any) -> Any:
        given[:] = [(config, train)]
        return describe_model(config, train, start)

    def pretrained(*args: Any) -> Any:
        model, (config, data) = build_model(*args), given[0]
        steps = MASKED_A_STEP * len(data) / config.bs * config.epoch / 2
        pretrain(model.backbone, images_of(data, config.imgsz), max(int(steps), 1), config.bs)
        return model

    with mock.patch.multiple("stages.training.train", describe_model=remember, build_model=pretrained):
        yield


ROWS = (
    Row("as it is"),
    Row("keypoints start in the middle of the box, not at the mean pose", patch=_start_in_the_middle),
    Row("patches look at tokens", patch=_see_all),
    Row("scores learn 1, not the expected quality", patch=_score_is_one),
    Row("no duplicate suppression", patch=_keep_scores),
    Row("a second group of tokens in training", patch=_one_more_group),
    Row("training looks in boxes that miss, too", patch=_look_in_poor_boxes),
    Row("training looks at nobody who isn't there", patch=_look_at_people_only),
    Row("stem without residual units", patch=_plain_stem),
    Row("no average of the weights (`-EMA 0`)", "-EMA 0"),
    Row("AdamW instead of Muon (`-OPTIMIZER adamw`)", "-OPTIMIZER adamw"),
    Row("layer decay (`-LLRD 0.8`)", "-LLRD 0.8"),
    Row("mosaic in half of the images (`-MOSAIC 0.5`)", "-MOSAIC 0.5"),
    Row("a second group of tokens, the best of which start from true people, disturbed", patch=_denoise),
    Row(
        "a third of the time for the pixels of hidden squares, first",
        "-EPOCH {fewer} -EVAL_EVERY {fewer}",
        _masked_first,
    ),
)


def train(row: Row, number: int, seed: int, args: argparse.Namespace) -> dict[str, float]:
    """The last evaluation of one training, in percent, and its CPU seconds."""
    name, data = f"row-{number}-seed{seed}", args.output / "images"
    record = args.output / f"{name}.json"
    if not record.is_file():
        shutil.rmtree(args.output / name, ignore_errors=True)  # of a command that was stopped
        flags = (
            f"-MODEL sia_pose_simple -SIZE {args.size} -IMGSZ {args.side} -COCO_ROOT {data}/images -TRAIN_ANN "
            f"{data}/train.json -VAL_ANN {data}/val.json -EPOCH {args.epochs} -EVAL_EVERY {args.epochs} -BS 8 "
            f"-LR 0.002 -ROTATE 0 -SHIFT 0 -COLOUR 0 -SCALE_MIN 1 -SCALE_MAX 1 -WORKERS 0 -DEVICE cpu -INIT scratch "
            f"-SEED {seed} -OUTPUT {args.output} -EXP {name} {row.flags.format(fewer=args.epochs * 2 // 3)}"
            + ("" if "-MOSAIC" in row.flags else " -MOSAIC 0")
        )
        start = time.process_time()
        with row.patch():
            status = train_pose.main(flags.split())
        if status:
            raise SystemExit(f"error: '{row.name}' failed.")
        with (args.output / name / "results.csv").open() as file:
            last = list(csv.DictReader(file))[-1]
        found = {column: 100 * float(last[column]) for column in COLUMNS}
        write_json(record, {**found, "seconds": time.process_time() - start})
    return dict(json.loads(record.read_text()))


def line(row: Row, found: Sequence[dict[str, float]], first: Sequence[dict[str, float]]) -> str:
    """A row of the table: means over the seeds, and what AP50 each seed lost or won."""
    means = " | ".join(f"{statistics.mean(f[column] for f in found):.1f}" for column in COLUMNS)
    apart = ", ".join(f"{f['AP50'] - o['AP50']:+.1f}" for f, o in zip(found, first, strict=True))
    return f"| {row.name} | {means} | {apart} | {statistics.mean(f['seconds'] for f in found):.0f} |"


def _threes(text: str) -> int:
    """A row gives a third of the passes to something else."""
    if int(text) < 3 or int(text) % 3:
        raise argparse.ArgumentTypeError(f"{text} is no multiple of 3")
    return int(text)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--output", type=Path, required=True, help="folder of everything that is written")
    add("--rows", type=int, nargs="+", choices=range(len(ROWS)), default=list(range(len(ROWS))), metavar="N",
        help="; ".join(f"{n}: {row.name}" for n, row in enumerate(ROWS)) + " (default: all)")  # fmt: skip
    add("--seeds", type=int, nargs="+", default=[0], help="one training each (default: 0)")
    add("--images", type=int, default=1500, help="to train on; a fifth as many to evaluate (default: %(default)s)")
    add("--side", type=int, default=96, help="of images and input, in pixels (default: %(default)s)")
    add("--epochs", type=_threes, default=6, help="passes, a multiple of 3 (default: %(default)s)")
    add("--size", default="n16", help="size (default: %(default)s)")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Prints and writes a markdown table."""
    args = parse_args(argv)
    torch.set_num_threads(1)
    args.output = args.output / f"{args.size}-{args.side}-{args.images}x{args.epochs}"
    write_dataset(args.output / "images", args.images, args.images // 5, args.side, 0, close=True)
    first = [train(ROWS[0], 0, seed, args) for seed in args.seeds]
    lines = [f"| | {' | '.join(COLUMNS)} | AP50 of each seed | CPU s |", "|-" + "|--:" * (len(COLUMNS) + 2) + "|"]
    for number in dict.fromkeys((0, *args.rows)):
        lines.append(line(ROWS[number], [train(ROWS[number], number, seed, args) for seed in args.seeds], first))
        (args.output / "table.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

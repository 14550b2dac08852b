"""How many people the detection tokens reach, and what more tokens cost and bring.

    python benchmarks/tokens.py --weight_path weights/sia_pose_simple-n16.pt --photographs DIR/coco_person

A row for each number of tokens, of the same weights, and for each IoU with a better patch's box from which on a patch
is not distinct, so comes after all that are (1: by score alone). "Reached" are the labelled people for whom some token
starts from a box with an IoU above 0.5: nobody else can be found. Several of the best patches are of the same person,
so a few tokens don't reach everybody in a crowd. Other columns as in looks.py.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.looks import COLUMNS, Trial, trial_parser
from sia.batch import PoseBatch
from sia.boxes import iou, to_corners
from sia.errors import exit_status
from sia.modules.person_head import Reference

COUNTS = (30, 60, 100, 150)
DUPLICATE_IOU = (1.0, 0.8)
REACHED = 0.5
"""IoU of a token's box with a person's from which on the person counts as reached."""


def parse_args(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The flags, from the command line by default."""
    parser = trial_parser(__doc__)
    parser.add_argument("--counts", type=int, nargs="+", default=COUNTS, help="to try (default: %(default)s)")
    parser.add_argument(
        "--alike", type=float, nargs="+", default=DUPLICATE_IOU, help="IoU to try (default: %(default)s)"
    )
    return parser.parse_args(arguments)


def reached(boxes: Tensor, batch: PoseBatch) -> tuple[int, int]:
    """boxes (B, M, 4) where tokens start -> how many labelled people of the batch are reached, and of how many."""
    length = max(batch.images.shape[-2:])
    labelled = batch.people & (batch.keypoints[..., 2] > 0).any(-1)
    overlap = iou(to_corners(boxes)[:, :, None], batch.boxes[:, None] / length)
    return int(((overlap.amax(1) > REACHED) & labelled).sum()), int(labelled.sum())


class TokenTrial(Trial):
    """A trial that keeps where tokens start."""

    def __init__(self, args: argparse.Namespace) -> None:
        super().__init__(args)
        self.starts: list[Tensor] = []
        self.runtime.model.tokens.register_forward_hook(self._keep)

    def _keep(self, module: torch.nn.Module, given: object, made: tuple[Tensor, Reference]) -> None:
        self.starts.append(made[1].boxes.cpu())

    def row(self, count: int, duplicate_iou: float) -> str:
        """A line of the table."""
        self.starts.clear()
        tokens = self.runtime.model.tokens
        tokens.tokens, tokens.duplicate_iou = count, duplicate_iou  # no weight depends on them
        cells = self.cells()
        found = [reached(*pair) for pair in zip(self.starts, self.batches, strict=True)]
        share = sum(hits for hits, _ in found) / sum(people for _, people in found)
        return f"| {count} | {duplicate_iou:g} | {100 * share:.1f} % | {cells} |"


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints a markdown table."""
    args = parse_args(arguments)
    torch.set_num_threads(1)
    trial = TokenTrial(args)
    print(f"| tokens | distinct below | reached | {COLUMNS} |\n" + "|--:" * 9 + "|")
    for count, duplicate_iou in itertools.product(args.counts, args.duplicate_iou):
        print(trial.row(count, duplicate_iou), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(exit_status(main))

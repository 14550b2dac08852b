"""How many pixels the square of a RoI refinement needs, where boxes and scores play no part.

    python benchmarks/squares.py --weight_path WEIGHTS --photographs DIR/coco_person

The RoI keypoint head of a model learns alone, for the same time with each side of its square, in squares around the labelled
people of training photographs, whose boxes are disturbed. Then it looks at the people of other photographs, in their
true boxes. Tokens are zeros, so where two people share a square it can only guess who is meant. The side that the
weights have learned at has an advantage: units that another one has beside are new, those that it lacks are left out.
"""

from __future__ import annotations

import argparse
import itertools
import math
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from sia.losses.oks import keypoint_similarity, masked_mean

from datasets.augmentation.transforms import Augmentation
from datasets.coco.coco_pose import CocoPose
from datasets.loader import training_loader, validation_loader
from sia.batch import PoseBatch
from sia.boxes import to_centres
from sia.errors import exit_status
from sia.io.checkpoint import load_checkpoint
from sia.io.weights import read_description
from sia.losses.criterion import heatmap_loss
from sia.losses.matcher import Targets, targets_from
from sia.model import replace_poor_boxes
from sia.modules.roi_keypoint_head import Found, rois_around
from sia.runtimes.device import autocast
from stages.training.initialization import Start, build_model
from stages.training.pretrained import Pretrained
from utils.ema import make_ema

BATCH, RATE, DECAY, CLIP = 16, 1e-3, 0.995, 5.0
AUGMENTATION = Augmentation(scale=(0.6, 1.7), rotation=30.0, mosaic=0.0)


def parse_args(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The flags, from the command line by default."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0], allow_abbrev=False)
    parser.add_argument("--weight_path", type=Path, required=True)
    parser.add_argument("--photographs", type=Path, required=True, help="folder with images/, train.json and val.json")
    parser.add_argument("--sides", type=int, nargs="+", default=[64, 96, 128], help="in pixels (default: %(default)s)")
    parser.add_argument("--imgsz", type=int, default=384, help="of the photographs (default: %(default)s)")
    parser.add_argument("--minutes", type=float, default=5.0, help="of each training (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(arguments)


class Trial:
    """One model and its images."""

    def __init__(self, args: argparse.Namespace, side: int) -> None:
        self.args = args
        payload = load_checkpoint(args.weight_path)
        config, skeleton = read_description(payload, args.weight_path)
        self.size = (args.imgsz, args.imgsz)
        torch.manual_seed(args.seed)
        self.model = build_model(
            replace(config, roi_size=side), Pretrained(), Start(payload, source=str(args.weight_path))
        )
        images = args.photographs / "images"
        self.train, self.val = (
            CocoPose(images, args.photographs / f"{split}.json", skeleton=skeleton) for split in ("train", "val")
        )

    def row(self) -> str:
        """Learns and finds: a line of the table."""
        people, seconds = self._learn()
        fits = self.fits()
        figures = (fits, (fits > 0.5).float(), (fits > 0.75).float())
        shown = " | ".join(f"{float(values.mean()):.3f}" for values in figures)
        return f"| {self.model.roi_head.side} | {people} | {people / seconds:.0f} | {shown} |"

    def look(self, batch: PoseBatch, disturb: bool) -> tuple[Found, Targets]:
        """In the true boxes of all who have keypoints."""
        truth = targets_from(batch, float(max(self.size)))
        image, row = truth.posed.nonzero(as_tuple=True)
        corners = truth.corners[image, row]
        boxes = replace_poor_boxes(torch.zeros_like(corners), corners) if disturb else to_centres(corners)
        model, rois = self.model, rois_around(boxes, image, row)
        pixels = model.normalise(batch.images)
        height, width = (side // model.backbone.patch for side in pixels.shape[-2:])
        extent = model.extent((height, width), self.size)
        nobody = torch.zeros(len(row), model.roi_head.body.person.in_features)
        return model.roi_head(pixels, extent, nobody, torch.zeros(len(row)), rois), truth

    def _learn(self) -> tuple[int, float]:
        """How many people it saw, in how many seconds; the model becomes its average."""
        roi_head, average = self.model.roi_head, make_ema(self.model, DECAY)
        optimizer = torch.optim.AdamW(roi_head.parameters(), RATE)
        start, people = time.perf_counter(), 0
        for batch in self._batches():
            share = (time.perf_counter() - start) / (60 * self.args.minutes)
            if share >= 1:
                break
            optimizer.param_groups[0]["lr"] = RATE * (1 + math.cos(math.pi * share)) / 2
            with autocast(torch.device("cpu")):
                found, truth = self.look(batch, disturb=True)
            person = torch.arange(truth.people.shape[1]).expand(len(truth.people), -1)
            optimizer.zero_grad()
            torch.autograd.backward(heatmap_loss(found.places, person, truth) / len(found.poses))
            torch.nn.utils.clip_grad_norm_(roi_head.parameters(), CLIP)
            optimizer.step()
            average.update_parameters(self.model)
            people += len(found.poses)
        self.model.load_state_dict(average.module.state_dict())
        return people, time.perf_counter() - start

    def _batches(self) -> Iterator[PoseBatch]:
        loader = training_loader(
            self.train,
            image_size=self.size,
            batch_size=BATCH,
            workers=0,
            seed=self.args.seed,
            augmentation=AUGMENTATION,
        )
        for epoch in itertools.count():
            loader.set_epoch(epoch)
            yield from (batch for batch in loader if (batch.keypoints[..., 2] > 0).any())

    @torch.no_grad()
    def fits(self) -> Tensor:
        """(people,) OKS of each labelled person."""
        fits = []
        self.model.eval()
        for batch in validation_loader(self.val, image_size=self.size, batch_size=BATCH, workers=0):
            found, truth = self.look(batch, disturb=False)
            at = (found.places.rois.image, found.places.rois.row)
            squared = (found.poses - truth.poses[at]).square().sum(-1)
            fits.append(
                masked_mean(keypoint_similarity(squared, truth.areas[at], self.model.sigmas), truth.labelled[at])
            )
        return torch.cat(fits)


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints a markdown table."""
    args = parse_args(arguments)
    torch.set_num_threads(1)
    print("| pixels along the square | people learned from | a second | OKS | above 0.5 | above 0.75 |")
    print("|--:" * 6 + "|")
    for side in args.sides:
        print(Trial(args, side).row(), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(exit_status(main))

"""What RoI refinement cost and bring, and where AP is lost: in the scores, or before.

    python benchmarks/looks.py --weight_path weights/sia_pose_simple-n32.pt --photographs DIR/coco_person

A row for each score from which on people are looked at again (`--roi_score_thresh`). With "true scores" each
labelled person has one candidate, the one that fits best, and its score says how well: what perfect scores would make
of the same poses.
Times are CPU seconds of this process, without scoring.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from datasets.coco.coco_pose import CocoPose
from datasets.loader import validation_loader
from sia.coco.coco_files import load_ground_truth
from sia.errors import exit_status
from sia.runtimes.runtime import TorchRuntime
from stages.error_model.labels import labelled_people, oks_matrix, qualities, shared_images
from stages.evaluation.evaluator import predict_results
from utils.metrics.coco_eval import evaluate
from utils.metrics.predictions import Predictions, predictions_from

SCORES = (0.01, 0.05, 0.1, 0.15, 0.2, 0.3)
COLUMNS = "looks an image | seconds | AP | AP50 | true scores: AP | AP50"


def trial_parser(description: str | None) -> argparse.ArgumentParser:
    """The flags of a `Trial`; description is the docstring of a script, of which the first line is shown."""
    parser = argparse.ArgumentParser(description=(description or "").split("\n")[0], allow_abbrev=False)
    parser.add_argument("--weight_path", type=Path, required=True)
    parser.add_argument("--photographs", type=Path, required=True, help="folder with images/ and val.json")
    parser.add_argument("--imgsz", type=int, help="side of the input in pixels (default: that of the weights)")
    parser.add_argument("--batch", type=int, default=1)
    return parser


def parse_args(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The flags, from the command line by default."""
    parser = trial_parser(__doc__)
    parser.add_argument("--scores", type=float, nargs="+", default=SCORES, help="to try (default: %(default)s)")
    return parser.parse_args(arguments)


class Trial:
    """One model on one set of labelled images."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.runtime = TorchRuntime.load(args.weight_path, "auto")
        self.skeleton = self.runtime.description.skeleton
        self.annotations = args.photographs / "val.json"
        data = CocoPose(args.photographs / "images", self.annotations, skeleton=self.skeleton)
        size = (args.imgsz,) * 2 if args.imgsz else self.runtime.description.config.image_size
        self.batches = list(validation_loader(data, image_size=size, batch_size=args.batch, workers=0))
        self.truth = load_ground_truth(self.annotations, self.skeleton)
        self.looks = 0
        self.runtime.model.roi_head.register_forward_hook(self._count)

    def _count(self, module: torch.nn.Module, given: object, made: object) -> None:
        self.looks += len(made.scores)  # type: ignore[attr-defined]

    def cells(self) -> str:
        """What the model finds as it is set now: looks an image, seconds, and the four figures."""
        self.looks, start = 0, time.process_time()
        results = predict_results(self.runtime.find, self.batches, self.annotations, self.skeleton)
        seconds = time.process_time() - start
        people = predictions_from(results, self.truth, self.skeleton)
        figures = [self.figures(people), self.figures(self.truly_scored(people))]
        shown = " | ".join(f"{100 * value:.1f}" for pair in figures for value in pair)
        return f"{self.looks / len(self.truth.images):.1f} | {seconds:.1f} | {shown}"

    def figures(self, people: Predictions) -> tuple[float, float]:
        """AP and AP50."""
        metrics = evaluate(self.annotations, people.rows(self.truth.category), self.skeleton)
        return metrics.AP, metrics.AP50

    def truly_scored(self, people: Predictions) -> Predictions:
        """Scores are the fraction of COCO's thresholds at which a person is right, if the best fitting ones come first."""
        labels, fits = labelled_people(self.truth), np.zeros(len(people))
        for rows, columns in shared_images(people.image_ids, labels.image_ids):
            fits[rows] = oks_matrix(people.select(rows), labels.select(columns), self.skeleton.sigmas).max(1)
        return replace(people, scores=qualities(replace(people, scores=fits), labels, self.skeleton.sigmas))


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints a markdown table."""
    args = parse_args(arguments)
    torch.set_num_threads(1)
    trial = Trial(args)
    print(f"| from a score of | {COLUMNS} |\n" + "|--:" * 7 + "|")
    for likely in args.scores:
        trial.runtime.set_roi_score_thresh(likely)
        print(f"| {likely:g} | {trial.cells()} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(exit_status(main))

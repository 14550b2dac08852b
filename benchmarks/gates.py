"""How many of a model's people and joints pass at each precision, and what agreement adds to the score.

    python benchmarks/gates.py --weight_path weights/sia_pose_simple-n32.pt --photographs DIR/coco_person

For the choice of -PSEUDO_PRECISION: run it on labelled images that the model was not trained on.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from datasets.coco.coco_pose import CocoPose
from datasets.loader import validation_loader
from sia.errors import exit_status
from sia.runtimes.runtime import TorchRuntime
from stages.ssl.teacher import TeacherPrediction, ask_all
from stages.ssl.thresholds import Gate, NoThresholdError, Verdict, choose_gates, judge

PRECISIONS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


def parse_args(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The flags, from the command line by default."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0], allow_abbrev=False)
    parser.add_argument("--weight_path", type=Path, required=True)
    parser.add_argument("--photographs", type=Path, required=True, help="folder with images/ and val.json")
    parser.add_argument("--batch", type=int, default=8)
    return parser.parse_args(arguments)


def opinions(args: argparse.Namespace) -> tuple[list[TeacherPrediction], list[Verdict]]:
    """What the model sees, and the truth about it."""
    runtime = TorchRuntime.load(args.weight_path, "auto")
    config, skeleton = runtime.description.config, runtime.description.skeleton
    data = CocoPose(args.photographs / "images", args.photographs / "val.json", skeleton=skeleton)
    loader = validation_loader(data, image_size=config.image_size, batch_size=args.batch, workers=0)
    found = ask_all(runtime.find, loader, skeleton)
    sigmas = np.array(skeleton.sigmas)
    return found, [judge(opinion, data.annotation(i), sigmas) for i, opinion in enumerate(found)]


def row(wanted: float, found: Sequence[TeacherPrediction], verdicts: Sequence[Verdict]) -> str:
    """One line of the table."""
    try:
        gates = choose_gates(found, verdicts, wanted)
    except NoThresholdError as error:
        return f"| {100 * wanted:.0f} % | {error} |"
    parts = " | ".join(_describe(gate) for gate in (gates.person, gates.joint))
    return f"| {100 * wanted:.0f} % | {parts} |"


def _describe(gate: Gate) -> str:
    return f"{gate.passed} of {gate.tried} | {gate.score:.2f} | {gate.agreement:g}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point."""
    args = parse_args(arguments)
    torch.set_num_threads(1)
    found, verdicts = opinions(args)
    print("| right | people that pass | score | agreement | their joints that pass | confidence | agreement |")
    print("|-|-|-|-|-|-|-|")
    for wanted in PRECISIONS:
        print(row(wanted, found, verdicts), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(exit_status(main))

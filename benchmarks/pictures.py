"""Draws the image of README: synthetic people with their labels.

python benchmarks/images.py --output docs/images/synthetic_people.jpg
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from datasets.synthetic import Scene, SyntheticScenes
from sia.drawing.annotator import Image, PoseAnnotator
from sia.io.images import write_image
from sia.people import People
from sia.skeletons.skeleton import COCO_PERSON


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True, help="the image to write")
    parser.add_argument("--columns", type=int, default=6, help="scenes a row (default: 6)")
    parser.add_argument("--rows", type=int, default=3, help="rows (default: 3)")
    parser.add_argument("--side", type=int, default=224, help="side of a scene in pixels (default: 224)")
    parser.add_argument("--seed", type=int, default=7, help="of the scenes (default: 7)")
    return parser.parse_args(argv)


def labelled(scene: Scene, annotator: PoseAnnotator) -> Image:
    """The scene with the keypoints of its people; hidden ones too."""
    if not scene.people:
        return scene.image
    keypoints = np.stack([person.keypoints for person in scene.people])
    corners = np.array([person.box for person in scene.people], np.float32)
    corners[:, 2:] += corners[:, :2]
    shown = (keypoints[..., 2] > 0).astype(np.float32)
    return annotator.draw(scene.image, People(corners, np.ones(len(corners), np.float32), keypoints[..., :2], shown))


def main(argv: Sequence[str] | None = None) -> int:
    """Draws the scenes of one seed, without choosing."""
    args = parse_args(argv)
    annotator = PoseAnnotator(COCO_PERSON, boxes=False)
    scenes = SyntheticScenes(args.side, seed=args.seed)
    images = [labelled(scenes.scene(index), annotator) for index in range(args.rows * args.columns)]
    rows = [np.hstack(images[row * args.columns : (row + 1) * args.columns]) for row in range(args.rows)]
    args.output.parent.mkdir(parents=True, exist_ok=True)
    write_image(args.output, np.vstack(rows))
    print(args.output.absolute())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

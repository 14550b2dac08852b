"""Labelled images for the check of an export: what to compare on, and COCO's figures of both models."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from datasets.coco.coco_pose import CocoPose
from datasets.loader import validation_loader
from sia.commands.export_job import spread
from sia.runtimes.predictor import Predictor
from stages.evaluation.evaluator import predict_results
from utils.metrics.coco_eval import Metrics, evaluate


class Annotated:
    """The images of a COCO annotation file.

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

"""The images of a run folder: curves, an augmented training batch, labels beside predictions."""

from __future__ import annotations

import time
from functools import cached_property

import torch
from torch import nn

from datasets.coco.coco_pose import CocoPose
from datasets.loader import validation_loader
from sia.batch import PoseBatch
from sia.people import People
from sia.runtimes.torch_runtime import torch_finder
from stages.evaluator import predict_batch
from utils.plots import plot_results, training_batch_image, validation_image
from utils.run_folder import RunFolder

MOST_OFTEN = 30.0
"""Seconds between two drawings: on small data an epoch can be shorter than its images."""
SHOWN = 8


class TrainingVisualizer:
    """Draws on the first rank; a run of short epochs is not slowed down by it."""

    def __init__(self, folder: RunFolder, val: CocoPose, image_size: tuple[int, int], device: torch.device) -> None:
        self.folder, self.val, self.image_size, self.device = folder, val, image_size, device
        self._drawn = float("-inf")
        self._before: list[People] | None = None

    def start(self, model: nn.Module) -> None:
        """Keeps what the weights find that the run starts from, to be shown beside what they find later."""
        self._before = self._predict(model)

    def training_batch(self, batch: PoseBatch) -> None:
        """train_batch.jpg: what the model sees in the first step."""
        training_batch_image(batch, self.val.skeleton, self.folder.path / "train_batch.jpg")

    def epoch(self, model: nn.Module, evaluated: bool, last: bool) -> None:
        """results.png, and val_labels_predictions.jpg after an evaluation.

        Raises:
            OutputError: an image can't be written.
        """
        if not last and time.monotonic() - self._drawn < MOST_OFTEN:
            return
        plot_results(self.folder.results, self.folder.path / "results.png")
        if evaluated:
            after = self._predict(model)
            found = {"predictions": after} if self._before is None else {"before": self._before, "after": after}
            path = self.folder.path / "val_labels_predictions.jpg"
            validation_image(self._shown, found, self.val.skeleton, path)
        self._drawn = time.monotonic()

    def _predict(self, model: nn.Module) -> list[People]:
        model.eval()
        find = torch_finder(model, self.device, blocks=self.val.skeleton.blocks)
        return predict_batch(find, self._shown)

    @cached_property
    def _shown(self) -> PoseBatch:
        loader = validation_loader(self.val, image_size=self.image_size, batch_size=SHOWN, workers=0)
        return next(iter(loader))

"""Runs a model over a data set and scores it, the same on any number of ranks: each image counts exactly once."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import nn

from sia.batch import PoseBatch
from sia.coco.coco_files import Row, load_ground_truth
from sia.commands.signals import Interrupted, SignalHandler
from sia.errors import DataError, SiaError, WeightsError
from sia.evaluation.coco_eval import Metrics, evaluate
from sia.io.results import coco_rows
from sia.people import People
from sia.runtimes.runtime import Find
from sia.runtimes.torch_runtime import torch_finder
from sia.skeletons.skeleton import Skeleton

T = TypeVar("T")


def evaluate_model(
    model: nn.Module,
    loader: Iterable[PoseBatch],
    ground_truth: Path,
    skeleton: Skeleton,
    device: torch.device,
    interruption: SignalHandler | None = None,
) -> Metrics:
    """AP, AR and the table per keypoint, on every rank.

    All ranks must call it. An error of one rank is raised on all of them, so none waits for another in vain.

    Args:
        model: in any mode, which it has again afterwards; not wrapped in DistributedDataParallel.
        loader: this rank's fraction of the validation images.
        ground_truth: the annotation file of the images.
        skeleton: names and sigmas.
        device: where the model is.
        interruption: what a signal interrupts: it doesn't wait for the rest of the images.

    Raises:
        DataError: the annotations can't be used, or the loaders' images are not exactly theirs.
        WeightsError: the model predicts NaN or infinity.
        Interrupted: a signal came, to any rank.
    """
    training = model.training
    model.eval()
    try:
        find = torch_finder(model, device, blocks=skeleton.blocks)
        results = predict_results(find, loader, ground_truth, skeleton, interruption=interruption)
    finally:
        model.train(training)
    return on_first_rank(lambda: evaluate(ground_truth, results, skeleton))


def predict_results(
    find: Find,
    loader: Iterable[PoseBatch],
    ground_truth: Path,
    skeleton: Skeleton,
    *,
    interruption: SignalHandler | None = None,
) -> list[Row]:
    """COCO results of all ranks' images, ordered by image, on the first rank; nothing on the others.

    `find` is what runs the model; the other arguments and the errors are those of `evaluate_model`.
    """
    share = _Share()
    try:
        truth = load_ground_truth(ground_truth, skeleton, labelled=False)
        share.expected = truth.images
        with interruption.at_once() if interruption is not None else contextlib.nullcontext():
            for batch in loader:
                people, image_ids = predict_batch(find, batch), batch.image_ids.tolist()
                for image_id, found in zip(image_ids, people, strict=True):
                    share.results += coco_rows(found, skeleton, image_id, truth.category_ids)
                share.image_ids += image_ids
    except (SiaError, Interrupted) as error:
        share.error = error
    shares, results = [share], list[Row]()
    if _ranks() > 1:
        shares = [_Share() for _ in range(_ranks())]
        dist.gather_object(share, shares if dist.get_rank() == 0 else None)
    on_first_rank(lambda: results.extend(_merge(shares)))
    return results


@dataclass
class _Share:
    """What one rank has to tell."""

    expected: list[int] = field(default_factory=list)
    image_ids: list[int] = field(default_factory=list)
    results: list[Row] = field(default_factory=list)
    error: SiaError | Interrupted | None = None


def predict_batch(find: Find, batch: PoseBatch) -> list[People]:
    """The people of each image of a batch, all scores, in original pixels.

    Raises:
        ConfigError: the batch doesn't fit into the GPU's memory.
        WeightsError: the model predicts NaN or infinity.
    """
    decoded = find(batch.images.numpy())
    if not decoded.is_finite():
        raise WeightsError(
            f"The model predicts NaN or infinity in {batch.files[0]} or another image of its batch. "
            "Its weights are broken: use those of an earlier checkpoint."
        )
    return decoded.to_original(batch.letterboxes.numpy(), batch.sizes.numpy())


def _merge(shares: list[_Share]) -> list[Row]:
    for share in shares:
        if share.error is not None:
            raise share.error
    image_ids = sorted(image_id for share in shares for image_id in share.image_ids)
    expected = sorted(shares[0].expected)
    if image_ids != expected:
        differing = sorted(set(image_ids) ^ set(expected))[:3]
        raise DataError(
            f"{len(image_ids)} images were predicted, but the annotation file has {len(expected)}; they differ in "
            f"images such as {differing}. Evaluate with the annotation file that the images were loaded with."
        )
    return sorted((row for share in shares for row in share.results), key=lambda row: int(row["image_id"]))


def _ranks() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def on_first_rank(compute: Callable[[], T]) -> T:
    """What the first rank computes, or the `SiaError` or `Interrupted` that it raises, on every rank."""
    value, error = None, None
    if _ranks() == 1 or dist.get_rank() == 0:
        try:
            value = compute()
        except (SiaError, Interrupted) as problem:
            error = problem
    if _ranks() > 1:
        outcome: list[Any] = [value, error]
        dist.broadcast_object_list(outcome)
        value, error = outcome
    if error is not None:
        raise error
    return cast(T, value)

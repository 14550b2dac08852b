"""Images whose people are not, or not all, labelled: which they are, and how they reach teacher and student."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from datasets.augmentation.transforms import Augmentation, jitter_colour, random_placement
from datasets.coco.coco_pose import CocoPose
from datasets.labels import Labels
from datasets.loader import TrainingLoader, stacked
from datasets.sampler import SampleKey, TrainingBatches
from datasets.workers import Samples
from sia.errors import warn
from sia.io.image_folder import find_images
from sia.io.images import read_image
from sia.io.input_file import sha256_of
from sia.runtimes.letterbox import Matrix, letterbox_image, warp_image
from sia.skeletons.skeleton import Skeleton

_WEAK = Augmentation(flip=0.5, scale=(0.8, 1.25), shift=0.05, rotation=0.0, colour=0.0, mosaic=0.0)
_STRONG = Augmentation(flip=0.5, scale=(0.7, 1.4), shift=0.1, rotation=60.0, colour=0.0, mosaic=0.0)
_COLOUR = 1.5
"""Strength of the colour changes; labelled images get at most 1."""


@dataclass(frozen=True)
class Unlabelled:
    """N images.

    Attributes:
        files: their paths.
        known: labels of those that have some, by index, in pixels of the image.
        skeleton: of the people in them.
        held_out: how many of the images that were named are left out, because they are labelled elsewhere.
    """

    files: tuple[Path, ...]
    known: dict[int, Labels]
    skeleton: Skeleton
    held_out: int = 0

    def __len__(self) -> int:
        return len(self.files)


@dataclass
class Views:
    """U images as the teacher sees them, and along V paths each as the student does.

    Attributes:
        teacher: (U, 3, H, W) uint8, letterboxed.
        letterboxes: (U, 3) float32, rows of `sia.runtimes.letterbox.Letterbox`.
        sizes: (U, 2) int64, height and width of the images.
        student: (V * U, 3, H, W) uint8, path after path.
        matrices: V * U matrices from the pixels of the image to those of the view.
        known: for each of the U what is labelled, or None.
        files: U names, for messages.
        seed: of the draws that wait for the teacher.
    """

    teacher: Tensor
    letterboxes: Tensor
    sizes: Tensor
    student: Tensor
    matrices: list[Matrix]
    known: list[Labels | None]
    files: list[str]
    seed: tuple[int, ...]


def named_images(patterns: Sequence[str], warn: Callable[[str], None] = warn) -> list[Path]:
    """The images of -UNLABELLED: see `sia.io.image_folder.find_images`.

    Raises:
        DataError: a pattern that names no image.
    """
    return [path for pattern in patterns for path in find_images(pattern, warn, "-UNLABELLED")]


def find_unlabelled(patterns: Sequence[str], fit: CocoPose, held_out: Iterable[Path]) -> Unlabelled:
    """Images of the folders, and those of `fit` that show people without keypoints.

    Args:
        patterns: folders, files or globs.
        fit: what is trained on; an image of it with people lacking keypoints counts as partly labelled.
        held_out: files that are calibrated and proved on.

    Images of the data sets that lie in the folders too, under whatever name, are left out: they are labelled, or must
    not be seen.

    Raises:
        DataError: a pattern that names no image, or a file that can't be read.
    """
    found = list(dict.fromkeys(path.resolve() for path in named_images(patterns)))
    kept = _without(found, [*fit.files, *held_out]) if found else []
    labels = [fit.annotation(i) for i in range(len(fit))]
    partly = [i for i, label in enumerate(labels) if not (label.keypoints[..., 2] > 0).any(axis=1).all()]
    known = {len(kept) + n: labels[i] for n, i in enumerate(partly)}
    return Unlabelled((*kept, *map(fit.file, partly)), known, fit.skeleton, len(found) - len(kept))


def _without(files: Sequence[Path], excluded: Sequence[Path]) -> list[Path]:
    """Leaves out equal contents; only files of equal length are read."""
    sizes = {path: path.stat().st_size for path in files}
    lengths = frozenset(sizes.values())
    taken = {path: path.stat().st_size for path in excluded if path.is_file()}
    sums = {sha256_of(path) for path, length in taken.items() if length in lengths}
    lengths = frozenset(taken.values())
    return [path for path, length in sizes.items() if length not in lengths or sha256_of(path) not in sums]


def unlabelled_loader(
    images: Unlabelled,
    *,
    paths: Sequence[str],
    image_size: tuple[int, int],
    batch_size: int,
    workers: int,
    seed: int,
    rank: int = 0,
    world_size: int = 1,
) -> TrainingLoader[Views]:
    """Shuffled batches of `Views`; as with labelled ones, seed, epoch and position decide everything."""
    batches = TrainingBatches(len(images), batch_size, seed=seed, rank=rank, world_size=world_size)
    return TrainingLoader(batches, _ViewSamples(images, tuple(paths), image_size, seed), workers, False)


def strong_view(
    image: NDArray[np.uint8], augmentation: str, size: tuple[int, int], skeleton: Skeleton, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], Matrix]:
    """What the student sees: hard to read, but all people are exactly where they were.

    After MultiAugs (arXiv 2402.11566, section 3): several strong augmentations of the same image in one step.

    Args:
        image: (h, w, 3) uint8, RGB, the whole image.
        augmentation: of `utils.config.declaration.AUGMENTATIONS`. ``geometry`` turns, scales and crops;
            ``appearance`` changes colours, blurs and compresses; ``occlusion`` hides joints, which
            `datasets.augmentation.occlusion` does once the teacher has said where.
        size: H, W of the result.
        skeleton: whether views may be mirrored.
        rng: source of all draws.

    Returns:
        (H, W, 3) uint8, and the matrix from the image's pixels to it.
    """
    placement = (_STRONG if augmentation == "geometry" else _WEAK).of(skeleton)
    matrix = random_placement((image.shape[0], image.shape[1]), size, size, placement, rng, zoom=1.0)
    view = warp_image(image, matrix, size)
    return jitter_colour(view, rng, _COLOUR if augmentation == "appearance" else 0.0), matrix


class _ViewSamples(Samples[Views]):
    def __init__(self, images: Unlabelled, paths: tuple[str, ...], size: tuple[int, int], seed: int) -> None:
        self.images, self.paths, self.size, self.seed = images, paths, size, seed

    def batch(self, keys: Sequence[SampleKey]) -> Views:
        files = [self.images.files[key.image] for key in keys]
        seeds = [(self.seed, key.epoch, key.position) for key in keys]
        images = [read_image(file) for file in files]
        teacher = [letterbox_image(image, self.size) for image in images]
        draws = [np.random.default_rng((*seed, 1)) for seed in seeds]
        views = [
            strong_view(image, path, self.size, self.images.skeleton, rng)
            for path in self.paths
            for image, rng in zip(images, draws, strict=True)
        ]
        return Views(
            teacher=stacked([image for image, _ in teacher]),
            letterboxes=torch.tensor([letterbox for _, letterbox in teacher], dtype=torch.float32),
            sizes=torch.tensor([image.shape[:2] for image in images]),
            student=stacked([image for image, _ in views]),
            matrices=[matrix for _, matrix in views],
            known=[self.images.known.get(key.image) for key in keys],
            files=[str(file) for file in files],
            seed=(*seeds[0], 2),
        )

"""Unlabelled images as batches for the student: the teacher's people, along every path, in one batch.

Who passed the gates is labelled, and regions of which nobody is sure are ignored.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from datasets.augmentation.geometry import warp_labels
from datasets.augmentation.occlusion import hide_joints
from datasets.labels import Labels
from datasets.loader import TrainingLoader, batch_of
from datasets.unlabelled import Views
from sia.batch import PoseBatch
from sia.evaluation.labels import Mask, box_overlaps
from sia.runtimes.letterbox import scale_of
from sia.runtimes.torch_runtime import torch_finder
from sia.skeletons.skeleton import Skeleton
from stages.ssl.teacher import TeacherPrediction, ask
from stages.ssl.thresholds import SAME_BOX, Gates

STEEPNESS = 5.0
"""Of the ramp exp(-5 (1 - t)^2) (Laine and Aila, Temporal Ensembling, ICLR 2017, section 2.1)."""

LEAST_JOINTS = 0.25
"""Fraction of its joints that a person must have through the gate."""


class PseudoBatches:
    """A batch of V * U views a step, whose labels follow from seed, step and the teacher's weights alone.

    Attributes:
        seen, trusted, doubtful: images, people who passed the gates, and ignored regions, since this process started.
    """

    def __init__(
        self,
        loader: TrainingLoader[Views],
        teacher: nn.Module,
        thresholds: Gates,
        skeleton: Skeleton,
        paths: tuple[str, ...],
        *,
        device: torch.device,
        dtype: torch.dtype,
        highest: float,
        ramp: int,
    ) -> None:
        """Builds the source.

        Args:
            loader: of the views along these paths.
            teacher: on the device; the average of the student that the trainer keeps up to date.
            thresholds: what its people must pass.
            skeleton: of its people.
            paths: names of the V paths.
            device: of the teacher.
            dtype: of its arithmetic; float32 means no autocast.
            highest: weight of the losses after the ramp.
            ramp: steps until then.
        """
        self.loader, self.teacher, self.thresholds = loader, teacher, thresholds
        self.skeleton, self.paths = skeleton, paths
        self.device, self.dtype, self.highest, self.ramp = device, dtype, highest, ramp
        self.seen = self.trusted = self.doubtful = 0
        self._stream: Iterator[Views] = iter(())
        self._next = -1

    def weight(self, step: int) -> float:
        """See `stages.training.context.Unlabelled`."""
        progress = min(step / self.ramp, 1.0) if self.ramp else 1.0
        return self.highest * math.exp(-STEEPNESS * (1 - progress) ** 2)

    def batch(self, step: int) -> PoseBatch:
        """See `stages.training.context.Unlabelled`."""
        views = self._views(step)
        found = [
            pseudo_labels(opinion, self.thresholds, known)
            for opinion, known in zip(self._ask(views), views.known, strict=True)
        ]
        self.seen += len(found)
        self.trusted += sum(len(labels) for labels in found)
        self.doubtful += sum(len(labels.ignored) for labels in found)
        return student_batch(views, found, self.paths, self.skeleton)

    def describe(self) -> str:
        """One line about the pseudo-labels since this process started."""
        if not self.seen:
            return "No unlabelled image was needed: the training was finished before."
        trusted, doubtful = self.trusted / self.seen, self.doubtful / self.seen
        return (
            f"In {self.seen} unlabelled images, {trusted:.2f} people an image were taught, and {doubtful:.2f} "
            "regions ignored."
        )

    def _views(self, step: int) -> Views:
        """The images of a step; in another order than step after step, the loader starts anew."""
        epoch, number = divmod(step, len(self.loader))
        if step != self._next or number == 0:
            self.loader.set_epoch(epoch, number)
            self._stream = iter(self.loader)
        self._next = step + 1
        return next(self._stream)

    def _ask(self, views: Views) -> list[TeacherPrediction]:
        self.teacher.eval()
        find = torch_finder(self.teacher, self.device, self.dtype)
        return ask(find, views.teacher, views.letterboxes, views.sizes, self.skeleton)


def student_batch(views: Views, found: list[Labels], paths: tuple[str, ...], skeleton: Skeleton) -> PoseBatch:
    """The views and the same labels warped into each; of the occlusion path joints are then hidden.

    Args:
        views: U images along V paths.
        found: labels of the U images, in their pixels.
        paths: names of the V paths.
        skeleton: for left and right.

    Returns:
        V * U images. Letterboxes are those of the views without turn and mirror; nothing but a drawing reads them.
    """
    size = (views.student.shape[-2], views.student.shape[-1])
    copies = found * len(paths)
    labels = [
        warp_labels(label, matrix, size, skeleton.flip_order)
        for label, matrix in zip(copies, views.matrices, strict=True)
    ]
    images = views.student
    if "occlusion" in paths:
        first = paths.index("occlusion") * len(found)
        part = slice(first, first + len(found))
        hide_joints(images[part].numpy(), labels[part], np.random.default_rng(views.seed))
    return batch_of(
        images, labels,
        image_ids=torch.arange(len(found)).repeat(len(paths)),
        letterboxes=torch.tensor([(scale_of(m), m[0, 2], m[1, 2]) for m in views.matrices], dtype=torch.float32),
        sizes=views.sizes.repeat(len(paths), 1),
        files=views.files * len(paths),
    )  # fmt: skip


def pseudo_labels(opinion: TeacherPrediction, thresholds: Gates, known: Labels | None = None) -> Labels:
    """Labels of one image, in its pixels.

    Without known labels: who passes is a person, of whom the joints that pass are labelled. Others whose score is at
    least `Gates.doubt` become ignored regions, unless they are another view of somebody who passed. With known labels
    these stay, and only their people without keypoints get some.

    Args:
        opinion: of the teacher.
        thresholds: what it must pass.
        known: labels of the image where it is partly labelled.
    """
    trusted, joints = passing(opinion, thresholds)
    people = Labels(
        boxes=opinion.boxes[trusted].astype(np.float32),
        keypoints=_labelled(opinion, joints)[trusted],
        areas=opinion.areas[trusted].astype(np.float32),
        ignored=opinion.boxes[_doubtful(opinion, trusted, thresholds)].astype(np.float32),
    )
    return people if known is None else _completed(known, people)


def passing(opinion: TeacherPrediction, thresholds: Gates) -> tuple[Mask, Mask]:
    """(N,) people and (N, K) joints that pass; a person with too few joints doesn't."""
    joints = thresholds.joint(opinion.confidences, opinion.joint_agreement)
    people = thresholds.person(opinion.scores, opinion.agreement) & (joints.mean(axis=1) >= LEAST_JOINTS)
    return people, joints & people[:, None]


def _labelled(opinion: TeacherPrediction, joints: Mask) -> NDArray[np.float32]:
    """(N, K, 3) x, y, v; zeros where a joint doesn't pass."""
    marked = np.concatenate([opinion.keypoints, np.full((*joints.shape, 1), 2.0)], axis=-1)
    return np.where(joints[..., None], marked, 0).astype(np.float32)


def _doubtful(opinion: TeacherPrediction, trusted: Mask, thresholds: Gates) -> Mask:
    """(N,) who is neither trusted nor background."""
    same = (box_overlaps(opinion.boxes, opinion.boxes[trusted]) >= SAME_BOX).any(axis=1)
    return np.asarray((opinion.scores >= thresholds.doubt) & ~trusted & ~same)


def _completed(known: Labels, people: Labels) -> Labels:
    """The known labels; who has no keypoints takes those of the pseudo-label in the same place."""
    keypoints = known.keypoints.copy()
    bare = np.flatnonzero(~(keypoints[..., 2] > 0).any(axis=1))
    overlap = box_overlaps(known.boxes[bare].astype(np.float64), people.boxes.astype(np.float64))
    while overlap.size and overlap.max() >= SAME_BOX:
        row, column = np.unravel_index(overlap.argmax(), overlap.shape)
        keypoints[bare[row]] = people.keypoints[column]
        overlap[row], overlap[:, column] = 0, 0
    return replace(known, keypoints=keypoints)

"""The members that the flags ask for, and what they find in ``calibrate`` and ``test``."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

from sia.errors import ConfigError, WeightsError
from sia.runtimes.predictor import Predictor
from sia.skeletons.skeleton import COCO_PERSON, Skeleton
from stages.ensemble.experts.loading import MemberName, load_expert, parse_members
from stages.ensemble.experts.own import OwnExpert, View
from stages.ensemble.members import Boxes, find_everybody, pose_in_boxes, shared_boxes
from stages.stage import StageWork
from utils.hub.model_store import sha256_of
from utils.metrics.predictions import Predictions, digest_of, read_predictions

INPUT = "input"
SCALES = (0.8, 1.25)
VIEWS: Mapping[str, tuple[View, ...]] = {
    "none": (),
    "flip": (View(flip=True),),
    "flip,scale": (View(flip=True), *(View(flip, scale) for scale in SCALES for flip in (False, True))),
}
"""Views beside the plain one, by -TTA."""


def views_of(tta: str, skeleton: Skeleton) -> tuple[View, ...]:
    """Those of -TTA, without mirror images where nobody knows which keypoints trade places in them."""
    return tuple(view for view in VIEWS[tta] if skeleton.mirrors or not view.flip)


@dataclass(frozen=True)
class MemberPredictions:
    """What M members found; the first one is the stage's input.

    Attributes:
        calibrate: predictions by member.
        test: likewise.
        before: files of the input.
    """

    calibrate: Mapping[str, Predictions]
    test: Mapping[str, Predictions]
    before: Mapping[str, Path]

    @property
    def source(self) -> str:
        """Changes with anything that was found in ``calibrate``; as read from files, so the same on any processor."""
        return digest_of(
            array
            for people in self.calibrate.values()
            for array in (people.boxes, people.scores, people.keypoints, people.confidences)
        )


def gather(work: StageWork, skeleton: Skeleton) -> MemberPredictions:
    """Opens every member, and runs it where the stage's folder has no results of it yet.

    Raises:
        ConfigError: there is nothing to start from, or -MEMBERS can't be used.
        WeightsError: a member's file is missing, broken, or doesn't fit.
        DataError: images or annotations can't be read.
    """
    members = [(f"{m.kind}{number}", m) for number, m in enumerate(parse_members(work.config.members), 1)]
    if any(m.kind != "own" for _, m in members) and skeleton.names != COCO_PERSON.names:
        raise ConfigError(f"-MEMBERS of other kinds than own need COCO's 17 keypoints, not {list(skeleton.names)}.")
    if not work.before and work.weights is None:
        raise ConfigError("The ensemble has nothing to start from: run the stage baseline first, or give --RESUME.")
    if not skeleton.mirrors and work.config.tta != "none":
        work.say(f"ensemble: no mirrored views: {skeleton.describe_flips()}")
    parts = [_Part(work, part, skeleton) for part in ("calibrate", "test")]
    calibrate, test = (part.run(members) for part in parts)
    return MemberPredictions(calibrate, test, {part.name: part.before() for part in parts})


class _Part:
    """The images of one part.

    Attributes:
        name: of the part.
    """

    def __init__(self, work: StageWork, name: str, skeleton: Skeleton) -> None:
        self.work, self.name, self.skeleton = work, name, skeleton
        self.path = work.parts[name]
        self.truth = work.truth(name, skeleton)
        self.images = work.images(name, skeleton)
        self.views = views_of(work.config.tta, skeleton)

    def run(self, members: list[tuple[str, MemberName]]) -> dict[str, Predictions]:
        """Models of whole images come first: where they find people is where the partners look."""
        found = {INPUT: self._input()}
        if self.work.weights is not None:
            found |= self._find("", self.work.weights, self.views)
        for name, member in members:
            if member.kind == "own":
                found |= self._find(f"{name}-", member.path, (View(), *(view for view in self.views[:1] if view.flip)))
        return found | self._pose([pair for pair in members if pair[1].kind != "own"], list(found.values()))

    def before(self) -> Path:
        """The file of the stage's input."""
        return self.work.before.get(self.name, self.work.folder / f"input-{self.name}.json")

    def _input(self) -> Predictions:
        if not self.work.before and self.work.weights is not None:
            people = self._find("", self.work.weights, (View(),))[str(View())]
            people.save(self.before(), self.truth.category)
        return read_predictions(self.before(), self.truth, self.skeleton)

    def _find(self, prefix: str, weights: Path, views: Sequence[View]) -> dict[str, Predictions]:
        """What a model of ours finds, by view."""
        opened = cache(partial(self._open, weights))
        key, found = fingerprint(weights), {}
        for view in views:
            name = f"{prefix}{view}"
            found[name] = self._cached(name, key, lambda view=view: self._everybody(opened(), view))  # type: ignore[misc]
        return found

    def _open(self, weights: Path) -> Predictor:
        model = Predictor.load(weights, self.work.config.device)
        if model.skeleton.names != self.skeleton.names:
            raise ConfigError(f"{weights} predicts {list(model.skeleton.names)}, not the annotations' keypoints.")
        return model

    def _everybody(self, model: Predictor, view: View) -> Predictions:
        return find_everybody(OwnExpert(model, view), self.images)

    def _pose(
        self, members: Sequence[tuple[str, MemberName]], finders: Sequence[Predictions]
    ) -> dict[str, Predictions]:
        """What the partners find in the boxes of all finders."""
        boxes, found = shared_boxes(finders, self.images.image_ids), {}
        for name, member in members:
            key = f"{fingerprint(member.path)} {boxes.fingerprint()}"
            found[name] = self._cached(name, key, lambda member=member: self._in_boxes(member, boxes))  # type: ignore[misc]
        return found

    def _in_boxes(self, member: MemberName, boxes: Boxes) -> Predictions:
        return pose_in_boxes(load_expert(member, self.work.config.device), self.images, boxes)

    def _cached(self, name: str, key: str, compute: Callable[[], Predictions]) -> Predictions:
        """The file of an earlier call with the same images, weights and boxes, or else what is computed now."""
        digest = hashlib.sha256(f"{sha256_of(self.path)} {key}".encode()).hexdigest()[:12]
        path = self.work.folder / f"member-{name}-{self.name}-{digest}.json"
        if not path.is_file():
            self.work.say(f"ensemble: {name} looks at {len(self.images)} images of {self.name}")
            compute().save(path, self.truth.category)
        return read_predictions(path, self.truth, self.skeleton)


def fingerprint(path: Path) -> str:
    """Of a member's weights; changes with them.

    Raises:
        WeightsError: there is no such file or folder.
    """
    files = sorted(path.glob("*")) if path.is_dir() else [path]
    if not files or not all(file.is_file() for file in files):
        raise WeightsError(f"{path}: no such file, and no folder of a model. Check -MEMBERS.")
    return " ".join(sha256_of(file) for file in files)

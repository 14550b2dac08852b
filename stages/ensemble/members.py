"""The members of an ensemble, and what each of them finds in a set of images."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np

from sia.errors import ConfigError, WeightsError
from sia.evaluation.labels import box_overlaps, distinct_rows
from sia.evaluation.predictions import Predictions, digest_of
from sia.io.input_file import sha256_of
from sia.people import People
from sia.runtimes.predictor import Predictor
from sia.skeletons.skeleton import COCO_PERSON, Skeleton
from stages.ensemble.experts.expert import Expert
from stages.ensemble.experts.loading import MemberName, load_expert, parse_members
from stages.ensemble.experts.own import OwnExpert, View
from stages.error_model.folds import CalibrationSet
from stages.stage import Images, StageInput, copy_file

INPUT = "input"

MOST = 30
"""People of a member in one image; COCO counts 20."""

SAME_BOX = 0.7
"""IoU from which two boxes are one, for experts that are told where the people are."""

SEEN = 0.2
"""Confidence from which a keypoint counts in an expert's score for a person, as in MMPose."""

SCALES = (0.8, 1.25)
VIEWS: Mapping[str, tuple[View, ...]] = {
    "none": (),
    "flip": (View(flip=True),),
    "flip,scale": (View(flip=True), *(View(flip, scale) for scale in SCALES for flip in (False, True))),
}
"""Views of the pipeline's model beside the plain one, by -TTA."""


def views_of(tta: str, skeleton: Skeleton) -> tuple[View, ...]:
    """Those of -TTA, without mirror images where nobody knows which keypoints trade places in them."""
    return tuple(view for view in VIEWS[tta] if skeleton.mirrors or not view.flip)


@dataclass(frozen=True)
class Member:
    """Whom to ask.

    Attributes:
        name: in messages and figures.
        kind: of its file; empty for the pipeline's own model, which has none of its own.
        path: of its file or folder.
        sha256: of each of its files, by name.
        flip, scale: how a model of whole images is shown them.
    """

    name: str
    kind: str = ""
    path: str = ""
    sha256: Mapping[str, str] = field(default_factory=dict)
    flip: bool = False
    scale: float = 1.0

    @property
    def finds(self) -> bool:
        """Whether it sees whole images; the others are told where people are."""
        return self.kind in ("", "own")

    @property
    def key(self) -> str:
        """Changes with the content of its files."""
        return " ".join(self.sha256.values())

    def save(self, folder: Path) -> Member:
        """Copies weights of ours into a folder, and says where they are then; others stay where they are."""
        if self.kind != "own":
            return self
        target = folder / f"{self.name.partition('-')[0]}{Path(self.path).suffix}"
        if not target.exists():
            for file in member_files(Path(self.path)):
                copy_file(file, target.with_suffix(file.suffix))
        return replace(self, path=target.name)

    def located(self, folders: Sequence[Path]) -> Member:
        """The same with the place where its files are: as they were named, or by their name in one of the folders.

        Raises:
            WeightsError: they are nowhere, or are others.
        """
        if not self.path:
            return self
        path = Path(self.path)
        places = [path, *(folder / path.name for folder in folders)]
        there, wanted = [place for place in places if place.exists()], list(self.sha256.values())
        if not there:
            raise WeightsError(
                f"The pipeline needs {path} ({self.name}), and it is not there. Put it back, or copy it into "
                f"{folders[-1]}."
            )
        found = next((place for place in there if list(digests(place).values()) == wanted), None)
        if found is None:
            raise WeightsError(
                f"{there[0]} ({self.name}) is not the file that the pipeline was made with. Put that back."
            )
        return replace(self, path=str(found))


def digests(path: Path) -> dict[str, str]:
    """The sha256 of a member's files by name, in a folder by path; see `member_files`."""
    names = {file: file.relative_to(path if path.is_dir() else path.parent).as_posix() for file in member_files(path)}
    return {name: sha256_of(file) for file, name in names.items()}


def member_files(path: Path) -> list[Path]:
    """The file, with its .bin if it is an .xml; or those of the folder and of its subfolders.

    What begins with a dot is no part of a model.

    Raises:
        WeightsError: there is no such file or folder.
    """
    files = [path, path.with_suffix(".bin")] if path.suffix.lower() == ".xml" else [path]
    if path.is_dir():
        parts = {file: file.relative_to(path).parts for file in sorted(path.rglob("*")) if file.is_file()}
        files = [file for file, names in parts.items() if not any(name.startswith(".") for name in names)]
    if not files or not all(file.is_file() for file in files):
        raise WeightsError(f"{path}: no such file, and no folder of a model. Check -MEMBERS.")
    return files


def list_members(work: StageInput, skeleton: Skeleton) -> list[Member]:
    """Those that the flags ask for; models of whole images come first.

    Raises:
        ConfigError: -MEMBERS can't be used.
        WeightsError: a member's file is missing.
    """
    named = [(f"{m.kind}{number}", m) for number, m in enumerate(parse_members(work.config.members), 1)]
    if any(m.kind != "own" for _, m in named) and skeleton.names != COCO_PERSON.names:
        raise ConfigError(f"-MEMBERS of other kinds than own need COCO's 17 keypoints, not {list(skeleton.names)}.")
    if not skeleton.mirrors and work.config.tta != "none":
        work.say(f"ensemble: no mirrored views: {skeleton.describe_flips()}")
    views = views_of(work.config.tta, skeleton)
    members = [Member(str(view), flip=view.flip, scale=view.scale) for view in views if work.weights is not None]
    for name, member in named:
        files = digests(member.path)
        if member.kind == "own":
            shown = (View(), *(view for view in views[:1] if view.flip))
            members += [
                Member(f"{name}-{view}", "own", str(member.path), files, view.flip, view.scale) for view in shown
            ]
        else:
            members.append(Member(name, member.kind, str(member.path), files))
    return sorted(members, key=lambda member: not member.finds)


Run = Callable[[Member, str, Callable[[Images], Predictions]], Predictions]


class OpenMembers:
    """Models that are opened when they are first asked, and stay open.

    Args:
        device: where they run.
        skeleton: what models of ours have to predict.
        model: the pipeline's own; None where there is none.
    """

    def __init__(self, device: str, skeleton: Skeleton, model: Predictor | Path | None) -> None:
        self.device, self.skeleton, self._model = device, skeleton, model
        self._opened: dict[str, Predictor | Expert] = {}

    def find(self, member: Member, images: Images) -> Predictions:
        """What a model of ours finds by itself.

        Raises:
            SiaError: a file or an image can't be used.
        """
        model = OwnExpert(self._predictor(member), View(member.flip, member.scale))
        return as_predictions(images.ids, (model.find(images.read(i)) for i in images.ids), self.skeleton.num_keypoints)

    def pose(self, member: Member, images: Images, boxes: Predictions) -> Predictions:
        """What an expert finds in people's boxes; its score is theirs times the mean of its sure confidences.

        Raises:
            SiaError: a file or an image can't be used.
        """
        if member.path not in self._opened:
            self._opened[member.path] = load_expert(MemberName(member.kind, Path(member.path)), self.device)
        expert: Expert = self._opened[member.path]  # type: ignore[assignment]
        people = []
        for image_id in images.ids:
            told = boxes.of_image(image_id)
            poses = expert.predict(images.read(image_id), told.boxes)
            seen = poses.confidences > SEEN
            sure = np.where(seen.any(-1), (poses.confidences * seen).sum(-1) / seen.sum(-1).clip(min=1), 0.0)
            people.append(People(told.boxes, told.scores * sure, poses.keypoints, poses.confidences))  # type: ignore[arg-type]
        return as_predictions(images.ids, people, self.skeleton.num_keypoints)

    def ask_all(
        self, members: Sequence[Member], people: Predictions, images: Images, run: Run
    ) -> dict[str, Predictions]:
        """What each member finds, the people that came in first. Experts look where models of whole images find people.

        Args:
            members: those that find people come first.
            people: that came in.
            images: which they are in.
            run: does what it is given for all images, or knows the result.
        """
        found, boxes = {INPUT: people}, None
        for member in members:
            if member.finds:
                found[member.name] = run(member, "", partial(self.find, member))
            else:
                boxes = boxes or shared_boxes(list(found.values()), images.ids)
                digest = digest_of((boxes.image_ids, boxes.boxes, boxes.scores))
                found[member.name] = run(member, digest, partial(self.pose, member, boxes=boxes))
        return found

    @cached_property
    def _own(self) -> Predictor:
        assert self._model is not None
        return self._model if isinstance(self._model, Predictor) else Predictor.load(self._model, self.device)

    def _predictor(self, member: Member) -> Predictor:
        if not member.path:
            return self._own
        if member.path not in self._opened:
            model = OwnExpert.load(Path(member.path), self.device).predictor
            if model.skeleton.names != self.skeleton.names:
                raise ConfigError(
                    f"{member.path} predicts {list(model.skeleton.names)}, not the annotations' keypoints."
                )
            self._opened[member.path] = model
        return self._opened[member.path]  # type: ignore[return-value]


def as_predictions(image_ids: Sequence[int], people: Iterable[People], num_keypoints: int) -> Predictions:
    """The best people of several images; variances are unknown."""
    parts = [Predictions.nobody(num_keypoints)]
    for image_id, found in zip(image_ids, people, strict=True):
        best = np.argsort(-found.scores, kind="stable")[:MOST]
        unknown = np.full(found.confidences.shape, np.nan)
        columns = (found.boxes, found.scores, found.keypoints, found.confidences, unknown)
        ids = np.full(len(best), image_id, np.int64)
        parts.append(Predictions(ids, *(np.asarray(column[best], np.float64) for column in columns)))
    return Predictions.join(parts)


def shared_boxes(finders: Sequence[Predictions], image_ids: Sequence[int]) -> Predictions:
    """Whom all finders find, the best first; of those whose boxes overlap, the best stays (non-maximum suppression)."""
    everybody = Predictions.join(finders)
    kept = []
    for image_id in image_ids:
        rows = np.flatnonzero(everybody.image_ids == image_id)
        rows = rows[np.argsort(-everybody.scores[rows], kind="stable")]
        overlaps = box_overlaps(everybody.boxes[rows], everybody.boxes[rows])
        kept += rows[distinct_rows(overlaps >= SAME_BOX)[:MOST]].tolist()
    return everybody.select(np.array(kept, dtype=np.int64))


def predict_members(
    members: Sequence[Member], work: StageInput, calibrate: CalibrationSet, people: Predictions
) -> dict[str, Predictions]:
    """What the members find in ``calibrate``; all ranks share the images, and the stage's folder keeps the results.

    Raises:
        SiaError: an image or a member's file can't be used.
    """
    images, ranks = Images.of_split(work.data("calibrate", calibrate.skeleton)), work.ranks
    mine = images.select(images.ids[ranks.rank :: ranks.world_size])
    annotations = sha256_of(calibrate.path)
    weights = sha256_of(work.weights) if work.weights is not None else ""

    def run(member: Member, boxes: str, compute: Callable[[Images], Predictions]) -> Predictions:
        key = " ".join(part for part in (member.key or weights, boxes) if part)
        digest = hashlib.sha256(f"{annotations} {key}".encode()).hexdigest()[:12]
        path = work.folder / f"member-{member.name}-calibrate-{digest}.json"
        if not ranks.from_main(path.is_file()):
            work.say(f"ensemble: {member.name} looks at {len(images.ids)} images of calibrate")
            part = Predictions.nobody(calibrate.skeleton.num_keypoints)
            with ranks.shared_errors():
                part = compute(mine)
            everybody = Predictions.join(ranks.gather(part))
            with ranks.shared_errors():
                if ranks.is_main:
                    everybody.save(path, calibrate.truth.category)
        return calibrate.read(path)

    opened = OpenMembers(work.config.device, calibrate.skeleton, work.weights)
    return opened.ask_all(members, people, images, run)

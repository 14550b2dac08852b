"""Gives the people of a video ids: who of this frame is who of the frames before.

Two passes as in ByteTrack (Zhang et al., ECCV 2022, section 3): people found for sure choose first, then the doubtful
ones continue tracks that are left. Someone found twice in a frame starts one track. What is compared is the pose (OKS)
together with the box (IoU), both moved along with the person's speed; the assignment is SciPy's. Whoever was away for
longer may be known again by the colours of the clothes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from sia.people import People
from sia.skeletons.oks import AREA_OF_BOX, oks_terms
from sia.skeletons.skeleton import Skeleton
from sia.tracking.appearance import Colours, Image, Wardrobe, likeness

Floats = NDArray[np.float64]
Ids = NDArray[np.int64]

LEAST = 0.15
"""Least similarity of the same person in two frames."""
SAME = 0.75
"""Similarity from which someone new is someone of the same frame, found twice."""
MOMENT = 0.2
"""Seconds that someone of one frame waits to be seen again; or until the next frame, as far as `PATIENCE` lets."""
PATIENCE = 1.0
"""Seconds that a track waits for its person."""
DOUBTFUL = 1 / 3
"""People with at least this fraction of the score that starts a track may continue one."""
WIDER = 2.0
"""COCO's sigmas are for two labels of one image; between two frames keypoints move by more."""
_MEMORY = 0.5
"""Seconds over which a speed is averaged, and the longest that it is believed."""
ALIKE, CLEAR = 0.9, 0.03
"""Least likeness of the clothes of one person, and by how much it must exceed that of anyone else: clothes that several
people wear tell nobody."""
LOOKS, LONGEST_LOOKS = 4, 25
"""Frames that a newcomer's colours are averaged over before they are compared, and over how many they are at most."""
UNDECIDED = 0.8
"""Seconds after which a newcomer who can't be seen well gets a new id."""
_FREE = 0.15
"""Least IoU with someone else at which the colours may be those of the other."""


@dataclass(frozen=True)
class TrackedPeople:
    """The people of one frame.

    Attributes:
        people: N of them, in original pixels.
        ids: (N,) from 1 on, 0 for someone seen in a single frame so far.
        interpolated: (N,) bool, True where the person was not found but lies between two frames where it was.
    """

    people: People
    ids: Ids
    interpolated: NDArray[np.bool_]

    def rows(self, index: Sequence[int] | NDArray[np.bool_] | NDArray[np.intp]) -> TrackedPeople:
        """Some of them, in the order of the index."""
        return TrackedPeople(self.people[index], self.ids[index], self.interpolated[index])


def join(parts: Sequence[TrackedPeople]) -> TrackedPeople:
    """All of them together, in order."""
    names = ("boxes", "scores", "keypoints", "confidences", "visibilities", "sigmas")
    columns = {name: [getattr(part.people, name) for part in parts] for name in names}
    people = People(**{name: None if told[0] is None else np.concatenate(told) for name, told in columns.items()})  # type: ignore[arg-type]
    ids, interpolated = zip(*((part.ids, part.interpolated) for part in parts), strict=True)
    return TrackedPeople(people, np.concatenate(ids), np.concatenate(interpolated))


def untracked(people: People) -> TrackedPeople:
    """Everyone, without ids."""
    return TrackedPeople(people, np.zeros(len(people), dtype=np.int64), np.zeros(len(people), dtype=bool))


@dataclass(eq=False)
class _Track:
    """One person over time: the last frame it was found in."""

    points: Floats
    confidences: Floats
    box: Floats
    time: float
    speed: Floats
    number: int = 0
    seen: int = 1
    begin: float = 0.0
    looks: int = 0
    colours: Colours = field(default_factory=lambda: np.zeros(1, np.float32))

    @property
    def is_confirmed(self) -> bool:
        """Whether it is a person rather than a moment's mistake."""
        return bool(self.number) or self.seen > 1

    def moved(self, time: float) -> tuple[Floats, Floats]:
        """Keypoints (K, 2) and box (4,) where they are expected."""
        shift = self.speed * min(time - self.time, _MEMORY)
        return self.points + shift, self.box + np.tile(shift, 2)

    def update(self, points: Floats, confidences: Floats, box: Floats, time: float) -> None:
        """Takes over what was found in a frame."""
        step = max(time - self.time, 1e-3)
        speed = (box[:2] + box[2:] - self.box[:2] - self.box[2:]) / 2 / step
        share = step / (step + _MEMORY / 3)
        self.speed = self.speed + share * (speed - self.speed)
        self.points, self.confidences, self.box, self.time = points, confidences, box, time
        self.seen += 1

    def look(self, colours: Colours) -> None:
        """Takes over the colours of a frame in which trunk and legs were seen."""
        if colours.any(-1).all():
            self.looks = min(self.looks + 1, LONGEST_LOOKS)
            self.colours = np.asarray(self.colours + (colours - self.colours) / self.looks, np.float32)


class Tracker:
    """Online: each frame is answered before the next one is seen.

    Args:
        skeleton: its sigmas say how exactly each keypoint can be placed.
        sure: score from which a person may start a track.
        memory: seconds for which someone away keeps the id, given the frames; 0 for no longer than `PATIENCE`.
    """

    def __init__(self, skeleton: Skeleton, sure: float, memory: float = 0.0) -> None:
        self.sure, self.memory = sure, memory
        self._wardrobe = Wardrobe(skeleton)
        self._away: list[_Track] = []
        self._sigmas = WIDER * np.asarray(skeleton.sigmas)
        self._tracks: list[_Track] = []
        self._numbers = count(1)
        self._first = True
        self._moment, self._before = MOMENT, float("inf")

    def update(self, people: People, time: float, image: Image | None = None) -> TrackedPeople:
        """The people of the next frame with their ids; doubtful ones that continue no track are left out.

        Args:
            people: all candidates.
            time: seconds, later than that of the frame before.
            image: (H, W, 3) RGB, the frame; `memory` needs it.
        """
        self._moment, self._before = min(max(MOMENT, time - self._before), PATIENCE), time
        waiting, self._tracks = self._tracks, []
        for track in waiting:
            is_here = time - track.time <= (PATIENCE if track.is_confirmed else self._moment)
            (self._tracks if is_here else self._away).append(track)
        self._away = [track for track in self._away if track.number and time - track.time <= self.memory]
        people = people.above(DOUBTFUL * self.sure)
        sure = people.scores >= self.sure
        ids = np.full(len(people), -1, dtype=np.int64)
        free = self._continue(people, np.flatnonzero(sure), self._tracks, ids, time)
        self._continue(people, np.flatnonzero(~sure), [track for track in free if track.is_confirmed], ids, time)
        for row in self._new(people, sure & (ids < 0), ids >= 0):
            ids[row] = self._start(people, row, time)
        self._first = False
        if self.memory and image is not None:
            self._look(image, time)
        return TrackedPeople(people, ids, np.zeros(len(people), dtype=bool)).rows(ids >= 0)

    def missing(self, time: float, patience: float) -> People:
        """Where people are expected who were not found in the frame of this time, nor for at most so many seconds."""
        gone = [t for t in self._tracks if t.is_confirmed and 0 < time - t.time <= patience]
        moved = [t.moved(time) for t in gone]
        k = len(self._sigmas)
        return People(
            np.array([box for _, box in moved], np.float32).reshape(-1, 4),
            np.zeros(len(gone), np.float32),
            np.array([points for points, _ in moved], np.float32).reshape(-1, k, 2),
            np.array([t.confidences for t in gone], np.float32).reshape(-1, k),
        )

    def _new(self, people: People, candidates: NDArray[np.bool_], known: NDArray[np.bool_]) -> list[int]:
        """Candidates, best first, without those who are someone known, or a better candidate, found twice."""
        points, boxes = people.keypoints.astype(np.float64), people.boxes.astype(np.float64)
        alike = self._similarity(points, boxes, people.confidences.astype(np.float64), people)
        kept, new = known.copy(), []
        for row in np.flatnonzero(candidates)[np.argsort(-people.scores[candidates], kind="stable")].tolist():
            if not (alike[row, kept] >= SAME).any():
                kept[row] = True
                new.append(row)
        return new

    def _continue(
        self, people: People, rows: NDArray[np.intp], free: list[_Track], ids: Ids, time: float
    ) -> list[_Track]:
        """Assigns rows to free tracks; returns the tracks that stay free."""
        if not free or not len(rows):
            return free
        moved = [track.moved(time) for track in free]
        points, boxes = np.stack([p for p, _ in moved]), np.stack([b for _, b in moved])
        confidences = np.stack([track.confidences for track in free])
        alike = self._similarity(points, boxes, confidences, people)[:, rows]
        pairs = zip(*linear_sum_assignment(alike, maximize=True), strict=True)
        matched = [(free[t], int(rows[r])) for t, r in pairs if alike[t, r] >= LEAST]
        for track, row in matched:
            track.update(*_person(people, row), time)
            ids[row] = track.number = track.number or self._number(track, time)
        taken = {id(track) for track, _ in matched}
        return [track for track in free if id(track) not in taken]

    def _similarity(self, points: Floats, boxes: Floats, confidences: Floats, people: People) -> Floats:
        """The mean of OKS and IoU of T poses (T, K, 2), (T, 4), (T, K) and N people, (T, N)."""
        weights = confidences[:, None] * people.confidences[None].astype(np.float64)
        apart = points[:, None] - people.keypoints[None].astype(np.float64)
        others = people.boxes.astype(np.float64)
        areas = AREA_OF_BOX * np.sqrt(_area(boxes)[:, None] * _area(others)[None])
        terms = oks_terms(np.hypot(apart[..., 0], apart[..., 1]), areas, self._sigmas)
        oks = (terms * weights).sum(-1) / np.maximum(weights.sum(-1), 1e-9)
        return np.asarray((oks + _iou(boxes, others)) / 2)

    def _start(self, people: People, row: int, time: float) -> int:
        number = next(self._numbers) if self._first else 0  # later on, a second frame has to confirm it
        self._tracks.append(_Track(*_person(people, row), time, np.zeros(2), number, begin=time))
        return number

    def _look(self, image: Image, time: float) -> None:
        """At the colours of everyone found in this frame who stands free."""
        found = [track for track in self._tracks if track.time == time]
        boxes = np.array([track.box for track in found]).reshape(-1, 4)
        overlaps = _iou(boxes, boxes) - np.eye(len(boxes))
        for track, overlap in zip(found, overlaps, strict=True):
            if overlap.max() < _FREE:
                track.look(self._wardrobe.measure(image, track.points, track.confidences, track.box))

    def _number(self, track: _Track, time: float) -> int:
        """The id of someone away who wears the same, or a new one; 0 while neither is clear yet."""
        away = [t for t in (*self._away, *self._tracks) if t.number and t.looks and time - t.time > self._moment]
        if not self.memory or not away:
            return next(self._numbers)
        if track.looks < LOOKS:
            return 0 if time - track.begin < UNDECIDED else next(self._numbers)
        others = [t for t in self._tracks if t.number and t.looks and t not in away]
        alike = [likeness(track.colours, t.colours) for t in (*away, *others)]
        best = int(np.argmax(alike))
        second = max(alike[:best] + alike[best + 1 :], default=0.0)
        if best >= len(away) or alike[best] < max(ALIKE, second + CLEAR):
            return next(self._numbers)
        number, away[best].number, away[best].seen = away[best].number, 0, 0  # nobody else may continue it
        return number


def _person(people: People, row: int) -> tuple[Floats, Floats, Floats]:
    points, confidences, box = people.keypoints[row], people.confidences[row], people.boxes[row]
    return points.astype(np.float64), confidences.astype(np.float64), box.astype(np.float64)


def _area(boxes: Floats) -> Floats:
    return np.asarray(np.maximum((boxes[:, 2:] - boxes[:, :2]).prod(-1), 1.0))


def _iou(first: Floats, second: Floats) -> Floats:
    """(N, 4) and (M, 4) corner boxes -> (N, M)."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    shared = np.maximum(high - low, 0).prod(-1)
    return np.asarray(shared / (_area(first)[:, None] + _area(second)[None] - shared))

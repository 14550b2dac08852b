"""Tracked people of a video, read from the rows of `sia predict VIDEO --track`."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from sia.errors import DataError
from sia.io.input_file import check_input_file
from sia.io.stored import Count, Finite, read_stored
from sia.skeletons.skeleton import COCO_PERSON

Floats = NDArray[np.float64]


_LONGEST_GAP = 60
"""Seconds from pose to pose, on average, up to which they are one motion."""


class _Person(Struct):
    keypoints: list[Finite]
    id: int | None = None


class _Names(Struct):
    names: list[str]


class _About(Struct):
    skeleton: _Names


class _Row(Struct):
    frame: Count
    time: Finite
    people: list[_Person]
    about: _About | None = None


class _Sidecar(Struct):
    video: str = ""


@dataclass(frozen=True)
class Track:
    """One person through a video, in the N frames in which they were found or interpolated.

    Attributes:
        id: from 1 on.
        frames: (N,) numbers, rising.
        times: (N,) seconds, rising.
        keypoints: (N, 17, 2) of COCO, pixels.
        confidences: (N, 17) in [0, 1].
    """

    id: int
    frames: NDArray[np.int64]
    times: Floats
    keypoints: Floats
    confidences: Floats

    def every(self, rate: float) -> tuple[Floats, Floats, Floats]:
        """(T,) times at equal distances, and (T, 17, 2), (T, 17) keypoints and confidences then."""
        times = self.times[0] + np.arange(int((self.times[-1] - self.times[0]) * rate + 1.5)) / rate
        values = np.concatenate([self.keypoints, self.confidences[..., None]], axis=-1)
        values = resample(times, self.times, values)
        return times, values[..., :2], values[..., 2]


def resample(times: Floats, known: Floats, values: Floats) -> Floats:
    """(T, ...) between (N, ...) values, linearly."""
    columns = values.reshape(len(known), -1).T
    return np.stack([np.interp(times, known, column) for column in columns], axis=1).reshape(-1, *values.shape[1:])


def read_tracks(path: Path) -> list[Track]:
    """The tracks, the longest first; those of a single frame are left out.

    Raises:
        DataError: the file is missing or broken, of another skeleton, or has no tracks.
    """
    remedy = "Make it with sia predict VIDEO --track."
    check_input_file(path, remedy)
    found: dict[int, list[tuple[int, float, list[float]]]] = {}
    try:
        rows = msgspec.json.Decoder(_Row).decode_lines(path.read_bytes())
    except (OSError, ValueError, RecursionError) as problem:
        raise DataError(f"{path} can't be used: {problem}. {remedy}") from None
    for row in rows:
        if row.about and row.about.skeleton.names != list(COCO_PERSON.names):
            raise DataError(f"{path} has the keypoints {row.about.skeleton.names}; 3D needs COCO's 17.")
        for person in row.people:
            if len(person.keypoints) != 51:
                raise DataError(f"{path}, frame {row.frame}: a person has {len(person.keypoints)} numbers, not 51.")
            if person.id is not None:
                found.setdefault(person.id, []).append((row.frame, row.time, person.keypoints))
    tracks = [_track(number, rows) for number, rows in found.items()]
    tracks = sorted((track for track in tracks if len(track.frames) > 1), key=lambda track: -len(track.frames))
    for track in tracks:
        if track.times[-1] - track.times[0] > _LONGEST_GAP * len(track.frames):
            raise DataError(
                f"{path}: id {track.id} has {len(track.frames)} poses from {track.times[0]} to {track.times[-1]} s."
            )
    if not tracks:
        raise DataError(f"{path} has nobody with an id in two frames. {remedy}")
    return tracks


def _track(number: int, rows: list[tuple[int, float, list[float]]]) -> Track:
    frames, first = np.unique([frame for frame, _, _ in rows], return_index=True)
    values = np.array([rows[i][2] for i in first]).reshape(-1, 17, 3)
    times = np.maximum.accumulate(np.array([rows[i][1] for i in first]))
    return Track(number, frames, times, values[..., :2], values[..., 2].clip(0, 1))


def video_of(path: Path) -> str:
    """The video that run.json beside the rows names; empty where there is none."""
    with contextlib.suppress(DataError):
        return read_stored(path.with_name("run.json"), _Sidecar, "description of the rows", "").video
    return ""

"""OpenPose's JSON (https://github.com/CMU-Perceptual-Computing-Lab/openpose, doc/02_output.md), a file an image."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sia.errors import ConfigError
from sia.formats.writer import About, Record, ResultWriter
from sia.io.output_file import write_json

_LIMBS = ("shoulder", "elbow", "wrist")
BODY_25 = (
    "nose", "neck", *(f"{side}_{part}" for side in ("right", "left") for part in _LIMBS), "mid_hip",
    *(f"{side}_{part}" for side in ("right", "left") for part in ("hip", "knee", "ankle")),
    "right_eye", "left_eye", "right_ear", "left_ear",
    *(f"{side}_{part}" for side in ("left", "right") for part in ("big_toe", "small_toe", "heel")),
)  # fmt: skip
"""OpenPose's order of its model BODY_25."""
MIDDLES = {"neck": ("left_shoulder", "right_shoulder"), "mid_hip": ("left_hip", "right_hip")}
"""Computed where the skeleton has no such keypoint: the mean of two, with the lower of their confidences."""


class OpenPoseWriter(ResultWriter):
    """``NAME_keypoints.json`` for each image, in BODY_25; keypoints that the skeleton lacks are 0, 0, 0."""

    SUFFIX = "-openpose"

    def __init__(self, path: Path, about: About) -> None:
        super().__init__(path, about)
        self._index = {name: k for k, name in enumerate(about.skeleton.names)}
        if not set(BODY_25) & set(self._index):
            raise ConfigError(
                f"openpose is for people: none of the keypoints {', '.join(about.skeleton.names[:5])} ... is one of "
                "BODY_25. Save jsonl."
            )

    def add(self, record: Record) -> None:
        """Writes a file."""
        people = record.people
        points = np.concatenate([people.keypoints, people.confidences[..., None]], -1).astype(np.float64)
        ordered = np.stack([self._column(points, name) for name in BODY_25], 1)
        numbers = [-1] * len(people) if people.ids is None else [number or -1 for number in people.ids.tolist()]
        rows = [
            {"person_id": [number], "pose_keypoints_2d": person.round(3).ravel().tolist()}
            for number, person in zip(numbers, ordered, strict=True)
        ]
        write_json(self.file_of(record, "_keypoints.json"), {"version": 1.3, "people": rows, "sia": self.about.short()})

    def _column(self, points: np.ndarray, name: str) -> np.ndarray:
        """(N, 3) of one of BODY_25."""
        if name in self._index:
            return points[:, self._index[name]]
        if all(end in self._index for end in MIDDLES.get(name, ("",))):
            ends = points[:, [self._index[end] for end in MIDDLES[name]]]
            return np.concatenate([ends[..., :2].mean(1), ends[..., 2:].min(1)], -1)
        return np.zeros((len(points), 3))

"""LabelMe's json, a file an image (https://github.com/wkentaro/labelme): points and a rectangle in a group a person."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from sia.formats.writer import Record, ResultWriter, labelled
from sia.io.output_file import write_json
from sia.io.results import rounded


class LabelMeWriter(ResultWriter):
    """``NAME.json`` for each image; keypoints with v = 1 (see `labelled`) have the flag ``occluded``."""

    SUFFIX = "-labelme"

    def add(self, record: Record) -> None:
        """Writes a file."""
        file = self.file_of(record, ".json")
        people, seen = labelled(record.people, self.about.kpt_thresh)
        height, width = record.size
        shapes = []
        for number, (person, v) in enumerate(zip(people, seen.tolist(), strict=True), 1):
            corners = [rounded(person.box[:2]), rounded(person.box[2:])]
            shapes.append(_shape(self.about.skeleton.category, "rectangle", corners, number, person.score))
            named = zip(self.about.skeleton.names, person.keypoints, person.confidences.tolist(), v, strict=True)
            for name, point, confidence, flag in named:
                if flag:
                    shape = _shape(name, "point", [rounded(point)], number, confidence)
                    shapes.append({**shape, "flags": {"occluded": True} if flag == 1 else {}})
        write_json(file, {
            "version": "5.5.0", "flags": {}, "shapes": shapes, "imagePath": _path_from(file, record), "imageData": None,
            "imageHeight": height, "imageWidth": width, "sia": self.about.short(),
        }, indent=1)  # fmt: skip


def _shape(label: str, kind: str, points: list[list[float]], group: int, confidence: float) -> dict[str, Any]:
    return {
        "label": label, "points": points, "group_id": group, "shape_type": kind, "flags": {},
        "description": f"confidence {confidence:.3f}", "mask": None,
    }  # fmt: skip


def _path_from(file: Path, record: Record) -> str:
    """Of the image, from the folder of its json; the name alone where there is no such file, as of a frame."""
    path = record.people.path
    if path is None or record.people.frame is not None or not Path(path).is_file():
        return record.name
    try:
        return Path(os.path.relpath(path, file.parent)).as_posix()
    except ValueError:  # another drive of Windows
        return Path(path).absolute().as_posix()

"""YOLO-pose labels (https://docs.ultralytics.com/datasets/pose/): a text file an image, and data.yaml."""

from __future__ import annotations

import json

from sia.formats.writer import Record, ResultWriter, labelled
from sia.io.output_file import write_text


class YoloWriter(ResultWriter):
    """``labels/NAME.txt`` with fractions of the image, and ``data.yaml`` with the names.

    v is that of `labelled`. Keypoints outside of the image are 0 0 0: YOLO takes no file with others.
    """

    SUFFIX = "-yolo"

    def add(self, record: Record) -> None:
        """Writes the labels of an image; those of the first with data.yaml."""
        file = self.file_of(record, ".txt", "labels")
        if not (self.path / "data.yaml").exists():
            write_text(self.path / "data.yaml", self._yaml())
        people, seen = labelled(record.people, self.about.kpt_thresh)
        height, width = record.size
        lines = []
        for person, v in zip(people, seen.tolist(), strict=True):
            x1, y1, x2, y2 = person.box.tolist()
            words = ["0", *map(_fraction, ((x1 + x2) / 2 / width, (y1 + y2) / 2 / height))]
            words += map(_fraction, ((x2 - x1) / width, (y2 - y1) / height))
            for (x, y), flag in zip(person.keypoints.tolist(), v, strict=True):
                words += [_fraction(x / width), _fraction(y / height), str(flag)] if flag else ["0", "0", "0"]
            lines.append(" ".join(words) + "\n")
        write_text(file, "".join(lines))

    def _yaml(self) -> str:
        skeleton = self.about.skeleton
        values = {
            **{f"sia_{name}": text for name, text in self.about.short().items()},
            "path": ".", "train": "images", "val": "images", "names": {"0": skeleton.category},
            "kpt_shape": [skeleton.num_keypoints, 3], "kpt_names": {"0": list(skeleton.names)},
        }  # fmt: skip
        if skeleton.mirrors:
            values["flip_idx"] = skeleton.flip_order
        lines = [f"{name}: {json.dumps(value)}\n" for name, value in values.items()]  # JSON is YAML
        return "".join(lines).replace('{"0":', "{0:")


def _fraction(value: float) -> str:
    return f"{value:.8f}".rstrip("0").rstrip(".")

"""People as rows of JSON, and files that are whole while they grow.

People are in original pixels: continuous coordinates, x to the right, y down, pixel i covers [i, i + 1).
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sia import __version__
from sia.errors import OutputError
from sia.io.output_file import output_error, writing
from sia.people import People
from sia.skeletons.skeleton import Skeleton

FORMAT = "sia_pose_results/1"
"""Changes when a field changes its meaning."""

Row = dict[str, Any]
Ids = int | Sequence[int]
"""Of the category in COCO's files, or of each of several."""


def person_rows(people: People, skeleton: Skeleton) -> list[Row]:
    """One row a person: score, bbox (x, y, width, height), keypoints (x, y, confidence, x, y, ... K times).

    And visibilities and sigmas (K each), where the weights tell them; where something is counted, also repetitions.
    Of a skeleton with several categories each has its own keypoints, and ``category``, its name.
    """
    rows: list[Row] = []
    keypoints = np.concatenate([people.keypoints, people.confidences[..., None]], axis=-1).reshape(
        len(people), 3 * people.confidences.shape[1]
    )
    for (x1, y1, x2, y2), score, values in zip(
        people.boxes.tolist(), people.scores.tolist(), keypoints.tolist(), strict=True
    ):
        bbox = [x1, y1, x2 - x1, y2 - y1]
        rows.append({"score": round(score, 6), "bbox": rounded(bbox), "keypoints": rounded(values)})
    for name, told in (("visibilities", people.visibilities), ("sigmas", people.sigmas)):
        for row, values in zip(rows, [] if told is None else told.tolist(), strict=told is not None):
            row[name] = rounded(values)
    if skeleton.categories:
        for row, block in zip(rows, skeleton.class_ids(people.confidences).tolist(), strict=True):
            own = skeleton.blocks[block]
            row["keypoints"] = row["keypoints"][3 * own.start : 3 * own.stop]
            row |= {name: row[name][own] for name in ("visibilities", "sigmas") if name in row}
            row["category"] = skeleton.class_names[block]
    if people.repetitions is not None:
        rows = [{**row, "repetitions": count} for row, count in zip(rows, people.repetitions.tolist(), strict=True)]
    return rows


def rounded(values: Iterable[float]) -> list[float]:
    """To a thousandth of a pixel, which is far below what any model resolves, and halves the file."""
    return [round(float(value), 3) for value in values]


def category_ids(skeleton: Skeleton, given: Ids) -> dict[str, int]:
    """The id of each category by its name: as given, else those of the skeleton, which has them where it has several.

    Args:
        skeleton: with one or several categories.
        given: the id of one, or of each.
    """
    if isinstance(given, int):
        given = [category.id for category in skeleton.categories] or [given]
    return dict(zip(skeleton.class_names, given, strict=True))


def coco_rows(people: People, skeleton: Skeleton, image_id: int, category_id: Ids = 1) -> list[Row]:
    """Rows of a COCO keypoint results file (https://cocodataset.org/#format-results); ids as in `category_ids`."""
    ids, rows = category_ids(skeleton, category_id), person_rows(people, skeleton)
    return [{"image_id": image_id, "category_id": ids[row.pop("category", skeleton.category)], **row} for row in rows]


def describe_rows(skeleton: Skeleton) -> Row:
    """What a reader of the rows has to know, for the file beside them."""
    several = bool(skeleton.categories)
    return {
        "format": FORMAT,
        "tool": f"sia-pose {__version__}",
        "coordinates": "original pixels after EXIF orientation or video rotation; continuous: x to the right, y down, "
        "pixel i covers [i, i + 1), so the centre of the first pixel is (0.5, 0.5)",
        "bbox": "x, y of the upper left corner, width, height",
        "keypoints": "x, y, confidence for each keypoint in the order of skeleton.names; may lie outside the image; "
        "skeleton.edges counts them from 0",
        "score": "0 to 1, the model's own estimate of how well the person is found",
        "visibilities": "where the weights tell them: 0 to 1 for each keypoint, how likely it is visible, not occluded",
        "sigmas": "likewise: standard deviation of x, and of y, in pixels; 68 % of the errors are smaller",
        "skeleton": skeleton.to_dict(),
        **({"category": "whose keypoints these are: those CATEGORY.NAME of skeleton.names"} if several else {}),
    }


def json_line(row: Row) -> bytes:
    """Standard JSON (no NaN) of one row."""
    return json.dumps(row, allow_nan=False).encode()


class JsonList:
    """A list of JSON objects in a file that is whole, valid JSON after each `append`, so that a killed run keeps it.

    Args:
        path: of the file, which is made.
        start: what stands before the first object.
        between: what stands between two.
        end: what stands after the last.
        name: that messages have, where it is another.
    """

    def __init__(
        self, path: Path, start: bytes = b"[", between: bytes = b",\n", end: bytes = b"]\n", name: Path | None = None
    ) -> None:
        self.path, self._name = path, name or path
        self._between, self._end = between, end
        self._first = self._place = len(start)
        """Bytes before the first object, and before the end."""
        with writing(self._name):
            try:
                self._stream = path.open("xb", buffering=0)
            except FileExistsError:
                raise OutputError(f"{path} exists already: rows of another run. Move or delete it.") from None
            self._write(start + end)

    def append(self, entries: Sequence[bytes]) -> None:
        """Appends rows and hands them to the operating system; an OutputError leaves those before them."""
        if not entries:
            return
        text = self._between.join(entries)
        text = text if self._place == self._first else self._between + text
        try:
            self._stream.seek(self._place)
            self._write(text + self._end)
        except OSError as error:
            with contextlib.suppress(OSError):
                self._stream.truncate(self._place)
                self._stream.seek(self._place)
                self._write(self._end)
            raise output_error(error, self._name) from error
        self._place += len(text)

    def close(self) -> None:
        """After it nothing can be appended."""
        self._stream.close()

    def _write(self, content: bytes) -> None:
        left = memoryview(content)
        while left:
            left = left[self._stream.write(left) :]


class JsonLines(JsonList):
    """One JSON object a line as they come, so that a long run needs no memory and a killed one keeps its rows.

    Use as a context manager. The file gets its own name at the end, also after an error: each line is whole.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path.with_name(f".{path.name}.part"), b"", b"\n", b"\n", path)

    def __enter__(self) -> JsonLines:
        return self

    def write(self, row: Row) -> None:
        """Appends one row."""
        self.append([json_line(row)])

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Gives the file its own name; nothing can be appended after it."""
        with contextlib.suppress(OSError):  # what a full disk refused once, it refuses again
            super().close()
        if self._place:
            self.path.replace(self._name)
        else:
            self.path.unlink(missing_ok=True)


class StandardOutput:
    """What ``-`` stands for in place of a file of lines: each is handed on at once."""

    def __init__(self) -> None:
        self._stream = sys.stdout.buffer

    def append(self, entries: Sequence[bytes]) -> None:
        """Writes entries, each as a line."""
        self._stream.writelines(entry + b"\n" for entry in entries)
        self._stream.flush()

    def close(self) -> None:
        """Leaves it open: it isn't ours."""

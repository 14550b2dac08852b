"""What all formats have in common: what goes in, and what their writers do.

Coordinates go in and come out in original pixels, x to the right, y down, pixel i covers [i, i + 1).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from sia.errors import ConfigError, OutputError
from sia.io.output_file import writing
from sia.io.results import Ids, JsonLines, JsonList, StandardOutput, describe_rows
from sia.people import People
from sia.skeletons.skeleton import Skeleton
from sia.video.source import is_address


@dataclass(frozen=True)
class Record:
    """The people of one image or frame.

    Attributes:
        people: with their `People.source`, which knows skeleton, size and path.
        image_id: of a data set, or the number of the frame.
        name: of the image file, relative, with forward slashes; ``walk_000012.jpg`` for a frame.
        interpolated: of each person, whether it was not found in this frame but lies between two in which it was;
            None without tracking.
    """

    people: People
    image_id: int
    name: str
    interpolated: Sequence[bool] | None = None

    @classmethod
    def of(cls, people: People, number: int) -> Record:
        """Of what `sia.load` finds; the number is the id of an image, frames have their own."""
        if people.frame is not None:
            video = "stream" if is_address(people.path or "") else Path(people.path or "video").stem
            return cls(people, people.frame, frame_name(video, people.frame))
        name = None if people.source is None else people.source.name
        return cls(people, number, name or f"image_{number:06d}.jpg")

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the image in pixels."""
        assert self.people.source is not None
        return self.people.source.size


def frame_name(video: str, number: int) -> str:
    """What an image of this frame is called, such as ``walk_000012.jpg``."""
    return f"{video}_{number:06d}.jpg"


@dataclass(frozen=True)
class About:
    """What all records of a file share.

    Attributes:
        skeleton: names, edges and flip pairs of the keypoints.
        kpt_thresh: keypoints of a lower confidence, in [0, 1], are marked as hidden where a format has marks.
        category: id of the category of people in COCO's files, or of each of several; see `category_ids`.
    """

    skeleton: Skeleton
    kpt_thresh: float = 0.3
    category: Ids = 1

    def short(self) -> dict[str, str]:
        """Schema with its version, version of the tool, and coordinate frame."""
        return {name: describe_rows(self.skeleton)[name] for name in ("format", "tool", "coordinates")}


class ResultWriter(ABC):
    """Writes records in one format. No file is made before the first `add`; `close` makes it complete.

    Args:
        path: of the file, or of the folder for formats with a file an image; ``-`` is standard output.
        about: what all records share.

    Raises:
        ConfigError: a package is missing, or the format can't hold this skeleton.
    """

    SUFFIX: ClassVar[str]
    """What is added to the name of the results; that of a folder has no dot."""
    BESIDE: ClassVar[str] = ""
    """Suffix of a second file, in place of the first one's."""
    STREAMS: ClassVar[bool] = False
    """Whether it can go to standard output."""
    CLASSES: ClassVar[bool] = False
    """Whether it holds several categories, each with keypoints of its own."""

    def __init__(self, path: Path, about: About) -> None:
        self.path, self.about = path, about
        if about.skeleton.categories and not self.CLASSES:
            raise ConfigError(
                f"{type(self).__name__.removesuffix('Writer').lower()} can't hold several categories "
                f"({about.skeleton.category}). Save coco, coco-annotations, jsonl, csv or parquet."
            )

    @abstractmethod
    def add(self, record: Record) -> None:
        """Adds an image or frame; also one without people.

        Raises:
            OutputError: it can't be written.
        """

    def close(self) -> None:  # noqa: B027 (nothing to do in formats that write as they go)
        """Makes the file complete; nothing can be added after it.

        Raises:
            OutputError: it can't be written.
        """

    @property
    def paths(self) -> list[Path]:
        """What is written."""
        return self.files(self.path)

    @classmethod
    def files(cls, path: Path) -> list[Path]:
        """What goes to a path: one file or folder, or two files."""
        return [path, *([path.with_suffix(cls.BESIDE)] if cls.BESIDE else [])]

    def lines(self) -> JsonLines | StandardOutput:
        """A file of lines, or standard output."""
        return StandardOutput() if str(self.path) == "-" else JsonLines(self.path)

    def file_of(self, record: Record, ending: str, below: str = "") -> Path:
        """In the folder of a format that has a file an image, the new one of an image; its folder is made.

        Raises:
            OutputError: there is one already, as for a.jpg and a.png, or it can't be made.
        """
        parts = [part for part in PurePosixPath(record.name).parts if part not in ("..", "/")]
        file = self.path.joinpath(below, *parts)
        file = file.with_name(f"{file.stem}{ending}")
        with writing(file):
            file.parent.mkdir(parents=True, exist_ok=True)
        if file.exists():
            raise OutputError(f"{record.name} would get the file {file} of another image. Rename one of the two.")
        return file


class GrowingWriter(ResultWriter):
    """For files that are whole after each record."""

    _file: JsonList | StandardOutput | None = None

    def add(self, record: Record) -> None:
        """Adds an image or frame; also one without people."""
        if self._file is None:
            self._file = self.start(record)
        self._file.append(self.entries(record))

    @abstractmethod
    def start(self, first: Record) -> JsonList | StandardOutput:
        """The file, as it is before the first record."""

    @abstractmethod
    def entries(self, record: Record) -> list[bytes]:
        """What a record adds to it."""

    def close(self) -> None:
        """Nothing can be added after it."""
        if self._file is not None:
            self._file.close()


def labelled(people: People, threshold: float) -> tuple[People, NDArray[np.int64]]:
    """People as labels of a data set: their boxes end at the border of the image, and keypoints have COCO's v.

    v is 2 from the threshold on, 1 below it, and 0 outside of the image, where nobody can label. Those of whom nothing
    lies in the image are left out.

    Returns:
        the N people, and (N, K) v.
    """
    assert people.source is not None
    height, width = people.source.size
    x, y = people.keypoints[..., 0], people.keypoints[..., 1]
    inside = (x >= 0) & (x <= width) & (y >= 0) & (y <= height)
    seen = np.where(inside, np.where(people.confidences >= threshold, 2, 1), 0)
    boxes = np.clip(people.boxes, 0, np.array([width, height, width, height], np.float32))
    kept = np.asarray((boxes[:, 2:] > boxes[:, :2]).all(-1) & inside.any(-1))
    return replace(people, boxes=boxes)[kept], seen[kept]

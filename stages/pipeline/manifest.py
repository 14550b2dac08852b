"""What a pipeline was made of and what it made: manifest.json, the memory that lets it go on after a kill.

Paths in it are relative to the pipeline's folder where they lie in it, so that the folder can be moved.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from msgspec import Meta, Struct

from sia.errors import DataError
from sia.io.output_file import write_json
from sia.io.stored import Finite, Place, Sha256, read_stored
from utils.hub.model_store import sha256_of
from utils.metrics.significance import Interval, Proof

FILE = "manifest.json"
FORMAT: Literal["sia_pose_pipeline/1"] = "sia_pose_pipeline/1"
_ANEW = "Start anew in another -PIPELINE folder."
_DEEPEST = 16


def plain(value: Any) -> Any:
    """A figure of any library as JSON can hold it; what is not finite becomes None."""
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [plain(entry) for entry in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, str | int) else str(value)


@dataclass(frozen=True)
class StoredFile:
    """A file as it was: its path, and the sha256 of its content."""

    path: Place
    sha256: Sha256


@dataclass
class Record:
    """One stage.

    Attributes:
        folder: its own, relative to the pipeline's.
        flags: those it depends on, as a user would type them.
        inputs: the files it was given, by what they are.
        done: whether it ended; an interrupted one goes on in its folder.
        outputs: files that it hands on: results, what lies beside them, weights.
        others: all other files in its folder.
        after: results files of ``calibrate`` and ``test``.
        weights: a newly trained model, if any.
        declined: why it made nothing, by its own decision on ``calibrate``.
        measured: AP on ``test`` of a first stage.
        proof: of a later one, unless it declined.
        figures, images: for the report.
        seconds: that it took, all attempts together.
    """

    folder: Annotated[str, Meta(pattern=r"\A[^/\\\0]+\Z")]
    flags: dict[str, str]
    inputs: dict[str, StoredFile]
    done: bool = False
    outputs: list[StoredFile] = field(default_factory=list)
    others: list[StoredFile] = field(default_factory=list)
    after: dict[str, Place] = field(default_factory=dict)
    weights: Place | None = None
    declined: str = ""
    measured: Interval | None = None
    proof: Proof | None = None
    figures: dict[str, Any] = field(default_factory=dict)
    images: list[Place] = field(default_factory=list)
    seconds: Finite = 0.0

    def differences(self, flags: Mapping[str, str], inputs: Mapping[str, StoredFile]) -> list[str]:
        """Why it can't stand for a run with these flags and inputs; empty where it can."""
        names = sorted(self.flags.keys() | flags.keys())
        pairs = [(name, self.flags.get(name, "none"), flags.get(name, "none")) for name in names]
        changed = [f"{name} {old} -> {new}" for name, old, new in pairs if old != new]
        before = {name: file.sha256 for name, file in self.inputs.items()}
        present = {name: file.sha256 for name, file in inputs.items()}
        names = sorted(before.keys() | present.keys())
        return changed + [f"another input: {name}" for name in names if before.get(name) != present.get(name)]


class _Content(Struct):
    """The schema of the file."""

    format: Literal["sia_pose_pipeline/1"]  # `FORMAT`
    config: dict[str, Any]
    stages: dict[str, Record]
    sources: dict[str, StoredFile] = msgspec.field(default_factory=dict)
    splits: list[StoredFile] = msgspec.field(default_factory=list)
    images_read: Finite = 0.0
    environment: dict[str, Any] = msgspec.field(default_factory=dict)

    def lacking(self) -> str:
        """What is missing although something else in the file needs it; empty where nothing is."""
        if self.splits and not {"-TRAIN_ANN", "-VAL_ANN"} <= self.sources.keys():
            return "the annotation files that it began with are not among its sources"
        for name, record in self.stages.items():
            judged = record.measured is not None or record.proof is not None
            outside = [place for place in (record.folder, *record.images) if not _is_inside(place)]
            if outside:
                return f"{outside[0]} of the stage {name} is not in the pipeline's folder"
            if _depth(record.figures) > _DEEPEST:
                return f"the figures of the stage {name} are nested in more than {_DEEPEST} levels"
            if record.done and judged and not {"calibrate", "test"} <= record.after.keys():
                return f"the stage {name} is done, but its results of calibrate or test are not in it"
        return ""


def _is_inside(place: str) -> bool:
    return not Path(place).is_absolute() and ".." not in Path(place).parts


def _depth(value: Any) -> int:
    """Levels of nested dictionaries and lists, counted no further than is allowed."""
    level, depth = [value], 0
    while depth <= _DEEPEST and (level := [entry for entry in level if isinstance(entry, dict | list)]):
        level = [inner for entry in level for inner in (entry.values() if isinstance(entry, dict) else entry)]
        depth += 1
    return depth


@dataclass
class Manifest:
    """The content of manifest.json.

    Attributes:
        folder: of the pipeline.
        config: all flags, as `TrainConfig.to_dict` gives them; seeds are among them.
        sources: the annotation files that the user gave, by flag.
        splits: what was made of them.
        images_read: when the images were read for the splits, in seconds since 1970.
        environment: versions, machine and command of the latest start.
        stages: by name.
    """

    folder: Path
    config: dict[str, Any]
    sources: dict[str, StoredFile] = field(default_factory=dict)
    splits: list[StoredFile] = field(default_factory=list)
    images_read: float = 0.0
    environment: dict[str, Any] = field(default_factory=dict)
    stages: dict[str, Record] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> Manifest | None:
        """None where there is none yet.

        Raises:
            DataError: it can't be used.
        """
        file = folder / FILE
        if not file.exists():
            return None
        content = read_stored(file, _Content, "manifest", _ANEW)
        lacking = content.lacking()
        if lacking:
            raise DataError(f"The manifest {file} can't be used: {lacking}. {_ANEW}")
        return cls(
            folder, content.config, content.sources, content.splits, content.images_read, content.environment,
            content.stages,
        )  # fmt: skip

    def write(self) -> None:
        """Replaces the file.

        Raises:
            OutputError: it can't be written.
        """
        content = asdict(self)
        del content["folder"]
        write_json(self.folder / FILE, {"format": FORMAT, **content}, indent=1)

    def place(self, path: Path) -> str:
        """How a path is written down."""
        full = path.absolute()
        root = self.folder.absolute()
        return full.relative_to(root).as_posix() if full.is_relative_to(root) else str(full)

    def path(self, place: str) -> Path:
        """Inverse of `place`."""
        return self.folder / place

    def store(self, path: Path) -> StoredFile:
        """Notes a file's present content.

        Raises:
            SiaError: it can't be read.
        """
        return StoredFile(self.place(path), sha256_of(path))

    def altered(self, files: Iterable[StoredFile]) -> list[str]:
        """Which of them are missing or have another content by now."""
        return [file.path for file in files if not self._is_intact(file)]

    def _is_intact(self, file: StoredFile) -> bool:
        path = self.path(file.path)
        return path.is_file() and sha256_of(path) == file.sha256

"""What a pipeline was made of and what it made: manifest.json, the memory that lets it go on after a kill.

Paths in it are relative to the pipeline's folder where they lie in it, so that the folder can be moved.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from stages.proof import Interval, Proof
from utils.coco_files import read_json
from utils.errors import DataError
from utils.model_store import sha256_of
from utils.output import write_json

FILE = "manifest.json"
FORMAT = "sia_pose_pipeline/1"


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

    path: str
    sha256: str


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
        figures, pictures: for the report.
        seconds: that it took, all attempts together.
    """

    folder: str
    flags: dict[str, str]
    inputs: dict[str, StoredFile]
    done: bool = False
    outputs: list[StoredFile] = field(default_factory=list)
    others: list[StoredFile] = field(default_factory=list)
    after: dict[str, str] = field(default_factory=dict)
    weights: str | None = None
    declined: str = ""
    measured: Interval | None = None
    proof: Proof | None = None
    figures: dict[str, Any] = field(default_factory=dict)
    pictures: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def differences(self, flags: Mapping[str, str], inputs: Mapping[str, StoredFile]) -> list[str]:
        """Why it can't stand for a run with these flags and inputs; empty where it can."""
        names = sorted(self.flags.keys() | flags.keys())
        pairs = [(name, self.flags.get(name, "none"), flags.get(name, "none")) for name in names]
        changed = [f"{name} {old} -> {new}" for name, old, new in pairs if old != new]
        before = {name: file.sha256 for name, file in self.inputs.items()}
        present = {name: file.sha256 for name, file in inputs.items()}
        names = sorted(before.keys() | present.keys())
        return changed + [f"another input: {name}" for name in names if before.get(name) != present.get(name)]

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Record:
        """Inverse of `dataclasses.asdict`."""
        proof, measured = values["proof"], values["measured"]
        typed: dict[str, Any] = {
            "inputs": {name: StoredFile(**file) for name, file in values["inputs"].items()},
            "outputs": [StoredFile(**file) for file in values["outputs"]],
            "others": [StoredFile(**file) for file in values["others"]],
            "proof": None if proof is None else Proof.from_dict(proof),
            "measured": None if measured is None else Interval(**measured),
        }
        return cls(**{**values, **typed})


@dataclass
class Manifest:
    """The content of manifest.json.

    Attributes:
        folder: of the pipeline.
        config: all flags, as `TrainConfig.to_dict` gives them; seeds are among them.
        sources: the annotation files that the user gave, by flag.
        splits: what was made of them.
        pictures_read: when the pictures were read for the splits, in seconds since 1970.
        environment: versions, machine and command of the latest start.
        stages: by name.
    """

    folder: Path
    config: dict[str, Any]
    sources: dict[str, StoredFile] = field(default_factory=dict)
    splits: list[StoredFile] = field(default_factory=list)
    pictures_read: float = 0.0
    environment: dict[str, Any] = field(default_factory=dict)
    stages: dict[str, Record] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> Manifest | None:
        """None where there is none yet.

        Raises:
            DataError: it can't be used.
        """
        file = folder / FILE
        if not file.is_file():
            return None
        values = read_json(file, "manifest")
        try:
            if values.pop("format") != FORMAT:
                raise ValueError(f"its format is not {FORMAT}")
            stages = {name: Record.from_dict(record) for name, record in values.pop("stages").items()}
            sources = {name: StoredFile(**stored) for name, stored in values.pop("sources").items()}
            splits = [StoredFile(**stored) for stored in values.pop("splits")]
            return cls(folder, sources=sources, splits=splits, stages=stages, **values)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise DataError(f"{file} can't be used ({error}). Start anew in another -PIPELINE folder.") from None

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

"""What a pipeline was made of, what it made and what stands of it: state.json, which lets it go on after a kill.

Paths in it are relative to the pipeline's folder where they lie in it, so that the folder can be moved.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from itertools import chain, count
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from msgspec import Meta, Struct

from sia.errors import ConfigError, DataError
from sia.evaluation.significance import Interval, Proof
from sia.io.input_file import sha256_of
from sia.io.output_file import first_free_folder, write_json
from sia.io.stored import Finite, Place, Sha256, read_stored
from stages.pipeline.fitted import STATES
from stages.stage import SPLITS, Stage
from utils.config.declaration import STAGES, format_value
from utils.config.train_config import TrainConfig, flag_of

FILE, FIRST_EDITION = STATES
FORMAT: Literal["sia_pose_pipeline/2"] = "sia_pose_pipeline/2"
REMEDY = "Start anew in another -PIPELINE folder."
_DEEPEST = 16
_NAMED = "file "
"""Inputs that begin so are files that a stage names by itself, not what the stage before hands on."""


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


@dataclass(frozen=True)
class Handed:
    """What one stage hands to the next: results files of ``calibrate`` and ``test``, and weights, if there are any."""

    results: Mapping[str, Path]
    weights: Path | None = None


@dataclass
class Record:
    """One stage.

    Attributes:
        folder: its own, relative to the pipeline's.
        flags: those that it declares, as a user would type them.
        inputs: the files it was given, by what they are.
        done: whether it ended; an interrupted one goes on in its folder.
        outputs: files that it hands on: results, what lies beside them, and its fitted folder.
        others: all other files in its folder.
        after: results files of ``calibrate`` and ``test``.
        weights: a newly trained model, if any.
        declined: why it should not be applied, by its own decision on ``calibrate``.
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

    format: Literal["sia_pose_pipeline/2", "sia_pose_pipeline/1"]  # `FORMAT`, and that of the first edition
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
            for place in map(Path, (record.folder, *record.images)):
                if place.is_absolute() or ".." in place.parts:
                    return f"{place} of the stage {name} is not in the pipeline's folder"
            if _depth(record.figures) > _DEEPEST:
                return f"the figures of the stage {name} are nested in more than {_DEEPEST} levels"
            if record.done and judged and not {"calibrate", "test"} <= record.after.keys():
                return f"the stage {name} is done, but its results of calibrate or test are not in it"
        return ""


def _depth(value: Any) -> int:
    """Levels of nested dictionaries and lists, counted no further than is allowed."""
    level, depth = [value], 0
    while depth <= _DEEPEST and (level := [entry for entry in level if isinstance(entry, dict | list)]):
        level = [inner for entry in level for inner in (entry.values() if isinstance(entry, dict) else entry)]
        depth += 1
    return depth


@dataclass
class State:
    """The content of state.json, and what follows from it.

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
    def read(cls, folder: Path) -> State | None:
        """None where there is none yet. Of one of the first edition only data, flags and trainings stand.

        Raises:
            DataError: it can't be used.
        """
        file = next((folder / name for name in (FILE, FIRST_EDITION) if (folder / name).exists()), None)
        if file is None:
            return None
        content = read_stored(file, _Content, "state", REMEDY)
        lacking = content.lacking()
        if lacking:
            raise DataError(f"The state {file} can't be used: {lacking}. {REMEDY}")
        if content.format != FORMAT:
            content.stages = _of_first_edition(content.stages)
        values = {entry.name: getattr(content, entry.name) for entry in fields(cls) if entry.name != "folder"}
        return cls(folder, **values)

    def write(self) -> None:
        """Replaces the file.

        Raises:
            OutputError: it can't be written.
        """
        content = asdict(self)
        del content["folder"]
        write_json(self.folder / FILE, {"format": FORMAT, **content}, indent=1)

    @property
    def split_files(self) -> dict[str, Path]:
        """The annotation file of each split."""
        return {split: self.folder / "splits" / f"{split}.json" for split in SPLITS}

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
        paths = [(file, self.path(file.path)) for file in files]
        return [file.path for file, path in paths if not path.is_file() or sha256_of(path) != file.sha256]

    def decision(self, name: str) -> str:
        """``applied``, ``forced`` or ``refused``; a first stage is always applied."""
        record = self.stages[name]
        gain = record.proof is not None and record.proof.difference.is_gain and not record.declined
        if record.measured is not None or gain:
            return "applied"
        return "forced" if name in self.config["force_stage"] and record.proof is not None else "refused"

    def standing(self, stages: Sequence[str] = STAGES) -> list[tuple[str, Handed]]:
        """Those of some stages that are applied, each on what the one before handed on.

        Raises:
            ConfigError: a file of one was altered.
        """
        standing: list[tuple[str, Handed]] = []
        for name in stages:
            before = standing[-1][1] if standing else None
            if self.is_current(name, before) and self.decision(name) != "refused":
                altered = self.altered(self.stages[name].outputs)
                if altered:
                    raise ConfigError(
                        f"{', '.join(altered)} of the stage {name} was altered or removed. Run -STAGE {name} again "
                        "first."
                    )
                standing.append((name, self.made(name, before)))
        return standing

    def handed(self, stage: str) -> Handed | None:
        """What a stage gets: the files of the last stage before it that was applied; None before the first.

        Raises:
            ConfigError: the first stage has not run, or files were altered.
        """
        standing = self.standing(STAGES[: STAGES.index(stage)])
        if not standing and stage != STAGES[0]:
            raise ConfigError(
                f"-STAGE {stage} needs a baseline: run -STAGE baseline -PIPELINE {self.folder} first, or give "
                "results of another program with -RESULTS_CALIBRATE and -RESULTS_TEST."
            )
        return standing[-1][1] if standing else None

    def is_current(self, name: str, before: Handed | None) -> bool:
        """Whether a stage has run, on what now stands before it."""
        record = self.stages.get(name)
        if record is None or not record.done:
            return False
        given = {what: file.sha256 for what, file in record.inputs.items() if not what.startswith(_NAMED)}
        return given == {what: file.sha256 for what, file in self.inputs(before).items()}

    def made(self, name: str, before: Handed | None) -> Handed:
        """What an applied stage hands on."""
        record = self.stages[name]
        results = {split: self.path(place) for split, place in record.after.items()}
        earlier = before.weights if before is not None else None
        return Handed(results, self.path(record.weights) if record.weights is not None else earlier)

    def inputs(self, before: Handed | None) -> dict[str, StoredFile]:
        """The files that a stage is handed."""
        if before is None:
            return {}
        files = {f"results of {split}": path for split, path in before.results.items()}
        files |= {f"variances of {split}": path.with_suffix(".npz") for split, path in before.results.items()}
        files |= {"weights": before.weights} if before.weights is not None else {}
        return {what: self.store(path) for what, path in files.items() if path.suffix != ".npz" or path.is_file()}

    def begin(self, name: str, stage: Stage, config: TrainConfig) -> tuple[Record, list[str]]:
        """The record of a stage with its folder, and why it has to run anew; it stands where it is done.

        One that was interrupted goes on in its folder; one with other flags or inputs gets a new one.

        Raises:
            SiaError: there is nothing before it, or a file can't be read or written.
        """
        flags, inputs = declared_flags(config, stage), self.inputs(self.handed(name))
        for number, file in enumerate(stage.files(config), 1):
            inputs[f"{_NAMED}{number}, {file.name}"] = self.store(file)
        images = stage.images(config)
        if images:
            inputs[f"{_NAMED}names and sizes of images"] = StoredFile(str(images[0].parent), _digest_of_names(images))
        record = self.stages.get(name)
        reasons = [] if record is None else record.differences(flags, inputs)
        if record is not None and record.done and not reasons:
            reasons = [f"{place} was altered or removed" for place in self.altered(record.outputs)]
        if record is not None and not reasons:
            return record, []
        wanted = self.folder / f"{STAGES.index(name) + 1}-{name}"
        folder = first_free_folder(chain([wanted], (wanted.with_name(f"{wanted.name}-{n}") for n in count(2))))
        self.stages[name] = Record(folder.name, flags, inputs)
        self.write()
        return self.stages[name], reasons


def _of_first_edition(stages: Mapping[str, Record]) -> dict[str, Record]:
    """A trained baseline, which goes on in its folder, and finds itself trained; nothing else was kept fitted."""
    name = STAGES[0]
    if name not in stages or stages[name].weights is None or stages[name].inputs.keys() - _SPLIT_INPUTS:
        return {}
    from stages.baseline import STAGE  # imports all of the training

    declared = {flag_of(field) for field in STAGE.fields}
    flags = {flag: value for flag, value in stages[name].flags.items() if flag in declared}
    return {name: Record(stages[name].folder, flags, {})}


_SPLIT_INPUTS = frozenset(f"part {split}" for split in SPLITS)


def _digest_of_names(images: Iterable[Path]) -> str:
    """Changes as soon as an image comes, goes, or has another size."""
    lines = sorted(f"{path.name} {path.stat().st_size if path.is_file() else 0}" for path in images)
    return hashlib.sha256("\n".join(lines).encode(errors="surrogateescape")).hexdigest()


def declared_flags(config: TrainConfig, stage: Stage) -> dict[str, str]:
    """The flags that a stage declares, as a user would type them; files count by their content instead."""
    values = {name: getattr(config, name) for name in stage.fields}
    return {flag_of(name): format_value(value) for name, value in values.items() if not isinstance(value, Path)}

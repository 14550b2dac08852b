"""What stands of a pipeline: which stages have run, what was decided about them, and what the next one gets."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path

from sia.errors import ConfigError
from sia.io.output_file import first_free_folder
from stages.pipeline.data import part_files
from stages.pipeline.manifest import Manifest, Record, StoredFile
from utils.config.train_config import STAGES, TrainConfig, flag_fields, format_value


@dataclass(frozen=True)
class Handed:
    """What one stage hands to the next: results files of ``calibrate`` and ``test``, and weights, if there are any."""

    results: Mapping[str, Path]
    weights: Path | None = None


_PLACES = ("output", "exp")
"""Flags of where a plain training writes, which say nothing of what a stage makes."""


def stage_flags(config: TrainConfig, stage: str) -> dict[str, str]:
    """The flags that decide what a stage makes: all but those of other stages, and those that may change freely."""
    others = set(STAGES) - {stage}
    return {
        entry.metadata["flag"]: format_value(getattr(config, entry.name))
        for entry in flag_fields()
        if entry.name not in _PLACES
        and not entry.metadata["free"]
        and not set(re.findall(r"\w+", entry.metadata["group"])) & others
    }


class Ledger:
    """Reads and keeps the manifest.

    Attributes:
        manifest: what was done.
        config: the present flags.
        say: prints a line.
    """

    def __init__(self, manifest: Manifest, config: TrainConfig, say: Callable[[str], None]) -> None:
        self.manifest, self.config, self.say = manifest, config, say

    def decision(self, name: str) -> str:
        """``applied``, ``forced`` or ``refused``; a first stage is always applied."""
        record = self.manifest.stages[name]
        gain = record.proof is not None and record.proof.difference.is_gain and not record.declined
        if record.measured is not None or gain:
            return "applied"
        return "forced" if name in self.config.force_stage and record.proof is not None else "refused"

    def handed(self, stage: str) -> Handed | None:
        """What a stage gets: the files of the last stage before it that was applied; None before the first.

        Raises:
            ConfigError: the first stage has not run, or files were altered.
        """
        standing = self.standing(STAGES[: STAGES.index(stage)])
        current = standing[-1][1] if standing else None
        if current is None and stage != STAGES[0]:
            raise ConfigError(
                f"-STAGE {stage} needs a baseline: run -STAGE baseline -PIPELINE {self.manifest.folder} first, or give "
                "results of another program with -RESULTS_CALIBRATE and -RESULTS_TEST."
            )
        return current

    def standing(self, stages: Sequence[str] = STAGES) -> list[tuple[str, Handed]]:
        """The stages that were applied, with what each hands on.

        Raises:
            ConfigError: files of one were altered.
        """
        standing: list[tuple[str, Handed]] = []
        for name in stages:
            before = standing[-1][1] if standing else None
            if self.is_current(name, before) and self.decision(name) != "refused":
                standing.append((name, self.made(name, before)))
                self._check_intact(name)
        return standing

    def is_current(self, name: str, before: Handed | None) -> bool:
        """Whether a stage has run, on what now stands before it."""
        record = self.manifest.stages.get(name)
        return record is not None and record.done and not record.differences(record.flags, self._inputs(before))

    def made(self, name: str, before: Handed | None) -> Handed:
        """What an applied stage hands on."""
        record = self.manifest.stages[name]
        results = {part: self.manifest.path(place) for part, place in record.after.items()}
        earlier = before.weights if before is not None else None
        return Handed(results, self.manifest.path(record.weights) if record.weights is not None else earlier)

    def _check_intact(self, name: str) -> None:
        altered = self.manifest.altered(self.manifest.stages[name].outputs)
        if altered:
            raise ConfigError(
                f"{', '.join(altered)} of the stage {name} was altered or removed. Run -STAGE {name} again first."
            )

    def begin(self, name: str) -> Record | None:
        """The record of a stage that has to run, with its folder; None where an earlier run of it stands.

        One that was interrupted goes on in its folder; one with other flags or inputs gets a new one.

        Raises:
            SiaError: there is nothing before it, or a file can't be read or written.
        """
        inputs, flags = self._inputs(self.handed(name)), stage_flags(self.config, name)
        record = self.manifest.stages.get(name)
        reasons = self._reasons(record, flags, inputs) if record is not None else ["it has not run yet"]
        if record is not None and not reasons:
            return None if record.done else record
        if record is not None:
            self.say(f"{name} runs again: {'; '.join(reasons)}")
        wanted = self.manifest.folder / f"{STAGES.index(name) + 1}-{name}"
        folder = first_free_folder(chain([wanted], (wanted.with_name(f"{wanted.name}-{n}") for n in count(2))))
        self.manifest.stages[name] = Record(folder.name, flags, inputs)
        self.manifest.write()
        return self.manifest.stages[name]

    def _reasons(self, record: Record, flags: Mapping[str, str], inputs: Mapping[str, StoredFile]) -> list[str]:
        """Why what an earlier run made can't stand."""
        reasons = record.differences(flags, inputs)
        if reasons or not record.done:
            return reasons
        for place in self.manifest.altered(record.others):
            self.say(f"{place} was altered or removed since; no stage needs it")
        return [f"{place} was altered or removed" for place in self.manifest.altered(record.outputs)]

    def _inputs(self, before: Handed | None) -> dict[str, StoredFile]:
        """The files that decide what a stage makes."""
        files = {f"part {part}": path for part, path in part_files(self.manifest).items()}
        if before is not None:
            files |= {f"results of {part}": path for part, path in before.results.items()}
            files |= {f"variances of {part}": path.with_suffix(".npz") for part, path in before.results.items()}
            files |= {"weights": before.weights} if before.weights is not None else {}
        elif self.config.results_calibrate is not None and self.config.results_test is not None:
            files |= {"-RESULTS_CALIBRATE": self.config.results_calibrate, "-RESULTS_TEST": self.config.results_test}
        elif self.config.resume is not None:
            files["--RESUME"] = self.config.resume
        present = {what: path for what, path in files.items() if path.suffix != ".npz" or path.is_file()}
        return {what: self.manifest.store(path) for what, path in present.items()}

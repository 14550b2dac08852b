"""The pipeline: its stages one after the other, each proved on images that none of them has learned from.

Between the stages there are only files: results of ``calibrate`` and ``test``, and weights. A stage whose flags and
input are those of an earlier run, and whose output is intact, is not run again.
"""

from __future__ import annotations

import importlib
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sia.coco.coco_files import load_ground_truth, load_skeleton, read_json
from sia.errors import DataError, OutputError
from sia.io.checkpoint import load_checkpoint
from sia.io.input_file import set_pixel_limit
from sia.io.output_file import first_free_folder, numbered_folder
from sia.registry import read_description
from stages import baseline as baseline_stage
from stages.pipeline.data import part_files, prepare_data, splits_folder
from stages.pipeline.manifest import Manifest, Record, plain
from stages.pipeline.report_data import write_report
from stages.pipeline.splits import describe, read_splits
from stages.pipeline.state import Handed, Ledger
from stages.stage import PARTS, Stage, StageResult, StageWork
from utils.config.builder import pipeline_config
from utils.config.train_config import STAGES, TrainConfig
from utils.distributed.context import init_distributed, leave_ranks
from utils.distributed.launch import Launch
from utils.logger import clock
from utils.metrics.matches import Matches, find_matches
from utils.metrics.predictions import read_predictions
from utils.metrics.significance import measure, prove
from utils.run_folder import LOCK, environment, lock_folder

MODULES = {name: f"stages.{name}.stage" for name in STAGES} | {"baseline": "stages.baseline"}
"""Where the `run` of each stage is; imported when it is its turn."""


def run(given: Mapping[str, Any], argv: Sequence[str]) -> int:
    """Runs one stage or all of them. All ranks train the baseline; the rest is done by the first one alone.

    Args:
        given: flags from `parse_flags`.
        argv: the command line, for the record.

    Returns:
        0, or the number of the signal that stopped it; the same command goes on.

    Raises:
        SiaError: anything that the user can mend.
    """
    config = read_config(given)
    set_pixel_limit(config.max_pixels)
    pipeline, training = None, None
    with init_distributed(config.device) as ranks:
        with ranks.shared_errors():
            if ranks.is_main:
                pipeline = Pipeline(config, argv)
                training = pipeline.training_config()
        training = ranks.from_main(training)
    number = baseline_stage.train(training, argv) if training is not None else 0
    if number or pipeline is None:
        return number
    leave_ranks()  # the other processes end here: those of torchrun need not end together
    try:
        pipeline.run()
    except KeyboardInterrupt:
        pipeline.say("Stopped. The same command goes on where it was.")
        return int(signal.SIGINT)
    return 0


def read_config(given: Mapping[str, Any]) -> TrainConfig:
    """Flags left out come from the pipeline's manifest, or the model's from the weights to start from.

    Raises:
        SiaError: flags or files that can't be used.
    """
    saved = Manifest.read(given["pipeline"]) if given.get("pipeline") is not None else None
    if given.get("resume") is not None:
        model, _ = read_description(load_checkpoint(given["resume"]), given["resume"])
        given = {"model": model.name, "size": model.size, "imgsz": model.image_size, **given}
    return pipeline_config(given, saved.config if saved is not None else None)


def load_stage(name: str) -> Stage:
    """The function that does the work."""
    stage: Stage = importlib.import_module(MODULES[name]).run
    return stage


class Pipeline:
    """The stages of one folder, on the first rank.

    Attributes:
        config: every flag.
        say: prints a line.
        manifest: what was done.
        ledger: what stands of it.
        parts: the annotation file of each part.
        skeleton: of the people.
    """

    def __init__(
        self,
        config: TrainConfig,
        argv: Sequence[str],
        say: Callable[[str], None] = lambda text: print(text, flush=True),
    ) -> None:
        """Opens or makes the folder and its splits.

        Raises:
            SiaError: the folder is none of a pipeline, or is in use; or the data can't be used, or was altered.
        """
        self.config, self.say = config, say
        folder = _open_folder(config, Launch.present(argv))
        self._lock = lock_folder(folder)
        self.manifest = Manifest.read(folder) or Manifest(folder, config.to_dict())
        prepare_data(self.manifest, config)
        self.manifest.config, self.manifest.environment = config.to_dict(), environment(argv)
        self.manifest.write()
        self.ledger = Ledger(self.manifest, config, say)
        self.parts = part_files(self.manifest)
        self.skeleton = load_skeleton(self.parts["test"])
        self._matches: dict[str, Matches] = {}
        self._started = time.monotonic()
        say(f"pipeline      {folder}\nimages      {describe(read_splits(splits_folder(self.manifest)))}")

    @property
    def stages(self) -> tuple[str, ...]:
        """Those to run."""
        return STAGES if self.config.stage == "all" else (self.config.stage,)

    def training_config(self) -> TrainConfig | None:
        """For the training of the baseline, which all ranks share; None where there is nothing to train."""
        record = self.ledger.begin(STAGES[0]) if STAGES[0] in self.stages else None
        if record is None:
            return None
        config = baseline_stage.training_config(self._work(record, None))
        if config is not None:
            self.say(f"{_title(STAGES[0])}trains in {config.output}")
        return config

    def run(self) -> None:
        """Runs the stages, and writes the report after each of them: it can be read while the next one runs.

        Raises:
            SiaError: from a stage; what is done stays done.
        """
        for name in self.stages:
            if self._run_stage(name) or name == self.stages[-1]:
                write_report(self.ledger, self.parts, self.matches)
        folder = self.manifest.folder
        self.say(f"\nreport        {folder / 'report.html'}\n              {folder / 'report.md'}")
        if self.manifest.stages[STAGES[0]].weights is not None:
            self.say(f"new images  python inference_image_pose.py --pipeline {folder} --image_path IMAGES")

    def _run_stage(self, name: str) -> bool:
        """Whether there was something to do."""
        record = self.ledger.begin(name)
        if record is None:
            self.say(f"{_title(name)}{self._outcome(name)}, as it was made before")
            return False
        if name != STAGES[0]:
            self._started = time.monotonic()
        before = self.ledger.handed(name)
        work = self._work(record, before)
        self.say(f"{_title(name)}runs in {work.folder}")
        self._finish(name, record, before, load_stage(name)(work))
        self.say(f"{_title(name)}{self._outcome(name)}, {clock(record.seconds)}")
        return True

    def _work(self, record: Record, before: Handed | None) -> StageWork:
        handed = before or Handed({})
        folder = self.manifest.folder / record.folder
        return StageWork(
            folder, self.config, self.config.coco_root, self.parts, handed.results, handed.weights, self.say
        )

    def _finish(self, name: str, record: Record, before: Handed | None, result: StageResult) -> None:
        """Checks what a stage made, proves it, and notes everything."""
        after = self._checked(name, result)
        place = self.manifest.place
        record.declined, record.figures = result.declined, plain(result.figures)
        record.after = {part: place(path) for part, path in after.items()}
        record.weights = place(result.weights) if result.weights is not None else None
        record.images = [place(path) for path in result.images]
        if before is None:
            record.measured = measure(self.matches(record.after["test"]), self.config.seed)
        elif after and (not result.declined or name in self.config.force_stage):
            first, second = self.matches(place(before.results["test"])), self.matches(record.after["test"])
            record.proof = prove(first, second, self.config.seed)
        self._store(record, [*after.values(), *([result.weights] if result.weights is not None else [])])
        record.seconds, record.done = round(time.monotonic() - self._started, 1), True
        self.manifest.write()

    def _checked(self, name: str, result: StageResult) -> Mapping[str, Path]:
        """The results files, each whole and of its part.

        Raises:
            DataError: they are not.
        """
        for part in () if result.declined else PARTS[1:]:
            if part not in result.after:
                raise DataError(f"The stage {name} made no results of {part}. That is a fault of its code: report it.")
        for part, path in result.after.items():
            read_predictions(path, load_ground_truth(self.parts[part], self.skeleton), self.skeleton)
        return result.after

    def _store(self, record: Record, handed_on: Sequence[Path]) -> None:
        """The sha256 of all files of a stage."""
        sidecars = [path.with_suffix(".npz") for path in handed_on if path.suffix == ".json"]
        record.outputs = [self.manifest.store(path) for path in [*handed_on, *sidecars] if path.is_file()]
        known = {stored.path for stored in record.outputs}
        files = sorted((self.manifest.folder / record.folder).rglob("*"))
        others = [path for path in files if path.is_file() and self.manifest.place(path) not in known]
        record.others = [self.manifest.store(path) for path in others if not path.name.startswith(".")]

    def _outcome(self, name: str) -> str:
        """The decision about a stage and its figures, in a line."""
        record = self.manifest.stages[name]
        if record.measured is not None:
            return f"AP {record.measured.percent()}"
        if record.proof is None:
            return f"refused: {record.declined}"
        proof = record.proof
        change = f"AP {100 * proof.before.value:.1f} -> {100 * proof.after.value:.1f}"
        return f"{self.ledger.decision(name)}: {change}, {proof.difference.percent(sign=True)}"

    def matches(self, place: str) -> Matches:
        """Of a results file of ``test``; found once."""
        if place not in self._matches:
            rows = read_json(self.manifest.path(place), "results file")
            self._matches[place] = find_matches(self.parts["test"], rows, self.skeleton)
        return self._matches[place]


def _title(name: str) -> str:
    return f"stage {STAGES.index(name) + 1}/{len(STAGES)}  {name:<12}"


def _open_folder(config: TrainConfig, launch: Launch | None) -> Path:
    """The folder of a pipeline to go on with, or a new one; that which processes of this launch began goes on too."""
    if config.pipeline is None:
        begun = launch.find(config.output.glob("pipeline-*")) if launch is not None else None
        folder = begun or numbered_folder(config.output, "pipeline")
        if launch is not None and begun is None:
            launch.sign(folder)
        return folder
    folder = config.pipeline
    if folder.exists() and Manifest.read(folder) is None and (not folder.is_dir() or _in_use(folder)):
        raise OutputError(f"-PIPELINE {folder} exists and is no pipeline. Name a new folder; nothing is overwritten.")
    return folder if folder.is_dir() else first_free_folder([folder])


def _in_use(folder: Path) -> bool:
    """Whether there is more in it than the lock of a pipeline that was killed as it began."""
    return any(path.name != LOCK for path in folder.iterdir())

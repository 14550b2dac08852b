"""The pipeline: its stages one after the other, each proved on images that none of them has learned from.

All ranks walk through the stages together; the first one decides and writes. A stage is fitted on ``fit`` and
``calibrate``, saved, and applied to ``test`` as it was saved: what is proved is what is kept. A stage whose declared
flags, files and input are those of an earlier run, and whose output is intact, is not run again.
"""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from datasets.coco.coco_pose import CocoPose
from sia.coco.coco_files import load_ground_truth, load_skeleton, read_json
from sia.errors import DataError, OutputError
from sia.evaluation.matches import Matches, find_matches
from sia.evaluation.predictions import Predictions, read_predictions
from sia.evaluation.significance import Proof, measure, prove
from sia.io.checkpoint import load_checkpoint
from sia.io.input_file import check_input_file, set_pixel_limit
from sia.io.output_file import first_free_folder, numbered_folder, output_error
from sia.registry import read_description
from sia.runtimes.predictor import Predictor
from stages.evaluator import on_first_rank
from stages.pipeline.fitted import FOLDER, Thresholds, load_stage, write_fitted
from stages.pipeline.report import write_report
from stages.pipeline.splits import describe, prepare_splits, read_splits
from stages.pipeline.state import Handed, Record, State, plain
from stages.postprocess.thresholds import choose_display_thresholds
from stages.stage import Images, Stage, StageFit, StageInput, StageInterrupted, Surroundings, apply_together
from utils.config.builder import pipeline_config
from utils.config.declaration import STAGES
from utils.config.train_config import TrainConfig
from utils.distributed.context import DistributedContext, init_distributed
from utils.distributed.launch import Launch
from utils.logger import clock
from utils.run_folder import LOCK, environment, lock_folder

TIMEOUT = timedelta(days=2)
"""How long one process waits for what the first one does alone."""


def run(given: Mapping[str, Any], argv: Sequence[str]) -> int:
    """Runs one stage or all of them, on all ranks.

    Args:
        given: flags from `parse_flags`.
        argv: the command line, for the record.

    Returns:
        0, or the number of the signal that stopped it; the same command goes on.

    Raises:
        SiaError: anything that the user can fix.
    """
    config = read_config(given)
    set_pixel_limit(config.max_pixels)
    with init_distributed(config.device, TIMEOUT) as ranks, ExitStack() as closing:
        try:
            Pipeline(config, argv, ranks, closing).run()
        except StageInterrupted as stop:
            return stop.number
        except KeyboardInterrupt:
            if ranks.is_main:
                print("Stopped. The same command goes on where it was.", flush=True)
            return int(signal.SIGINT)
    return 0


def read_config(given: Mapping[str, Any]) -> TrainConfig:
    """Flags left out come from the pipeline's state, or the model's from the weights to start from.

    Raises:
        SiaError: flags or files that can't be used.
    """
    saved = State.read(given["pipeline"]) if given.get("pipeline") is not None else None
    if given.get("resume") is not None:
        model, _ = read_description(load_checkpoint(given["resume"]), given["resume"])
        given = {"model": model.name, "size": model.size, "imgsz": model.image_size, **given}
    return pipeline_config(given, saved.config if saved is not None else None)


class Pipeline:
    """The stages of one folder.

    Attributes:
        config: every flag.
        ranks: this process among those that run it.
        state: what was done; the same on all ranks, and written by the first.
        skeleton: of the people.
        images: and the part of each.
    """

    def __init__(self, config: TrainConfig, argv: Sequence[str], ranks: DistributedContext, closing: ExitStack) -> None:
        """Opens or makes the folder and its splits; `closing` gives the folder free again.

        Raises:
            SiaError: the folder is none of a pipeline, or is in use; or the data can't be used, or was altered.
        """
        self.config, self.argv, self.ranks = config, tuple(argv), ranks
        self._matches: dict[str, Matches] = {}
        self.state: State = on_first_rank(lambda: self._open(closing))
        self.skeleton = load_skeleton(self.state.split_files["test"])
        self.images = read_splits(self.state.folder / "splits")
        self.say(f"pipeline      {self.state.folder}\nimages      {describe(self.images)}")

    def say(self, text: str) -> None:
        """Prints a line, once."""
        if self.ranks.is_main:
            print(text, flush=True)

    def _open(self, closing: ExitStack) -> State:
        folder = _open_folder(self.config, Launch.present(self.argv))
        closing.enter_context(lock_folder(folder))
        state = State.read(folder) or State(folder, self.config.to_dict())
        prepare_splits(state, self.config)
        state.config, state.environment = self.config.to_dict(), environment(self.argv)
        state.write()
        return state

    def run(self) -> None:
        """Runs the stages, and writes the report after each of them: it can be read while the next one runs.

        Raises:
            StageInterrupted: a signal came; everything is saved.
            SiaError: from a stage; what is done stays done.
        """
        names = STAGES if self.config.stage == "all" else (self.config.stage,)
        on_first_rank(lambda: self._check(names))
        for name in names:
            if self._run_stage(name) or name == names[-1]:
                on_first_rank(lambda: write_report(self.state, self.config, self.matches))
        folder = self.state.folder
        self.say(f"\nreport        {folder / 'report.html'}\n              {folder / 'report.md'}")
        if on_first_rank(self._write_fitted):
            self.say(f"fitted        {folder / FOLDER}, which is all that new images need, on any machine")
            self.say(f"new images  python inference_image_pose.py --pipeline {folder} --image_path IMAGES")

    def _check(self, names: Sequence[str]) -> None:
        """What later stages name has to be there before the first one takes its hours."""
        for stage in map(load_stage, names):
            for file in stage.files(self.config):
                check_input_file(file, "Check the flags.", DataError)
            stage.images(self.config)

    def _run_stage(self, name: str) -> bool:
        """Whether there was something to do."""
        started, stage = time.monotonic(), load_stage(name)
        self.state, before, reasons = on_first_rank(lambda: self._begin(name, stage))
        record = self.state.stages[name]
        if reasons:
            self.say(f"{name} runs again: {'; '.join(reasons)}")
        if record.done:
            forced = name in self.config.force_stage and on_first_rank(lambda: self._force(name))
            self.state = self.ranks.from_main(self.state)
            self.say(f"{_title(name)}{self._outcome(name)}, as it was made before")
            return forced
        work = self._work(record, before)
        self.say(f"{_title(name)}runs in {work.folder}")
        try:
            fit = stage.fit(work)
        except StageInterrupted:
            on_first_rank(lambda: self._spend(record, started))
            raise
        made = _Made(name, record, stage, work, fit)
        on_first_rank(lambda: self._save(made))
        people = self._apply(made, before)
        on_first_rank(lambda: self._finish(made, people, before, started))
        self.state = self.ranks.from_main(self.state)
        self.say(f"{_title(name)}{self._outcome(name)}, {clock(self.state.stages[name].seconds)}")
        return True

    def _force(self, name: str) -> bool:
        """Measures a stage that had declined, now that --FORCE_STAGE asks for it; whether there was one."""
        record, before = self.state.stages[name], self.state.handed(name)
        if before is None or record.proof is not None:
            return False
        record.proof = self._prove(self.state.place(before.results["test"]), record.after["test"])
        self.state.write()
        return True

    def _prove(self, before: str, after: str) -> Proof:
        return prove(self.matches(before), self.matches(after), self.config.seed, self._groups("test"))

    def _groups(self, part: str) -> dict[int, int]:
        """Of the images of a part, by id."""
        return {image.image_id: image.group for image in self.images if image.part == part}

    def _spend(self, record: Record, started: float) -> None:
        record.seconds = round(record.seconds + time.monotonic() - started, 1)
        self.state.write()

    def _begin(self, name: str, stage: Stage) -> tuple[State, Handed | None, list[str]]:
        record, reasons = self.state.begin(name, stage, self.config)
        return self.state, None if record.done else self.state.handed(name), reasons

    def _work(self, record: Record, before: Handed | None) -> StageInput:
        files = self.state.split_files
        del files["test"]
        handed = before or Handed({})
        like_test = [self.config.coco_root / image.file for image in self.images if not image.part]
        return StageInput(
            self.state.folder / record.folder, self.config, files, handed.results.get("calibrate"), handed.weights,
            [*self._test_images().files, *like_test], self._groups("calibrate"), self.ranks, self.say, self.argv,
        )  # fmt: skip

    def _test_images(self) -> CocoPose:
        """Without their labels."""
        test = self.state.split_files["test"]
        return CocoPose(self.config.coco_root, test, skeleton=self.skeleton, labelled=False)

    def _save(self, made: _Made) -> None:
        """The fitted stage, and whom it found in ``calibrate``."""
        if made.fit.fitted is None:
            return
        if made.fit.people is None:
            raise DataError(f"The stage {made.name} made no results of calibrate. That is a fault of its code.")
        try:
            shutil.rmtree(made.fitted_folder, ignore_errors=True)  # of a call that was killed
            made.fitted_folder.mkdir()
        except OSError as error:
            raise output_error(error, made.fitted_folder) from error
        made.fit.fitted.save(made.fitted_folder)
        self._write(made, "calibrate", made.fit.people)

    def _apply(self, made: _Made, before: Handed | None) -> Predictions | None:
        """Whom the stage, as it was saved, leaves in ``test``; all ranks share the images."""
        if not self.ranks.from_main(made.fit.fitted is not None):
            return None
        with self.ranks.shared_errors():
            model = None
            if before is not None and before.weights is not None and made.name != "ssl":
                model = Predictor.load(before.weights, self.config.device)
            around = Surroundings(self.config.device, self.config.bs, self.skeleton, model, self.state.folder)
            fitted = made.stage.load(made.fitted_folder, around)
            people = Predictions.nobody(self.skeleton.num_keypoints)
            if before is not None:
                people = self._read(before.results["test"], "test")
        return apply_together(fitted, people, Images.of_split(self._test_images()), self.ranks)

    def _finish(self, made: _Made, people: Predictions | None, before: Handed | None, started: float) -> None:
        """Proves what a stage made, and notes everything."""
        record, fit, place = made.record, made.fit, self.state.place
        figures, drawn = dict(fit.figures), list(fit.images)
        if people is not None:
            self._write(made, "test", people)
            after = {split: made.work.folder / f"{split}.json" for split in ("calibrate", "test")}
        else:
            after = dict(before.results) if before is not None else {}
        if people is not None and made.stage.show is not None:
            found = self._read(after["test"], "test")
            more, images = made.stage.show(made.work, fit, found, self._test_images())
            figures, drawn = figures | more, [*drawn, *images]
        record.declined, record.figures = fit.declined, plain(figures)
        record.after = {split: place(path) for split, path in after.items()}
        weights = made.fitted_folder / "model.pt"
        record.weights = place(weights) if people is not None and weights.is_file() else None
        record.images = [place(path) for path in drawn]
        if before is None:
            record.measured = measure(self.matches(record.after["test"]), self.config.seed, self._groups("test"))
        elif not fit.declined or made.name in self.config.force_stage:
            record.proof = self._prove(place(before.results["test"]), record.after["test"])
        files = [path for path in sorted(made.work.folder.rglob("*")) if path.is_file() and path.name[0] != "."]
        results = {path.with_suffix(suffix) for path in after.values() for suffix in (".json", ".npz")}
        handed_on = [path for path in files if path in results or path.is_relative_to(made.fitted_folder)]
        record.outputs = [self.state.store(path) for path in handed_on]
        record.others = [self.state.store(path) for path in files if path not in handed_on]
        record.done = True
        self._spend(record, started)

    def _write(self, made: _Made, split: str, people: Predictions) -> None:
        """A results file, which has to be one.

        Raises:
            DataError: it isn't: the stage is faulty.
        """
        path = made.work.folder / f"{split}.json"
        category = load_ground_truth(self.state.split_files[split], self.skeleton, labelled=False).category
        people.save(path, category)
        self._read(path, split)

    def _read(self, path: Path, split: str) -> Predictions:
        truth = load_ground_truth(self.state.split_files[split], self.skeleton, labelled=False)
        return read_predictions(path, truth, self.skeleton)

    def _outcome(self, name: str) -> str:
        """The decision about a stage and its figures, in a line."""
        record = self.state.stages[name]
        if record.measured is not None:
            return f"AP {record.measured.percent()}"
        if record.proof is None:
            return f"refused: {record.declined}"
        proof = record.proof
        change = f"AP {100 * proof.before.value:.1f} -> {100 * proof.after.value:.1f}"
        return f"{self.state.decision(name)}: {change}, {proof.difference.percent(sign=True)}"

    def matches(self, place: str) -> Matches:
        """Of a results file of ``test``; found once."""
        if place not in self._matches:
            rows = read_json(self.state.path(place), "results file")
            self._matches[place] = find_matches(self.state.split_files["test"], rows, self.skeleton)
        return self._matches[place]

    def _write_fitted(self) -> bool:
        """What stands, for new images; whether there is a model to find people in them."""
        standing = self.state.standing()
        handed = standing[-1][1] if standing else Handed({})
        if handed.weights is None:
            return False
        truth = load_ground_truth(self.state.split_files["calibrate"], self.skeleton)
        shown = choose_display_thresholds(self._read(handed.results["calibrate"], "calibrate"), truth, self.skeleton)
        stages = {}
        for name, _ in standing:
            folder = self.state.path(self.state.stages[name].folder) / FOLDER
            if folder.is_dir() and self.state.stages[name].weights is None:
                stages[name] = folder
        versions = {key: self.state.environment.get(key) for key in ("commit", "python", "packages")}
        display = Thresholds(shown.score, shown.keypoint)
        write_fitted(self.state.folder, handed.weights, stages, display, self.skeleton, versions)
        return True


@dataclass(frozen=True)
class _Made:
    """A stage that was fitted just now."""

    name: str
    record: Record
    stage: Stage
    work: StageInput
    fit: StageFit

    @property
    def fitted_folder(self) -> Path:
        return self.work.folder / FOLDER


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
    if folder.exists() and State.read(folder) is None and (not folder.is_dir() or _in_use(folder)):
        raise OutputError(f"-PIPELINE {folder} exists and is no pipeline. Name a new folder; nothing is overwritten.")
    return folder if folder.is_dir() else first_free_folder([folder])


def _in_use(folder: Path) -> bool:
    """Whether there is more in it than the lock of a pipeline that was killed as it began."""
    return any(path.name != LOCK for path in folder.iterdir())

"""Stage 5 for images: clipping, scores, thresholds for showing people, and people in words.

Words and thresholds change no prediction.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets.coco.coco_pose import CocoPose
from sia.description.image import describe_image, make_model, write_words
from sia.description.writer import DescriptionWriter
from sia.drawing.annotator import PoseAnnotator, with_caption
from sia.evaluation.coco_eval import evaluate
from sia.evaluation.predictions import Array, Predictions
from sia.io.images import write_image
from sia.people import People
from sia.skeletons.skeleton import Skeleton
from stages.error_model.folds import CalibrationSet
from stages.evaluator import on_first_rank
from stages.postprocess.duplicates import Rule, choose_rule, clip
from stages.postprocess.thresholds import DisplayThresholds, choose_display_thresholds
from stages.stage import Images, Stage, StageFit, StageInput, Surroundings, load_fit, save_fit

SHOWN = 6
"""Images for the report."""


@dataclass(frozen=True)
class _Saved:
    """The schema of fit.json."""

    rule: Rule
    display: DisplayThresholds


@dataclass(frozen=True)
class FittedPostprocess:
    """Keypoints are brought into their images, and the rule applied.

    Attributes:
        rule: of scores and duplicates.
        display: which people and keypoints are worth showing afterwards.
        skeleton: of the people.
    """

    rule: Rule
    display: DisplayThresholds
    skeleton: Skeleton

    def apply(self, people: Predictions, images: Images) -> Predictions:
        """See `stages.stage.Fitted`."""
        return self.rule.apply(clip(people, {number: images.size(number) for number in images.ids}), self.skeleton)

    def save(self, folder: Path) -> None:
        """See `stages.stage.Fitted`."""
        save_fit(folder, _Saved(self.rule, self.display))


def load(folder: Path, around: Surroundings) -> FittedPostprocess:
    """A fitted post-processing out of its folder.

    Raises:
        DataError: the file is missing or broken.
    """
    saved = load_fit(folder, _Saved)
    return FittedPostprocess(saved.rule, saved.display, around.skeleton)


def fit(work: StageInput) -> StageFit:
    """Chooses a rule on ``calibrate``.

    Raises:
        ConfigError: the flags of the language model are wrong.
        DataError: predictions that can't be read.
    """
    return on_first_rank(lambda: _choose(work))


def _choose(work: StageInput) -> StageFit:
    assert work.results is not None
    calibrate = CalibrationSet.open(work)
    people, images = calibrate.read(work.results), Images.of_split(work.data("calibrate"))
    clipped = clip(people, {number: images.size(number) for number in images.ids})
    rule, gain = choose_rule(clipped, calibrate)
    tidied = rule.apply(clipped, calibrate.skeleton)
    display = choose_display_thresholds(tidied, calibrate.truth, calibrate.skeleton)
    before, after = (
        evaluate(calibrate.path, some.rows(calibrate.truth.category), calibrate.skeleton).AP
        for some in (people, tidied)
    )
    figures = {
        "score_weight": rule.weight, "same_person": rule.limit, "ap_calibrate_change": round(after - before, 5),
        "ap_crossfit_gain": round(gain, 5), "display": display.to_dict(),
    }  # fmt: skip
    declined = "" if after > before else "neither clipping nor another score raises AP on calibrate"
    return StageFit(FittedPostprocess(rule, display, calibrate.skeleton), tidied, declined, figures)


def show(work: StageInput, made: StageFit, people: Predictions, data: CocoPose) -> tuple[dict[str, Any], list[Path]]:
    """facts.json, text/ID.txt and a few images with their text; everyone above the threshold is in them.

    Raises:
        LanguageModelError: the local model can't be loaded.
        OutputError: a file can't be written.
    """
    assert isinstance(made.fitted, FittedPostprocess)
    config, display = work.config, made.fitted.display
    model = make_model(config.llm, config.llm_url, config.seed, config.device)
    writer, rows = DescriptionWriter(model, work.folder / "answers", config.llm_people, work.say), []
    for index, image_id in enumerate(data.image_ids):
        shown, variances = _shown(people.of_image(image_id), display)
        described = describe_image(writer, data.skeleton, shown, display.keypoint, variances)
        name = data.file(index).name
        rows.append({"image_id": image_id, "name": str(image_id), "file_name": name, "people": described})
    write_words(work.folder, rows)
    peopled = [index for index, row in enumerate(rows) if row["people"]]
    step = max(1, len(peopled) // SHOWN)
    drawn = [_draw(work.folder, data, people, display, rows[i], i) for i in peopled[::step][:SHOWN]]
    return writer.tally.figures(), drawn


def _shown(people: Predictions, display: DisplayThresholds) -> tuple[People, Array]:
    """People above the threshold, best first, and their variances."""
    chosen = people.select(people.scores >= display.score).best_first()
    return chosen.as_people(), chosen.variances


def _draw(
    folder: Path, data: CocoPose, people: Predictions, display: DisplayThresholds, row: Mapping[str, Any], index: int
) -> Path:
    shown, _ = _shown(people.of_image(row["image_id"]), display)
    drawn = PoseAnnotator(data.skeleton, display.keypoint).draw(data.read_image(index), shown)
    path = folder / f"words-{row['name']}.jpg"
    write_image(path, with_caption(drawn, [person["words"]["text"] for person in row["people"]]))
    return path


STAGE = Stage(fit, load, fields=("llm", "llm_url", "llm_people", "seed"), show=show)

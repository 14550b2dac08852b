"""Stage 5 for images: clipping, scores, thresholds for showing people, and people in words.

Words and thresholds change no prediction.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sia.coco.coco_files import GroundTruth
from sia.description.image import describe_image, make_model, write_words
from sia.description.writer import DescriptionWriter
from sia.drawing.annotator import PoseAnnotator, with_caption
from sia.errors import ConfigError
from sia.io.images import write_image
from sia.people import People
from sia.skeletons.skeleton import Skeleton
from stages.postprocess.duplicates import choose_rule, clip
from stages.postprocess.thresholds import DisplayThresholds, choose_display_thresholds
from stages.stage import StageResult, StageWork
from utils.metrics.coco_eval import evaluate
from utils.metrics.predictions import Predictions, read_predictions

SHOWN = 6
"""Images for the report."""


def run(work: StageWork) -> StageResult:
    """Tidies predictions by a rule chosen on ``calibrate``, and describes the people of ``test``.

    Raises:
        ConfigError: there are no predictions to work on, or the flags of the language model are wrong.
        DataError: predictions or images that can't be read.
        LanguageModelError: the local model can't be loaded.
        OutputError: a file can't be written.
    """
    parts = {name: Part(work, name) for name in ("calibrate", "test")}
    model = make_model(work.config.llm, work.config.llm_url, work.config.seed)
    calibrate = parts["calibrate"]
    rule, gain = choose_rule(calibrate.clipped, calibrate.truth, calibrate.skeleton)
    tidied = {name: rule.apply(part.clipped, part.skeleton) for name, part in parts.items()}
    after = {name: work.folder / f"{name}.json" for name in parts}
    for name, people in tidied.items():
        people.save(after[name], parts[name].truth.category)
    change = calibrate.ap(tidied["calibrate"]) - calibrate.ap(calibrate.people)
    display = choose_display_thresholds(tidied["calibrate"], calibrate.truth, calibrate.skeleton)
    writer = DescriptionWriter(model, work.folder / "answers", work.config.llm_people, work.say)
    images = describe(work, parts["test"], tidied["test"], display, writer)
    figures: dict[str, Any] = {
        "score_weight": rule.weight, "same_person": rule.limit, "ap_calibrate_change": round(change, 5),
        "ap_crossfit_gain": round(gain, 5), "display": display.to_dict(), **writer.tally.figures(),
    }  # fmt: skip
    declined = "" if change > 0 else "neither clipping nor another score raises AP on calibrate"
    return StageResult(after, declined=declined, figures=figures, images=images)


class Part:
    """The images of one part and what was predicted for them.

    Attributes:
        images: the data set; the labels of ``test`` are not looked at.
        people: as they come in.
        clipped: with keypoints inside their images.
    """

    def __init__(self, work: StageWork, name: str) -> None:
        if name not in work.before:
            raise ConfigError(f"The stage postprocess has no predictions of '{name}'. Run an earlier stage first.")
        self.images = work.images(name)
        self.skeleton: Skeleton = self.images.skeleton
        self.truth: GroundTruth = work.truth(name, self.skeleton)
        self.people = read_predictions(work.before[name], self.truth, self.skeleton)
        self.clipped = clip(self.people, self._sizes())
        self._file = work.parts[name]

    def _sizes(self) -> Mapping[int, tuple[int, int]]:
        return {image_id: self.images.size(i) for i, image_id in enumerate(self.images.image_ids)}

    def ap(self, people: Predictions) -> float:
        """COCO's AP."""
        return evaluate(self._file, people.rows(self.truth.category), self.skeleton).AP


def describe(
    work: StageWork, part: Part, people: Predictions, display: DisplayThresholds, writer: DescriptionWriter
) -> list[Path]:
    """facts.json, text/ID.txt and a few images with their text; everyone above the threshold is in them."""
    rows = []
    for index, image_id in enumerate(part.images.image_ids):
        shown, variances = _shown(people.of_image(image_id), display)
        described = describe_image(writer, part.skeleton, shown, display.keypoint, variances)
        name = part.images.files[index].name
        rows.append({"image_id": image_id, "name": str(image_id), "file_name": name, "people": described})
    write_words(work.folder, rows)
    peopled = [index for index, row in enumerate(rows) if row["people"]]
    step = max(1, len(peopled) // SHOWN)
    return [_image(work.folder, part, people, display, rows[i], i) for i in peopled[::step][:SHOWN]]


def _shown(people: Predictions, display: DisplayThresholds) -> tuple[People, np.ndarray[Any, np.dtype[np.float64]]]:
    """People above the threshold, best first, and their variances."""
    chosen = people.select(people.scores >= display.score).best_first()
    return chosen.as_people(), chosen.variances


def _image(
    folder: Path, part: Part, people: Predictions, display: DisplayThresholds, row: Mapping[str, Any], index: int
) -> Path:
    shown, _ = _shown(people.of_image(row["image_id"]), display)
    drawn = PoseAnnotator(part.skeleton, display.keypoint).draw(part.images.read_image(index), shown)
    path = folder / f"words-{row['name']}.jpg"
    write_image(path, with_caption(drawn, [person["words"]["text"] for person in row["people"]]))
    return path

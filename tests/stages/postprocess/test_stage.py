"""The whole stage on synthetic people, with a server that lies about half of the time."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datasets.coco.coco_pose import CocoPose
from datasets.synthetic import write_dataset
from sia.coco.coco_files import load_ground_truth
from sia.description.doubt import BELOW
from sia.evaluation.coco_eval import evaluate
from sia.evaluation.predictions import Predictions, read_predictions
from sia.skeletons.skeleton import COCO_PERSON
from stages.postprocess import stage as postprocess
from stages.postprocess.stage import STAGE
from stages.stage import Images, StageFit, StageInput
from tests.serving import serving
from tests.sia.description.chat import Chat, sentences
from tests.stages.crowd import predict
from tests.stages.pose_helpers import reloaded, stage_input
from utils.config.train_config import TrainConfig


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("people")
    write_dataset(folder, 8, 8, 128, 0, close=True)
    return folder


@pytest.fixture
def work(people: Path, tmp_path: Path) -> StageInput:
    return make_work(people, tmp_path)


def make_work(people: Path, folder: Path) -> StageInput:
    for name, file in (("calibrate", "train"), ("test", "val")):
        truth = json.loads((people / f"{file}.json").read_text())
        labelled = [person for person in truth["annotations"] if person["num_keypoints"]]
        found = predict({**truth, "annotations": labelled}, jitter=0.4, ghosts=0.3, blind=0.3)
        found.save(folder / f"{name}.json", 1)
    splits = {"fit": people / "train.json", "calibrate": people / "train.json"}
    config = TrainConfig("sia_pose_simple", people / "images", splits["fit"], people / "val.json")
    return stage_input(folder / "stage", config, splits, folder / "calibrate.json")


def run(work: StageInput) -> tuple[StageFit, Predictions, dict[str, Any], list[Path]]:
    """What was fitted, whom it leaves in test, and what is told of them."""
    made = postprocess.fit(work)
    assert work.results is not None and made.fitted is not None and STAGE.show is not None
    data = CocoPose(work.config.coco_root, work.config.val_ann)
    truth = load_ground_truth(work.config.val_ann, COCO_PERSON)
    before = read_predictions(work.results.with_name("test.json"), truth, COCO_PERSON)
    people = made.fitted.apply(before, Images.of_split(data))
    return made, people, *STAGE.show(work, made, people, data)


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_results_words_and_images(work: StageInput) -> None:
    result, people, figures, drawn = run(work)
    assert evaluate(work.config.val_ann, people.rows(1), COCO_PERSON).AP > 0
    assert (result.figures["ap_calibrate_change"] > 0) == (not result.declined)
    images = json.loads((work.folder / "facts.json").read_text())
    assert len(images) == 8
    texts = {path.stem: path.read_text() for path in (work.folder / "text").iterdir()}
    assert set(texts) == {image["name"] for image in images}
    told = [person for image in images for person in image["people"]]
    assert all(person["words"]["text"] in texts[image["name"]] for image in images for person in image["people"])
    assert all(person["score"] >= result.figures["display"]["score"] - 1e-3 for person in told)
    assert drawn and all(path.is_file() for path in drawn)
    assert figures["faithfulness"] is None


def test_the_same_input_gives_the_same_files(work: StageInput, tmp_path: Path) -> None:
    other = replace(work, folder=tmp_path / "again")
    other.folder.mkdir()
    run(work)
    run(other)
    first, second = files_of(work.folder), files_of(other.folder)
    assert first.keys() == second.keys()
    assert [name for name in first if first[name] != second[name]] == []


def test_words_change_no_prediction(work: StageInput, tmp_path: Path) -> None:
    _, plain, _, _ = run(work)
    with serving(Chat()) as chat:
        chat.answers += [
            sentences(("The person is smiling.", ["p1.seen.person"])) if n % 2 else
            sentences((_seen(17), ["p1.seen.person"]), (_seen(99), ["p1.seen.person"]))
            for n in range(400)
        ]  # fmt: skip
        config = replace(work.config, llm="tiny", llm_url=chat.address, llm_people=6)
        worded = replace(work, folder=tmp_path / "worded", config=config)
        worded.folder.mkdir()
        _, same, figures, _ = run(worded)
    for name, column in vars(plain).items():
        np.testing.assert_array_equal(column, getattr(same, name))
    assert 0 <= figures["faithfulness"] < 1
    assert figures["llm_given"] > figures["llm_kept"]
    assert len(list((worded.folder / "answers").iterdir())) == figures["llm_answers"] - figures["llm_cached"]
    images = json.loads((worded.folder / "facts.json").read_text())
    people = [person for image in images for person in image["people"]]
    doubted = sum(person["score"] < BELOW for person in people)
    assert 0 < figures["llm_asked"] == min(6, doubted) < len(people)  # of the others the model isn't asked
    assert figures["llm_sure"] == len(people) - doubted
    dropped = [d for person in people for d in person["words"]["dropped"]]
    assert len(dropped) == figures["llm_given"] - figures["llm_kept"]


def _seen(number: int) -> str:
    return f"{number} keypoints are in view."


def test_keypoints_end_inside_their_images_also_as_it_comes_back_from_its_folder(
    work: StageInput, tmp_path: Path
) -> None:
    made, people, _, _ = run(work)
    assert people.keypoints.min() >= 0 and people.keypoints.max() <= 128
    assert made.fitted is not None
    again = reloaded(STAGE, made.fitted, tmp_path / "kept")
    assert again == made.fitted

"""The whole stage on synthetic people, with a server that lies about half of the time."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from datasets.synthetic import write_dataset
from sia.errors import ConfigError
from sia.skeletons.skeleton import COCO_PERSON
from stages.postprocess import stage as postprocess
from stages.stage import StageWork
from tests.serving import serving
from tests.sia.description.chat import Chat, sentences
from tests.stages.crowd import predict
from utils.config.train_config import TrainConfig
from utils.metrics.coco_eval import evaluate


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("people")
    write_dataset(folder, 8, 8, 128, 0, close=True)
    return folder


@pytest.fixture
def work(people: Path, tmp_path: Path) -> StageWork:
    parts = {"fit": people / "train.json", "calibrate": people / "train.json", "test": people / "val.json"}
    before = {}
    for name in ("calibrate", "test"):
        truth = json.loads(parts[name].read_text())
        labelled = [person for person in truth["annotations"] if person["num_keypoints"]]
        predict({**truth, "annotations": labelled}, jitter=0.4, ghosts=0.3, blind=0.3).save(
            tmp_path / f"{name}.json", 1
        )
        before[name] = tmp_path / f"{name}.json"
    folder = tmp_path / "stage"
    folder.mkdir()
    config = TrainConfig("sia_pose_simple", people / "images", parts["fit"], parts["test"])
    return StageWork(folder, config, people / "images", parts, before, None, lambda line: None)


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_results_words_and_images(work: StageWork) -> None:
    result = postprocess.run(work)
    before, after = (evaluate(work.parts["test"], json.loads(p.read_text()), COCO_PERSON).AP
                     for p in (work.before["test"], result.after["test"]))  # fmt: skip
    assert after > 0
    assert (result.figures["ap_calibrate_change"] > 0) == (not result.declined)
    assert before >= 0
    images = json.loads((work.folder / "facts.json").read_text())
    assert len(images) == 8
    texts = {path.stem: path.read_text() for path in (work.folder / "text").iterdir()}
    assert set(texts) == {image["name"] for image in images}
    told = [person for image in images for person in image["people"]]
    assert all(person["words"]["text"] in texts[image["name"]] for image in images for person in image["people"])
    assert all(person["score"] >= result.figures["display"]["score"] - 1e-3 for person in told)
    assert result.images and all(path.is_file() for path in result.images)
    assert result.figures["faithfulness"] is None


def test_the_same_input_gives_the_same_files(work: StageWork, tmp_path: Path) -> None:
    other = replace(work, folder=tmp_path / "again")
    other.folder.mkdir()
    postprocess.run(work)
    postprocess.run(other)
    first, second = files_of(work.folder), files_of(other.folder)
    assert first.keys() == second.keys()
    assert [name for name in first if first[name] != second[name]] == []


def test_words_change_no_prediction(work: StageWork, tmp_path: Path) -> None:
    plain = postprocess.run(work)
    with serving(Chat()) as chat:
        chat.answers += [
            sentences(("The person is smiling.", ["p1.seen.person"])) if n % 2 else
            sentences((_seen(17), ["p1.seen.person"]), (_seen(99), ["p1.seen.person"]))
            for n in range(400)
        ]  # fmt: skip
        config = replace(work.config, llm="tiny", llm_url=chat.address, llm_people=6)
        worded = replace(work, folder=tmp_path / "worded", config=config)
        worded.folder.mkdir()
        result = postprocess.run(worded)
    for name in ("calibrate", "test"):
        assert plain.after[name].read_bytes() == result.after[name].read_bytes()
    figures = result.figures
    assert figures["llm_asked"] == 6
    assert 0 <= figures["faithfulness"] < 1
    assert figures["llm_given"] > figures["llm_kept"]
    assert len(list((worded.folder / "answers").iterdir())) == figures["llm_answers"] - figures["llm_cached"]
    images = json.loads((worded.folder / "facts.json").read_text())
    dropped = [d for image in images for person in image["people"] for d in person["words"]["dropped"]]
    assert len(dropped) == figures["llm_given"] - figures["llm_kept"]


def _seen(number: int) -> str:
    return f"{number} keypoints are in view."


def test_without_predictions(work: StageWork) -> None:
    with pytest.raises(ConfigError, match="no predictions of 'calibrate'"):
        postprocess.run(replace(work, before={}))


def test_keypoints_end_inside_their_images(work: StageWork) -> None:
    result = postprocess.run(work)
    for row in json.loads(result.after["test"].read_text()):
        points = np.array(row["keypoints"]).reshape(-1, 3)[:, :2]
        assert points.min() >= 0
        assert points.max() <= 128

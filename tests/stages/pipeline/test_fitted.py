"""A finished pipeline on new images: in those of its own test split it finds again what it found there."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import inference_image_pose
import train_pose
from datasets.coco.coco_pose import CocoPose
from datasets.synthetic import write_dataset
from sia.evaluation.predictions import Predictions
from sia.io.images import read_image
from sia.runtimes.predictor import Predictor
from stages.error_model.folds import CalibrationSet
from stages.pipeline import fitted
from stages.pipeline.state import State
from stages.stage import Images, Stage, StageFit, StageInput, load_fit, save_fit

SHIFT = 3.0
"""Pixels by which the simulated stage moves everybody."""


@dataclass(frozen=True)
class Shift:
    pixels: float

    def apply(self, people: Predictions, images: Images) -> Predictions:
        assert set(people.image_ids.tolist()) <= set(images.ids)
        return replace(people, keypoints=people.keypoints + self.pixels)

    def save(self, folder: Path) -> None:
        save_fit(folder, self)


def fit(work: StageInput) -> StageFit:
    assert work.results is not None
    people = CalibrationSet.open(work).read(work.results)
    return StageFit(Shift(SHIFT), Shift(SHIFT).apply(people, Images.of_split(work.data("calibrate"))))


SIMULATED = Stage(fit, lambda folder, around: load_fit(folder, Shift), fields=("prior_steps",))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained baseline, a simulated prior and the real last stage; ssl and ensemble have not run."""
    folder = tmp_path_factory.mktemp("finished")
    write_dataset(folder, 30, 6, 64, 0, 0)
    data = f"-COCO_ROOT {folder}/images -TRAIN_ANN {folder}/train.json -VAL_ANN {folder}/val.json -CALIBRATE 0.2"
    flags = f"-PIPELINE {folder}/p -SIZE test -IMGSZ 64 -BS 4 -WORKERS 0 -DEVICE cpu -EPOCH 1 {data}"
    with pytest.MonkeyPatch.context() as patch:
        use_shifts(patch)
        for stage in ("baseline", "prior", "postprocess"):
            forced = "--FORCE_STAGE prior,postprocess"
            assert train_pose.main(f"-STAGE {stage} {flags} {forced}".split()) == 0
    return folder


@pytest.fixture(autouse=True)
def simulated(monkeypatch: pytest.MonkeyPatch) -> None:
    use_shifts(monkeypatch)


def use_shifts(patch: pytest.MonkeyPatch) -> None:
    patch.setitem(fitted.MODULES, "prior", "tests.shifts")
    patch.setitem(sys.modules, "tests.shifts", SimpleNamespace(STAGE=SIMULATED))


def run(*flags: object) -> int:
    return inference_image_pose.main([str(flag) for flag in ("--pipeline", *flags)])


def rows(path: Path, image_id: int) -> np.ndarray:
    """(N, 3K + 1) keypoints and score, in an order of their own."""
    found = [row for row in json.loads(path.read_text()) if row["image_id"] == image_id]
    table = np.array([[*row["keypoints"], row["score"]] for row in found])
    return table[np.lexsort(table.T.round(2))]


def test_moved_without_its_data_it_finds_in_its_test_images_what_it_found_there(finished: Path, tmp_path: Path) -> None:
    """Beside a broken file. Nothing but the fitted folder is there any more."""
    shutil.copytree(finished, tmp_path / "old")
    (tmp_path / "old" / "p" / "fitted").rename(tmp_path / "moved")
    test = json.loads((finished / "p" / "splits" / "test.json").read_text())
    (tmp_path / "new").mkdir()
    for image in test["images"]:
        shutil.copy(finished / "images" / image["file_name"], tmp_path / "new" / f"{image['id']}.jpg")
    (tmp_path / "new" / "9999.jpg").write_bytes(b"broken")
    shutil.rmtree(tmp_path / "old")
    hidden = finished.rename(finished.with_name("hidden"))
    try:
        before = {path: path.read_bytes() for path in (tmp_path / "moved").rglob("*") if path.is_file()}
        flags = ("--image_path", tmp_path / "new", "--output_dir", tmp_path / "out", "--conf_thresh", 0)
        assert run(tmp_path / "moved", *flags) == 1
    finally:
        hidden.rename(finished)
    assert {path: path.read_bytes() for path in before} == before
    state = State.read(finished / "p")
    assert state is not None
    for image in test["images"]:
        known = rows(state.path(state.stages["postprocess"].after["test"]), image["id"])
        found = rows(tmp_path / "out" / "results.json", image["id"])
        assert len(found) == len(known) > 0
        np.testing.assert_allclose(found, known, atol=2e-3)
    assert len(json.loads((tmp_path / "out" / "run.json").read_text())["unreadable"]) == 1


def test_thresholds_are_those_that_suit_its_labels(finished: Path, tmp_path: Path) -> None:
    image = next((finished / "images").rglob("*.jpg"))
    flags = (finished / "p", "--image_path", image, "--output_dir")
    assert run(*flags, tmp_path / "own") == run(*flags, tmp_path / "given", "--kpt_thresh", 0.25) == 0
    own, given = (json.loads((tmp_path / name / "run.json").read_text())["flags"] for name in ("own", "given"))
    assert 0 <= own["conf_thresh"] == given["conf_thresh"] < 0.5
    assert given["kpt_thresh"] == 0.25


def error_of(capsys: pytest.CaptureFixture[str], *flags: object) -> str:
    assert run(*flags) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


def test_what_can_not_be_used_is_one_line(finished: Path, tmp_path: Path, capsys: Any) -> None:
    image = next((finished / "images").rglob("*.jpg"))
    rest = ("--image_path", image, "--output_dir", tmp_path / "out")
    assert "is no pipeline" in error_of(capsys, tmp_path, *rest)
    assert "--imgsz is not for --pipeline" in error_of(capsys, finished / "p", *rest, "--imgsz", 64)
    assert "--roi_score_thresh is not for --pipeline" in error_of(
        capsys, finished / "p", *rest, "--roi_score_thresh", 0.2
    )
    assert "--tta is not for --pipeline" in error_of(capsys, finished / "p", *rest, "--tta")
    (tmp_path / "broken.jpg").write_bytes(b"broken")
    assert "broken.jpg" in error_of(capsys, finished / "p", "--image_path", tmp_path / "broken.jpg")
    copy = shutil.copytree(finished / "p" / "fitted", tmp_path / "altered")
    (copy / "prior" / "fit.json").write_text("[]")
    assert "prior/fit.json in" in error_of(capsys, copy, *rest)
    (copy / "pipeline.json").write_text("[]")
    assert "Expected `object`" in error_of(capsys, copy, *rest)
    assert not (tmp_path / "out").exists()


def test_a_stage_that_no_longer_stands_is_not_applied(finished: Path, tmp_path: Path, capsys: Any) -> None:
    copy = shutil.copytree(finished / "p", tmp_path / "p")
    assert train_pose.main(f"-STAGE prior -PIPELINE {copy} -PRIOR_STEPS 7 --FORCE_STAGE none".split()) == 0
    assert "new images  python inference_image_pose.py --pipeline" in capsys.readouterr().out
    assert json.loads((copy / "fitted" / "pipeline.json").read_text())["stages"] == []
    assert not (copy / "fitted" / "prior").exists()


def test_a_pipeline_of_the_first_edition_keeps_its_splits_and_its_training(
    finished: Path, tmp_path: Path, capsys: Any
) -> None:
    copy = shutil.copytree(finished / "p", tmp_path / "p")
    content = json.loads((copy / "state.json").read_text())
    content["format"], content["config"]["force_stage"] = "sia_pose_pipeline/1", []
    content["stages"]["baseline"]["flags"] |= {"-PRIOR_STEPS": "3000"}  # all flags stood there
    content["stages"]["baseline"]["inputs"] = {"part fit": {"path": "splits/fit.json", "sha256": "0" * 64}}
    (copy / "manifest.json").write_text(json.dumps(content))
    (copy / "state.json").unlink()
    shutil.rmtree(copy / "fitted")
    image = next((finished / "images").rglob("*.jpg"))
    assert "is of the first edition" in error_of(capsys, copy, "--image_path", image)
    weights = copy / "1-baseline" / "training" / "weights" / "best.pt"
    before, results = weights.stat().st_mtime_ns, (copy / "1-baseline" / "test.json").read_bytes()
    assert train_pose.main(f"-STAGE baseline -PIPELINE {copy}".split()) == 0
    assert weights.stat().st_mtime_ns == before
    assert (copy / "1-baseline" / "test.json").read_bytes() == results
    assert run(copy, "--image_path", image, "--output_dir", tmp_path / "out") == 0


def test_images_of_several_folders_and_odd_names(finished: Path, tmp_path: Path) -> None:
    images = sorted((finished / "images").rglob("*.jpg"))[:3]
    for name, image in zip(("a/x.jpg", "b/x.jpg", "b/c:1 .jpg"), images, strict=True):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(image, tmp_path / "in" / name)
    out = tmp_path / "out"
    assert run(finished / "p", "--image_path", f"{tmp_path}/in/*/*.jpg", "--output_dir", out, "--describe") == 0
    assert len(json.loads((out / "run.json").read_text())["images"]) == 3
    assert (out / "facts.json").is_file()


def test_results_of_another_program_have_no_model(finished: Path, tmp_path: Path, capsys: Any) -> None:
    shutil.copytree(finished / "p", tmp_path / "p")
    shutil.rmtree(tmp_path / "p" / "fitted")
    image = next((finished / "images").rglob("*.jpg"))
    assert "has no model of its own" in error_of(capsys, tmp_path / "p", "--image_path", image)


def test_what_is_found_in_an_image_depends_on_no_other(finished: Path) -> None:
    files = sorted((finished / "images").rglob("*.jpg"))[:3]
    opened = fitted.FittedPipeline.open(finished / "p")
    find = opened.finder(Predictor.load(opened.weights, "cpu"))
    together = find([read_image(file) for file in files])
    for file, people in zip(files, together, strict=True):
        alone = find([read_image(file)])[0]
        np.testing.assert_allclose(alone.keypoints, people.keypoints, atol=2e-3)


def test_images_are_of_files_arrays_or_a_split(finished: Path) -> None:
    data = CocoPose(finished / "images", finished / "val.json")
    split = Images.of_split(data)
    files = Images.of(dict(zip(data.image_ids, data.files, strict=True)))
    assert split.ids == files.ids == tuple(data.image_ids)
    for number in split.ids:
        assert split.size(number) == files.size(number)
        np.testing.assert_array_equal(split.read(number), files.read(number))
        arrays = Images.of({number: split.read(number)})
        assert arrays.size(number) == split.size(number)

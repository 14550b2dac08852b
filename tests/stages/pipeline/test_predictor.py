"""A finished pipeline on new images: on its own test part it finds again what it found there."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import inference_image_pose
import train_pose
from datasets.synthetic import write_dataset
from sia.errors import ConfigError
from sia.skeletons.skeleton import COCO_PERSON
from stages.error_model.fitting import kept
from stages.pipeline import runner as pipeline
from stages.pipeline.manifest import Manifest
from stages.stage import PARTS, StageResult, StageWork
from utils.metrics.predictions import read_predictions

SHIFT = 3.0
"""Pixels by which the simulated stage moves everybody."""


def shifts(work: StageWork) -> StageResult:
    """Moves everybody by what an earlier call in its folder has learned."""
    learned = work.folder / "learned.pt"
    if work.test_root is None:
        learned.write_text(json.dumps(SHIFT))
    after = {part: work.folder / f"{part}.json" for part in PARTS[1:]}
    for part, path in after.items():
        people = read_predictions(work.before[part], work.truth(part, COCO_PERSON), COCO_PERSON)
        assert len(work.images(part, COCO_PERSON)) == len(work.truth(part, COCO_PERSON).images)
        replace(people, keypoints=people.keypoints + json.loads(learned.read_text())).save(path, 1)
    return StageResult(after)


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
    patch.setitem(pipeline.MODULES, "prior", "tests.shifts")
    patch.setitem(sys.modules, "tests.shifts", SimpleNamespace(run=shifts))


def run(*flags: object) -> int:
    return inference_image_pose.main([str(flag) for flag in ("--pipeline", *flags)])


def rows(path: Path, image_id: int) -> np.ndarray:
    """(N, 3K + 1) keypoints and score, in an order of their own."""
    found = [row for row in json.loads(path.read_text()) if row["image_id"] == image_id]
    table = np.array([[*row["keypoints"], row["score"]] for row in found])
    return table[np.lexsort(table.T.round(2))]


def test_it_finds_in_its_test_images_what_it_found_there(finished: Path, tmp_path: Path) -> None:
    """Read from another place, beside a broken file."""
    test = json.loads((finished / "p" / "splits" / "test.json").read_text())
    (tmp_path / "new").mkdir()
    for image in test["images"]:
        shutil.copy(finished / "images" / image["file_name"], tmp_path / "new" / f"{image['id']}.jpg")
    (tmp_path / "new" / "9999.jpg").write_bytes(b"broken")
    before = {path: path.read_bytes() for path in (finished / "p").rglob("*") if path.is_file()}
    flags = ("--image_path", tmp_path / "new", "--output_dir", tmp_path / "out", "--conf_thresh", 0)
    assert run(finished / "p", *flags) == 1
    assert {path: path.read_bytes() for path in before} == before
    manifest = Manifest.read(finished / "p")
    assert manifest is not None
    for image in test["images"]:
        known = rows(manifest.path(manifest.stages["postprocess"].after["test"]), image["id"])
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
    (tmp_path / "broken.jpg").write_bytes(b"broken")
    assert "broken.jpg" in error_of(capsys, finished / "p", "--image_path", tmp_path / "broken.jpg")
    for number, name in enumerate(("4-prior/calibrate.json", "splits/fit.json")):
        copy = shutil.copytree(finished / "p", tmp_path / f"altered-{number}")
        (copy / name).write_text("[]")
        assert "altered" in error_of(capsys, copy, *rest)
    assert not (tmp_path / "out").exists()


def test_stages_of_other_flags_are_named(finished: Path, tmp_path: Path, capsys: Any) -> None:
    copy = shutil.copytree(finished / "p", tmp_path / "p")
    assert train_pose.main(f"-STAGE baseline -PIPELINE {copy} -PRIOR_STEPS 7".split()) == 0
    assert "new images  python inference_image_pose.py --pipeline" in capsys.readouterr().out
    image = next((finished / "images").rglob("*.jpg"))
    error = error_of(capsys, copy, "--image_path", image, "--output_dir", tmp_path / "out")
    assert "prior was made with other flags (-PRIOR_STEPS" in error


def test_images_of_several_folders_and_odd_names(finished: Path, tmp_path: Path) -> None:
    images = sorted((finished / "images").rglob("*.jpg"))[:3]
    for name, image in zip(("a/x.jpg", "b/x.jpg", "b/c:1 .jpg"), images, strict=True):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(image, tmp_path / "in" / name)
    out = tmp_path / "out"
    assert run(finished / "p", "--image_path", f"{tmp_path}/in/*/*.jpg", "--output_dir", out, "--describe") == 0
    assert len(json.loads((out / "run.json").read_text())["images"]) == 3
    assert (out / "facts.json").is_file()


def test_a_network_is_kept_and_never_trained_for_new_images(tmp_path: Path) -> None:
    work: Any = SimpleNamespace(folder=tmp_path, test_root=None)
    first = kept(work, "net", ["digest", 1], nn.Linear(2, 1), lambda: nn.Linear(2, 1))
    again = kept(work, "net", ["digest", 1], nn.Linear(2, 1), lambda: pytest.fail("trained again"))
    assert torch.equal(first.weight, again.weight) and not again.training
    other: Any = SimpleNamespace(folder=tmp_path, test_root=tmp_path)
    with pytest.raises(ConfigError, match="has not kept net-"):
        kept(other, "net", ["digest", 2], nn.Linear(2, 1), lambda: pytest.fail("trained"))


def test_results_of_another_program_have_no_model(finished: Path, tmp_path: Path, capsys: Any) -> None:
    copy = shutil.copytree(finished / "p", tmp_path / "p")
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["stages"]["baseline"]["weights"] = None
    (copy / "manifest.json").write_text(json.dumps(manifest))
    image = next((finished / "images").rglob("*.jpg"))
    assert "has no model of its own" in error_of(capsys, copy, "--image_path", image)

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from datasets.synthetic.dataset import write_dataset
from sia.coco.coco_files import load_ground_truth
from sia.errors import ConfigError, WeightsError
from sia.evaluation.coco_eval import evaluate
from sia.evaluation.predictions import Predictions
from sia.runtimes.predictor import Predictor
from sia.skeletons.skeleton import COCO_PERSON
from stages.baseline import model_of
from stages.ensemble.experts.loading import parse_members
from stages.ensemble.members import (
    INPUT,
    Member,
    OpenMembers,
    as_predictions,
    digests,
    list_members,
    member_files,
    predict_members,
    shared_boxes,
)
from stages.ensemble.stage import STAGE, FittedEnsemble, Fusion, choose, fit, needed
from stages.error_model.folds import CalibrationSet
from stages.stage import Images, StageInput, Surroundings
from tests.inference_helpers import save_weights
from tests.stages.pose_helpers import reloaded, stage_input
from tests.stages.simulated import annotations, labels, member
from utils.config.train_config import TrainConfig


def config(root: Path, **changes: object) -> TrainConfig:
    paths = {"coco_root": root, "train_ann": root / "train.json", "val_ann": root / "val.json"}
    return TrainConfig(model="sia_pose_simple", device="cpu", refinement_steps=1, **{**paths, **changes})


def work(folder: Path, root: Path, say: Callable[[str], None], **changes: object) -> StageInput:
    """What the model finds is the input."""
    splits = {"fit": root / "train.json", "calibrate": root / "train.json"}
    given = stage_input(folder, config(root, **changes), splits, root / "input.json", root / "model.pt", say)
    if not (root / "input.json").exists():
        model_of(given, root / "model.pt")[1].save(root / "input.json", 1)
    return given


def swapped(people: Predictions, share: float, seed: int) -> Predictions:
    """Some people with left and right exchanged."""
    chosen = np.random.default_rng(seed).random(len(people)) < share
    order = COCO_PERSON.flip_order
    return replace(people, keypoints=np.where(chosen[:, None, None], people.keypoints[:, order], people.keypoints))


def simulated(tmp_path: Path, count: int, spread: float) -> tuple[CalibrationSet, list[dict[str, Predictions]], dict]:
    """Labels, what members find in two splits, and the labels of the second."""
    splits = [labels(30, seed=seed) for seed in (0, 1)]
    path = tmp_path / "calibrate.json"
    path.write_text(json.dumps(annotations(splits[0])))
    found = [
        {
            (INPUT if m == 0 else f"m{m}"): swapped(member(truth, spread, 10 * seed + m), 0.1, 99 * seed + m)
            for m in range(count)
        }
        for seed, truth in enumerate(splits)
    ]
    return CalibrationSet(path, load_ground_truth(path, COCO_PERSON), COCO_PERSON, 0), found, annotations(splits[1])


def test_three_independent_members_are_better_than_each(tmp_path: Path) -> None:
    calibrate, (known, unknown), test = simulated(tmp_path, 3, 0.6)
    lines: list[str] = []
    choice = choose(known, calibrate, lines.append)
    assert choice.members[0] == INPUT and len(choice.members) == 3 and len(lines) == 2
    assert choice.fused > max(choice.alone.values()) + 0.05
    fusion = Fusion.fit(choice.members, known, calibrate.labels, COCO_PERSON)
    fused = evaluate(test, fusion.apply(unknown, COCO_PERSON).rows(1), COCO_PERSON).AP
    alone = [evaluate(test, people.rows(1), COCO_PERSON).AP for people in unknown.values()]
    assert fused > max(alone) + 0.05
    assert sorted(set(choice.people.image_ids)) == list(range(1, 31))
    assert np.isfinite(choice.people.variances).all()


def test_a_member_that_is_no_use_is_not_taken(tmp_path: Path) -> None:
    calibrate, (known, _), _ = simulated(tmp_path, 2, 0.3)
    noise = replace(known["m1"], keypoints=known["m1"].keypoints[::-1])
    choice = choose({**known, "noise": noise}, calibrate, lambda line: None)
    assert "m1" in choice.members and "noise" not in choice.members


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("people")
    write_dataset(root, 12, 3, 96, seed=1)
    save_weights(root / "model.pt")
    return root


def test_the_stage_declines_with_an_untrained_model_and_reuses_what_it_found(images: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    first = fit(work(tmp_path / "stage", images, lines.append, tta="flip"))
    assert "no fusion is better" in first.declined
    assert first.fitted is None and set(first.figures["AP of each member"]) == {INPUT, "flip-1"}
    assert sum("looks at" in line for line in lines) == 1
    lines.clear()
    again = fit(work(tmp_path / "stage", images, lines.append, tta="flip"))
    assert not any("looks at" in line for line in lines)
    assert again.figures == first.figures


def test_one_member_alone_is_declined(images: Path, tmp_path: Path) -> None:
    result = fit(work(tmp_path / "stage", images, print, tta="none"))
    assert "one member only" in result.declined


def test_other_weights_of_ours_join_in_two_views(images: Path, tmp_path: Path) -> None:
    result = fit(work(tmp_path / "stage", images, print, tta="flip", members=f"own:{images / 'model.pt'}"))
    assert set(result.figures["AP of each member"]) == {INPUT, "flip-1", "own1-plain-1", "own1-flip-1"}


def test_members_that_can_not_be_used_are_refused(images: Path, tmp_path: Path) -> None:
    for text, message in (("vitpos:a", "Did you mean vitpose"), ("vitpose", "names no file")):
        with pytest.raises(ConfigError, match=message):
            parse_members(text)
    assert [tuple(map(str, m)) for m in parse_members("own:a.pt, rtmpose:b.zip")] == [
        ("own", "a.pt"),
        ("rtmpose", "b.zip"),
    ]
    with pytest.raises(WeightsError, match="no such file"):
        member_files(tmp_path / "missing.pt")
    with pytest.raises(WeightsError, match="no such file"):
        fit(work(tmp_path / "stage", images, print, members="vitpose:missing"))


def test_boxes_that_overlap_are_one() -> None:
    people = member(labels(1, 2), 0.1, 0)
    other = replace(people, boxes=people.boxes + 1.0, scores=people.scores - 0.1)
    boxes = shared_boxes([people, other], [1])
    assert len(boxes) == 2
    assert sorted(boxes.boxes.tolist()) == sorted(people.boxes.tolist())
    assert len(as_predictions([], [], 17)) == 0


def test_a_partner_poses_the_people_in_the_boxes_of_the_others(images: Path, tmp_path: Path) -> None:
    write_model = pytest.importorskip("tests.stages.ensemble.experts.test_simcc").write_model
    text = f"rtmpose:{write_model(tmp_path / 'end2end.onnx')}"
    lines: list[str] = []
    given = work(tmp_path / "stage", images, lines.append, tta="none", members=text)
    result = fit(given)
    assert set(result.figures["AP of each member"]) == {INPUT, "rtmpose1"}
    assert "ensemble: rtmpose1 looks at 12 images of calibrate" in lines
    people = CalibrationSet.open(given).read(given.results)
    replace(people, boxes=people.boxes + 1.0).save(tmp_path / "moved.json", 1)
    fit(replace(given, results=tmp_path / "moved.json"))  # what was found in other boxes is no answer
    assert sum("looks at" in line for line in lines) == 2


def fitted(work: StageInput, known: dict[str, Predictions], calibrate: CalibrationSet, *taken: str) -> FittedEnsemble:
    """With these members, though they may be no gain."""
    members = list_members(work, COCO_PERSON)
    fusion = Fusion.fit((INPUT, *taken), known, calibrate.labels, COCO_PERSON)
    asked = needed(members, fusion)
    return FittedEnsemble(asked, fusion, None, COCO_PERSON, OpenMembers("cpu", COCO_PERSON, work.weights))


def test_a_fit_comes_back_from_its_folder_and_needs_its_members_by_name(images: Path, tmp_path: Path) -> None:
    """Weights of ours are copied along; a file of others may move with the folder, and must be the same."""
    expert = pytest.importorskip("tests.stages.ensemble.experts.test_simcc").write_model(tmp_path / "end2end.onnx")
    text = f"rtmpose:{expert},own:{images / 'model.pt'}"
    given = work(tmp_path / "stage", images, print, tta="flip", members=text)
    calibrate = CalibrationSet.open(given)
    people = calibrate.read(given.results)
    members = list_members(given, COCO_PERSON)
    assert [member.name for member in members] == ["flip-1", "own2-plain-1", "own2-flip-1", "rtmpose1"]
    known = predict_members(members, given, calibrate, people)
    made = fitted(given, known, calibrate, "rtmpose1")
    assert len(made.members) == 4  # who finds people tells the expert where they are
    assert len(fitted(given, known, calibrate, "flip-1").members) == 1
    images = Images.of_split(given.data("calibrate"))
    expected = made.apply(people, images)
    model = Predictor.load(given.weights, "cpu")
    again = reloaded(STAGE, made, tmp_path / "kept", model=model)
    assert sorted(path.name for path in (tmp_path / "kept").iterdir()) == ["fit.json", "own2.pt"]
    for name, column in vars(again.apply(people, images)).items():
        np.testing.assert_array_equal(column, getattr(expected, name))
    nobody = again.apply(people.select(slice(0)), images.select(images.ids[:1]))
    assert nobody.keypoints.shape[1:] == (17, 2)
    around = Surroundings("cpu", 1, COCO_PERSON, model, tmp_path / "kept")
    expert.rename(tmp_path / "kept" / "end2end.onnx")
    assert STAGE.load(tmp_path / "kept", around).apply(people, images.select(())).keypoints.shape[1:] == (17, 2)
    (tmp_path / "kept" / "end2end.onnx").write_bytes(b"another")
    with pytest.raises(WeightsError, match="is not the file that the pipeline was made with"):
        STAGE.load(tmp_path / "kept", around)
    (tmp_path / "kept" / "end2end.onnx").unlink()
    with pytest.raises(WeightsError, match=r"needs .*end2end\.onnx \(rtmpose1\), and it is not there"):
        STAGE.load(tmp_path / "kept", around)


def test_an_openvino_export_is_two_files(tmp_path: Path) -> None:
    place, fitted = tmp_path / "place", tmp_path / "fitted"
    for folder in (place, fitted):
        folder.mkdir()
    (place / "model.xml").write_text("<net/>")
    with pytest.raises(WeightsError, match="no such file"):
        member_files(place / "model.xml")
    (place / "model.bin").write_bytes(b"weights")
    path = place / "model.xml"
    saved = Member("own1", "own", str(path), digests(path)).save(fitted)
    assert sorted(file.name for file in fitted.iterdir()) == ["own1.bin", "own1.xml"]
    assert saved.located([fitted]).path == str(fitted / "own1.xml")
    (fitted / "own1.bin").write_bytes(b"others")
    with pytest.raises(WeightsError, match="is not the file that the pipeline was made with"):
        saved.located([fitted])

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from datasets.synthetic.dataset import write_dataset
from sia.errors import ConfigError, WeightsError
from sia.skeletons.skeleton import COCO_PERSON
from stages.ensemble.experts.loading import parse_members
from stages.ensemble.member_predictions import INPUT, MemberPredictions, fingerprint
from stages.ensemble.members import as_predictions, shared_boxes
from stages.ensemble.stage import choose, fused_test, run
from stages.error_model.folds import CalibrationSet
from stages.stage import StageWork
from tests.inference_helpers import save_weights
from tests.stages.simulated import annotations, labels, member
from utils.config.train_config import TrainConfig
from utils.metrics.coco_eval import evaluate
from utils.metrics.predictions import Predictions


def config(root: Path, **changes: object) -> TrainConfig:
    paths = {"coco_root": root, "train_ann": root / "train.json", "val_ann": root / "val.json"}
    return TrainConfig(model="sia_pose_simple", device="cpu", refinement_steps=1, **{**paths, **changes})


def work(folder: Path, root: Path, say: Callable[[str], None], **changes: object) -> StageWork:
    folder.mkdir(exist_ok=True)
    parts = {"fit": root / "train.json", "calibrate": root / "train.json", "test": root / "val.json"}
    return StageWork(folder, config(root, **changes), root, parts, {}, root / "model.pt", say)


def swapped(people: Predictions, share: float, seed: int) -> Predictions:
    """Some people with left and right exchanged."""
    chosen = np.random.default_rng(seed).random(len(people)) < share
    order = COCO_PERSON.flip_order
    return replace(people, keypoints=np.where(chosen[:, None, None], people.keypoints[:, order], people.keypoints))


def simulated(tmp_path: Path, count: int, spread: float) -> tuple[CalibrationSet, MemberPredictions, dict]:
    parts = {name: labels(30, seed=seed) for name, seed in (("calibrate", 0), ("test", 1))}
    (tmp_path / "calibrate.json").write_text(json.dumps(annotations(parts["calibrate"])))
    found = {
        name: {
            (INPUT if m == 0 else f"m{m}"): swapped(member(truth, spread, 10 * seed + m), 0.1, 99 * seed + m)
            for m in range(count)
        }
        for seed, (name, truth) in enumerate(parts.items())
    }
    calibrate = CalibrationSet.open(tmp_path / "calibrate.json", COCO_PERSON, 0)
    return calibrate, MemberPredictions(found["calibrate"], found["test"], {}), annotations(parts["test"])


def test_three_independent_members_are_better_than_each(tmp_path: Path) -> None:
    calibrate, gathered, test = simulated(tmp_path, 3, 0.6)
    lines: list[str] = []
    choice = choose(gathered.calibrate, calibrate, lines.append)
    assert choice.members[0] == INPUT and len(choice.members) == 3 and len(lines) == 2
    assert choice.fused > max(choice.alone.values()) + 0.05
    fused = evaluate(test, fused_test(gathered, choice.members, calibrate).rows(1), COCO_PERSON).AP
    alone = [evaluate(test, people.rows(1), COCO_PERSON).AP for people in gathered.test.values()]
    assert fused > max(alone) + 0.05
    assert sorted(set(choice.people.image_ids)) == list(range(1, 31))
    assert np.isfinite(choice.people.variances).all()


def test_a_member_that_is_no_use_is_not_taken(tmp_path: Path) -> None:
    calibrate, gathered, _ = simulated(tmp_path, 2, 0.3)
    noise = replace(gathered.calibrate["m1"], keypoints=gathered.calibrate["m1"].keypoints[::-1])
    choice = choose({**gathered.calibrate, "noise": noise}, calibrate, lambda line: None)
    assert "m1" in choice.members and "noise" not in choice.members


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("people")
    write_dataset(root, 12, 3, 96, seed=1)
    save_weights(root / "model.pt")
    return root


def test_the_stage_declines_with_an_untrained_model_and_reuses_what_it_found(images: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    first = run(work(tmp_path / "stage", images, lines.append, tta="flip"))
    assert "no fusion is better" in first.declined
    assert first.after["test"].is_file() and set(first.figures["AP of each member"]) == {INPUT, "flip-1"}
    assert sum("looks at" in line for line in lines) == 4
    lines.clear()
    again = run(work(tmp_path / "stage", images, lines.append, tta="flip"))
    assert not any("looks at" in line for line in lines)
    assert again.figures == first.figures and again.after == first.after


def test_one_member_alone_is_declined(images: Path, tmp_path: Path) -> None:
    result = run(work(tmp_path / "stage", images, print, tta="none"))
    assert "one member only" in result.declined


def test_other_weights_of_ours_join_in_two_views(images: Path, tmp_path: Path) -> None:
    result = run(work(tmp_path / "stage", images, print, tta="flip", members=f"own:{images / 'model.pt'}"))
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
        fingerprint(tmp_path / "missing.pt")
    with pytest.raises(WeightsError, match="no such file"):
        run(work(tmp_path / "stage", images, print, members="vitpose:missing"))


def test_boxes_that_overlap_are_one() -> None:
    people = member(labels(1, 2), 0.1, 0)
    other = replace(people, boxes=people.boxes + 1.0, scores=people.scores - 0.1)
    boxes = shared_boxes([people, other], [1])
    assert len(boxes.scores) == 2
    assert sorted(boxes.corners.tolist()) == sorted(people.boxes.tolist())
    assert boxes.fingerprint() != shared_boxes([other], [1]).fingerprint()
    assert len(as_predictions([], [], 17)) == 0


def test_a_partner_poses_the_people_in_the_boxes_of_the_others(images: Path, tmp_path: Path) -> None:
    write_model = pytest.importorskip("tests.stages.ensemble.experts.test_simcc").write_model
    text = f"rtmpose:{write_model(tmp_path / 'end2end.onnx')}"
    lines: list[str] = []
    result = run(work(tmp_path / "stage", images, lines.append, tta="none", members=text))
    assert set(result.figures["AP of each member"]) == {INPUT, "rtmpose1"}
    assert "ensemble: rtmpose1 looks at 3 images of test" in lines

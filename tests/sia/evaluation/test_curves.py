"""Curves and CrowdPose's figures against obvious code and against faster-coco-eval."""

from __future__ import annotations

import copy
import json
from dataclasses import replace

import numpy as np
import pytest
from faster_coco_eval import COCO
from faster_coco_eval.core.faster_eval_api import COCOeval_faster

from sia.cli import main
from sia.coco.coco_files import check_results, load_ground_truth, read_skeleton
from sia.evaluation.curves import curves
from sia.evaluation.error_kinds import ErrorAnalysis
from sia.skeletons.skeleton import COCO_PERSON, Skeleton
from tests.sia.evaluation.made_up import save
from tests.sia.evaluation.test_coco_eval import made_up

CROWDPOSE = [f"{side}_{part}" for part in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
             for side in ("left", "right")] + ["head", "neck"]  # fmt: skip
SIGMAS = np.array([0.79, 0.79, 0.72, 0.72, 0.62, 0.62, 1.07, 1.07, 0.87, 0.87, 0.89, 0.89, 0.79, 0.79]) / 10
OCHUMAN = ["right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow", "left_wrist", "right_hip",
           "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle", "head", "neck", "right_ear", "left_ear",
           "nose", "right_eye", "left_eye"]  # fmt: skip


def test_curves_equal_obvious_code():
    content, rows = made_up(3, COCO_PERSON, images=30)
    truth = load_ground_truth(content, COCO_PERSON)
    errors = ErrorAnalysis.of(truth, check_results(rows, truth, COCO_PERSON), COCO_PERSON)
    scores, right, counted = errors.people.scores, errors.matches.right[0], errors.matches.counted[0]
    found = curves(errors.matches, scores, errors.oks)
    people = int(errors.matches.people.sum())
    best = max(
        2 * (right & (scores >= t)).sum() / ((counted & (scores >= t)).sum() + people) for t in sorted(set(scores))
    )
    assert found["f1"]["best"]["f1"] == pytest.approx(best)
    at = found["f1"]["best"]["score"]
    assert found["f1"]["best"]["recall"] == pytest.approx((right & (scores >= at)).sum() / people)
    mean = np.mean(found["precision"]["mean"])
    assert mean == pytest.approx(errors.precision(errors.people), abs=1e-4)
    bins = found["reliability"]["bins"]
    assert sum(row["count"] for row in bins) == counted.sum()
    low = counted & (scores < 0.1)
    assert bins[0]["precision"] == pytest.approx(right[low].mean())
    assert bins[0]["oks"] == pytest.approx(errors.oks[low].mean())
    rated = [counted & (scores >= low / 10) & (scores < (low + 1) / 10 + (low == 9)) for low in range(10)]
    gaps = [group.sum() * abs(scores[group].mean() - right[group].mean()) for group in rated if group.any()]
    assert found["reliability"]["error"] == pytest.approx(sum(gaps) / counted.sum())
    wild = curves(errors.matches, 10 * scores, errors.oks)
    assert wild["reliability"]["error"] is None and wild["f1"]["best"]["f1"] == pytest.approx(best)


def crowd(names, seed=5):
    skeleton = read_skeleton({"categories": [{"id": 1, "name": "person", "keypoints": names}]}, "made up")
    content, rows = made_up(seed, skeleton, images=40, people=6)
    rng = np.random.default_rng(seed)
    for image in content["images"]:
        image["crowdIndex"] = round(float(rng.random()), 3)
    for row in content["annotations"]:
        row["iscrowd"] = 0
        del row["area"]
    return skeleton, content, rows


def test_crowdpose_equals_faster_coco_eval(tmp_path, capsys):
    _, content, rows = crowd(CROWDPOSE)
    save(tmp_path, val=content, results=rows)
    flags = ["--results", str(tmp_path / "results.json"), "--ann_file", str(tmp_path / "val.json"), "--crowdpose"]
    assert main(["evaluate", *flags, "--output_dir", str(tmp_path / "out")]) == 0
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())

    def silent(*_):
        pass

    content = copy.deepcopy(content)
    for row in content["annotations"]:
        row["area"] = 1.0  # the loader wants one; it is not used
    truth = COCO(content, print_function=silent)
    scored = COCOeval_faster(
        truth, truth.loadRes(copy.deepcopy(rows)), "keypoints_crowd", print_function=silent,
        kpt_oks_sigmas=SIGMAS.tolist(), use_area=False,
    )  # fmt: skip
    scored.evaluate()
    scored.accumulate()
    scored.summarize()
    names = ("AP", "AP50", "AP75", "AR", "AR50", "AR75")
    assert [metrics[name] for name in names] == pytest.approx(scored.stats[:6].tolist(), abs=1e-12)
    assert list(metrics["crowd"]) == ["AP_easy", "AP_medium", "AP_hard"]
    assert list(metrics["crowd"].values()) == pytest.approx(scored.stats[6:9].tolist(), abs=5.1e-5)  # it rounds
    assert min(metrics["crowd"].values()) > 0 and len(set(metrics["crowd"].values())) == 3
    assert "AP_easy" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content["images"][3].pop("crowdIndex"), "needs the crowdIndex"),
        (lambda content: content["images"][3].update(crowdIndex="much"), "'much'"),
        (lambda content: content["categories"][0].update(keypoints=[*CROWDPOSE[:13], "tail"]), "14 keypoints"),
    ],
)
def test_other_files_are_no_crowdpose(tmp_path, capsys, change, message):
    _, content, rows = crowd(CROWDPOSE)
    change(content)
    save(tmp_path, val=content, results=rows)
    flags = ["--results", str(tmp_path / "results.json"), "--ann_file", str(tmp_path / "val.json"), "--crowdpose"]
    assert main(["evaluate", *flags, "--output_dir", str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and message in error


@pytest.mark.parametrize("names", [OCHUMAN, list(COCO_PERSON.names)])
def test_ochuman(tmp_path, names):
    """As its API writes it: no image is a crowd, masks are run lengths, areas are those of boxes."""
    skeleton, content, rows = crowd(names)
    for row in content["annotations"]:
        row |= {"area": row["bbox"][2] * row["bbox"][3], "segmentation": {"size": [400, 400], "counts": "Pd0"}}
    save(tmp_path, val=content, results=rows)
    flags = ["--results", str(tmp_path / "results.json"), "--ann_file", str(tmp_path / "val.json")]
    assert main(["evaluate", *flags, "--output_dir", str(tmp_path / "out")]) == 0
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert len(metrics["errors"]["each keypoint"]) == len(metrics["keypoints"]) == len(names)
    assert metrics["AP"] == metrics["errors"]["AP without"]["as it is"] > 0.1
    assert isinstance(skeleton, Skeleton) and len(skeleton.flip_pairs) == 8
    assert replace(skeleton, category="x").num_keypoints == len(names)

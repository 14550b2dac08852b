"""`sia evaluate` finds the errors that were made, counts them, and says what each costs."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from sia.cli import main
from sia.coco.coco_files import check_results, load_ground_truth
from sia.evaluation.cases import GROUPS, find_cases
from sia.evaluation.coco_eval import score
from sia.evaluation.error_kinds import KINDS, ErrorAnalysis
from sia.skeletons.skeleton import COCO_PERSON
from tests.conftest import ROOT
from tests.sia.evaluation.made_up import labels, results, save, spoil
from tests.sia.evaluation.test_coco_eval import made_up


def evaluate(folder, *flags):
    command = ["evaluate", "--results", str(folder / "results.json"), "--ann_file", str(folder / "val.json"),
               "--output_dir", str(folder / "out"), *flags]  # fmt: skip
    assert main(command) == 0
    return json.loads((folder / "out" / "metrics.json").read_text())


@pytest.mark.parametrize("kind", KINDS[1:])
def test_ten_percent_of_errors_are_ten_percent(tmp_path, capsys, kind):
    content = labels()
    save(tmp_path, val=content, results=spoil(results(content), kind, 0.1))
    found = evaluate(tmp_path)["errors"]
    total = sum(found["keypoints"].values())
    assert total == 80 * 17
    assert found["keypoints"][kind] / total == pytest.approx(0.1, abs=0.001)
    assert found["keypoints"]["good"] / total == pytest.approx(0.9, abs=0.001)
    each = found["each keypoint"]
    assert sum(row[kind] for row in each.values()) == found["keypoints"][kind]
    assert kind != "inversion" or each["nose"][kind] == 0
    cost = found["AP without"]
    assert cost["as it is"] < 0.97
    assert cost[kind] == cost["all keypoint errors"] == cost["all"] == pytest.approx(1.0)
    assert {cost[other] for other in KINDS[1:] if other != kind} == {cost["as it is"]}
    assert f"\n{kind} " in capsys.readouterr().out


def test_people_are_found_missed_doubled_or_made_up(tmp_path):
    content = labels()
    rows = results(content)
    good = spoil(rows[:70], "miss", 0.3)  # 10 of 80 people are missed
    doubles = [{**row, "score": 0.01} for row in rows[:5]]
    nobody = [
        {**row, "score": 0.9, "keypoints": [790.0, 390.0, 1.0] * 17, "bbox": [780, 380, 20, 20]} for row in rows[:8]
    ]
    crowd = {**content["annotations"][0], "id": 999, "image_id": 40, "iscrowd": 1, "bbox": [300, 330, 100, 60],
             "keypoints": [0] * 51, "num_keypoints": 0}  # fmt: skip
    inside = {**rows[0], "image_id": 40, "keypoints": [350.0, 360.0, 1.0] * 17, "bbox": [340, 350, 20, 20]}
    content["annotations"].append(crowd)
    save(tmp_path, val=content, results=[*good, *doubles, *nobody, inside])
    metrics = evaluate(tmp_path)
    found = metrics["errors"]
    assert found["people"] == {"found": 70, "duplicate": 5, "background": 8, "ignored": 1, "missed": 10}
    cost = found["AP without"]
    assert cost["as it is"] == metrics["AP"]
    for kind in ("miss", "background", "missed", "order of scores"):
        assert cost[kind] > metrics["AP"] + 0.01, kind
    assert cost["miss"] < 0.95 and cost["all keypoint errors"] < 0.95
    assert cost["all"] == pytest.approx(1.0)


def test_who_has_most_errors_of_a_kind_is_shown_first():
    content = labels()
    truth = load_ground_truth(content, COCO_PERSON)
    good = results(content)
    rows = [*spoil(good[:20], "miss", 0.1), *spoil(good[20:40], "miss", 0.3), *spoil(good[40:], "jitter", 0.1)]
    errors = ErrorAnalysis.of(truth, check_results(rows, truth, COCO_PERSON), COCO_PERSON)
    groups = dict(zip((*GROUPS, *KINDS[1:]), find_cases(errors), strict=True))
    for kind in ("jitter", "miss"):
        counts = [(errors.kinds[case.row] == KINDS.index(kind)).sum() for case in groups[kind]]
        assert counts == sorted(counts, reverse=True) and counts[-1] > 0
    assert len(groups["miss"]) <= 40 and not groups["inversion"] and not groups["missed"]


@pytest.mark.parametrize("seed", range(6))
def test_nothing_corrected_is_coco_and_all_corrected_is_perfect(seed):
    content, rows = made_up(seed, COCO_PERSON, images=12, people=25 if seed == 0 else 5)
    truth = load_ground_truth(content, COCO_PERSON)
    rows = check_results(rows, truth, COCO_PERSON)
    errors = ErrorAnalysis.of(truth, rows, COCO_PERSON)
    figures = errors.improvements()
    assert figures["as it is"] == score(truth, rows, COCO_PERSON).AP
    assert figures["all"] == pytest.approx(1.0)
    assert figures["all keypoint errors"] >= figures["as it is"] and figures["order of scores"] >= figures["as it is"]
    owners = np.array(sorted(set(truth.images)))[errors.matches.owners]
    assert (owners == errors.people.image_ids).all()  # the same people in the same order


def test_no_prediction_at_all(tmp_path):
    save(tmp_path, val=labels(), results=[])
    metrics = evaluate(tmp_path)
    assert metrics["errors"]["people"]["missed"] == 80 and metrics["curves"]["f1"]["best"] is None
    assert (tmp_path / "out" / "report.html").is_file()


def test_results_need_neither_torch_nor_matplotlib(tmp_path):
    content = labels(2)
    save(tmp_path, val=content, results=results(content))
    code = """
import sys
for name in ("torch", "matplotlib", "timm", "transformers"):
    sys.modules[name] = None
from sia.cli import main
sys.exit(main(sys.argv[1:]))
"""
    flags = ["--results", "results.json", "--ann_file", "val.json", "--output_dir", "out"]
    command = [sys.executable, "-c", code, "evaluate", *flags]
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "AP   100.0" in done.stdout

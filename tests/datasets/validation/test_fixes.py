"""Repairs: each defect that is called repairable goes away, nothing else changes, and the file itself stays."""

from __future__ import annotations

import copy
import json

import pytest

from datasets.validation import CHECKS
from datasets.validation.fixes import REPAIRS, fix
from tests.datasets.validation.test_report_data import PLANTS


def repaired(sample):
    report_data = sample.validate()
    return fix(report_data.data, report_data.infos, report_data.issues)


def test_what_is_repaired_is_in_the_table():
    assert set(REPAIRS) <= set(CHECKS)


@pytest.mark.parametrize("check", [check for check in REPAIRS if check != "person-twice"])
def test_repair(sample, check):
    PLANTS[check][0](sample)
    before = copy.deepcopy(sample.content)
    content, made = repaired(sample)
    assert json.loads(sample.file.read_text()) == before
    assert made == {check: 1}
    sample.content = content
    assert check not in sample.validate().counts()


def test_nothing_else_changes(sample):
    original = copy.deepcopy(sample.content)
    PLANTS["num-keypoints"][0](sample)
    assert repaired(sample) == (original, {"num-keypoints": 1})


def test_exact_copies_are_removed_and_others_stay(sample):
    rows = sample.content["annotations"]
    rows.append({**copy.deepcopy(sample.person), "id": 987654321})
    PLANTS["person-twice"][0](sample)  # a copy that is moved a little
    rows[-1]["id"] += 1
    content, made = repaired(sample)
    assert made == {"person-twice": 1}
    assert [row["id"] for row in content["annotations"]] == [row["id"] for row in rows if row["id"] != 987654321]


def test_a_joint_at_the_origin_is_no_longer_counted(sample):
    before = sample.person["num_keypoints"]
    PLANTS["joint-at-origin"][0](sample)
    content, _ = repaired(sample)
    assert content["annotations"][0]["num_keypoints"] == before - 1


def test_a_box_wholly_outside_is_left_alone(sample):
    sample.person["bbox"][0] = sample.image["width"] + 5
    content, made = repaired(sample)
    assert "bbox-outside-image" not in made
    assert content["annotations"][0] == sample.person


def test_the_size_of_a_missing_image_stays_unknown(sample):
    del sample.image["width"]
    sample.image_path.unlink()
    assert repaired(sample)[1] == {}

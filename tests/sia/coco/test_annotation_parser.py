"""What exporters write, and what every reader takes it for; the right values, one place bent at a time."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from sia.coco.annotation_file import Person
from sia.coco.annotation_parser import parse
from sia.coco.coco_files import load_ground_truth
from sia.skeletons.oks import AREA_OF_BOX
from sia.skeletons.skeleton import Skeleton

Row = dict[str, Any]
JOINTS = [10, 20, 2, 30, 60, 1, 0, 0, 0]
CONTENT: Row = {
    "images": [{"id": 7, "file_name": "a.jpg", "width": 200, "height": 100}],
    "annotations": [
        {"id": 1, "image_id": 7, "category_id": 3, "bbox": [5, 10, 40, 60], "area": 900, "iscrowd": 0,
         "num_keypoints": 2, "keypoints": JOINTS},
    ],
    "categories": [{"id": 3, "name": "person", "keypoints": ["nose", "left_eye", "right_eye"], "skeleton": [[1, 2]]}],
}  # fmt: skip


def bent(section: str = "annotations", **values: Any) -> Row:
    """The content with other values in one row; ... takes a key away."""
    content = copy.deepcopy(CONTENT)
    row = content[section][0]
    row.update(values)
    for key in [key for key, value in values.items() if value is ...]:
        del row[key]
    return content


def values_of(person: Person) -> tuple[list[float], list[float], float, bool]:
    return person.box.tolist(), person.keypoints, person.area, person.crowd


def test_what_is_right_is_taken_as_it_stands() -> None:
    file = parse(CONTENT)
    assert (file.faults, file.taken) == ([], [])
    assert all(a is b for a, b in zip(file.content["annotations"], CONTENT["annotations"], strict=True))
    (person,) = file.people
    assert values_of(person) == ([5, 10, 40, 60], JOINTS, 900, False)


@pytest.mark.parametrize("written", ["0", "false", "no", "", False, 0, 0.0, None, ...])
def test_iscrowd_is_no_crowd_however_it_is_written(written: Any) -> None:
    file = parse(bent(iscrowd=written))
    assert not file.faults and [person.crowd for person in file.people] == [False]
    assert file.content["annotations"][0]["iscrowd"] == 0


@pytest.mark.parametrize("written", ["1", "true", True, 1, 1.0])
def test_iscrowd_is_a_crowd_however_it_is_written(written: Any) -> None:
    assert [person.crowd for person in parse(bent(iscrowd=written)).people] == [True]


SAME: dict[str, Row] = {
    "ids as text": bent(id="1", image_id="7", category_id=" 3 "),
    "ids as floats": bent(id=1.0, image_id=7.0, category_id=3.0),
    "image id as text": bent("images", id="7"),
    "sizes as text": bent("images", width="200", height=100.0),
    "numbers as text": bent(bbox=["5", "10", "40.0", "6e1"], area="900", keypoints=[str(v) for v in JOINTS]),
    "visibility as floats": bent(keypoints=[float(v) for v in JOINTS]),
    "no id": bent(id=...),
    "an id that is no number": bent(id="f3a9-77"),
    "no num_keypoints": bent(num_keypoints=...),
    "num_keypoints as text": bent(num_keypoints="2"),
    "num_keypoints that is wrong": bent(num_keypoints=17),
}


@pytest.mark.parametrize("case", SAME)
def test_other_ways_of_writing_give_the_same_people(case: str) -> None:
    file = parse(SAME[case])
    (person,), (right,) = file.people, parse(CONTENT).people
    assert values_of(person) == values_of(right)
    assert file.sizes == [(200, 100)] and not file.faults
    json.dumps(file.content)
    assert file.content["annotations"][0]["num_keypoints"] == 2
    assert not parse(file.content).taken, "what is taken is written so that nothing is left to take"
    skeleton = file.skeleton
    assert isinstance(skeleton, Skeleton)
    assert load_ground_truth(SAME[case], skeleton) == load_ground_truth(CONTENT, skeleton)


@pytest.mark.parametrize("box", [..., None, [], [0, 0, 0, 0], [5, 10, 0, 60]])
def test_a_box_that_is_missing_or_has_no_size_is_made_of_the_joints(box: Any) -> None:
    file = parse(bent(bbox=box, area=0))
    assert file.people[0].box == pytest.approx((6, 16, 28, 48))  # 10 to 30, 20 to 60, a tenth of 40 wider
    assert file.people[0].area == pytest.approx(AREA_OF_BOX * 28 * 48)
    assert file.content["annotations"][0]["bbox"] == pytest.approx([6, 16, 28, 48])
    wanted = "bbox-missing" if box is ... or not box else "bbox-empty"
    assert {remark.check for remark in file.taken} == {"area-missing", wanted}


def test_a_single_joint_gets_a_box_that_can_be_seen() -> None:
    content = bent(bbox=[10, 20, 0, 0], keypoints=[100, 50, 2, 0, 0, 0, 0, 0, 0])
    assert parse(content).people[0].box == pytest.approx((96, 46, 8, 8))


@pytest.mark.parametrize("keypoints", [[], [0] * 9, ..., None])
def test_what_has_neither_box_nor_joint_is_left_out(keypoints: Any) -> None:
    content = bent(bbox=[0, 0, 0, 0], keypoints=keypoints)
    content["annotations"].append({**CONTENT["annotations"][0], "id": 2})
    file = parse(content)
    assert [person.row for person in file.people] == [1] and not file.faults
    assert [remark.check for remark in file.taken] == ["person-empty"]


@pytest.mark.parametrize(
    ("section", "values", "check"),
    [
        ("annotations", {"iscrowd": "maybe"}, "flag"),
        ("annotations", {"iscrowd": 2}, "flag"),
        ("annotations", {"image_id": 7.5}, "dangling-image"),
        ("annotations", {"image_id": True}, "dangling-image"),
        ("annotations", {"bbox": [5, 10, -40, 60]}, "bbox-malformed"),
        ("annotations", {"bbox": [5, 10, 40, 10**400]}, "bbox-malformed"),
        ("annotations", {"bbox": [True, 10, 40, 60]}, "bbox-malformed"),
        ("annotations", {"area": -1}, "area-malformed"),
        ("annotations", {"area": 10**400}, "area-malformed"),
        ("annotations", {"keypoints": [10**400, *JOINTS[1:]]}, "keypoints-number"),
        ("annotations", {"keypoints": [10, 20, True, *JOINTS[3:]]}, "keypoints-number"),
        ("annotations", {"keypoints": [10, 20, 0.9, *JOINTS[3:]]}, "visibility"),
        ("annotations", {"keypoints": [10, 20, *JOINTS]}, "keypoints-length"),
        ("annotations", {"bbox": [0.1, 0.2, 0.3, 0.4]}, "units"),
        ("images", {"complete": "perhaps"}, "flag"),
        ("images", {"id": float("nan")}, "id"),
        ("images", {"id": 10**400}, "id"),
        ("categories", {"skeleton": [[0, 9]]}, "skeleton"),
    ],
)
def test_what_is_in_doubt_is_a_fault(section: str, values: Row, check: str) -> None:
    assert check in [fault.check for fault in parse(bent(section, **values)).faults]


@pytest.mark.parametrize(
    ("values", "check"),
    [({"attributes": {"rotation": 30}}, "bbox-rotated"), ({"bbox": [100, 60, 190, 95]}, "bbox-corners")],
)
def test_what_only_seems_wrong_is_said(values: Row, check: str) -> None:
    file = parse(bent(**values))
    assert check in [remark.check for remark in file.taken] and not file.faults and len(file.people) == 1


def test_names_and_lines_in_other_words() -> None:
    category = {"keypoints": [0, 1, 2], "skeleton": [[0, 1], [1, 2]]}
    file = parse(bent("categories", **category))
    assert not file.faults and [remark.check for remark in file.taken] == ["keypoint-names", "skeleton-base"]
    assert file.content["categories"][0]["keypoints"] == ["0", "1", "2"]
    assert file.content["categories"][0]["skeleton"] == [[1, 2], [2, 3]]

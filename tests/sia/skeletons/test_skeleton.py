"""Skeletons: what COCO says about its seventeen keypoints, and what is made of others."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sia.errors import DataError
from sia.skeletons.skeleton import COCO_PERSON, DEFAULT_SIGMA, Skeleton


def test_sigmas_of_coco_are_those_of_pycocotools():
    from pycocotools.cocoeval import Params

    assert list(COCO_PERSON.sigmas) == pytest.approx(Params(iouType="keypoints").kpt_oks_sigmas.tolist())


def test_flip_of_coco_swaps_every_left_with_its_right():
    names = COCO_PERSON.names
    for k, other in enumerate(COCO_PERSON.flip_order):
        swapped = names[k].replace("left", "LEFT").replace("right", "left").replace("LEFT", "right")
        assert names[other] == swapped
    assert len(COCO_PERSON.flip_pairs) == 8
    assert len(COCO_PERSON.edges) == 19


def test_flip_twice_is_the_identity():
    order = COCO_PERSON.flip_order
    assert [order[i] for i in order] == list(range(17))


def test_it_survives_json():
    assert Skeleton.from_dict(json.loads(json.dumps(COCO_PERSON.to_dict()))) == COCO_PERSON


@pytest.mark.parametrize(
    ("names", "pairs"),
    [
        (["tail", "left_paw", "right_paw"], [(1, 2)]),
        (["LeftPaw", "RightPaw"], [(0, 1)]),
        (["front_l_paw", "front_r_paw", "back-l-paw", "back-r-paw"], [(0, 1), (2, 3)]),
        (["left_paw", "left_ear"], []),
        (["nose", "chin"], []),
    ],
)
def test_flip_pairs_follow_from_names(names, pairs):
    skeleton = Skeleton.from_category({"keypoints": names})
    assert sorted(skeleton.flip_pairs) == pairs
    assert skeleton.mirrors == bool(pairs)


def test_category_with_its_own_sigmas_and_pairs():
    skeleton = Skeleton.from_category(
        {"name": "bird", "keypoints": ["a", "b", "beak"], "flip_pairs": [["a", "b"]], "sigmas": [0.1, 0.1, 0.2]}
    )
    assert skeleton.flip_order == [1, 0, 2]
    assert skeleton.sigmas == (0.1, 0.1, 0.2)
    assert skeleton.category == "bird"
    assert skeleton.edges == ()


def test_unknown_keypoints_get_the_mean_sigma():
    skeleton = Skeleton.from_category({"keypoints": ["left_elbow", "antenna"]})
    assert skeleton.sigmas == (0.072, DEFAULT_SIGMA)
    assert sum(COCO_PERSON.sigmas) / 17 == pytest.approx(DEFAULT_SIGMA, abs=1e-3)


def test_edges_are_counted_from_one_in_coco():
    assert Skeleton.from_category({"keypoints": ["a", "b"], "skeleton": [[1, 2]]}).edges == ((0, 1),)


@pytest.mark.parametrize(
    ("category", "part"),
    [
        ({"name": "cat"}, "declares no keypoints"),
        ({"keypoints": ["a", "a"]}, "unique"),
        ({"keypoints": ["a", "b"], "sigmas": [0.1]}, "2 positive sigmas"),
        ({"keypoints": ["a", "b"], "sigmas": [0.1, -1]}, "positive"),
        ({"keypoints": ["a", "b"], "sigmas": [0.1, float("nan")]}, "positive"),
        ({"keypoints": ["a", "b"], "skeleton": [[1, 3]]}, "leave the range"),
        ({"keypoints": ["a", "b"], "skeleton": [[0, 2]]}, r"Skeleton pairs \[\[0, 2\]\] leave the range.* from 1 to 2"),
        ({"keypoints": ["a", "b"], "skeleton": [["a", "c"]]}, "pairs of keypoint numbers that count from 1"),
        ({"keypoints": ["a", "b"], "skeleton": [1, 2, 2]}, "pairs of keypoint numbers"),
        ({"keypoints": ["a", "b"], "skeleton": [[1.0, 2]]}, "pairs of keypoint numbers"),
        ({"keypoints": [["a"], "b"]}, "no list of names"),
        ({"keypoints": ["a", "b"], "flip_pairs": "ab"}, "pairs of names"),
        ({"keypoints": ["a", "b"], "flip_pairs": [["a", "c"]]}, r"\['c'\]"),
        ({"keypoints": ["a", "b", "c"], "flip_pairs": [["a", "b"], ["b", "c"]]}, "one flip pair"),
    ],
)
def test_a_category_that_cannot_work_is_named(category, part):
    with pytest.raises(DataError, match=part):
        Skeleton.from_category(category)


@given(st.lists(st.sampled_from(["left_x", "right_x", "l_y", "r_y", "z", "left_left", "upright"]), unique=True))
def test_any_names_give_pairs_that_fit(names):
    if not names:
        return
    skeleton = Skeleton.from_category({"keypoints": names})
    assert sorted(skeleton.flip_order) == list(range(len(names)))


PAIRED = {
    "l_eye r_eye nose": [("l_eye", "r_eye")],
    "eyeL eyeR": [("eyeL", "eyeR")],
    "LeftEye RightEye": [("LeftEye", "RightEye")],
    "eye.L eye.R": [("eye.L", "eye.R")],
    "R-Eye L-Eye": [("L-Eye", "R-Eye")],
    "lknee rknee": [("lknee", "rknee")],
    "lefteye1 righteye1 nose neck": [("lefteye1", "righteye1")],
    "nez œil_gauche œil_droit": [("œil_gauche", "œil_droit")],
    "左眼 右眼 鼻": [("左眼", "右眼")],
    "left_ear right_ear spine1 spine2": [("left_ear", "right_ear")],
    "left_eye_right_corner right_eye_left_corner": [("left_eye_right_corner", "right_eye_left_corner")],
    "tip": [],
}


@pytest.mark.parametrize("names", PAIRED)
def test_sides_are_read_from_names_however_they_are_written(names):
    skeleton = Skeleton.from_category({"keypoints": names.split()})
    assert [(skeleton.names[a], skeleton.names[b]) for a, b in skeleton.flip_pairs] == PAIRED[names]
    assert skeleton.flips == "inferred" and skeleton.mirrors
    assert all(name in skeleton.describe_flips() for pair in PAIRED[names] for name in pair)


@pytest.mark.parametrize(
    "names",
    [
        "paw_1 paw_2 paw_3", "left_eye right_eye paw_1 paw_2", "left_paw left_ear right_ear", "left_wing",
        "left_hip right_hip oko_lewe oko_prawe", "l_eye left_eye r_eye", "kp_1 kp_2",
        "upright cleft", "a b c l r", "L1 L2 L3",
    ],
)  # fmt: skip
def test_nothing_is_mirrored_where_names_leave_a_doubt(names):
    skeleton = Skeleton.from_category({"keypoints": names.split()})
    assert not skeleton.mirrors and skeleton.flip_pairs == ()
    assert "declare 'flip_pairs'" in skeleton.describe_flips()
    declared = Skeleton.from_category({"keypoints": names.split(), "flip_pairs": []})
    assert declared.mirrors and declared.flips == "declared"
    for known in (skeleton, declared):
        assert Skeleton.from_dict(known.to_dict()).mirrors == known.mirrors


@pytest.mark.parametrize(("names", "mirrors"), [(["paw_1", "paw_2"], False), (["tip"], True)])
def test_weights_of_the_first_edition_say_nothing_of_flips(names, mirrors):
    values = Skeleton.from_category({"keypoints": names}).to_dict()
    del values["flips"]
    assert Skeleton.from_dict(values).mirrors is mirrors
    assert Skeleton.from_dict({key: value for key, value in COCO_PERSON.to_dict().items() if key != "flips"}).mirrors


@pytest.mark.parametrize(
    "lines", [[[1, 2], [2, 3]], [[0, 1], [1, 2]], [["x", "y"], ["y", "3"]], [1, 2, 2, 3], ["x", "y", "y", "3"]]
)
def test_lines_are_understood_in_every_way_of_writing(lines):
    assert Skeleton.from_category({"keypoints": ["x", "y", 3], "skeleton": lines}).edges == ((0, 1), (1, 2))

"""Batches move whole; people are chosen together, and become what other programs read."""

from __future__ import annotations

import json
import sys
from dataclasses import fields, replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from sia.batch import PoseBatch
from sia.errors import ConfigError
from sia.people import People, Source
from sia.runtimes.letterbox import Letterbox
from sia.skeletons.skeleton import Skeleton


def batch() -> PoseBatch:
    return PoseBatch(
        images=torch.zeros(2, 3, 8, 8, dtype=torch.uint8),
        boxes=torch.zeros(2, 1, 4),
        keypoints=torch.zeros(2, 1, 3, 3),
        areas=torch.zeros(2, 1),
        people=torch.zeros(2, 1, dtype=torch.bool),
        ignored=torch.zeros(2, 0, 4),
        image_ids=torch.arange(2),
        letterboxes=torch.ones(2, 3),
        sizes=torch.ones(2, 2, dtype=torch.int64),
        files=["a.jpg", "b.jpg"],
    )


def people() -> People:
    scores = np.array([0.9, 0.5, 0.1], dtype=np.float32)
    return People(
        boxes=np.arange(12, dtype=np.float32).reshape(3, 4),
        scores=scores,
        keypoints=np.arange(12, dtype=np.float32).reshape(3, 2, 2),
        confidences=np.arange(6, dtype=np.float32).reshape(3, 2),
    )


def test_every_tensor_of_a_batch_moves():
    moved = batch().to("meta")
    for field in fields(moved):
        value = getattr(moved, field.name)
        if field.name != "files":
            assert value.device.type == "meta", field.name
            assert value.dtype == getattr(batch(), field.name).dtype
    assert moved.files == ["a.jpg", "b.jpg"]


def test_the_original_stays_where_it_was():
    original = batch()
    original.to("meta")
    assert original.images.device.type == "cpu"


@pytest.mark.parametrize(("threshold", "left"), [(0.0, 3), (0.5, 2), (0.6, 1), (1.0, 0)])
def test_people_above_a_threshold(threshold, left):
    found = people().above(threshold)
    assert len(found) == left
    np.testing.assert_array_equal(found.boxes, people().boxes[:left])
    np.testing.assert_array_equal(found.keypoints, people().keypoints[:left])
    np.testing.assert_array_equal(found.confidences, people().confidences[:left])


def test_nobody_is_no_special_case():
    nobody = people().above(2.0)
    assert nobody.keypoints.shape == (0, 2, 2)
    assert len(nobody.above(0.5)) == 0


def test_letterbox_is_three_numbers_in_this_order():
    assert Letterbox(0.5, 3, 4) == (0.5, 3, 4)
    assert Letterbox(scale=0.5, pad_x=3, pad_y=4).pad_x == 3


def tracked() -> People:
    skeleton = Skeleton(("head", "foot"), ((0, 1),), (), (0.1, 0.1))
    source = Source(skeleton, (48, 64), "walk.mp4", np.zeros((48, 64, 3), np.uint8), frame=7, time=0.28)
    return replace(people(), ids=np.array([4, 0, 9]), source=source)


def test_rows_are_chosen_as_numpy_does():
    found = tracked()
    person = found[-1]
    assert (person.id, round(person.score, 3), person.keypoints.shape) == (9, 0.1, (2, 2))
    assert [person.id for person in found] == [4, 0, 9] and people()[0].id is None
    for rows, ids in ((slice(1, None), [0, 9]), ([2, 0], [9, 4]), ([True, False, True], [4, 9]), ([], [])):
        chosen = found[rows]
        assert chosen.ids.tolist() == ids and len(chosen) == len(ids) and chosen.source is found.source
        assert chosen.boxes.shape == (len(ids), 4)
    with pytest.raises(IndexError):
        found[3]


def telling() -> People:
    told = np.linspace(0, 1, 6, dtype=np.float32).reshape(3, 2)
    return replace(tracked(), visibilities=told, sigmas=10 * told)


def test_visibility_and_sigma_go_with_their_person():
    found = telling()
    assert found[1].visibilities.tolist() == found.visibilities[1].tolist() and found[1].sigmas[0] == 4
    assert tracked()[1].visibilities is None and tracked()[[1]].sigmas is None
    for rows in (slice(1, None), [2, 0], [True, False, True], []):
        np.testing.assert_array_equal(found[rows].visibilities, found.visibilities[rows])
        np.testing.assert_array_equal(found[rows].sigmas, found.sigmas[rows])
    row = json.loads(found.to_json())["people"][2]
    assert row["visibilities"] == [0.8, 1] and row["sigmas"] == [8, 10]
    assert "sigmas" not in json.loads(tracked().to_json())["people"][0]


def test_it_says_what_it_is():
    assert repr(people()) == "<People: 3, 2 keypoints, scores [0.90, 0.50, 0.10]>"
    assert repr(tracked()[:1]) == "<People: 1 in walk.mp4, 2 keypoints, scores [0.90]>"


def test_bare_numbers_have_no_image():
    for name in ("image", "skeleton", "path", "to_json"):
        with pytest.raises(ConfigError, match="bare numbers"):
            getattr(people(), name)()


def test_json_and_coco_say_the_same():
    content, rows = json.loads(tracked().to_json()), tracked().to_coco(image_id=5, category_id=2)
    assert (content["path"], content["width"], content["height"]) == ("walk.mp4", 64, 48)
    assert (content["frame"], content["time"], content["names"]) == (7, 0.28, ["head", "foot"])
    assert [row.pop("id") for row in content["people"]] == [4, None, 9]
    assert content["people"] == [{k: row[k] for k in ("score", "bbox", "keypoints")} for row in rows]
    assert rows[1]["image_id"] == 5 and rows[1]["category_id"] == 2 and rows[1]["bbox"] == [4, 5, 2, 2]
    assert rows[1]["keypoints"] == [4, 5, 2, 6, 7, 3]


def test_other_libraries_get_columns_and_arrays(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", SimpleNamespace(DataFrame=dict))
    table = tracked().to_pandas()
    assert list(table) == ["id", "score", "x1", "y1", "x2", "y2", "head_x", "head_y", "head_confidence",
                           "foot_x", "foot_y", "foot_confidence"]  # fmt: skip
    assert table["foot_y"].tolist() == [3, 7, 11] and table["x2"].tolist() == [2, 6, 10]
    assert telling().to_pandas()["foot_sigma"].tolist() == telling().sigmas[:, 1].tolist()
    assert telling().to_pandas()["head_visibility"].tolist() == telling().visibilities[:, 0].tolist()
    monkeypatch.setitem(sys.modules, "supervision", SimpleNamespace(KeyPoints=dict))
    points = tracked().to_supervision()
    assert points["xy"].shape == (3, 2, 2) and points["data"]["tracker_id"].tolist() == [4, 0, 9]
    np.testing.assert_array_equal(points["detection_confidence"], people().scores)
    assert "covariance" not in points["data"]
    covariance = telling().to_supervision()["data"]["covariance"]
    np.testing.assert_allclose(covariance[2, 0], [[64, 0], [0, 64]], rtol=1e-6)
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ConfigError, match="pip install pandas"):
        tracked().to_pandas()

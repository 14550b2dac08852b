"""The bootstrap's AP against COCO's, on the images as they are and on real copies of them, and what it decides."""

from __future__ import annotations

import copy
import json
import time
from dataclasses import asdict

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sia.errors import DataError
from sia.evaluation.coco_eval import evaluate
from sia.evaluation.matches import find_matches
from sia.evaluation.significance import FEWEST_GROUPS, Proof, measure, prove
from sia.skeletons.skeleton import COCO_PERSON
from tests.sia.evaluation.test_coco_eval import TRIANGLE, made_up, predictions_for


def plain(matches):
    return matches.average_precision(np.ones((1, len(matches.image_ids)), np.int64))[0]


@pytest.mark.parametrize("skeleton", [COCO_PERSON, TRIANGLE])
@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), boxes=st.booleans())
def test_ap_without_resampling_equals_the_evaluation_exactly(skeleton, seed, boxes):
    truth, rows = made_up(seed, skeleton, boxes=boxes)
    assert plain(find_matches(truth, rows, skeleton)) == evaluate(truth, rows, skeleton).AP


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_crowds_and_more_than_twenty_people_equal_the_evaluation_exactly(seed):
    truth, rows = made_up(seed, TRIANGLE, people=25, images=4)
    for entry in truth["annotations"][1::3]:
        entry["iscrowd"] = 1
    for entry in truth["annotations"][2::5]:
        entry["num_keypoints"], entry["keypoints"] = 0, [0.0] * 9
    rows = [{**row, "score": row["score"] + i} for row in rows for i in range(2)]
    assert plain(find_matches(truth, rows, TRIANGLE)) == evaluate(truth, rows, TRIANGLE).AP


def copied(truth, rows, weights):
    """A data set in which each image stands as often as its weight says, with ids of its own."""
    new, found = {**truth, "images": [], "annotations": []}, []
    for image, weight in zip(truth["images"], weights, strict=True):
        for _ in range(weight):
            number = len(new["images"]) + 1
            new["images"].append({**image, "id": number})
            for entry in truth["annotations"]:
                if entry["image_id"] == image["id"]:
                    fresh = {**copy.deepcopy(entry), "image_id": number, "id": len(new["annotations"]) + 1}
                    new["annotations"].append(fresh)
            found += [{**row, "image_id": number} for row in rows if row["image_id"] == image["id"]]
    return new, found


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_a_resample_equals_the_evaluation_of_copied_images(seed):
    truth, rows = made_up(seed, TRIANGLE, people=6)
    rng = np.random.default_rng(seed)
    for row in rows:
        row["score"] = float(rng.random())
    weights = rng.multinomial(6, np.full(6, 1 / 6), size=3)
    weights[:, 0] += 1  # the first image always has somebody
    values = find_matches(truth, rows, TRIANGLE).average_precision(weights)
    for row, value in zip(weights, values, strict=True):
        assert value == evaluate(*copied(truth, rows, row), TRIANGLE).AP


def test_a_resample_without_people_tells_nothing():
    truth, rows = made_up(0, TRIANGLE, images=2)
    assert np.isnan(find_matches(truth, rows, TRIANGLE).average_precision(np.array([[0, 2]]))).all()


def exact(truth, noise, rng):
    """A prediction of each labelled person, its joints moved by a fraction of the person's size."""
    rows = []
    for entry in truth["annotations"]:
        if entry["num_keypoints"] and not entry["iscrowd"]:
            points = np.array(entry["keypoints"]).reshape(-1, 3)
            points[:, :2] += rng.normal(size=(len(points), 2)) * noise * entry["bbox"][2]
            row = {"image_id": entry["image_id"], "category_id": 1, "keypoints": points.ravel().tolist()}
            rows.append({**row, "score": float(rng.random())})
    return rows


def both(noise_before, noise_after, images=60):
    truth, _ = made_up(1, COCO_PERSON, images=images)
    rng = np.random.default_rng(0)
    before, after = (
        find_matches(truth, exact(truth, noise, rng), COCO_PERSON) for noise in (noise_before, noise_after)
    )
    return before, after


def test_a_gain_a_loss_and_nothing():
    worse, better = both(0.06, 0.03)
    gain = prove(worse, better, 0)
    assert gain.difference.is_gain and gain.difference.low < gain.difference.value < gain.difference.high
    assert gain.difference.value == pytest.approx(gain.after.value - gain.before.value)
    assert not prove(better, worse, 0).difference.is_gain
    same = prove(worse, worse, 0)
    assert not same.changed and not same.difference.is_gain
    assert (same.difference.low, same.difference.high) == (0.0, 0.0)


def test_chance_is_rarely_taken_for_a_gain():
    """Two equally good results: their difference is noise, and a one-sided 2.5 % error is allowed."""
    truth, _ = made_up(1, COCO_PERSON, images=25)
    rng = np.random.default_rng(3)
    wins = 0
    for seed in range(25):
        first, second = (find_matches(truth, exact(truth, 0.04, rng), COCO_PERSON) for _ in range(2))
        wins += prove(first, second, seed, resamples=200).difference.is_gain
    assert wins <= 3


def test_images_of_one_group_are_drawn_together():
    """Copies of an image add nothing: the interval stays as wide as that of the images alone."""
    truth, _ = made_up(1, TRIANGLE, images=8)
    rows = exact(truth, 0.05, np.random.default_rng(0))
    alone = measure(find_matches(truth, rows, TRIANGLE), 0)
    copies = find_matches(*copied(truth, rows, [6] * 8), TRIANGLE)
    groups = {image: (image - 1) // 6 for image in copies.image_ids.tolist()}
    together, apart = measure(copies, 0, groups), measure(copies, 0)
    assert together.high - together.low == pytest.approx(alone.high - alone.low, rel=0.15)
    assert apart.high - apart.low < 0.6 * (together.high - together.low)


@pytest.mark.parametrize("count", [1, FEWEST_GROUPS - 1])
def test_too_few_groups_are_no_certainty(count):
    """Of one video alone each resample would be the same: whatever rose would be proved."""
    before, after = both(0.06, 0.05)
    groups = {image: number % count for number, image in enumerate(before.image_ids.tolist())}
    proof = prove(before, after, 7, groups)
    assert proof == prove(before, after, 7)
    assert proof.difference.low < proof.difference.value < proof.difference.high


def test_the_interval_is_that_of_plain_resampling():
    """Against a slow bootstrap that scores copies of the images with COCO's code."""
    truth, _ = made_up(2, TRIANGLE, images=12)
    rng = np.random.default_rng(0)
    rows = exact(truth, 0.05, rng)
    weights = rng.multinomial(12, np.full(12, 1 / 12), size=150)
    slow = [evaluate(*copied(truth, rows, row), TRIANGLE).AP for row in weights if row[0]]
    fast = find_matches(truth, rows, TRIANGLE).average_precision(weights)[weights[:, 0] > 0]
    assert np.array_equal(slow, fast)


def test_the_same_seed_gives_the_same_proof_and_it_survives_json():
    before, after = both(0.06, 0.05)
    proof = prove(before, after, 7)
    assert proof == prove(before, after, 7) != prove(before, after, 8)
    assert msgspec.json.decode(json.dumps(asdict(proof)), type=Proof) == proof


def test_other_images_are_refused():
    with pytest.raises(DataError, match="different images"):
        prove(both(0.1, 0.1)[0], both(0.1, 0.1, images=59)[0], 0)


def test_real_photographs(photographs):
    truth = json.loads((photographs / "coco_person" / "val.json").read_text())
    rng = np.random.default_rng(0)
    rows = [row for entry in truth["annotations"] for row in predictions_for(rng, entry)]
    matches = find_matches(truth, rows, COCO_PERSON)
    assert plain(matches) == evaluate(truth, rows, COCO_PERSON).AP
    started = time.perf_counter()
    interval = measure(matches, 0)
    assert interval.low < interval.value < interval.high
    assert time.perf_counter() - started < 30

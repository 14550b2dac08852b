"""The figures against pycocotools, and the table per keypoint against slow, obvious code."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from sia.coco.coco_files import read_skeleton
from sia.errors import DataError
from sia.evaluation.coco_eval import FIGURES, Metrics, evaluate
from sia.skeletons.skeleton import COCO_PERSON, Skeleton

LAST_DIGIT = 3e-16  # pycocotools adds 2.2e-16 to a denominator, faster-coco-eval does not
TRIANGLE = Skeleton(("a", "b", "c"), ((0, 1),), (), (0.05, 0.1, 0.07), category="triangle")


def reference(truth, rows, skeleton):
    """pycocotools on the content as it is."""
    with contextlib.redirect_stdout(io.StringIO()):
        annotations, predictions = COCO(), COCO()
        annotations.dataset = copy.deepcopy(truth)
        annotations.createIndex()
        predictions.dataset = {**copy.deepcopy(truth), "annotations": []}
        predictions.createIndex()
        if rows:
            predictions = annotations.loadRes(copy.deepcopy(rows))
        scored = COCOeval(annotations, predictions, "keypoints")
        scored.params.kpt_oks_sigmas = np.array(skeleton.sigmas)
        scored.evaluate()
        scored.accumulate()
        scored.summarize()
    return scored.stats


def assert_equals_reference(truth, rows, skeleton):
    metrics = evaluate(truth, rows, skeleton)
    np.testing.assert_allclose(
        list(metrics.figures().values()), reference(truth, rows, skeleton), rtol=0, atol=LAST_DIGIT
    )
    return metrics


def person(rng, image_id, skeleton, size, *, crowd=0, labelled=True):
    k = skeleton.num_keypoints
    x, y = rng.uniform(0, 200, 2)
    points = np.concatenate([[x, y] + rng.random((k, 2)) * size, rng.integers(0, 3, (k, 1))], axis=1)
    points[0, 2] = 2
    if not labelled:
        points[:] = 0
    return {
        "image_id": image_id,
        "category_id": 1,
        "keypoints": points.ravel().tolist(),
        "num_keypoints": int((points[:, 2] > 0).sum()),
        "bbox": [x, y, size, size],
        "area": size * size * 0.6,
        "iscrowd": crowd,
    }


def predictions_for(rng, entry, *, boxes=True):
    """None, one or several predictions, from good to far off, with scores that often tie."""
    rows = []
    for _ in range(rng.integers(0, 4)):
        points = np.array(entry["keypoints"]).reshape(-1, 3)
        size = entry["bbox"][2]
        points[:, :2] += rng.normal(size=(len(points), 2)) * rng.choice([0.0, 0.02, 0.05, 0.3]) * size
        row = {"image_id": entry["image_id"], "category_id": 1, "keypoints": points.ravel().tolist()}
        row["score"] = round(float(rng.random()), 1)
        if boxes:
            row["bbox"] = (np.array(entry["bbox"]) + rng.normal(size=4) * rng.choice([0, 0.3])).tolist()
        rows.append(row)
    return rows


def made_up(seed, skeleton, *, images=6, people=4, boxes=True):
    """Crowds, people without keypoints, people of all sizes, images without people."""
    rng = np.random.default_rng(seed)
    annotations = [person(rng, 1, skeleton, 50.0)]
    for image_id in range(2, images):
        for _ in range(rng.integers(0, people + 1)):
            size = float(rng.choice([12.0, 50.0, 150.0]))
            crowd, labelled = int(rng.random() < 0.15), bool(rng.random() < 0.8)
            annotations.append(person(rng, image_id, skeleton, size, crowd=crowd, labelled=labelled and not crowd))
    for i, entry in enumerate(annotations):
        entry["id"] = 7 * i + 3
    rows = [row for entry in annotations for row in predictions_for(rng, entry, boxes=boxes)]
    rng.shuffle(rows)
    truth = {
        "images": [{"id": i, "width": 400, "height": 400, "file_name": f"{i}.jpg"} for i in range(1, images + 1)],
        "annotations": annotations,
        "categories": [{"id": 1, "name": skeleton.category, "keypoints": list(skeleton.names)}],
    }
    return truth, rows


@pytest.mark.parametrize("skeleton", [COCO_PERSON, TRIANGLE])
@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), boxes=st.booleans())
def test_made_up_sets_equal_pycocotools(skeleton, seed, boxes):
    truth, rows = made_up(seed, skeleton, boxes=boxes)
    assert_equals_reference(truth, rows, skeleton)


def test_more_than_twenty_people_and_low_scores_equal_pycocotools():
    truth, rows = made_up(5, TRIANGLE, people=25)
    rows = [{**row, "score": row["score"] * 1e-6} for row in rows for _ in range(3)]
    assert max(sum(row["image_id"] == image["id"] for row in rows) for image in truth["images"]) > 20
    assert assert_equals_reference(truth, rows, TRIANGLE).detections == len(rows)


@pytest.mark.parametrize("boxes", [True, False])
def test_real_photographs_equal_pycocotools(photographs, boxes):
    truth = json.loads((photographs / "coco_person" / "val.json").read_text())
    rng = np.random.default_rng(0)
    rows = [row for entry in truth["annotations"] for row in predictions_for(rng, entry, boxes=boxes)]
    metrics = assert_equals_reference(truth, rows, COCO_PERSON)
    assert 0.1 < metrics.AP < 0.9
    assert metrics.images == 346


def test_labels_as_predictions_are_perfect(capsys):
    truth, _ = made_up(1, COCO_PERSON)
    people = [entry for entry in truth["annotations"] if entry["num_keypoints"] and not entry["iscrowd"]]
    keys = ("image_id", "category_id", "keypoints", "bbox")
    metrics = evaluate(truth, [{**{key: entry[key] for key in keys}, "score": 0.5} for entry in people], COCO_PERSON)
    assert abs(metrics.AP - 1.0) < 1e-9
    assert metrics.found == metrics.people == len(people)
    assert all(score.oks == 1.0 and score.pck_05 == 1.0 for score in metrics.keypoints if score.found)
    assert capsys.readouterr().out == ""


def test_no_detection_gives_zeros():
    truth, _ = made_up(2, TRIANGLE)
    metrics = assert_equals_reference(truth, [], TRIANGLE)
    assert set(metrics.figures().values()) == {0.0}
    assert (metrics.box_AP, metrics.found, metrics.detections) == (0.0, 0, 0)
    json.dumps(metrics.to_dict(), allow_nan=False)
    assert "triangle" not in metrics.table() and "a " in metrics.table()


def test_a_size_that_is_absent_is_minus_one_and_a_dash():
    truth, rows = made_up(0, TRIANGLE, images=2)
    metrics = assert_equals_reference(truth, rows, TRIANGLE)
    assert metrics.APL == -1.0
    assert "APL      -" in metrics.table()


def test_images_without_people_count():
    truth, _ = made_up(1, TRIANGLE)
    truth["annotations"] = [entry for entry in truth["annotations"] if entry["image_id"] == 1]
    right = [{**truth["annotations"][0], "score": 0.5}]
    wrong = [{**right[0], "image_id": 6, "score": 0.9}]
    assert evaluate(truth, right, TRIANGLE).AP > 1 - 1e-9
    assert abs(assert_equals_reference(truth, right + wrong, TRIANGLE).AP - 0.5) < 1e-9


def test_order_of_rows_across_images_and_first_id_do_not_matter():
    truth, rows = made_up(3, TRIANGLE)
    expected = evaluate(truth, rows, TRIANGLE)
    by_image = sorted(rows, key=lambda row: -row["image_id"])
    for i, entry in enumerate(truth["annotations"]):
        entry["id"] = i
    assert evaluate(truth, by_image, TRIANGLE).to_dict() == expected.to_dict()


def test_other_categories_and_missing_optional_keys():
    truth, rows = made_up(4, TRIANGLE)
    expected = evaluate(truth, rows, TRIANGLE)
    truth["categories"].append({"id": 2, "name": "cat", "keypoints": ["nose"]})
    cat = {"id": 1, "image_id": 1, "category_id": 2, "keypoints": [1.0, 1.0, 2], "bbox": [0, 0, 9, 9], "area": 81}
    truth["annotations"].append(cat)
    rows.append({"image_id": 1, "category_id": 2, "keypoints": [1.0, 1.0, 2], "score": 1.0})
    for entry in truth["annotations"]:
        del entry["id"]
        entry.pop("num_keypoints", None)
        if not entry.get("iscrowd"):
            entry.pop("iscrowd", None)
    assert evaluate(truth, rows, TRIANGLE).to_dict() == expected.to_dict()


def test_categories_with_the_same_keypoints_count_as_one():
    truth, rows = made_up(4, TRIANGLE)
    expected = evaluate(truth, rows, TRIANGLE)
    truth["categories"].append({**truth["categories"][0], "id": 5, "name": "rider"})
    for entry in truth["annotations"][::2]:
        entry["category_id"] = 5
    assert evaluate(truth, rows, TRIANGLE).to_dict() == expected.to_dict()


def test_missing_area_is_estimated_from_the_box():
    truth, rows = made_up(4, TRIANGLE)
    for entry in truth["annotations"]:
        entry["area"] = 0.53 * entry["bbox"][2] * entry["bbox"][3]
    expected = assert_equals_reference(truth, rows, TRIANGLE)
    for i, entry in enumerate(truth["annotations"]):
        entry["area"] = 0
        if i % 2:
            del entry["area"]
    assert evaluate(truth, rows, TRIANGLE).to_dict() == expected.to_dict()


def slow_table(truth, rows, skeleton):
    """(found people, {keypoint: [OKS terms]}, {keypoint: [distances / longer side]}) in plain loops."""
    found, terms, relative = 0, {n: [] for n in skeleton.names}, {n: [] for n in skeleton.names}
    for image in truth["images"]:
        free = [
            entry
            for entry in truth["annotations"]
            if entry["image_id"] == image["id"] and entry["num_keypoints"] and not entry["iscrowd"]
        ]
        best = sorted((row for row in rows if row["image_id"] == image["id"]), key=lambda row: -row["score"])[:20]
        for row in best:
            scored = [(np.mean(list(oks_terms(entry, row, skeleton).values())), i) for i, entry in enumerate(free)]
            if not scored or max(scored)[0] < 0.5:
                continue
            entry = free.pop(max(scored)[1])
            found += 1
            for name, term in oks_terms(entry, row, skeleton).items():
                k = skeleton.names.index(name)
                terms[name].append(term)
                relative[name].append(distance(entry, row, k) / max(entry["bbox"][2:]))
    return found, terms, relative


def distance(entry, row, k):
    a, b = entry["keypoints"], row["keypoints"]
    return math.hypot(a[3 * k] - b[3 * k], a[3 * k + 1] - b[3 * k + 1])


def oks_terms(entry, row, skeleton):
    return {
        name: math.exp(-(distance(entry, row, k) ** 2) / (2 * entry["area"] * (2 * skeleton.sigmas[k]) ** 2))
        for k, name in enumerate(skeleton.names)
        if entry["keypoints"][3 * k + 2] > 0
    }


@pytest.mark.parametrize("seed", range(5))
def test_keypoint_table_equals_plain_loops(seed):
    truth, rows = made_up(seed, TRIANGLE, images=12)
    metrics = evaluate(truth, rows, TRIANGLE)
    found, terms, relative = slow_table(truth, rows, TRIANGLE)
    assert metrics.found == found > 0
    for score in metrics.keypoints:
        assert score.found == len(terms[score.name])
        assert score.oks == pytest.approx(np.mean(terms[score.name]))
        assert score.pck_10 == pytest.approx(np.mean(np.array(relative[score.name]) < 0.1))


def test_visibility_split_and_pixels():
    truth, _ = made_up(0, TRIANGLE, images=2)
    entry = truth["annotations"][0]
    entry["keypoints"][2::3], entry["num_keypoints"] = [2, 1, 0], 2
    moved = list(entry["keypoints"])
    moved[3] += 6.0
    moved[6] += 500.0
    metrics = evaluate(truth, [{**entry, "keypoints": moved, "score": 1.0}], TRIANGLE)
    a, b, c = metrics.keypoints
    assert (a.labelled, b.labelled, c.labelled) == (1, 1, 0)
    assert (a.oks_visible, math.isnan(a.oks_occluded), a.median_error) == (1.0, True, 0.0)
    assert b.oks_occluded == b.oks == pytest.approx(math.exp(-36 / (2 * 1500 * 0.2**2)))
    assert (b.median_error, b.pck_05, b.pck_20) == (pytest.approx(6.0), 0.0, 1.0)
    assert math.isnan(c.oks) and c.to_dict()["oks"] is None


def broken(change):
    truth, rows = made_up(0, TRIANGLE)
    change(truth, rows)
    return truth, rows


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t, r: t.pop("images"), "section 'images' is missing"),
        (lambda t, r: t.update(annotations=[]), "nothing to evaluate"),
        (lambda t, r: t["categories"][0].update(keypoints=[]), "no category declares keypoints"),
        (lambda t, r: t["categories"][0].update(keypoints=["a", "b"]), "the 3 keypoints"),
        (lambda t, r: t["annotations"][0].update(image_id=99), "image_id 99"),
        (lambda t, r: t["annotations"][0].update(bbox=[0, 0, float("nan"), 1]), "bbox .* list of 4 numbers"),
        (lambda t, r: t["annotations"][0].update(keypoints=[1.0]), "keypoints of 1. Give a list of 9"),
        (lambda t, r: t["annotations"][0].update(area="big"), "has area 'big'"),
        (lambda t, r: t["annotations"][0].update(area=-4), "has area -4"),
        (lambda t, r: r[0].update(image_id=99), "Result 0 is of image 99"),
        (lambda t, r: r[0].update(keypoints=[0.0] * 51), r"9 finite numbers \(3 keypoints\), but got 51 values"),
        (lambda t, r: r[0]["keypoints"].__setitem__(1, float("nan")), "9 finite numbers"),
        (lambda t, r: r[0].update(score=float("inf")), "finite 'score'"),
        (lambda t, r: r[0].pop("score"), "finite 'score'"),
        (lambda t, r: r[0].pop("category_id"), "'category_id'"),
        (lambda t, r: r[0].update(category_id=0), r"category 0, but the annotations have \[1\]"),
        (lambda t, r: r[0].pop("bbox"), "to all or to none"),
        (lambda t, r: r.append("row"), "not a list"),
    ],
)
def test_what_does_not_fit_is_a_clear_error(change, message):
    truth, rows = broken(change)
    with pytest.raises(DataError, match=message):
        evaluate(truth, rows, TRIANGLE)


def places(value, path=()):
    """The path of everything inside dicts and lists."""
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in entries:
        yield (*path, key)
        yield from places(inner, (*path, key))


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_whatever_is_wrong_the_error_is_a_clear_one(data):
    both = list(made_up(1, TRIANGLE))
    both[0]["categories"][0].update(skeleton=[[1, 2]], sigmas=[0.1] * 3, flip_pairs=[["a", "b"]])
    section = data.draw(st.sampled_from([(0, "categories"), (0, "annotations", 1), (0, "images", 0), (1, 0), (0,)]))
    path = data.draw(st.sampled_from([place for place in places(both) if place[: len(section)] == section]))
    value = data.draw(st.sampled_from([None, True, -1, 0, 3.5, "x", [], [1], {}, math.nan, math.inf, 1e308, 10**30]))
    holder = both
    for key in path[:-1]:
        holder = holder[key]
    holder[path[-1]] = value
    truth, rows = both
    with contextlib.suppress(DataError):
        evaluate(truth, rows, read_skeleton(truth, "the file")).to_dict()


def test_unreadable_files(tmp_path):
    with pytest.raises(DataError, match=r"Can't read .*none\.json: no such file\. Check the path of the ann"):
        evaluate(tmp_path / "none.json", [], TRIANGLE)
    (tmp_path / "bad.json").write_text("{'images'")
    with pytest.raises(DataError, match="not valid JSON"):
        evaluate(tmp_path / "bad.json", [], TRIANGLE)


def test_input_is_left_as_it_was():
    truth, rows = made_up(0, TRIANGLE)
    before = copy.deepcopy((truth, rows))
    evaluate(truth, rows, TRIANGLE)
    assert (truth, rows) == before
    assert FIGURES[0] == "AP"


def test_the_mean_of_categories_counts_a_0_and_leaves_out_what_has_no_labels():
    one = evaluate(*made_up(0, TRIANGLE), TRIANGLE)
    parts = {name: replace(one, AP=value, box_AP=box) for name, value, box in (("a", 0.5, None), ("b", 0.0, 0.25))}
    assert Metrics.mean(parts).AP == 0.25 and Metrics.mean(parts).box_AP == 0.25
    assert Metrics.mean({**parts, "c": replace(one, AP=-1.0, box_AP=None)}).AP == 0.25
    assert Metrics.mean({"c": replace(one, AP=-1.0)}).AP == -1


def test_boxes_are_in_the_table_where_the_results_have_them():
    metrics = evaluate(*made_up(0, TRIANGLE), TRIANGLE)
    assert "box AP 50.0, AP50 75.0\n" in replace(metrics, box_AP=0.5, box_AP50=0.75).table()
    assert "box" not in replace(metrics, box_AP=None).table().split("\n\n")[0]

"""Visibility and sigma against labels made to be known."""

from __future__ import annotations

import numpy as np
import pytest

from sia.evaluation.coco_eval import evaluate
from sia.skeletons.skeleton import COCO_PERSON

SIGMAS = np.linspace(2, 9, 17)


def scene(people: int, factor: float = 1.0) -> tuple[dict, list[dict]]:
    """Labels, and results whose errors are normal; odd people are occluded, and told so four times in five."""
    rng = np.random.default_rng(0)
    images, labels, rows = [], [], []
    for i in range(1, people + 1):
        points = rng.uniform(50, 350, (17, 2))
        flags = np.where(np.arange(17) == 0, 0, 1 + i % 2)
        found = points + rng.normal(0, SIGMAS[:, None], (17, 2))
        box = [40, 40, 320, 320]
        images.append({"id": i, "file_name": f"{i}.jpg", "width": 400, "height": 400})
        triples = np.concatenate([points * (flags > 0)[:, None], flags[:, None]], -1).ravel().tolist()
        labels.append({"id": i, "image_id": i, "category_id": 1, "iscrowd": 0, "area": 90000.0, "bbox": box,
                       "keypoints": triples, "num_keypoints": 16})  # fmt: skip
        told = (flags == 2) == (i % 10 not in (1, 2))
        row = {"image_id": i, "category_id": 1, "bbox": box, "sigmas": (factor * SIGMAS).tolist(),
               "visibilities": told.astype(float).tolist()}  # fmt: skip
        triples = np.concatenate([found, np.ones((17, 1))], -1).ravel().tolist()
        beside = {**row, "bbox": [300, 300, 90, 90], "score": 0.95, "keypoints": (np.array(triples) + 40).tolist()}
        rows += [{**row, "score": 0.9, "keypoints": triples}, beside]
    category = {"id": 1, "name": "person", "keypoints": list(COCO_PERSON.names)}
    return {"images": images, "annotations": labels, "categories": [category]}, rows


@pytest.mark.parametrize(("factor", "within"), [(1.0, 0.683), (2.0, 0.954), (0.5, 0.383)])
def test_coverage_of_known_errors(factor, within):
    metrics = evaluate(*scene(200, factor), COCO_PERSON)
    assert metrics.sigma_coverage == pytest.approx(within, abs=0.02)
    assert metrics.visibility_auc == pytest.approx(0.8, abs=1e-9)  # one of five wrong on either side: ties count half
    assert f"{100 * metrics.sigma_coverage:.1f} % of the errors in x within one sigma" in metrics.table()
    assert "AUC 0.800" in metrics.table()


def test_results_that_do_not_tell():
    truth, rows = scene(5)
    plain = [{k: v for k, v in row.items() if k not in ("sigmas", "visibilities")} for row in rows]
    metrics = evaluate(truth, plain, COCO_PERSON)
    assert metrics.sigma_coverage is None and metrics.visibility_auc is None and "sigma" not in metrics.table()
    assert evaluate(truth, rows, COCO_PERSON).figures() == metrics.figures()


def test_nothing_occluded_has_no_auc():
    truth, rows = scene(5)
    for person in truth["annotations"]:
        person["keypoints"] = [2 * (value > 0) if n % 3 == 2 else value for n, value in enumerate(person["keypoints"])]
    metrics = evaluate(truth, rows, COCO_PERSON)
    assert metrics.visibility_auc is None and "nothing occluded" in metrics.table()

"""COCO's keypoint AP and AR (https://cocodataset.org/#keypoints-eval) for any skeleton, and a table per keypoint.

The figures are pycocotools', computed by faster-coco-eval: equal to the last digit of a double (pycocotools adds 2e-16
to a denominator where faster-coco-eval does not). Nothing is filtered or clipped on the way: all scores
count, at most 20 people an image do (COCO's maxDets), and images without people count.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from faster_coco_eval import COCO
from faster_coco_eval.core.faster_eval_api import COCOeval_faster
from numpy.typing import NDArray

from sia.coco.coco_files import GroundTruth, Row, check_results, is_labelled, load_ground_truth, split
from sia.evaluation.certainty import score_certainty
from sia.evaluation.keypoint_scores import KeypointScore, format_table, match_people, percent, score_keypoints
from sia.skeletons.skeleton import Skeleton

FIGURES = ("AP", "AP50", "AP75", "APM", "APL", "AR", "AR50", "AR75", "ARM", "ARL")


@dataclass(frozen=True)
class Metrics:
    """The result of one evaluation. Shares lie in [0, 1]; -1, as in COCO, where there is nothing to measure.

    Attributes:
        AP, AP50, AP75: average precision over OKS 0.50:0.05:0.95, at 0.50 and at 0.75.
        APM, APL: AP of people of 32^2 to 96^2 and of more than 96^2 pixels.
        AR, AR50, AR75, ARM, ARL: average recall, likewise.
        box_AP, box_AP50: average precision of the boxes (IoU); None where the results have no boxes.
        images: how many images were evaluated, those without people included.
        people: how many people have labelled keypoints and are no crowd.
        found: how many of them have a prediction of OKS 0.5 or more.
        detections: how many people were predicted.
        keypoints: one row per keypoint.
        visibility_auc, sigma_coverage: see `score_certainty`; None where the results don't tell.
        categories: of several categories each by itself, by its name; all else is then their mean or sum, as in COCO.
    """

    AP: float
    AP50: float
    AP75: float
    APM: float
    APL: float
    AR: float
    AR50: float
    AR75: float
    ARM: float
    ARL: float
    box_AP: float | None
    box_AP50: float | None
    images: int
    people: int
    found: int
    detections: int
    keypoints: tuple[KeypointScore, ...]
    visibility_auc: float | None = None
    sigma_coverage: float | None = None
    categories: dict[str, Metrics] = field(default_factory=dict)

    @classmethod
    def mean(cls, categories: dict[str, Metrics]) -> Metrics:
        """Of several categories, each with sigmas of its own. One without labelled people (-1) counts for nothing."""
        parts = categories.values()

        def average(values: list[float | None]) -> float | None:
            known = [value for value in values if value is not None and value >= 0]
            return sum(known) / len(known) if known else values[0]

        means = {
            name: average([getattr(part, name) for part in parts])
            for name in (*FIGURES, "box_AP", "box_AP50", "visibility_auc", "sigma_coverage")
        }
        sums = {name: sum(getattr(part, name) for part in parts) for name in ("people", "found", "detections")}
        keypoints = tuple(
            replace(row, name=f"{name}.{row.name}") for name, part in categories.items() for row in part.keypoints
        )
        images = next(iter(parts)).images
        return cls(**means, **sums, images=images, keypoints=keypoints, categories=categories)  # type: ignore[arg-type]

    def figures(self) -> dict[str, float]:
        """COCO's ten figures by name."""
        return {name: getattr(self, name) for name in FIGURES}

    def table(self) -> str:
        """AP, AR and the keypoints as text for a terminal, in percent; of several categories AP and AR of each."""
        values = {name: percent(value) for name, value in self.figures().items()}
        precision, recall = (
            "  ".join(f"{name:<4} {values[name]:>5}" for name in names) for names in (FIGURES[:5], FIGURES[5:])
        )
        boxes = "" if self.box_AP is None else f"box AP {percent(self.box_AP)}, AP50 {percent(self.box_AP50 or 0.0)}\n"
        counts = (
            f"{self.images} images, {self.people} labelled people, {self.found} of them found (OKS >= 0.5), "
            f"{self.detections} predictions\n"
        )
        if self.sigma_coverage is not None:
            counts += f"{100 * self.sigma_coverage:.1f} % of the errors in x within one sigma"
            auc = self.visibility_auc
            counts += ", nothing occluded\n" if auc is None else f", visible against occluded: AUC {auc:.3f}\n"
        note = "\nOKS and PCK are of the people found; PCK is relative to the longer side of the labelled box."
        head = f"{self.categories_table()}\n\n" if self.categories else ""
        return f"{head}{precision}\n{recall}\n{boxes}{counts}\n{format_table(self.keypoints)}{note}"

    def categories_table(self) -> str:
        """A line for each of several categories, and one for their mean."""
        heading = f"{'category':<20}" + "".join(f"{name:>7}" for name in FIGURES[:3]) + f"{'AR':>7}{'labelled':>10}"
        rows = [
            f"{name:<20}"
            + "".join(f"{percent(getattr(part, figure)):>7}" for figure in (*FIGURES[:3], "AR"))
            + f"{part.people:>10}"
            for name, part in (*self.categories.items(), ("mean", self))
        ]
        return "\n".join([heading, *rows])

    def to_dict(self) -> Row:
        """Plain types only, for JSON."""
        rows = {**asdict(self), "keypoints": [score.to_dict() for score in self.keypoints]}
        if not self.categories:
            return {name: value for name, value in rows.items() if name != "categories"}
        return {**rows, "categories": {name: part.to_dict() for name, part in self.categories.items()}}


def evaluate(ground_truth: Path | Row, results: list[Row], skeleton: Skeleton) -> Metrics:
    """Compares COCO results with COCO annotations.

    Args:
        ground_truth: an annotation file or its content. Every image in it counts.
        results: COCO keypoint results: ``image_id``, ``category_id``, ``keypoints`` (3K), ``score`` and, in all rows
            or in none, ``bbox`` (x, y, width, height); in original pixels. An empty list gives zeros. As in COCO,
            ``bbox`` says how large a wrong detection is, for APM and APL; without it the keypoints' extent does.
        skeleton: names and sigmas. Categories with exactly these keypoints are evaluated, as one; of a skeleton with
            several categories each by itself.

    Raises:
        DataError: an unreadable annotation file, one without labelled people, or results that don't fit it.
    """
    truth = load_ground_truth(ground_truth, skeleton)
    return score(truth, check_results(results, truth, skeleton), skeleton)


def score(truth: GroundTruth, rows: list[Row], skeleton: Skeleton) -> Metrics:
    """The same of what was read already; `rows` are from `check_results`."""
    if skeleton.categories:
        return Metrics.mean({part[2].category: score(*part) for part in split(truth, rows, skeleton)})
    scored = run_coco("keypoints", truth, rows, skeleton)
    matches, labelled = _match(scored, skeleton)
    boxes = None
    if all("bbox" in row for row in rows):
        boxes = run_coco("bbox", truth, rows, skeleton).stats
    return Metrics(
        **dict(zip(FIGURES, map(float, scored.stats), strict=True)),  # type: ignore[arg-type]
        box_AP=None if boxes is None else float(boxes[0]),
        box_AP50=None if boxes is None else float(boxes[1]),
        images=len(truth.images),
        people=sum(map(is_labelled, truth.people)),
        found=len(matches),
        detections=len(rows),
        keypoints=tuple(score_keypoints(matches, labelled, skeleton)),
        **score_certainty(truth, rows)._asdict(),
    )


def run_coco(kind: str, truth: GroundTruth, rows: list[Row], skeleton: Skeleton) -> COCOeval_faster:
    """One evaluation (``keypoints`` or ``bbox``) by the library, which alters what it is given and must not print.

    `rows` are from `check_results`.
    """

    def silence(*_: object) -> None: ...

    annotations = COCO(truth.coco(), print_function=silence)
    predictions = COCO({**truth.coco(), "annotations": []}, print_function=silence)
    if rows:  # older releases of the library can't load an empty list
        predictions = annotations.loadRes([dict(row) for row in rows])
    scored = COCOeval_faster(
        annotations, predictions, kind, print_function=silence, kpt_oks_sigmas=list(skeleton.sigmas)
    )
    scored.params.catIds = [truth.category]
    scored.evaluate()
    scored.accumulate()
    scored.summarize()
    return scored


def _match(
    scored: COCOeval_faster, skeleton: Skeleton
) -> tuple[list[tuple[Mapping[str, Any], Mapping[str, Any]]], NDArray[np.int64]]:
    """Predictions with the people they found, and how often each keypoint is labelled (K,)."""
    labelled = np.zeros(skeleton.num_keypoints, dtype=np.int64)
    matches: list[tuple[Mapping[str, Any], Mapping[str, Any]]] = []
    for (image_id, _), oks in scored.ious.items():
        people = scored.cocoGt.imgToAnns[int(image_id)]
        columns = [i for i, person in enumerate(people) if is_labelled(person)]
        for i in columns:
            labelled += np.asarray(people[i]["keypoints"][2::3]) > 0
        if columns and len(oks):
            best = sorted(scored.cocoDt.imgToAnns[int(image_id)], key=lambda row: -row["score"])
            matches += [(best[d], people[columns[g]]) for d, g in match_people(np.asarray(oks)[:, columns])]
    return matches, labelled

"""Curves of an evaluation: precision over recall, F1 over the score threshold, and what scores are worth.

N: predictions of all images as COCO counts them, the best first.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from sia.evaluation.matches import Matches
from sia.evaluation.predictions import Array

SHOWN = ("0.5", "0.75")
"""OKS thresholds with curves of their own; the first is that of F1 and reliability."""
BINS = 10
POINTS = 200
"""A longer curve is thinned to so many."""


def curves(matches: Matches, scores: Array, oks: Array) -> dict[str, Any]:
    """All three, in plain types.

    Args:
        matches: of the predictions.
        scores: (N,).
        oks: (N,) to the labelled person each one is, or is most like.

    Returns:
        ``precision``: by OKS threshold and as ``mean`` over COCO's ten, read at ``recall``.
        ``f1``: ``score``, ``precision``, ``recall`` and ``f1`` of all predictions from that score on, at OKS 0.5, and
        the ``best`` of them.
        ``reliability``: bins of equal width with ``score``, ``precision`` (fraction right at OKS 0.5) and ``oks``, the
        means of ``count`` predictions; ``error`` is their mean distance of score and precision (expected calibration
        error, Guo et al. 2017); None where scores leave [0, 1].
    """
    everyone = np.ones((1, len(matches.image_ids)), np.int64)
    read = dict(zip((f"{0.5 + 0.05 * i:.2g}" for i in range(10)), matches.precisions(everyone), strict=True))
    means = {name: read[name][0] for name in SHOWN} | {"mean": np.mean([values[0] for values in read.values()], axis=0)}
    return {
        "recall": matches.recalls.round(4).tolist(),
        "precision": {name: values.round(4).tolist() for name, values in means.items()},
        "f1": _f1(matches, scores),
        "reliability": _reliability(matches, scores, oks),
    }


def _f1(matches: Matches, scores: Array) -> dict[str, Any]:
    counted, right = matches.counted[0], matches.right[0]
    last = np.flatnonzero(np.append(scores[1:] != scores[:-1], True)) if len(scores) else np.zeros(0, np.int64)
    hits, taken = np.cumsum(right)[last], np.cumsum(counted)[last]
    precision = hits / np.maximum(taken, 1)
    recall = hits / max(1, int(matches.people.sum()))
    f1 = 2 * hits / np.maximum(taken + matches.people.sum(), 1)
    columns = {"score": scores[last], "precision": precision, "recall": recall, "f1": f1}
    shown = np.unique(np.linspace(0, len(last) - 1, min(POINTS, len(last))).round().astype(int))
    best = int(f1.argmax()) if len(f1) else None
    return {
        **{name: column[shown].round(5).tolist() for name, column in columns.items()},
        "best": None if best is None else {name: float(column[best]) for name, column in columns.items()},
    }


def _reliability(matches: Matches, scores: Array, oks: Array) -> dict[str, Any]:
    counted = matches.counted[0]
    scores, oks, right = scores[counted], oks[counted], matches.right[0][counted]
    low, high = min(0.0, float(scores.min(initial=0))), max(1.0, float(scores.max(initial=1)))
    bins = ((scores - low) / (high - low) * BINS).astype(int).clip(0, BINS - 1)
    rows = [
        {"count": int(chosen.sum()), "score": float(scores[chosen].mean()), "precision": float(right[chosen].mean()),
         "oks": float(oks[chosen].mean())}
        for chosen in (bins == number for number in range(BINS)) if chosen.any()
    ]  # fmt: skip
    gaps = sum(row["count"] * abs(row["score"] - row["precision"]) for row in rows) / max(1, len(scores))
    return {"bins": rows, "error": gaps if (low, high) == (0.0, 1.0) else None}

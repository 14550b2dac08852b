"""What the benchmark says: smoothing lowers the acceleration error, and AP and OKS are no lower."""

from __future__ import annotations

import numpy as np

from benchmarks.smoothing import JITTER, detections, measure, ours, smoothed
from datasets.synthetic.motion import moving_people


def test_smoother_people_are_no_worse() -> None:
    clip = moving_people(50, 2, 2.0)
    for quality in ("strong", "middle"):
        tracked = ours(clip, detections(clip, JITTER[quality], np.random.default_rng(0)))
        raw, online, offline = (measure(clip, smoothed(clip, tracked, kind)) for kind in ("none", "online", "offline"))
        assert offline.acceleration < 0.3 * raw.acceleration
        assert online.acceleration < 0.85 * raw.acceleration
        assert offline.ap > raw.ap
        assert offline.oks > raw.oks
        assert online.ap > raw.ap - 0.01
        assert online.oks > raw.oks
        assert raw.purity > 0.95

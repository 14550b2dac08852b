"""Entry points of torch.hub: ``torch.hub.load(FOLDER, "sia_pose", source="local")``."""

from __future__ import annotations

from typing import Any

from sia.estimator import PoseEstimator, load

dependencies = ["torch", "timm", "einops", "cv2", "PIL", "msgspec"]


def sia_pose(weights: str | None = None, **options: Any) -> PoseEstimator:
    """A pose estimator: call it with an image, or its ``stream`` with a video; docs/api.md has all of it.

    Args:
        weights: what `sia.load` takes; the bundled ``sia_pose_simple-n16`` by default.
        **options: ``device``, ``imgsz``, ``roi_score_thresh``, ``tta`` and others of `sia.load`.
    """
    return load(weights, **options)

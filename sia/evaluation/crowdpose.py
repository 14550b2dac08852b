"""CrowdPose's protocol (Li et al., "CrowdPose", CVPR 2019): its sigmas and areas, and AP by how crowded images are.

Equal to faster-coco-eval's `keypoints_crowd` without areas, as CrowdPose's own files have none.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from sia.coco.coco_files import GroundTruth
from sia.errors import DataError
from sia.evaluation.matches import Matches
from sia.skeletons.oks import AREA_OF_BOX
from sia.skeletons.skeleton import Skeleton

HEAD_AND_NECK = 0.079
"""Sigma of the two keypoints that COCO doesn't have."""
EASY, HARD = 0.2, 0.8
"""crowdIndex below the first is easy, from the second on hard."""


def as_crowdpose(truth: GroundTruth, skeleton: Skeleton) -> tuple[GroundTruth, Skeleton]:
    """Areas of 0.53 times the box, and the sigmas of 14 keypoints.

    Raises:
        DataError: these are not CrowdPose's annotations.
    """
    last = [name for name in skeleton.names if "head" in name.lower() or "neck" in name.lower()]
    if skeleton.categories or skeleton.num_keypoints != 14 or len(last) != 2:
        raise DataError(
            f"--crowdpose is for CrowdPose's 14 keypoints, head and neck among them, but the annotations have "
            f"{skeleton.num_keypoints}: {', '.join(skeleton.names)}. Leave it out."
        )
    for row in truth.rows:
        index: Any = row.get("crowdIndex")
        if type(index) not in (int, float) or not 0 <= index <= 1:
            raise DataError(
                f"--crowdpose needs the crowdIndex (0 to 1) of each image, but image {row['id']} has {index!r:.40}. "
                "Use CrowdPose's own annotation file."
            )
    people = [{**row, "area": AREA_OF_BOX * row["bbox"][2] * row["bbox"][3]} for row in truth.people]
    own = dict(zip(skeleton.names, skeleton.sigmas, strict=True)) | dict.fromkeys(last, HEAD_AND_NECK)
    return replace(truth, people=people), replace(skeleton, sigmas=tuple(own.values()))


def crowd_levels(truth: GroundTruth, matches: Matches) -> dict[str, float]:
    """AP of easy, medium and hard images, as fractions; -1 where there is nobody."""
    index = {row["id"]: row["crowdIndex"] for row in truth.rows}
    crowding = np.array([index[image_id] for image_id in matches.image_ids.tolist()])
    levels = [crowding < EASY, (crowding >= EASY) & (crowding < HARD), crowding >= HARD]
    values = matches.average_precision(np.array(levels, np.int64))
    return dict(zip(("AP_easy", "AP_medium", "AP_hard"), np.nan_to_num(values, nan=-1.0).tolist(), strict=True))

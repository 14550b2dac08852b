"""A second crop of each person, nearer to the pose that was found in the first, and what both say together.

Boxes of tokens miss hands and feet, and are shifted; a pose tells better where the person is (after Toshev and Szegedy,
DeepPose, 2014, section 3.2). Two crops also see a keypoint at different places of a cell, so that errors average.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sia.boxes import to_centres
from sia.modules.roi_keypoint_head import Found, RoIs

LIKELY = 0.3
"""Sigmoid of the score from which on somebody gets a second crop: an expected OKS of 0.45 (see `QUALITY_POWER`). On
photographs 55 to 60 % do, and AP is as with all."""

SURE = 0.2
"""Confidence from which on a keypoint counts for the box of a pose."""

LEAST = 1 / 3
"""Fraction of the keypoints that have to be sure; else the box stays as it is."""

MARGIN = 0.06
"""Around a pose, in fractions of its longer side."""

NEAR = 0.045
"""Distance up to which the crops agree on a keypoint, in fractions of the longer side of the second box."""

DOUBT = 0.3
"""What the logit of a confidence loses where they disagree."""

OUTSIDE = 1e3
"""A coordinate beyond every image."""


def likely(found: Found, rois: RoIs) -> Tensor:
    """(n,) bool, who gets a second crop; the best of each image always, so that there is one."""
    return (found.scores.sigmoid() > LIKELY) | (rois.row == 0)


def pose_boxes(boxes: Tensor, found: Found) -> Tensor:
    """boxes (n, 4) centre x, centre y, width, height -> the means of them and of the boxes of the poses found."""
    sure = found.confidences.sigmoid() > SURE
    low = found.poses.masked_fill(~sure[..., None], OUTSIDE).amin(1)
    high = found.poses.masked_fill(~sure[..., None], -OUTSIDE).amax(1)
    margin = MARGIN * (high - low).amax(-1, keepdim=True)
    enough = (sure.sum(-1, keepdim=True) >= LEAST * sure.shape[-1]) & ((high - low).amin(-1, keepdim=True) > 0)
    own = to_centres(torch.cat([low - margin, high + margin], -1))
    return torch.where(enough, (own + boxes) / 2, boxes)


def merge(first: Found, second: Found, boxes: Tensor, again: Tensor) -> Found:
    """What two crops of the same people tell; the heatmaps and the features stay those of the first.

    Keypoints on which the crops agree are averaged by their confidences; of the others the surer place is taken.

    Args:
        first: n people, in crops of the detected boxes.
        second: m of them, in crops of `boxes`.
        boxes: (m, 4) centre x, centre y, width, height, from `pose_boxes`.
        again: (m,) int64, the rows of these in `first`.
    """
    poses, confidences, scores = first.poses[again], first.confidences[again], first.scores[again]
    distance = (poses - second.poses).square().sum(-1).sqrt()
    near = distance < NEAR * boxes[:, 2:].amax(-1, keepdim=True)
    sure = torch.stack([confidences, second.confidences]).sigmoid()
    share = torch.where(near, sure[0] / sure.sum(0), (sure[0] >= sure[1]).to(sure.dtype))[..., None]
    mean = (confidences + second.confidences) / 2
    highest = torch.maximum(confidences, second.confidences)
    return first._replace(
        poses=first.poses.index_put((again,), share * poses + (1 - share) * second.poses),
        confidences=first.confidences.index_put((again,), torch.where(near, mean, highest - DOUBT)),
        scores=first.scores.index_put((again,), (scores + second.scores) / 2),
    )

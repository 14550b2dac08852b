"""What the certainty head learns: whether a labelled keypoint is visible, and how far off the model places it.

B images, R people, P labelled people (padded), K keypoints. Lengths are in units of the longer input side.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from sia.boxes import iou, to_corners
from sia.losses.matcher import UNMATCHED, Targets, masked_mean
from sia.outputs import Certainty, Prediction

FOUND_BOX = 0.5
"""IoU with the labelled box from which on a person is found: the keypoints of others are off for another reason."""

WITHIN = 0.6827
"""Share of the errors that the standard deviation is to hold: that of a normal distribution."""

SMALLEST_ERROR = 1e-6
"""Floor of an error: labels are rounded to pixels, and some are met exactly."""


def visibility_loss(certainty: Certainty, person: Tensor, targets: Targets) -> Tensor:
    """Cross-entropy with v = 2 against v = 1, summed over people; what nobody labelled (v = 0) teaches nothing.

    Args:
        certainty: (B, R).
        person: (B, R) whom each stands for.
        targets: the labelled people.
    """
    truth = targets.of(person)
    known = _sure(truth) & (person != UNMATCHED)[..., None]
    loss = F.binary_cross_entropy_with_logits(certainty.visibilities, truth.visible.float(), reduction="none")
    return masked_mean(loss, known).sum()


def sigma_loss(certainty: Certainty, people: Prediction, person: Tensor, targets: Targets) -> Tensor:
    """Pinball loss (Koenker & Bassett, Regression Quantiles, Econometrica 1978), summed over the people found.

    Of the logarithms of the errors in x and in y: its least value is at the quantile `WITHIN` of their sizes, whatever
    their distribution. The likelihood of normal errors (Kendall & Gal, What Uncertainties Do We Need, NeurIPS 2017)
    would have few swapped or lost keypoints widen all others. The keypoints get no gradient.
    """
    truth = targets.of(person)
    near = iou(to_corners(people.boxes.detach()), truth.corners) >= FOUND_BOX
    known = _sure(truth) & (near & (person != UNMATCHED))[..., None]
    errors = (people.poses.detach() - truth.poses).abs().clamp(min=SMALLEST_ERROR).log()
    beyond = errors - certainty.log_sigmas[..., None]
    return masked_mean(torch.maximum(WITHIN * beyond, (WITHIN - 1) * beyond).mean(-1), known).sum()


def _sure(truth: Targets) -> Tensor:
    """Of which keypoints a person said where they are: a model that labels has errors of its own."""
    return truth.labelled & (truth.trust >= 1)

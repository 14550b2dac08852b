"""The training loss: quality-aware scores, boxes, poses and per-keypoint confidence.

B images, Q candidates, P people (padded), K keypoints. Lengths are in units of the longer input side.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sia.batch import PoseBatch
from sia.boxes import iou, iou_and_giou, to_centres, to_corners
from sia.losses.certainty import sigma_loss, visibility_loss
from sia.losses.matcher import (
    PATCHES_PER_PERSON,
    UNMATCHED,
    Targets,
    keypoint_similarity,
    masked_mean,
    matched_person,
    targets_from,
)
from sia.modules.roi_keypoint_head import Heatmaps, cross_entropy
from sia.outputs import PoseOutput, Prediction

QUALITY_POWER = 1.5
"""Exponent of the score target (Huang et al., DEIM, section 3.3: matchability-aware loss)."""

DOUBLE = 0.5
"""IoU with a labelled person from which on a candidate that stands for nobody is that person's duplicate, not somebody
who may be unlabelled."""


@dataclass(frozen=True)
class LossWeights:
    """What each term counts."""

    score: float = 2.0
    box: float = 5.0
    giou: float = 2.0
    oks: float = 4.0
    pose: float = 5.0
    confidence: float = 0.5
    heatmap: float = 3.0
    proposals: float = 1.0
    visibility: float = 1.0
    sigma: float = 1.0


class PoseCriterion(nn.Module):
    """Weighted losses of a training output; it has no parameters of its own.

    The score of a token learns half IoU and half OKS: OKS alone is 0 for every candidate at the start, which teaches
    nothing. After the RoI keypoint head it learns OKS. Keypoint-less people supervise score and box; candidates centred
    in an ignored region supervise nothing, but duplicates of labelled people do.
    """

    sigmas: Tensor

    def __init__(self, sigmas: Tensor, weights: LossWeights | None = None) -> None:
        """Builds the criterion.

        Args:
            sigmas: (K,) OKS constants.
            weights: of the terms.
        """
        super().__init__()
        self.weights = weights or LossWeights()
        self.register_buffer("sigmas", sigmas.float())

    def forward(self, output: PoseOutput, batch: PoseBatch, num_people: float) -> dict[str, Tensor]:
        """Losses by term; their sum is what to differentiate.

        Args:
            output: of a model in training.
            batch: what the model saw, on the same device.
            num_people: people over all ranks, divided by the ranks, at least 1.

        Returns:
            Scalars: score, box, giou, oks, pose, confidence, heatmap; visibility and sigma, where the model tells them;
            and score to confidence of the proposals, summed, as `proposals`.
        """
        targets = targets_from(batch, float(max(batch.images.shape[-2:])))
        losses = self._tokens(output, targets, num_people)
        proposals = torch.stack(list(self._proposals(output, targets, num_people).values()))
        losses["proposals"] = self.weights.proposals * proposals.sum()
        return losses

    def _tokens(self, output: PoseOutput, targets: Targets, num_people: float) -> dict[str, Tensor]:
        assert output.matched is not None
        groups = output.matched.shape[1]
        total: dict[str, Tensor] = {}
        person = matched_person(output.matched, output.layers[0].scores.shape[1])
        selected = person.gather(1, output.selected)
        *before, last = output.layers
        row = output.selected[..., None, None].expand(-1, -1, *last.poses.shape[2:])
        placed = last.poses.detach().scatter(1, row, output.refined[0].poses.detach())
        stages = [(layer, person, layer.poses, 0.5, groups) for layer in before]
        stages += [(last, person, placed, 0.5, groups)]  # its scores answer for the placed keypoints, not for a guess
        stages += [(layer, selected, layer.poses, 0.0, 1) for layer in output.refined]
        for prediction, owner, poses, iou_share, count in stages:
            for name, value in self._losses(prediction, owner, targets, poses, iou_share).items():
                total[name] = total.get(name, 0) + value / (num_people * count)
        total["heatmap"] = self.weights.heatmap * heatmap_loss(output.heatmaps, selected, targets) / num_people
        total |= {name: value / num_people for name, value in self._certainty(output, selected, targets).items()}
        return total

    def _certainty(self, output: PoseOutput, person: Tensor, targets: Targets) -> dict[str, Tensor]:
        """Of the guess, for what the tokens found, and of what is said of the result; nothing else learns by it."""
        if output.certainty is None or output.guess is None:
            return {}
        first = output.layers[-1].select(output.selected)
        told = ((output.guess, first), (output.certainty, output.people))
        visible = torch.stack([visibility_loss(certainty, person, targets) for certainty, _ in told]).sum()
        sigma = torch.stack([sigma_loss(*stage, person, targets) for stage in told]).sum()
        return {"visibility": self.weights.visibility * visible, "sigma": self.weights.sigma * sigma}

    def _proposals(self, output: PoseOutput, targets: Targets, num_people: float) -> dict[str, Tensor]:
        assert output.patch_person is not None
        person = output.patch_person
        counts = torch.zeros(len(person), targets.people.shape[1] + 1, device=person.device)  # the last is of nobody
        index = torch.where(person == UNMATCHED, targets.people.shape[1], person)
        counts = counts.scatter_add(1, index, torch.ones_like(index, dtype=counts.dtype))
        share = 1 / counts.gather(1, index)
        losses = self._losses(output.proposals, person, targets, output.proposals.poses, share=share)
        losses["score"] = losses["score"] / PATCHES_PER_PERSON
        return {name: value / num_people for name, value in losses.items()}

    def _losses(
        self,
        prediction: Prediction,
        person: Tensor,
        targets: Targets,
        poses: Tensor,
        iou_share: float = 0.5,
        share: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Sums over candidates.

        person (B, Q) is whom each stands for, share (B, Q) what it counts. Its score is to tell the OKS of poses
        (B, Q, K, 2), with iou_share of the box's IoU.
        """
        owned = person != UNMATCHED
        unsure = _unsure(prediction.boxes.detach(), targets)
        truth = targets.of(person)
        count = owned.float() if share is None else owned * share
        overlap, giou = iou_and_giou(to_corners(prediction.boxes), truth.corners)
        similarity = self._similarity(prediction.poses, truth)
        oks = masked_mean(similarity, truth.trust)
        posed = count * truth.certainty
        answered = masked_mean(self._similarity(poses, truth), truth.trust)
        quality = torch.where(truth.posed, answered.lerp(overlap, iou_share), overlap).detach()
        distance = (prediction.boxes - to_centres(truth.corners)).abs().sum(-1)
        offset = (prediction.poses - truth.poses).abs().sum(-1) / truth.areas.clamp(min=1e-6).sqrt()[..., None]
        near = (similarity * truth.labelled).detach()
        confidence = F.binary_cross_entropy_with_logits(prediction.confidences, near, reduction="none").mean(-1)
        w = self.weights
        return {
            "score": w.score * self._score(prediction, owned, quality, unsure),
            "box": w.box * (count * distance).sum(),
            "giou": w.giou * (count * (1 - giou)).sum(),
            "oks": w.oks * (posed * (1 - oks)).sum(),
            "pose": w.pose * (posed * masked_mean(offset.log1p(), truth.trust)).sum(),
            "confidence": w.confidence * (posed * confidence).sum(),
        }

    def _similarity(self, poses: Tensor, truth: Targets) -> Tensor:
        """(B, Q, K) each keypoint's term of OKS."""
        squared = (poses - truth.poses).square().sum(-1)
        return keypoint_similarity(squared, truth.areas, self.sigmas.to(squared.device))

    @staticmethod
    def _score(prediction: Prediction, owned: Tensor, quality: Tensor, unsure: Tensor) -> Tensor:
        """Cross-entropy towards quality**power where owned, focal elsewhere, nothing where that may be wrong."""
        target = torch.where(owned, quality.clamp(0, 1) ** QUALITY_POWER, 0.0)
        loss = F.binary_cross_entropy_with_logits(prediction.scores, target, reduction="none")
        background = prediction.scores.detach().sigmoid() ** QUALITY_POWER
        background = background * ~unsure
        return (torch.where(owned, 1.0, background) * loss).sum()


def heatmap_loss(heatmaps: Heatmaps, person: Tensor, targets: Targets) -> Tensor:
    """Cross-entropy between where keypoints were looked for and where they are, summed over people.

    person (B, R) is whom each row stands for. Keypoints outside their crop teach nothing.
    """
    rois = heatmaps.rois
    owner = person[rois.image, rois.row]
    at = (rois.image, owner.clamp(min=0))
    points = rois.inside(targets.poses[at])
    known = targets.labelled[at] & (owner != UNMATCHED)[:, None] & ((points > 0) & (points < 1)).all(-1)
    entropy = cross_entropy(heatmaps, points)
    trust = targets.trust[at] * known
    return (masked_mean(entropy, trust) * masked_mean(trust, known)).sum()


def _unsure(boxes: Tensor, targets: Targets) -> Tensor:
    """boxes (B, Q, 4) centres and sizes -> (B, Q) bool, in an ignored region and nobody's double: may be a person."""
    overlap = iou(to_corners(boxes)[:, :, None], targets.corners[:, None]) * targets.people[:, None]
    return centred_in(boxes, targets.ignored) & (overlap.amax(-1) < DOUBLE)


def centred_in(boxes: Tensor, regions: Tensor) -> Tensor:
    """boxes (B, Q, 4) centres and sizes, regions (B, R, 4) corners -> (B, Q) bool."""
    point = boxes[:, :, None, :2]
    inside = (point > regions[:, None, :, :2]) & (point < regions[:, None, :, 2:])
    return inside.all(-1).any(-1)

"""What the three variants share: patches -> proposals -> detection tokens -> people -> their keypoints.

B images, N patches of width D, G groups of M tokens in training (1 otherwise), R people, K keypoints.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sia.batch import PoseBatch
from sia.boxes import iou, to_centres, to_corners
from sia.losses.matcher import UNMATCHED, PatchMatch, Targets, match_patches, match_tokens, matched_person, targets_from
from sia.modules.certainty_head import CertaintyHead
from sia.modules.conv_pyramid import ConvPyramid
from sia.modules.detection_tokens import DetectionTokens, DuplicateSuppression
from sia.modules.person_head import PATCH_BOX, PersonHead, Reference, reference_from
from sia.modules.roi_keypoint_head import Found, RoIKeypointHead, RoIs, rois_around
from sia.outputs import PoseOutput, Prediction, at_most, gather_rows, longer_side
from sia.registry import ROI_SCORE_THRESH, HeadConfig
from sia.sia_vision import Backbone, Features


def drop_unused_blocks(backbone: Backbone, depth: int, keep_norm: bool) -> None:
    """Takes away what a variant never runs: every parameter that stays gets a gradient in every batch."""
    backbone.vit.blocks = backbone.vit.blocks[:depth]
    backbone.depth = depth
    if not keep_norm:
        backbone.vit.norm = nn.Identity()


TOKEN_GRADIENT = 0.1
"""Fraction of the tokens' gradient that reaches the patches where the tokens join.

While the proposals are poor, what the tokens ask of the patches is noise. Measured at 128 px, 9,600 synthetic images:
box AP 2.9 for 0, 2.2 for 1, and every loss lower for 0; a little is let through so that the encoder serves both.
"""


def scale_gradient(features: Tensor) -> Tensor:
    """The same values; the gradient is scaled by `TOKEN_GRADIENT`."""
    return features.detach() + TOKEN_GRADIENT * (features - features.detach())


POSSIBLE, OTHERS = 0.01, 1
"""In training, from which score on, and how many, unmatched tokens of an image get a crop, to learn their score."""

FAIR_BOX = 0.5
"""IoU from which on a predicted box is good enough to train on."""

SHIFT, GROWTH = 0.08, 0.15
"""Standard deviations of what is done to true boxes, in fractions of their size, where the model's are not yet fair."""


def replace_poor_boxes(boxes: Tensor, truth: Tensor) -> Tensor:
    """boxes (n, 4) centres and sizes, truth (n, 4) corners -> the boxes; where they miss, disturbed true ones."""
    corners = to_corners(boxes)
    fair = iou(corners, truth) > FAIR_BOX
    centre, size = to_centres(truth).chunk(2, dim=-1)
    centre = centre + SHIFT * size * torch.randn_like(centre)
    size = size * (GROWTH * torch.randn_like(size)).exp()
    return torch.where(fair[:, None], boxes, torch.cat([centre, size], dim=-1))


def best_patches(match: PatchMatch, targets: Targets) -> Tensor:
    """(B, N) bool, the best patch of each labelled person: it becomes a token whatever its score."""
    count = torch.zeros_like(match.person, dtype=torch.float32)
    return count.scatter_add(1, match.best, targets.people.float()) > 0


def _with_first(mask: Tensor) -> Tensor:
    """A mask (B, R) with the first of each image set: an image is read alike alone and among others."""
    return mask | (torch.arange(mask.shape[1], device=mask.device) == 0)


class Candidates(NamedTuple):
    """The people of a batch before the RoI keypoint head, and everything that was predicted on the way.

    Attributes:
        tokens: (B, R, dim), normalised; they say who is meant.
        people: (B, R), the best.
        selected: (B, R) their rows of the last layer.
        layers: all candidates after each layer.
        proposals: (B, N), of the patches.
        features: the patches, as the tokens have read them.
        matched, patch_match: in training, with whom tokens and patches are matched.
    """

    tokens: Tensor
    people: Prediction
    selected: Tensor
    layers: list[Prediction]
    proposals: Prediction
    features: Features
    matched: Tensor | None
    patch_match: PatchMatch | None


class PoseModel(nn.Module, ABC):
    """Base of the variants: the input, the proposals and the final output are the same for all.

    Attributes:
        sigmas: (K,) OKS constants.
        roi_score_thresh: score in [0, 1] from which on the RoI keypoint head runs for a person; training goes by
            the labels.
        roi_flip_order: (K,) int64, which keypoints trade places in a mirror image; the RoI keypoint head then reads
            each crop and its mirror image, but not in training. None: the crop alone.
    """

    sigmas: Tensor
    roi_score_thresh: float = ROI_SCORE_THRESH
    roi_flip_order: Tensor | None = None

    def __init__(
        self, backbone: Backbone, head_config: HeadConfig, dim: int, mean_pose: Tensor, sigmas: Tensor
    ) -> None:
        """Builds what is shared.

        Args:
            backbone: the encoder.
            head_config: of this size.
            dim: width of the tokens that the head reads.
            mean_pose: (K, 2) relative to the box.
            sigmas: (K,) OKS constants, for matching.
        """
        super().__init__()
        self.backbone = backbone
        self.head_config = head_config
        self.head = PersonHead(dim, mean_pose)
        self.tokens = DetectionTokens(dim, len(mean_pose), head_config.tokens, head_config.groups)
        self.norm_patches = nn.LayerNorm(dim)
        self.duplicate_suppression = DuplicateSuppression(dim)
        self.roi_head = RoIKeypointHead(
            dim, sigmas, head_config.roi_channels, head_config.roi_size, head_config.roi_trunk
        )
        if isinstance(self.roi_head.body, ConvPyramid):
            self.roi_head.body.trunk.set_input(backbone.mean, backbone.std)
        self.register_buffer("sigmas", sigmas.float())
        self.certainty: CertaintyHead | None = None
        self._trained: frozenset[str] | None = None

    def add_certainty(self) -> None:
        """Adds a `CertaintyHead`; what the model had has drawn its random start before."""
        width, keypoints = self.head_config.roi_channels, self.head.num_keypoints
        self.certainty = CertaintyHead(self.tokens.dim, keypoints, width)

    def train_certainty_only(self) -> None:
        """From now on nothing but the `CertaintyHead` is trained; all else stays as in evaluation."""
        self._train_only({"certainty"})

    def freeze_roi_head(self) -> None:
        """From now on only what finds people is trained; what a crop of each then tells stays as in evaluation.

        The tokens still learn to tell the RoI keypoint head who is meant.
        """
        self._train_only({name for name, _ in self.named_children()} - {"roi_head", "refiner", "certainty"})

    def _train_only(self, parts: Collection[str]) -> None:
        self._trained = frozenset(parts)
        for name, child in self.named_children():
            child.requires_grad_(name in parts)
        self.train(self.training)

    def train(self, mode: bool = True) -> PoseModel:
        """As usual, but what isn't trained stays as in evaluation."""
        super().train(mode)
        for name, child in self.named_children():
            child.train(mode and (self._trained is None or name in self._trained))
        return self

    @abstractmethod
    def encode(self, features: Features) -> tuple[Features, Tensor]:
        """Runs the patches up to where tokens join; returns them and (B, N, dim) for the head."""

    @abstractmethod
    def read(
        self, features: Features, patches: Tensor, tokens: Tensor, reference: Reference, groups: int
    ) -> tuple[Features, list[Tensor], list[Prediction]]:
        """Lets the tokens read the patches; returns tokens and candidates after each layer."""

    def forward(self, images: Tensor, batch: PoseBatch | None = None) -> PoseOutput:
        """Finds people.

        Args:
            images: (B, 3, H, W) uint8, or float in [0, 1], RGB, any size.
            batch: the labels, needed in training, for matching.

        Returns:
            The people, and everything that was predicted on the way. Units: the longer of H and W.
        """
        size = (images.shape[-2], images.shape[-1])
        pixels = self.normalise(images)
        targets = None
        if self.training:
            assert batch is not None, "a model in training needs the batch's labels"
            targets = targets_from(batch, float(max(size)))
        first = self.find_candidates(pixels, size, targets)
        person = None
        if first.matched is not None:
            person = matched_person(first.matched, first.layers[-1].scores.shape[1]).gather(1, first.selected)
        rois = self._rois(first.people, person, targets)
        guessed = None if self.certainty is None else self.certainty.guess(first.tokens, first.people)
        people, found = self._find_keypoints(pixels, size, first, rois)
        refined = [people, *self.refine(people, first.tokens, first.features, size)]
        certainty = None
        if self.certainty is not None and guessed is not None:
            certainty = self.certainty(guessed, found, refined[-1], longer_side(size))
        return PoseOutput(
            people=refined[-1],
            refined=refined,
            heatmaps=found.heatmaps,
            selected=first.selected,
            layers=first.layers,
            proposals=first.proposals,
            certainty=certainty,
            guess=guessed,
            patch_person=None if first.patch_match is None else first.patch_match.person,
            matched=first.matched,
        )

    def find_candidates(self, pixels: Tensor, size: tuple[int, int], targets: Targets | None = None) -> Candidates:
        """The people that the tokens find, before the RoI keypoint head.

        Args:
            pixels: (B, 3, H, W) from `normalise`.
            size: H, W of the input, without the padding of `normalise`.
            targets: in training, the labelled people.
        """
        features, patches = self.encode(self.backbone.embed(pixels))
        reference = self.patch_reference(features.grid, size, pixels.shape[0])
        proposals = self.head(patches, reference)
        patch_match = forced = matched = None
        if targets is not None:
            patch_match = match_patches(proposals, reference.boxes[0, :, :2], targets, self.sigmas)
            forced = best_patches(patch_match, targets)
            features, patches = features._replace(tokens=scale_gradient(features.tokens)), scale_gradient(patches)

        tokens, reference = self.tokens(patches, self.head, proposals, forced)
        groups = tokens.shape[1] // min(self.tokens.tokens, patches.shape[1]) if self.training else 1
        features, states, layers = self.read(features, patches, tokens, reference, groups)
        if targets is not None:
            matched = match_tokens(layers[-1], targets, self.sigmas, groups)

        selected = self._select(layers[-1].scores.detach(), matched)
        tokens, people = gather_rows(states[-1], selected), layers[-1].select(selected)
        return Candidates(tokens, people, selected, layers, proposals, features, matched, patch_match)

    def _select(self, scores: Tensor, matched: Tensor | None) -> Tensor:
        """(B, R) rows of the last layer: the best by score; in training those who are matched come first."""
        count = at_most(self.head_config.people, scores.shape[1])
        if matched is None:
            return scores.topk(count, dim=1).indices
        first = matched[:, 0]  # rows of the group that is used at test time
        own = scores.sigmoid()[:, : scores.shape[1] // matched.shape[1]]
        boost = torch.zeros(len(own), own.shape[1] + 1, device=own.device)
        boost = boost.scatter(1, torch.where(first == UNMATCHED, own.shape[1], first), 2.0)[:, :-1]
        return (own + boost).topk(min(count, own.shape[1]), dim=1).indices

    def _rois(self, people: Prediction, person: Tensor | None, targets: Targets | None) -> RoIs:
        """The crops to find keypoints in: of all likely people; in training of the matched ones, and of few others.

        At least one: in training so that every parameter gets a gradient, else for each image.

        Args:
            people: (B, R) the selected candidates.
            person: in training, (B, R) the labelled person whom each is matched to, or `UNMATCHED`.
            targets: in training, the labelled people.
        """
        if person is None or targets is None:
            image, row = _with_first(people.scores.sigmoid() > self.roi_score_thresh).nonzero(as_tuple=True)
            torch._check(image.shape[0] > 0)  # for the tracer, which knows no data
            return rois_around(people.boxes[image, row], image, row, self.roi_head.size)
        is_matched = person != UNMATCHED
        background = ~is_matched & (people.scores.sigmoid() > POSSIBLE)  # the best come first
        chosen = is_matched | (background & (background.cumsum(1) <= OTHERS))
        image, row = (chosen if chosen.any() else _with_first(chosen)).nonzero(as_tuple=True)
        boxes, match = people.boxes[image, row].detach(), person[image, row]
        repaired = replace_poor_boxes(boxes, targets.corners[image, match.clamp(min=0)])
        boxes = torch.where((match != UNMATCHED)[:, None], repaired, boxes)
        return rois_around(boxes, image, row, self.roi_head.size)

    def _find_keypoints(
        self, pixels: Tensor, size: tuple[int, int], first: Candidates, rois: RoIs
    ) -> tuple[Prediction, Found]:
        """Runs the RoI keypoint head; people without a crop keep the keypoints that their token found."""
        extent = self.extent(first.features.grid, size)
        flip_order = None if self.training else self.roi_flip_order

        def read_crops(rois: RoIs) -> Found:
            tokens, scores = first.tokens[rois.image, rois.row], first.people.scores[rois.image, rois.row]
            return self.roi_head(pixels, extent, tokens, scores, rois, flip_order)  # type: ignore[no-any-return]

        at = (rois.image, rois.row)
        found = self.look(read_crops, rois, first.people.boxes[at])
        people = first.people._replace(
            scores=first.people.scores.detach().index_put(at, found.scores),
            poses=first.people.poses.index_put(at, found.poses),
            confidences=first.people.confidences.index_put(at, found.confidences),
        )
        return self.duplicate_suppression(first.tokens, people, 1), found

    def look(self, read_crops: Callable[[RoIs], Found], rois: RoIs, boxes: Tensor) -> Found:
        """What the RoI keypoint head, `read_crops`, finds of n people with these boxes (n, 4), first in these crops."""
        return read_crops(rois)

    def refine(self, people: Prediction, tokens: Tensor, features: Features, size: tuple[int, int]) -> list[Prediction]:
        """The people after each layer of the refiner, where there is one."""
        return []

    def fuse_attention(self, fused: bool) -> None:
        """Chooses between PyTorch's fused attention and plain products of matrices: other speed, the same result."""
        for module in self.modules():
            if hasattr(module, "fused_attn"):
                setattr(module, "fused_attn", fused)  # noqa: B010 (timm's modules declare no such attribute)

    def extent(self, grid: tuple[int, int], size: tuple[int, int]) -> Tensor:
        """(2,) width and height of an (h, w) grid of patches, padding included, in units of the longer input side."""
        sides = torch.tensor([grid[1], grid[0]], dtype=torch.float32, device=self.sigmas.device)
        return sides * (self.backbone.patch / longer_side(size))

    def normalise(self, images: Tensor) -> Tensor:
        """Input pixels -> what the backbone was trained on, padded below and right to whole patches."""
        height, width = images.shape[-2:]
        stride = self.backbone.patch
        rows, columns = (height + stride - 1) // stride, (width + stride - 1) // stride
        return F.pad(self.backbone.normalise(images), [0, columns * stride - width, 0, rows * stride - height])

    def patch_reference(self, grid: tuple[int, int], size: tuple[int, int], batch: int) -> Reference:
        """Where each patch starts, in units of the longer input side (padding not counted).

        The box is so many patches large whatever the input's size: a person who covers as many patches as before looks
        the same to the encoder, and shall get the same box.
        """
        side = PATCH_BOX * self.backbone.native_side
        return self.head.patch_reference(grid, self.backbone.patch / longer_side(size), side, batch)

    def _predict(self, tokens: Tensor, reference: Reference, groups: int, layers: list[Prediction]) -> Reference:
        """Appends the candidates that the head reads from normalised tokens; returns the next reference."""
        layers.append(self.duplicate_suppression(tokens, self.head(tokens, reference), groups))
        return reference_from(layers[-1])

"""`sia_pose`: a cross-attention decoder refines keypoints and score, in two crops of each person."""

from __future__ import annotations

from collections.abc import Callable

import torch
from einops import rearrange
from torch import Tensor

from sia.modules.map_refiner import MapRefiner
from sia.modules.roi_keypoint_head import Found, RoIs, rois_around
from sia.modules.second_crop import likely, merge, pose_boxes
from sia.outputs import Prediction
from sia.registry import HeadConfig
from sia.sia_pose_simple import SiaPoseSimple
from sia.sia_vision import Backbone, ConvStem, Features


class SiaPose(SiaPoseSimple):
    """The RoI keypoint head has a refiner; in older weights one follows it, which reads a map of the whole image.

    Attributes:
        refiner: the latter.
    """

    def __init__(self, backbone: Backbone, head_config: HeadConfig, mean_pose: Tensor, sigmas: Tensor) -> None:
        super().__init__(backbone, head_config, mean_pose, sigmas)
        dim, layers = head_config.hidden_dim, head_config.layers
        self.refiner: MapRefiner | None = None
        if head_config.map_refiner:
            stem = backbone.vit.patch_embed
            stem_dim = int(stem.proj.in_channels) if isinstance(stem, ConvStem) else 0
            self.refiner = MapRefiner(backbone.dim, backbone.dim, stem_dim, dim, len(mean_pose), layers)
        else:
            self.roi_head.add_refiner(dim, layers)

    def look(self, read_crops: Callable[[RoIs], Found], rois: RoIs, boxes: Tensor) -> Found:
        """Also in crops of likely people nearer to the poses found, but not in training, nor with older weights."""
        first = read_crops(rois)
        if self.training or self.head_config.map_refiner:
            return first
        (again,) = likely(first, rois).nonzero(as_tuple=True)
        torch._check(again.shape[0] > 0)  # for the tracer, which knows no data
        boxes = pose_boxes(boxes, first)[again]
        second = read_crops(rois_around(boxes, rois.image[again], rois.row[again], self.roi_head.size))
        return merge(first, second, boxes, again)

    @property
    def reads_patches(self) -> bool:
        """Whether anything reads the patches after the last block."""
        return self.head_config.map_refiner

    def refine(self, people: Prediction, tokens: Tensor, features: Features, size: tuple[int, int]) -> list[Prediction]:
        """Moves the keypoints and revises the scores, layer by layer, where the refiner reads the whole image."""
        if self.refiner is None:
            return []
        patches = self.backbone.norm(features.tokens[:, self.backbone.prefix :])
        patches = rearrange(patches, "b (h w) d -> b d h w", h=features.grid[0])
        refined: list[Prediction] = self.refiner(
            tokens, people, patches, features.stem8, self.extent(features.grid, size)
        )
        return refined

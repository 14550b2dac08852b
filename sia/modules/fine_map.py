"""The stride-8 map: patches enlarged, plus the stem's own finer features."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class FineMap(nn.Module):
    """One top-down step of a feature pyramid (Lin et al., Feature Pyramid Networks, section 3)."""

    def __init__(self, map_dim: int, stem_dim: int, dim: int) -> None:
        """Builds the map.

        Args:
            map_dim: width of the patches.
            stem_dim: width of the stem's stride-8 features, 0 for none.
            dim: width of the result.
        """
        super().__init__()
        self.patches = nn.Conv2d(map_dim, dim, 1)
        self.stem = nn.Conv2d(stem_dim, dim, 1) if stem_dim else None

    def forward(self, patches: Tensor, stem: Tensor | None) -> Tensor:
        """patches (B, map_dim, h, w) and the stem's (B, stem_dim, 2h, 2w) or None -> (B, dim, 2h, 2w)."""
        size = (2 * patches.shape[-2], 2 * patches.shape[-1])
        coarse = F.interpolate(self.patches(patches), size=size, mode="bilinear", align_corners=False)
        return coarse if self.stem is None or stem is None else coarse + self.stem(stem)

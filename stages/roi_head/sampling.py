"""What the RoI keypoint head is shown of cached crops in training: which ones, and how they are changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from datasets.augmentation.transforms import jitter_colour
from sia.modules.roi_keypoint_head import crop_extent
from sia.runtimes.letterbox import affine, warp_image
from stages.roi_head.crops import EXTENT, FILL, SIDE, Crops


@dataclass(frozen=True)
class CropAugmentation:
    """Ranges of the random draws.

    Attributes:
        scale: range of the factor of the person's size.
        rotation: two standard deviations of the angle, in degrees, for six of ten crops.
        shift: standard deviation in fractions of the longer side of the crop.
        colour: strength of the colour jitter, 0 to 1.
        erase: chance of a rectangle of one colour (Zhong et al., Random Erasing, 2020).
    """

    scale: tuple[float, float] = (0.65, 1.5)
    rotation: float = 45.0
    shift: float = 0.06
    colour: float = 1.0
    erase: float = 0.5


class CropBatch(NamedTuple):
    """n crops. Lengths are in units of the longer side of the crop, from its centre.

    Attributes:
        images: (n, 3, height, width) uint8 RGB.
        tokens: (n, D) float32.
        scores: (n,) float32 logits before the head.
        keypoints: (n, K, 3) float32, x, y and v.
        areas: (n,) float32.
    """

    images: Tensor
    tokens: Tensor
    scores: Tensor
    keypoints: Tensor
    areas: Tensor


class CropSampler:
    """Batches of crops, the same for the same step in every run: all people in a new order each epoch, and background.

    Attributes:
        steps: in the epochs asked for.
    """

    def __init__(self, crops: Sequence[Crops], batch: int, epochs: float, seed: int) -> None:
        self.crops, self.batch, self.seed = crops, batch, seed
        places = [(part, row) for part, some in enumerate(crops) for row in range(len(some))]
        self.people = [place for place in places if crops[place[0]].areas[place[1]] > 0]
        self.background = [place for place in places if crops[place[0]].areas[place[1]] == 0]
        self.people_each = batch - (batch // 8 if self.background else 0)
        self.steps = max(1, int(epochs * len(self.people) / self.people_each))

    def read(
        self, step: int, size: tuple[int, int], flip_order: Sequence[int], augmentation: CropAugmentation
    ) -> CropBatch:
        """The crops of one step, of `size` pixels (H, W), augmented."""
        rng = np.random.default_rng((self.seed, step))
        places = []
        for number in range(step * self.people_each, (step + 1) * self.people_each):
            epoch, row = divmod(number, len(self.people))
            places.append(self.people[_order(self.seed, epoch, len(self.people))[row]])
        if self.background:
            chosen = rng.integers(0, len(self.background), self.batch - self.people_each)
            places += [self.background[row] for row in chosen]
        rows = [augmented(self.crops[part], row, size, flip_order, augmentation, rng) for part, row in places]
        return collate(rows)


@lru_cache(maxsize=2)
def _order(seed: int, epoch: int, count: int) -> NDArray[np.int64]:
    return np.random.default_rng((seed, epoch, 1)).permutation(count)


class _Row(NamedTuple):
    """One crop of a `CropBatch`."""

    image: NDArray[np.uint8]
    token: NDArray[np.float16]
    score: float
    keypoints: NDArray[np.float32]
    area: float


def plain(crops: Crops, row: int, size: tuple[int, int]) -> _Row:
    """One crop as the head sees it at test time."""
    return _warped(crops, row, size, np.eye(2), np.zeros(2), mirror=None)


def augmented(
    crops: Crops,
    row: int,
    size: tuple[int, int],
    flip_order: Sequence[int],
    augmentation: CropAugmentation,
    rng: np.random.Generator,
) -> _Row:
    """One crop after random changes; a mirror image only where its person was found in the mirrored image, too."""
    factor = float(np.exp(rng.uniform(*np.log(augmentation.scale))))
    angle = np.deg2rad(rng.normal() * augmentation.rotation / 2) if rng.random() < 0.6 else 0.0
    shift = rng.normal(size=2) * augmentation.shift
    mirror = rng.random() < 0.5 and not np.isnan(crops.tokens[row, 1, 0])
    cosine, sine = factor * np.cos(angle), factor * np.sin(angle)
    linear = np.array([[cosine, -sine], [sine, cosine]])
    changed = _warped(crops, row, size, linear, shift, flip_order if mirror else None)
    image = jitter_colour(changed.image, rng, augmentation.colour)
    if rng.random() < augmentation.erase:
        image = _with_a_hole(image, rng)
    return changed._replace(image=image)


def _warped(
    crops: Crops,
    row: int,
    size: tuple[int, int],
    linear: NDArray[np.float64],
    shift: NDArray[np.float64],
    mirror: Sequence[int] | None,
) -> _Row:
    """`linear` (2, 2) is applied about the centre; `mirror`, if given, is the order of mirrored keypoints."""
    linear = linear / float(crop_extent(torch.from_numpy(crops.boxes[row]), size).max())
    keypoints, factor = crops.keypoints[row], float(np.linalg.norm(linear[0]))
    if mirror is not None:
        linear, keypoints = linear @ np.diag([-1.0, 1.0]), keypoints[list(mirror)]
    keypoints = np.concatenate([keypoints[:, :2] @ linear.T + shift, keypoints[:, 2:]], axis=1)
    pixel = linear * (max(size) * EXTENT / SIDE)  # from cached pixels to pixels of the result
    centre = max(size) * shift + np.array(size[::-1]) / 2
    matrix = affine(pixel, centre - pixel @ np.full(2, SIDE / 2))
    image = warp_image(crops.pixels[row], matrix, size, FILL)
    token = crops.tokens[row, int(mirror is not None)]
    area = float(crops.areas[row]) * factor**2
    return _Row(image, token, float(crops.scores[row]), keypoints.astype(np.float32), area)


def _with_a_hole(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    image, size = image.copy(), image.shape[:2]
    height, width = (rng.uniform(0.1, 0.35, 2) * max(size)).clip(0, np.array(size) / 2).astype(int)
    top, left = rng.integers(0, size[0] - height), rng.integers(0, size[1] - width)
    image[top : top + height, left : left + width] = rng.integers(0, 256, 3)
    return image


def collate(rows: Sequence[_Row]) -> CropBatch:
    """The rows side by side."""
    images, tokens, scores, keypoints, areas = zip(*rows, strict=True)
    return CropBatch(
        torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2),
        torch.from_numpy(np.stack(tokens).astype(np.float32)),
        torch.tensor(scores, dtype=torch.float32),
        torch.from_numpy(np.stack(keypoints)),
        torch.tensor(areas, dtype=torch.float32),
    )

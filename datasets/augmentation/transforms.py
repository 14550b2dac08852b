"""What a training sample goes through: random placement, mosaic and colour; and the letterbox of validation."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from datasets.augmentation.geometry import warp_labels
from datasets.coco.coco_pose import CocoPose
from datasets.labels import Labels, Sample
from sia.runtimes.letterbox import FILL, Matrix, affine, fit_letterbox, letterbox_matrix, scale_of, warp_image
from sia.skeletons.skeleton import Skeleton

MOSAIC_SCALE = 0.7
"""Images in a mosaic are this much smaller than alone, so that more people fit."""
MOSAIC_CENTRE = (0.35, 0.65)
"""Range of the point where the four tiles meet, as a fraction of the result."""
_LUMA = np.array([0.299, 0.587, 0.114])

GREY_CHANCE, BLUR_CHANCE, JPEG_CHANCE = 0.05, 0.1, 0.1
"""Of the colour jitter at strength 1."""


@dataclass(frozen=True)
class Augmentation:
    """Ranges of the random draws. All zero and a scale of (1, 1) is a letterbox at a random place.

    Attributes:
        flip: chance of a mirror image.
        scale: range of the size relative to the largest that fits whole; above 1 crops.
        shift: how far beyond its free play the image may move, as a fraction of the result.
        rotation: largest angle, in degrees.
        colour: strength of the colour jitter, 0 to 1.
        mosaic: chance that a sample is made of four images.
    """

    flip: float = 0.5
    scale: tuple[float, float] = (0.5, 1.5)
    shift: float = 0.1
    rotation: float = 15.0
    colour: float = 1.0
    mosaic: float = 0.5

    def of(self, skeleton: Skeleton) -> Augmentation:
        """Without mirror images where nobody knows which keypoints trade places in them; the draws stay the same."""
        return self if skeleton.mirrors else replace(self, flip=0.0)

    def plain(self) -> Augmentation:
        """For the last phase of a training: near to what the model will meet, no mosaic and no rotation."""
        low, high = self.scale
        return replace(
            self,
            mosaic=0.0,
            rotation=0.0,
            scale=(min(max(low, 0.8), high), max(min(high, 1.25), low)),
            colour=self.colour / 2,
        )


def training_sample(
    source: CocoPose, index: int, size: tuple[int, int], augmentation: Augmentation, rng: np.random.Generator
) -> tuple[Sample, Matrix]:
    """One augmented sample of H, W, and the matrix from the original pixels of ``index`` to it.

    In a mosaic the other three images are drawn from the whole data set; the matrix is that of the first tile.
    """
    augmentation = augmentation.of(source.skeleton)
    if rng.random() < augmentation.mosaic:
        sample, matrix = _mosaic(source, index, size, augmentation, rng)
    else:
        matrix = random_placement(source.size(index), size, size, augmentation, rng, zoom=1.0)
        sample = place(source, index, matrix, size)
    return replace(sample, image=jitter_colour(sample.image, rng, augmentation.colour)), matrix


def validation_sample(source: CocoPose, index: int, size: tuple[int, int]) -> tuple[Sample, Matrix]:
    """The letterboxed image of H, W and its people, and its matrix; no randomness, no shortcuts in decoding."""
    matrix = letterbox_matrix(fit_letterbox(source.size(index), size))
    return place(source, index, matrix, size, whole=True), matrix


def place(source: CocoPose, index: int, matrix: Matrix, size: tuple[int, int], whole: bool = False) -> Sample:
    """Reads one image, no larger than the matrix needs it unless ``whole``, and warps it and its people."""
    scale = 1.0 if whole else scale_of(matrix)
    shrink = 4 if scale <= 0.25 else 2 if scale <= 0.5 else 1
    image = source.read_image(index, shrink)
    shrunk = image.shape[:2] != source.size(index)
    pixels = matrix @ affine(np.eye(2) * shrink) if shrunk else matrix
    labels = warp_labels(source.annotation(index), matrix, size, source.skeleton.flip_order)
    return Sample(warp_image(image, pixels, size), labels, (index,))


def random_placement(
    image: tuple[int, int],
    region: tuple[int, int],
    canvas: tuple[int, int],
    augmentation: Augmentation,
    rng: np.random.Generator,
    zoom: float,
) -> Matrix:
    """Flip, scale, rotation and position of an image in a region; all sizes are height, width.

    The size is drawn relative to the largest that fits into the canvas, times ``zoom``. The position is uniform over
    the places where the image lies within the region, or covers it where it is larger, plus the extra shift.
    """
    fit = min(canvas[0] / image[0], canvas[1] / image[1]) * zoom
    scale = fit * float(np.exp(rng.uniform(*np.log(augmentation.scale))))
    angle = np.deg2rad(augmentation.rotation) * rng.uniform(-1, 1)
    mirror = -1.0 if rng.random() < augmentation.flip else 1.0
    cosine, sine = scale * np.cos(angle), scale * np.sin(angle)
    linear = np.array([[cosine * mirror, -sine], [sine * mirror, cosine]])
    height, width = image
    extent = np.abs(linear) @ (width, height)
    room = np.array([region[1], region[0]])
    play = room - extent
    corner = np.minimum(play, 0) + rng.random(2) * np.abs(play) + augmentation.shift * room * rng.uniform(-1, 1, 2)
    centre = corner + extent / 2
    return affine(linear, centre - linear @ (width / 2, height / 2))


def _mosaic(
    source: CocoPose, index: int, size: tuple[int, int], augmentation: Augmentation, rng: np.random.Generator
) -> tuple[Sample, Matrix]:
    """Four images, each placed at random in its own tile of the result (as in YOLOv4, arXiv 2004.10934, sec. 3.4)."""
    height, width = size
    x, y = (rng.uniform(*MOSAIC_CENTRE, 2) * (width, height)).round().astype(int).tolist()
    tiles = [(0, 0, y, x), (0, x, y, width), (y, 0, height, x), (y, x, height, width)]  # top left bottom right
    image = np.full((height, width, 3), FILL, np.uint8)
    indices = [index, *rng.integers(len(source), size=3).tolist()]
    first = int(rng.integers(4))
    parts, matrices = [], []
    for number, (top, left, bottom, right) in zip(indices, tiles[first:] + tiles[:first], strict=True):
        region = (bottom - top, right - left)
        matrix = random_placement(source.size(number), region, size, augmentation, rng, MOSAIC_SCALE)
        part = place(source, number, matrix, region)
        image[top:bottom, left:right] = part.image
        parts.append(part.labels.moved(left, top))
        matrices.append(affine(np.eye(2), (left, top)) @ matrix)
    joined = {field.name: np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Labels)}
    return Sample(image, Labels(**joined), tuple(indices)), matrices[0]


def jitter_colour(image: NDArray[np.uint8], rng: np.random.Generator, strength: float) -> NDArray[np.uint8]:
    """Brightness, contrast, saturation and hue by one matrix, then blur or JPEG artefacts with small chances.

    Args:
        image: (H, W, 3) uint8, RGB.
        rng: source of all draws.
        strength: 0 leaves the image as it is, 1 is strong.
    """
    if strength <= 0:
        return image
    image = np.asarray(cv2.transform(image, colour_matrix(rng, strength)), np.uint8)
    if rng.random() < BLUR_CHANCE * strength:
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.2)), np.uint8)
    if rng.random() < JPEG_CHANCE * strength:
        quality = int(rng.integers(30, 90))
        image = np.asarray(
            cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], 1), np.uint8
        )
    return image


def colour_matrix(rng: np.random.Generator, strength: float) -> NDArray[np.float64]:
    """(3, 4) matrix that takes RGB1 to RGB: all of the jitter is linear, so it costs one pass."""
    gain, contrast = rng.uniform(1 - 0.3 * strength, 1 + 0.3 * strength, 2)
    saturation = rng.uniform(1 - 0.5 * strength, 1 + 0.5 * strength)
    if rng.random() < GREY_CHANCE * strength:
        saturation = 0.0
    turn = _hue_rotation(rng.uniform(-0.1, 0.1) * strength * np.pi)
    grey = np.tile(_LUMA, (3, 1))
    linear = gain * contrast * (saturation * turn + (1 - saturation) * grey)
    offset = gain * (1 - contrast) * 128.0
    return np.concatenate([linear, np.full((3, 1), offset)], axis=1)


def _hue_rotation(angle: float) -> NDArray[np.float64]:
    """Rotation about the grey axis of RGB space (Rodrigues' formula)."""
    cosine, sine = np.cos(angle), np.sin(angle) / np.sqrt(3)
    cross = np.array([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]])
    return np.asarray(cosine * np.eye(3) + sine * cross + (1 - cosine) / 3, np.float64)

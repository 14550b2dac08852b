"""Text below an image."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import cv2
import numpy as np

from sia.drawing.annotator import Image

_SIZE, _LINE, _MARGIN = 0.42, 17, 8
_SAMPLE = "The left elbow is bent at 85 degrees, the right wrist is above the face."


def with_caption(image: Image, paragraphs: Sequence[str], most: int = 14) -> Image:
    """The image with a white panel of text below it.

    Args:
        image: (H, W, 3) uint8, RGB; stays as it is.
        paragraphs: ASCII; each begins a new line.
        most: lines; what is longer ends in dots.
    """
    width = max(image.shape[1], 320)
    (sample, _), _ = cv2.getTextSize(_SAMPLE, cv2.FONT_HERSHEY_SIMPLEX, _SIZE, 1)
    columns = max(20, int(0.97 * (width - 2 * _MARGIN) * len(_SAMPLE) / sample))
    lines = [line for paragraph in paragraphs for line in textwrap.wrap(paragraph, columns)]
    lines = [*lines[: most - 1], "..."] if len(lines) > most else lines
    panel = np.full((image.shape[0] + 2 * _MARGIN + _LINE * len(lines), width, 3), 255, np.uint8)
    panel[: image.shape[0], : image.shape[1]] = image
    for number, line in enumerate(lines):
        at = (_MARGIN, image.shape[0] + _MARGIN + _LINE * number + 12)
        cv2.putText(panel, line, at, cv2.FONT_HERSHEY_SIMPLEX, _SIZE, (30, 30, 34), 1, cv2.LINE_AA)
    return panel

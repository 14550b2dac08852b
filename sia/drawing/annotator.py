"""Draws people on images: left limbs in blues, right limbs in warm colours, for any skeleton."""

from __future__ import annotations

import colorsys
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from sia.people import People
from sia.skeletons.skeleton import Skeleton

Colour = tuple[int, int, int]
Fixed = tuple[int, int]
"""A point in OpenCV's fixed point."""
Image = NDArray[np.uint8]

_STRIP = 100_000_000
"""Bytes of an image on which boxes are blended at a time, so that large ones are not in memory twice more."""
_SHIFT = 4
"""OpenCV draws at sixteenths of a pixel."""
_HUES = {"left": (0.50, 0.64), "right": (0.12, -0.04), "middle": (0.30, 0.38)}
"""First and last hue of each side, from the first keypoint (head) to the last (feet)."""
_SIZE, _LINE, _MARGIN = 0.42, 17, 8
"""Of captions: the font, pixels of a line, and around the text."""
_SAMPLE = "The left elbow is bent at 85 degrees, the right wrist is above the face."
_OUTLINE: Colour = (24, 24, 28)
_PAPER: Colour = (255, 255, 255)


class Label(NamedTuple):
    """What stands at a person's box, and the colour of the box."""

    text: str
    colour: Colour


@dataclass(frozen=True)
class Palette:
    """Colours of one skeleton, RGB."""

    joints: tuple[Colour, ...]
    limbs: tuple[Colour, ...]

    @classmethod
    def of(cls, skeleton: Skeleton) -> Palette:
        """Cool for left, warm for right, green between; hue runs from the first keypoint of a category to the last."""
        if skeleton.categories:
            palettes = [cls.of(part) for part in skeleton.parts]
            return cls(sum((one.joints for one in palettes), ()), sum((one.limbs for one in palettes), ()))
        sides = sides_of(skeleton)
        last = max(skeleton.num_keypoints - 1, 1)
        joints = tuple(_colour({side}, index / last) for index, side in enumerate(sides))
        limbs = tuple(_colour({sides[a], sides[b]}, max(a, b) / last) for a, b in skeleton.edges)
        return cls(joints, limbs)


def sides_of(skeleton: Skeleton) -> list[str]:
    """``left``, ``right`` or ``middle`` for each keypoint; the first of a pair without such words counts as left."""
    sides = ["middle"] * skeleton.num_keypoints
    for a, b in skeleton.flip_pairs:
        first_is_right = "right" in skeleton.names[a].lower() or skeleton.names[a].lower().startswith(("r_", "r-"))
        sides[a], sides[b] = ("right", "left") if first_is_right else ("left", "right")
    return sides


def _colour(sides: set[str], place: float) -> Colour:
    """Of a keypoint, or of a limb between two; a limb between left and right is in the middle."""
    sides = sides - {"middle"}
    first, last = _HUES[sides.pop() if len(sides) == 1 else "middle"]
    return hue(first + (last - first) * place, 0.85)


def hue(turns: float, saturation: float) -> Colour:
    """A bright colour, so many turns around the colour wheel from red."""
    red, green, blue = colorsys.hsv_to_rgb(turns % 1, saturation, 1.0)
    return round(red * 255), round(green * 255), round(blue * 255)


class PoseAnnotator:
    """Draws the people of one skeleton.

    Args:
        skeleton: what the keypoints mean.
        kpt_thresh: keypoints less confident than this, 0 to 1, and limbs that end there, are left out.
        boxes: whether to draw boxes with scores.
        fade: whether limbs and keypoints are the darker the less confident they are.
    """

    def __init__(self, skeleton: Skeleton, kpt_thresh: float = 0.3, boxes: bool = True, fade: bool = False) -> None:
        self.skeleton = skeleton
        self.kpt_thresh = kpt_thresh
        self.boxes = boxes
        self.fade = fade
        self.palette = Palette.of(skeleton)

    def draw(
        self, image: Image, people: People, labels: Sequence[Label] | None = None, *, in_place: bool = False
    ) -> Image:
        """An image with the people on it.

        Args:
            image: (H, W, 3) uint8, RGB; stays as it is unless ``in_place``, which saves the memory of another.
            people: in pixels of the image.
            labels: of each person; by default the category and the score, and a white box.
            in_place: whether to draw on the image itself.
        """
        canvas = image if in_place else np.array(image, order="C")
        if labels is None:
            classes = self.skeleton.classes(people.confidences)
            labels = [Label(f"{name} {score:.2f}", _PAPER) for name, score in zip(classes, people.scores, strict=True)]
        order = range(len(people) - 1, -1, -1)  # the best on top
        if self.boxes and len(people):
            for top in range(0, len(canvas), rows := max(_STRIP // canvas.strides[0], 1)):
                strip = canvas[top : top + rows]
                overlay = strip.copy()
                for i in order:
                    _draw_box(overlay, people.boxes[i] - (0, top, 0, top), labels[i].colour, max(canvas.shape[:2]))
                cv2.addWeighted(overlay, 0.6, strip, 0.4, 0, dst=strip)
        points = np.where(self.skeleton.own(people.confidences)[..., None], people.keypoints, np.float32("nan"))
        for i in order:
            hidden = people.confidences[i] < 0 if people.visibilities is None else people.visibilities[i] < 0.5
            self._draw_person(canvas, people.boxes[i], points[i], people.confidences[i], hidden)
        if self.boxes:
            for i in order:
                _draw_tag(canvas, people.boxes[i], labels[i].text)
        return canvas

    def _draw_person(
        self,
        canvas: Image,
        box: NDArray[np.float32],
        points: NDArray[np.float32],
        confidences: NDArray[np.float32],
        hidden: NDArray[np.bool_],
    ) -> None:
        """Keypoints that are hidden by something are rings."""
        thickness = _limb_thickness(canvas, box)
        shown = (confidences >= self.kpt_thresh) & np.isfinite(points).all(axis=1)
        fixed = _fixed_points(points, max(canvas.shape[:2]))
        limbs = [
            (fixed[a], fixed[b], self._shade(colour, min(confidences[a], confidences[b])))
            for (a, b), colour in zip(self.skeleton.edges, self.palette.limbs, strict=True)
            if shown[a] and shown[b]
        ]
        small = thickness < 2  # outlines would hide a small person
        if not small:
            for start, end, _ in limbs:  # all outlines first, so that no limb is cut by the outline of its neighbour
                _line(canvas, start, end, _OUTLINE, thickness + 2 * _outline(thickness))
        for start, end, colour in limbs:
            _line(canvas, start, end, colour, thickness)
        radius = 0.5 * thickness + max(1.0, 0.3 * thickness)
        for index in np.flatnonzero(shown):
            colour = self._shade(self.palette.joints[index], confidences[index])
            if small:
                _disc(canvas, fixed[index], colour, 1.4)
                continue
            _disc(canvas, fixed[index], _OUTLINE, radius + _outline(thickness))
            inner, outer = (colour, _PAPER) if not hidden[index] else (_PAPER, colour)
            _disc(canvas, fixed[index], outer, radius)
            _disc(canvas, fixed[index], inner, max(radius - max(0.8, (0.4 if hidden[index] else 0.22) * radius), 0.8))

    def _shade(self, colour: Colour, confidence: float) -> Colour:
        if not self.fade:
            return colour
        red, green, blue = (round(part * (0.3 + 0.7 * float(np.clip(confidence, 0, 1)))) for part in colour)
        return red, green, blue


def _limb_thickness(canvas: Image, box: NDArray[np.float32]) -> int:
    """Pixels: follows the person, so that neither a face nor a crowd drowns, within limits set by the image."""
    longer = max(canvas.shape[:2])
    person = float(max(box[2] - box[0], box[3] - box[1], 1))
    return round(float(np.clip(0.014 * person, max(1.0, longer / 900), max(2.0, longer / 180))))


def _outline(thickness: int) -> int:
    return max(1, round(0.2 * thickness))


def _fixed_points(points: NDArray[np.floating], longer: int) -> list[Fixed]:
    """Continuous pixels -> OpenCV's fixed point, which counts from pixel centres; wild points are brought near."""
    reach = 4 * longer
    near = np.clip(np.nan_to_num(points.astype(np.float64) - 0.5), -reach, reach)
    return [(int(x), int(y)) for x, y in np.rint(near * (1 << _SHIFT))]


def _line(canvas: Image, start: Fixed, end: Fixed, colour: Colour, thickness: int) -> None:
    cv2.line(canvas, start, end, colour, thickness, cv2.LINE_AA, _SHIFT)


def _disc(canvas: Image, centre: Fixed, colour: Colour, radius: float) -> None:
    cv2.circle(canvas, centre, round(radius * (1 << _SHIFT)), colour, -1, cv2.LINE_AA, _SHIFT)


def _draw_box(overlay: Image, box: NDArray[np.floating], colour: Colour, longer: int) -> None:
    """On a strip of an image whose longer side is given; the box is in the strip's pixels."""
    if not np.isfinite(box).all():
        return
    thickness = max(1, round(longer / 700))
    first, last = _fixed_points(box.reshape(2, 2), longer)
    cv2.rectangle(overlay, first, last, _OUTLINE, thickness + 2, cv2.LINE_AA, _SHIFT)
    cv2.rectangle(overlay, first, last, colour, thickness, cv2.LINE_AA, _SHIFT)


def _draw_tag(canvas: Image, box: NDArray[np.float32], text: str) -> None:
    """A dark label on the upper edge of the box, moved into the image where it would leave it."""
    if not np.isfinite(box).all():
        return
    height, width = canvas.shape[:2]
    size = float(np.clip(max(height, width) / 2200, 0.35, 1.6))
    stroke = max(1, round(size * 1.5))
    (text_width, text_height), base = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, size, stroke)
    margin = max(2, round(text_height * 0.35))
    tag_width, tag_height = text_width + 2 * margin, text_height + base // 2 + 2 * margin
    left = int(np.clip(box[0], 0, max(width - tag_width, 0)))
    top = int(np.clip(box[1] - tag_height, 0, max(height - tag_height, 0)))
    ground = canvas[top : top + tag_height, left : left + tag_width]
    ground[:] = (0.3 * ground + 0.7 * np.array(_OUTLINE)).astype(np.uint8)
    origin = (left + margin, top + margin + text_height)
    cv2.putText(canvas, text, origin, cv2.FONT_HERSHEY_SIMPLEX, size, _PAPER, stroke, cv2.LINE_AA)


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

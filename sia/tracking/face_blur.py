"""Blurs the faces of a video, also where a person is missed for some frames."""

from __future__ import annotations

import numpy as np

from sia.drawing.annotator import Image
from sia.drawing.faces import LEAST, blur_boxes, head_boxes
from sia.people import People
from sia.skeletons.skeleton import Skeleton
from sia.tracking.tracker import Tracker

_PATIENCE = 0.5
"""Seconds for which the head of a person who is not found in a frame is blurred where it is expected."""


class FaceBlur:
    """Blurs the faces of one video, frame by frame, also of people too doubtful to be shown.

    Args:
        skeleton: of the people.
        conf_thresh: score in [0, 1] from which people are shown; those of a third of it are blurred.
    """

    def __init__(self, skeleton: Skeleton, conf_thresh: float) -> None:
        self.skeleton, self.least = skeleton, LEAST * conf_thresh
        self._tracker = Tracker(skeleton, self.least)

    def blur(self, image: Image, people: People, time: float) -> Image:
        """A new image, with the heads blurred.

        Args:
            image: (H, W, 3) uint8.
            people: all candidates, in its pixels.
            time: seconds, later than that of the frame before.
        """
        image = np.array(image, order="C")
        followed = self._tracker.update(people, time).people
        everyone = people.above(self.least), followed, self._tracker.missing(time, _PATIENCE)
        blur_boxes(image, np.concatenate([head_boxes(found, self.skeleton) for found in everyone]))
        return image

"""One thing that is measured of one person."""

from __future__ import annotations

from dataclasses import dataclass

FLOOR = 0.6
"""Confidence from which a fact may be put into words."""

Value = float | int | str


@dataclass(frozen=True)
class Fact:
    """A fact about the image, not about space: angles are projected, left and right of limbs are the person's own.

    Attributes:
        id: such as ``p1.angle.left_elbow``; unique in an image.
        kind: ``angle``, ``bend``, ``direction``, ``above``, ``left_of``, ``close``, ``symmetric``, ``level``, ``seen``,
            ``hidden``, ``posture`` or ``facing``.
        subject: what it is about: ``left elbow``, ``left forearm``, ``arms``, ``person``.
        object: what a relation compares it with, else empty.
        value: a number in `unit`, or a word.
        unit: ``degrees``, ``trunk lengths``, ``keypoints``, or ``word``.
        confidence: probability in [0, 1] that it is so, given the expected errors of the keypoints.
        joints: names of the keypoints that it is measured on.
    """

    id: str
    kind: str
    subject: str
    object: str
    value: Value
    unit: str
    confidence: float
    joints: tuple[str, ...]


@dataclass(frozen=True)
class Sentence:
    """A sentence and the facts that it says.

    Attributes:
        text: English.
        fact_ids: the facts it rests on.
    """

    text: str
    fact_ids: tuple[str, ...]

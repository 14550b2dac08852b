"""What flags take: sizes of the model's input, fractions, and counts."""

from __future__ import annotations

import argparse
import math

SIDES = (32, 4096)
"""Least and most pixels of an input's side."""


def within_sides(size: tuple[int, int]) -> bool:
    """Whether an input of this size can be: see `SIDES`."""
    return SIDES[0] <= min(size) and max(size) <= SIDES[1]


def image_size(text: str) -> tuple[int, int]:
    """``256`` -> (256, 256); ``192x256`` -> height 192, width 256."""
    parts = text.lower().split("x")
    if len(parts) > 2 or not all(part.isdecimal() for part in parts):
        raise ValueError("give N or HxW in pixels, such as 256 or 192x256")
    return int(parts[0]), int(parts[-1])


def format_size(size: tuple[int, int]) -> str:
    """Inverse of `image_size`: (256, 256) -> ``256``, (192, 256) -> ``192x256``."""
    height, width = size
    return f"{height}" if height == width else f"{height}x{width}"


def input_size(text: str) -> tuple[int, int]:
    """`image_size` for a flag of argparse, within `SIDES`.

    Raises:
        ArgumentTypeError: it can't be read, or is too small or too large.
    """
    try:
        size = image_size(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"'{text}': {error}") from error
    if not within_sides(size):
        raise argparse.ArgumentTypeError(f"{text} must be between {SIDES[0]} and {SIDES[1]} pixels a side")
    return size


def fraction(text: str) -> float:
    """For a flag of argparse: a number between 0 and 1.

    Raises:
        ArgumentTypeError: it is another one.
        ValueError: it is no number.
    """
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return value


def positive(text: str) -> int:
    """For a flag of argparse: a whole number from 1 on.

    Raises:
        ArgumentTypeError: it is less.
        ValueError: it is no whole number.
    """
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return value


def seconds(text: str) -> float:
    """For a flag of argparse: a duration.

    Raises:
        ArgumentTypeError: it is less than nothing, or no end.
        ValueError: it is no number.
    """
    value = float(text)
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not 0 or more")
    return value

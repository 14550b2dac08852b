"""Grey levels of more than 8 bits: scaled by the range of the values, so that nothing is black or wrapped."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sia.errors import DataError

WHITES = (255.0, 1023.0, 4095.0, 16383.0, 65535.0)
"""Largest values of 8, 10, 12, 14 and 16 bits: cameras and scanners store fewer bits than their files have room for."""
WIDE_WHITES = (2.0**24 - 1, 2.0**31 - 1, 2.0**32 - 1)
_TOLERANCE = 0.05
"""By how much of white, values that were resampled may leave the range."""


def grey_range(parts: Iterable[NDArray[Any]]) -> tuple[float, float]:
    """What becomes black and what white.

    0 and the largest value that the depth can hold: the least of 8, 10, 12, 14 and 16 bits that holds the largest
    value, 24, 31 or 32 bits if they are used up to half of that, and for floats up to 1, 1. Otherwise, and where there
    are negative values or all would be black that way, the least and the largest value.

    Args:
        parts: integers or floats, together all of one image; NaN and infinities don't count.

    Raises:
        DataError: no value is a finite number.
    """
    low, high = np.inf, -np.inf
    whites: tuple[float, ...] = WHITES
    for part in parts:
        known = part
        if part.dtype.kind == "f":
            known, whites = part[np.isfinite(part)], (1.0, *WHITES)
        if known.size:
            low, high = min(low, float(known.min())), max(high, float(known.max()))
    if low > high:
        raise DataError("none of its values is a finite number")
    white = next((white for white in whites if high <= white * (1 + _TOLERANCE)), None)
    if white is None:
        white = next((white for white in WIDE_WHITES if white / 2 < high <= white), None)
    if white is None or low < -_TOLERANCE * high or 0 < high < white / 255:
        return low, high
    return 0.0, white


def to_8_bits(values: NDArray[Any], between: tuple[float, float]) -> NDArray[np.uint8]:
    """Grey levels of any shape, with black and white as `grey_range` says; NaN and infinities are black."""
    black, white = between
    if values.dtype.kind == "f":
        values = np.nan_to_num(values, nan=black, posinf=black, neginf=black)
    elif between in ((0.0, 255.0), (0.0, 65535.0)):  # whole levels stay, and 16 bits lose their lower half everywhere
        return np.asarray(values.clip(0, int(white)).astype(np.uint16) >> (0 if white == 255 else 8), np.uint8)
    shares = (values.astype(np.float64) - black) * (255 / max(white - black, 1e-300))
    return np.asarray(shares.round().clip(0, 255), np.uint8)

"""Cameras and screens of this machine, as `sia.video.live.LiveReader` connects to them."""

from __future__ import annotations

import os
import time
from functools import partial
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sia.errors import DataError, first_line
from sia.io.optional import need
from sia.video.info import Image
from sia.video.live import RATE, Shots

cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # a camera that is not there is one DataError


def camera_shots(number: int) -> Shots:
    """Frames of a camera by its number, which OpenCV gives it on every system, until it ends.

    Raises:
        DataError: it can't be opened.
    """
    camera = cv2.VideoCapture(number)
    try:
        if not camera.isOpened():
            raise DataError(
                f"Camera {number} can't be opened. Check that it is connected and that nobody else uses it."
            )
        while True:
            done, image = camera.read()
            if not done:
                return
            yield partial(_rgb, np.asarray(image))
    finally:
        camera.release()


def screen_shots(number: int) -> Shots:
    """What a screen shows, `sia.video.live.RATE` times a second: 1 is the first, 0 all of them.

    Raises:
        DataError: there is no such screen, or no screen at all.
        ConfigError: the package mss is missing.
    """
    mss = need("mss", "Reading the screen")
    try:
        with mss.MSS() as grabber:
            monitors: Any = grabber.monitors
            if number >= len(monitors):
                raise DataError(f"There is no screen:{number}, only screen:0 to screen:{len(monitors) - 1}.")
            while True:
                begin = time.monotonic()
                yield partial(_rgb, np.asarray(grabber.grab(monitors[number])))
                time.sleep(max(0.0, begin + float(1 / RATE) - time.monotonic()))
    except mss.ScreenShotError as error:
        display = os.environ.get("DISPLAY") or "no display"
        raise DataError(f"Can't read the screen ({display}): {first_line(error)}.") from error


def _rgb(image: NDArray[Any]) -> Image:
    """From OpenCV's BGR, or a screen's BGRA."""
    return np.ascontiguousarray(image[..., 2::-1], np.uint8)

"""A window that shows images as they come."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

import cv2

from sia.drawing.annotator import Image
from sia.errors import ConfigError

_ENDS = (ord("q"), 27)
"""Keys: q and Esc."""


def check_window() -> None:
    """Whether a window can be opened here.

    Raises:
        ConfigError: OpenCV has none, or there is no display.
    """
    (gui,) = [line.split()[-1] for line in cv2.getBuildInformation().splitlines() if line.split()[:1] == ["GUI:"]]
    if gui == "NONE":
        raise ConfigError(
            "--show needs an OpenCV with windows, and this one has none: pip uninstall opencv-contrib-python-headless, "
            "then pip install opencv-contrib-python"
        )
    if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        raise ConfigError("--show needs a display, and there is none. Leave it out, or connect with ssh -X.")


class Window:
    """One window, in which q, Esc and its close button do what Ctrl-C does. Use as a context manager.

    Args:
        title: of the window.
        wanted: whether there is to be one at all; all else does nothing then.
    """

    def __init__(self, title: str, wanted: bool) -> None:
        self._title = title if wanted else ""

    def __enter__(self) -> Window:
        if self._title:
            cv2.namedWindow(self._title, cv2.WINDOW_NORMAL)
        return self

    def __exit__(self, *_: Any) -> None:
        if self._title:
            cv2.destroyAllWindows()

    def show(self, image: Image) -> None:
        """Shows (H, W, 3) uint8 RGB until the next."""
        if self._title:
            cv2.imshow(self._title, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
            if cv2.waitKey(1) & 0xFF in _ENDS or not self._is_open():
                signal.raise_signal(signal.SIGINT)

    def wait(self) -> None:
        """Leaves the last image there until a key is pressed or the window is closed."""
        while self._title and self._is_open() and cv2.waitKey(100) < 0:
            pass

    def _is_open(self) -> bool:
        return cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE) >= 1

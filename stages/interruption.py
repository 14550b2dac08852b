"""SIGTERM and Ctrl-C: noticed at once, obeyed after the step that is running."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any


class Interruption:
    """A context manager that catches the two signals while it lasts.

    Attributes:
        signal: the number of the first signal that came, or 0.
    """

    def __init__(self) -> None:
        self.signal = 0
        self._owner = os.getpid()
        self._earlier: dict[int, Any] = {}

    def __enter__(self) -> Interruption:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._earlier[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._earlier.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._owner:  # a forked loader worker: it has nothing to save, and must end when told to
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        # torchrun passes a Ctrl-C on that the terminal has sent already, so a repetition means nothing.
        self.signal = self.signal or number


@contextmanager
def sigterm_like_ctrl_c() -> Iterator[None]:
    """SIGTERM raises KeyboardInterrupt while it lasts: what has to be tidied up is."""
    earlier = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, earlier)

"""SIGTERM and Ctrl-C: noticed at once, obeyed after the step that is running, and at once in a wait."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

RETRY = 0.1
"""Seconds after which a signal comes again that could not be raised."""


class Interrupted(KeyboardInterrupt):
    """One of the two signals, whose number is the argument, came while nothing was changed that has to be saved."""

    @property
    def number(self) -> int:
        """Of the signal."""
        return int(self.args[0])


class SignalHandler:
    """A context manager that catches the two signals while it lasts.

    Attributes:
        signal: the number of the first signal that came, or 0.
    """

    def __init__(self) -> None:
        self.signal = 0
        self._at_once = self._raises = False
        self._owner = os.getpid()
        self._earlier: dict[int, Any] = {}
        self._earlier_hook = sys.unraisablehook

    def __enter__(self) -> SignalHandler:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._earlier[number] = signal.signal(number, self._note)
        self._earlier_hook, sys.unraisablehook = sys.unraisablehook, self._retry
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._earlier.items():
            signal.signal(number, handler)
        sys.unraisablehook = self._earlier_hook

    def _note(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._owner:  # a forked loader worker: it has nothing to save, and must end when told to
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        # torchrun passes a Ctrl-C on that the terminal has sent already, so a repetition means nothing.
        self.signal = self.signal or number
        if self._raises:
            self._raises = False
            raise Interrupted(self.signal)

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """In this block a signal doesn't wait: it, or the one that came before, is raised as `Interrupted`.

        An error that comes with a signal is most likely its consequence, such as a worker that has got it too: then the
        signal is raised in the place of the error.
        """
        self._at_once = self._raises = True
        try:
            self._obey()
            yield
            self._obey()
        except Exception as error:
            if not self.signal:
                raise
            raise Interrupted(self.signal) from error
        finally:
            self._at_once = self._raises = False

    def _retry(self, lost: Any) -> None:
        """Where Python can't raise, as in a fork or a destructor, it prints the error and goes on: then once more."""
        if isinstance(lost.exc_value, Interrupted):
            self._raises = self._at_once
            threading.Timer(RETRY, self._repeat).start()
        else:
            self._earlier_hook(lost)

    def _repeat(self) -> None:
        if self._raises:
            os.kill(self._owner, self.signal)

    def _obey(self) -> None:
        if self.signal:
            raise Interrupted(self.signal)


@contextmanager
def sigterm_like_ctrl_c() -> Iterator[None]:
    """SIGTERM raises KeyboardInterrupt while it lasts: what has to be tidied up is."""
    earlier = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, earlier)

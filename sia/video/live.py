"""Sources that don't wait: the newest frame is taken, and a sender that vanishes is looked for again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from fractions import Fraction
from functools import partial
from itertools import count, repeat

from sia.errors import DataError, reason_of, warn
from sia.io.secrets import mask
from sia.video.info import Frame, Image, VideoInfo
from sia.video.reader import VideoReader

Shot = Callable[[], Image]
"""Makes the pixels of a frame, which one that is dropped doesn't need."""
Shots = Generator[Shot | None, None, None]
"""Frames as they come, and None for each that could not be decoded in time."""

WAITS = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
"""Seconds before each new try to reach a sender that has vanished; after the last one it is given up."""
RATE = Fraction(25)
"""Frames a second where nothing is known of them."""
_TICK = Fraction(1, 1000)
_BURST = 20.0
"""Seconds that a segment of a stream may last."""


def live_info(source: str, rate: Fraction = RATE, pixel_aspect: Fraction = Fraction(1)) -> VideoInfo:
    """What is known of a source whose frames get the time at which they come."""
    nothing = Fraction(0)
    return VideoInfo(source, rate, _TICK, _TICK, nothing, nothing, 0, 0.0, pixel_aspect, (1, 0, 0, 1), False)


class LiveReader:
    """Iterates over the newest frames of a live source. Use as a context manager.

    A thread takes all frames and keeps the newest, so that one that is given is never older than the sender's next. A
    sender that ends or fails is tried again after each of `WAITS`; time goes on meanwhile.

    Args:
        info: of the source.
        connect: opens it and yields its frames as they come. Runs in the thread.

    Attributes:
        dropped: how many frames were left out since the first that was given.
        warnings: when it was gone, in a line.

    Raises:
        SiaError: it can't be opened.
    """

    def __init__(self, info: VideoInfo, connect: Callable[[], Shots]) -> None:
        self.info = info
        self.dropped = 0
        self._connect = connect
        self._news = threading.Condition()
        self._newest: tuple[Shot, float] | None = None
        self._error: Exception | None = None
        self._ended = threading.Event()
        self._breaks: list[float] = []
        """Seconds that each took."""
        self._lost = ""
        self._thread = threading.Thread(target=self._receive, daemon=True)  # which may be in a wait when all is done
        self._thread.start()
        self._wait()
        if self._newest is None:
            raise self._error or DataError(f"{mask(info.source)} gives no frames.")

    @property
    def warnings(self) -> list[str]:
        """One line for all times at which the sender was gone, and one if it stayed away."""
        lines = [self._lost] if self._lost else []
        if self._breaks:
            lines.insert(0, f"The source was gone {len(self._breaks)} x, for {sum(self._breaks):.1f} s in all.")
        return lines

    def __enter__(self) -> LiveReader:
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(1.0)

    def __iter__(self) -> Iterator[Frame]:
        begin, pts, self.dropped = 0.0, -1, 0
        for number in count():
            self._wait()
            with self._news:
                taken, self._newest = self._newest, None
            if taken is None:
                return
            shot, moment = taken
            begin = begin or moment
            pts = max(pts + 1, round((moment - begin) / _TICK))
            yield Frame(number, pts, round(1 / self.info.rate / _TICK), shot())

    def _wait(self) -> None:
        """Until there is a frame, or nothing comes any more."""
        with self._news:
            while self._newest is None and not self._ended.is_set():
                self._news.wait(0.2)

    def _receive(self) -> None:
        """The thread."""
        waits: Iterator[float] = iter(())  # what fails at first isn't tried again
        lost, name = 0.0, mask(self.info.source)
        while not self._ended.is_set():
            reason = "it ended"
            try:
                with closing(self._connect()) as shots:
                    for shot in shots:
                        if lost:
                            self._breaks.append(time.monotonic() - lost)
                            warn(f"{name} is back after {self._breaks[-1]:.1f} s.")
                        lost, waits = 0.0, iter(WAITS)
                        self._keep(shot)
                        if self._ended.is_set():
                            return
            except Exception as error:  # whatever a driver or a decoder raises
                self._error, cause = error, error.__cause__ or error
                reason = reason_of(cause)
            wait = next(waits, None)
            if wait is None:
                self._lost = f"{name} did not come back within {sum(WAITS):.0f} s ({reason})." if lost else ""
                self._ended.set()
                return
            if not lost:
                lost = time.monotonic()
                warn(f"{name} is gone ({reason}): trying again {len(WAITS)} x within {sum(WAITS):.0f} s.")
            self._ended.wait(wait)

    def _keep(self, shot: Shot | None) -> None:
        with self._news:
            self.dropped += shot is None or self._newest is not None
            if shot is not None:
                self._newest = shot, time.monotonic()
                self._news.notify()


def shots_of(reader: VideoReader, again: Callable[[], VideoReader]) -> Callable[[], Shots]:
    """What connects a `LiveReader` to a stream.

    Args:
        reader: of the stream, open; taken at first.
        again: opens it once more.
    """
    readers = [reader]

    def connect() -> Shots:
        with readers.pop() if readers else again() as reader:
            start, packets = time.monotonic(), reader.packets
            for _, pts, _, frame in reader.stored():
                yield from repeat(None, reader.packets - packets - 1)
                packets = reader.packets
                if reader.in_bursts:  # a segment at a time: shown at the pace of its clock
                    ahead = start + float(pts * reader.info.time_base) - time.monotonic()
                    start -= ahead if not -1 < ahead < _BURST else 0
                    time.sleep(ahead if 0 < ahead < _BURST else 0)
                else:
                    reader.hurry(frame)
                yield partial(reader.upright, frame)

    return connect

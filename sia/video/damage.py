"""What is wrong with a video, collected while it is read and told at its end."""

from __future__ import annotations

from sia.errors import reason_of

_MOST = 12
"""Most stretches of damaged frames that are named."""


class Damage:
    """Frames that the decoder marks as damaged, pieces that it can't decode, and sizes that change."""

    def __init__(self) -> None:
        self._marked = 0
        self._stretches: list[list[int]] = []
        self._more = False
        self._lost = 0
        self._first_loss = ""
        self._waiting = ""
        self._size = ""

    def mark(self, number: int) -> None:
        """The decoder says that this frame is damaged."""
        self._marked += 1
        if self._stretches and self._stretches[-1][1] == number - 1 and not self._more:
            self._stretches[-1][1] = number
        elif len(self._stretches) < _MOST:
            self._stretches.append([number, number])
        else:
            self._more = True

    def lose(self, error: Exception) -> None:
        """A piece of the video can't be read or decoded."""
        self._lost += 1
        self._waiting = self._waiting or reason_of(error)

    def lost_before(self, number: int) -> None:
        """Says where the first loss was, once the decoder has given what it held: before frame ``number``."""
        if self._waiting and not self._first_loss:
            self._first_loss = f"The video is broken after frame {number - 1} ({self._waiting})."

    @property
    def broken(self) -> bool:
        """Whether a piece was lost."""
        return self._lost > 0

    def end_early(self, last: int, seconds: float, promised: float) -> None:
        """Fewer seconds were shown than the header promises."""
        self._first_loss = (
            f"The video breaks off after frame {last} at {seconds:.2f} s, but its header promises {promised:.2f} s."
        )
        self._lost = 1

    def resize(self, number: int, was: tuple[int, int], now: tuple[int, int]) -> None:
        """A frame has another size (width, height) than the first."""
        if was != now and not self._size:
            self._size = (
                f"The size changes from {was[0]} x {was[1]} to {now[0]} x {now[1]} px at frame {number}; "
                "all frames are scaled to that of the first."
            )

    def lines(self, frames: int) -> list[str]:
        """One line for each kind of damage; none for a sound video.

        Args:
            frames: how many were read.
        """
        lines = []
        if self._first_loss:
            lost = "" if self._lost == 1 else f" {self._lost} pieces of it can't be decoded and are left out."
            lines.append(self._first_loss + lost)
        if self._marked:
            names = [str(first) if first == last else f"{first}-{last}" for first, last in self._stretches]
            lines.append(
                f"{self._marked} of {frames} frames are damaged, says the decoder: {', '.join(names)}"
                f"{' and more' if self._more else ''}. What is found in them may be wrong."
            )
        return [*lines, self._size] if self._size else lines

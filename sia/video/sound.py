"""Brings the sound of a video along. No fault of a track of sound costs more than the sound."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any, TypedDict

from sia.video.info import VideoInfo

_ROOT = Path(__file__).resolve().parents[2]
_PATIENCE = 60.0
"""Seconds that the sound may take, beside as many as the video lasts."""


class Request(TypedDict):
    """What `sia.video.sound_worker` is to do.

    - images, source, target: files; the first has the frames, the second the sound.
    - without: numbers of the tracks that are left out.
    - start: seconds of the source's clock that become 0.
    - until: seconds after which no sound begins, None for all.
    - timescale: ticks of the target's own clock in a second.
    """

    images: str
    source: str
    target: str
    without: list[int]
    start: str
    until: str | None
    timescale: int


def add_sound(info: VideoInfo, images: Path, target: Path, until: Fraction | None) -> tuple[bool, list[str]]:
    """Writes a video with the images of one file and the sound of another.

    Everything that touches sound runs in a process of its own: PyAV frees unusual channel layouts twice, and decoders
    of rare formats crash on broken files.

    Args:
        info: of the video that has the sound.
        images: an mp4 without sound.
        target: of the new mp4; replaced if it is there.
        until: seconds; sound that begins later is left out. None for all.

    Returns:
        Whether it was written, and what the user should know.
    """
    request = Request(
        images=str(images),
        source=info.source,
        target=str(target),
        without=[],
        start=str(info.start),
        until=None if until is None else str(until),
        timescale=info.time_base.denominator,
    )
    warnings: list[str] = []
    patience = _PATIENCE + (float(until) if until is not None else info.duration)
    for _ in range(4):
        events, end = _ask(request, patience)
        news = _lines(events)
        if any("done" in event for event in events):
            return True, warnings + news
        crashed = [number for number in _culprits(events) if number not in request["without"]]
        if end or not crashed:
            reason = next((event["failed"] for event in events if "failed" in event), end or "its decoder crashed")
            return False, [*warnings, f"The sound is left out: {reason}."]
        request["without"] += crashed
        warnings += [f"Track {number + 1} of the sound is left out: its decoder crashed." for number in crashed]
    return False, warnings


def _ask(request: Request, patience: float) -> tuple[list[dict[str, Any]], str]:
    """What the process said, and why it was given up, if so."""
    end = ""
    with subprocess.Popen(
        [sys.executable, "-m", "sia.video.sound_worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=_environment(os.environ),
        start_new_session=True,  # Ctrl-C is for the main process, which ends the video in order
    ) as process:
        try:
            output, _ = process.communicate(json.dumps(request).encode(), patience)
        except subprocess.TimeoutExpired:
            process.kill()
            output, _ = process.communicate()
            end = f"it took longer than {patience:.0f} s"
        except BaseException:
            process.kill()
            raise
    lines = [line for line in output.decode(errors="replace").splitlines() if line.startswith("{")]
    return [json.loads(line) for line in lines if line.endswith("}")], end


def _environment(given: Mapping[str, str]) -> dict[str, str]:
    paths = [str(_ROOT), *filter(None, [given.get("PYTHONPATH")])]
    return {**given, "PYTHONPATH": os.pathsep.join(paths)}


def _culprits(events: list[dict[str, Any]]) -> list[int]:
    """Tracks at which the process may have crashed: the one that was tried, or those that were encoded, or all."""
    tried = [event["trying"] for event in events if "trying" in event]
    if any("failed" in event for event in events):
        return []
    if not any("merging" in event for event in events):
        return tried[-1:]
    return [event["encoded"] for event in events if "encoded" in event] or tried


def _lines(events: list[dict[str, Any]]) -> list[str]:
    lost = [f"Track {e['lost'] + 1} of the sound is left out: {e['why']}." for e in events if "lost" in e]
    return lost + [f"The sound breaks off ({event['breaks']})." for event in events if "breaks" in event][:1]

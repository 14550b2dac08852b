"""What is live is never behind, comes back, and says what it left out; measured against a real server."""

from __future__ import annotations

import os
import time
from socketserver import StreamRequestHandler

import numpy as np
import pytest

from sia.video import live
from sia.video.live import LiveReader
from sia.video.open import open_video
from tests.live_server import RATE, ClipServer, Http, Rtsp, age
from tests.serving import serving

SECONDS = float(os.environ.get("SIA_LIVE_SECONDS", "6"))
"""That the lag is measured for; the time for which a camera runs makes no difference to it."""


def open_live(address: str) -> LiveReader:
    reader = open_video(address)
    assert isinstance(reader, LiveReader)
    return reader


@pytest.mark.parametrize("protocol", [Http, Rtsp])
def test_a_slow_model_is_never_behind(protocol: type[StreamRequestHandler]) -> None:
    with serving(ClipServer(protocol)) as server, open_live(server.address) as reader:
        time.sleep(1)  # while a model is loaded
        begin, ages, times = time.monotonic(), [], []
        for frame in reader:
            ages.append(age(frame.image, time.monotonic()))
            times.append(float(frame.pts * reader.info.time_base))
            time.sleep(0.2)  # 5 frames a second
            if time.monotonic() - begin > SECONDS:
                break
    last, most = ages[-1], max(ages[len(ages) // 2 :])
    print(
        f"{len(ages)} frames in {SECONDS:.0f} s, {reader.dropped} dropped; lag at the end {last:.3f} s, most {most:.3f} s"
    )
    assert [frame.number, reader.dropped] == [len(ages) - 1, pytest.approx(RATE * SECONDS - len(ages), abs=15)]
    assert most < 0.5 and len(ages) > 3 * SECONDS
    assert times[0] == 0 and times[-1] == pytest.approx(SECONDS, abs=0.7) and np.diff(times).min() > 0


def test_a_camera_that_vanishes_and_returns(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(live, "WAITS", (0.1, 0.2, 0.3, 0.3, 0.3))
    with serving(ClipServer(Http)) as server:
        reader = open_live(server.address.replace("127", "me:secret-word@127"))
        frames = iter(reader)
        assert next(frames).number == 0
    with reader:
        time.sleep(0.5)
        with serving(ClipServer(Http, server.server_port)):
            later = [next(frames) for _ in range(30)]
            assert age(later[-1].image, time.monotonic()) < 0.5
            assert [frame.number for frame in later] == list(range(1, 31)) and later[-1].pts > 1000
        assert len(list(frames)) < 25  # what was on the way; then it stays away
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 3 and "secret" not in str(said)
    assert "is gone (it ended): trying again 5 x within 1 s." in said[0]
    assert "is back after " in said[1] and "is gone (" in said[2]
    assert "was gone 1 x, for " in reader.warnings[0]
    assert "did not come back within 1 s (Connection refused)" in reader.warnings[1]

"""Small weights, images and videos for the tests of inference."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from sia.io.checkpoint import save_checkpoint
from sia.registry import ModelConfig, create_model
from sia.skeletons.skeleton import COCO_PERSON
from sia.video.reader import VideoReader
from sia.video.writer import VideoWriter

COLOURS = {"R": (230, 20, 20), "G": (20, 200, 20), "B": (20, 20, 230), "W": (240, 240, 240)}


def save_weights(
    path: Path,
    skeleton=COCO_PERSON,
    image_size=(64, 64),
    name="sia_pose_simple",
    size="test",
    certainty=False,
    roi_trunk=None,
    **changes,
) -> Path:
    torch.manual_seed(0)
    k = skeleton.num_keypoints
    mean_pose = tuple((0.0, i / k - 0.5) for i in range(k))
    config = ModelConfig(
        name, size, k, image_size, mean_pose, skeleton.sigmas, roi_trunk=roi_trunk, certainty=certainty
    )
    payload = {
        "format": "sia_pose/1",
        "model_config": config.to_dict(),
        "skeleton": skeleton.to_dict(),
        "weights": create_model(config).state_dict(),
        "metrics": {},
    }
    save_checkpoint(path, {**payload, **changes})
    return path


def quarters(height: int, width: int) -> np.ndarray:
    """Red, green, blue and white quarters, read row by row."""
    image = np.zeros((height, width, 3), np.uint8)
    image[: height // 2, : width // 2], image[: height // 2, width // 2 :] = COLOURS["R"], COLOURS["G"]
    image[height // 2 :, : width // 2], image[height // 2 :, width // 2 :] = COLOURS["B"], COLOURS["W"]
    return image


def name_quarters(image: np.ndarray) -> str:
    h, w = image.shape[:2]
    seen = [image[y, x].astype(int) for y in (h // 4, 3 * h // 4) for x in (w // 4, 3 * w // 4)]
    return "".join(min(COLOURS, key=lambda name: np.abs(colour - COLOURS[name]).sum()) for colour in seen)


def save_video(
    path: Path,
    *,
    frames: int = 20,
    size: tuple[int, int] = (64, 96),
    times: Sequence[int] | None = None,
    sound: str | None = None,
    layout: str = "stereo",
    rate: int = 48000,
    tracks: int = 1,
    rotation: int = 0,
    mirrored: bool = False,
    noise: int = 0,
    codec: str = "libx264",
    **options: str,
) -> Path:
    """Frames at `times` milliseconds (25 a second by default), with tracks of a tone encoded by `sound`."""
    times = times or [40 * i for i in range(frames)]
    with av.open(str(path), "w", options=options) as container:
        video = container.add_stream(codec, rate=25)
        video.height, video.width = size
        video.pix_fmt = "yuv420p" if size[0] % 2 == size[1] % 2 == 0 else "yuv444p"
        video.codec_context.time_base, video.codec_context.gop_size = Fraction(1, 1000), 10
        if rotation or mirrored:
            video.set_display_rotation(rotation, hflip=mirrored)
        audio = [container.add_stream(sound, rate=rate) for _ in range(tracks)] if sound else []
        for track in audio:
            track.layout = layout
        rng = np.random.default_rng(0)
        for number in range(frames):
            image = quarters(*size).astype(int) + rng.integers(-noise, noise + 1, (*size, 3))
            frame = av.VideoFrame.from_ndarray(np.clip(image, 0, 255).astype(np.uint8), format="rgb24")
            frame.pts, frame.time_base = times[number], Fraction(1, 1000)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        for track in audio:
            _add_tone(container, track, times[-1] + 40, layout, rate)
    return path


def _add_tone(container, audio, milliseconds: int, layout: str, rate: int) -> None:
    channels = len(av.AudioLayout(layout).channels)
    for start in range(0, rate * milliseconds // 1000, 1024):
        wave = (np.sin(np.arange(start, start + 1024) * 0.05) * 8000).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(np.repeat(wave, channels)[None], format="s16", layout=layout)
        frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
        container.mux(audio.encode(frame))
    container.mux(audio.encode(None))


def copy_video(source: Path, target: Path, most: int | None = None) -> tuple[VideoReader, VideoWriter]:
    """Frame by frame, all or the first so many; the two have the warnings."""
    with VideoReader(str(source)) as reader:
        frames = iter(reader)
        first = next(frames)
        with VideoWriter(target, reader.info, first.image.shape[:2]) as writer:
            for frame in itertools.chain([first], itertools.islice(frames, most and most - 1)):
                writer.write(frame.image, frame.pts, frame.duration)
            writer.finish(complete=most is None)
    return reader, writer


@contextlib.contextmanager
def files_up_to(size: int) -> Iterator[None]:
    """As on a full disk, nothing longer can be written."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def frame_times(path: Path) -> list[Fraction]:
    with av.open(str(path)) as container:
        return [frame.pts * frame.time_base for frame in container.decode(video=0)]


def sound_packets(path: Path) -> list[tuple[bytes, Fraction]]:
    with av.open(str(path)) as container:
        packets = container.demux(container.streams.audio[0])
        return [(bytes(packet), packet.pts * packet.time_base) for packet in packets if packet.size]

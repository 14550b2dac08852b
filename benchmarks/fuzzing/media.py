"""Images and videos of noise."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image

from sia.io.images import read_image
from sia.video.open import open_video
from sia.video.writer import VideoWriter

FRAMES = 12
VIDEOS = {
    "a.mp4": ("libx264", "aac"), "b.avi": ("mpeg4", "mp3"), "c.mkv": ("libx264", "pcm_s16le"), "d.gif": ("gif", None),
    "e.mov": ("mjpeg", "pcm_s16be"), "f.webm": ("libvpx", None),
}  # fmt: skip


def make_images(folder: Path) -> Sequence[Path]:
    """One in each format and mode that is common."""
    noise = np.random.default_rng(0).integers(0, 256, (48, 64, 4), np.uint8)
    image, grey = Image.fromarray(noise[..., :3]), noise[..., 0]
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(folder / "a.jpg", exif=exif)
    for name in ("b.png", "c.webp", "d.bmp", "e.gif", "f.tif", "g.ppm", "h.jp2"):
        image.save(folder / name)
    Image.fromarray(noise).save(folder / "i.png")
    image.convert("P").save(folder / "j.png")
    Image.fromarray(grey.astype(np.uint16) * 257).save(folder / "k.png")
    Image.fromarray(grey.astype(np.int32)).save(folder / "l.tif")
    image.convert("CMYK").save(folder / "m.jpg")
    image.save(folder / "n.jpg", progressive=True)
    image.save(folder / "o.tif", compression="tiff_lzw")
    return sorted(path for path in folder.iterdir() if path.suffix)


def read_images(path: Path) -> None:
    """As everything does, in all the sizes that training asks for."""
    for shrink in (1, 4):
        read_image(path, shrink)


def make_videos(folder: Path) -> Sequence[Path]:
    """One in each container, with sound where it has any."""
    return [_write_video(folder / name, *codecs) for name, codecs in VIDEOS.items()]


def _write_video(path: Path, codec: str, sound: str | None) -> Path:
    rng = np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        video: Any = container.add_stream(codec, rate=25)
        video.height, video.width = 48, 64
        video.pix_fmt = {"gif": "rgb8", "mjpeg": "yuvj420p"}.get(codec, "yuv420p")
        audio: Any = container.add_stream(sound, rate=48000) if sound is not None else None
        for _ in range(FRAMES):
            frame = av.VideoFrame.from_ndarray(rng.integers(0, 256, (48, 64, 3), np.uint8), format="rgb24")
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        if audio is not None:
            for start in range(0, 48 * 40 * FRAMES, 1024):
                tone = av.AudioFrame.from_ndarray(np.zeros((1, 2048), np.int16), format="s16", layout="stereo")
                tone.sample_rate, tone.pts, tone.time_base = 48000, start, Fraction(1, 48000)
                container.mux(audio.encode(tone))
            container.mux(audio.encode(None))
    return path


def read_videos(path: Path) -> None:
    """As inference does, sound included."""
    with open_video(str(path)) as reader:
        frames = iter(reader)
        first = next(frames, None)
        if first is None:
            return
        size = (first.image.shape[0], first.image.shape[1])
        with VideoWriter(path.with_name("written.mp4"), reader.info, size) as writer:
            writer.write(first.image, first.pts, first.duration)
            for frame in islice(frames, 2 * FRAMES):
                writer.write(frame.image, frame.pts, frame.duration)

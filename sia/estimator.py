"""A model that takes whatever holds an image, and returns the people in it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, overload

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from sia.commands.values import SIDES, format_size, within_sides
from sia.errors import ConfigError, DataError, warn
from sia.io.bundled_weights import find_weights
from sia.io.image_folder import common_folder, find_images, name_below, watch_folder
from sia.io.images import pixels_of
from sia.io.optional import need_extra
from sia.io.remote import is_one_image, name_in, read_named
from sia.io.secrets import mask
from sia.people import People, Source
from sia.runtimes.predictor import Predictor
from sia.video.source import is_video

if TYPE_CHECKING:
    import torch

    from sia.skeletons.skeleton import Skeleton

T = TypeVar("T")
Image: TypeAlias = "str | os.PathLike[str] | PIL.Image.Image | NDArray[np.uint8] | torch.Tensor"
"""Path, http(s) address, image of Pillow, (H, W, 3) uint8 RGB array, or (3, H, W) tensor of uint8 or of 0 to 1."""

BATCH_PIXELS = 64_000_000
"""Most pixels of a batch: huge images come one by one."""


def load(
    weights: str | os.PathLike[str] | None = None,
    *,
    device: str = "auto",
    imgsz: int | tuple[int, int] | None = None,
    roi_score_thresh: float | None = None,
    tta: bool = False,
    roi_size: int | tuple[int, int] | None = None,
    precision: str | None = None,
) -> PoseEstimator:
    """Loads a model.

    Args:
        weights: None for the bundled ``sia_pose_simple-n16``; the name of other bundled weights, such as ``n32`` or
            ``sia_pose-n16``; a path to ``best.pt``, ``last.pt``, or an export of them (.onnx, .xml); or
            ``hf:owner/name`` on the Hugging Face hub.
        device: ``auto``, ``cpu``, ``cuda`` (or ``cuda:1``), or ``mps``. Exports run on the CPU.
        imgsz: side of the model's input in pixels, or its height and width; that of the weights by default.
        roi_score_thresh: people whose first score, in [0, 1], is lower keep the keypoints of their token: higher is
            faster and places keypoints worse; 0.15 by default.
        tta: flip test: keypoints are from the mean heatmaps of each person's crop and of its mirror image, which is
            slower and places them better. Exports can't do it.
        roi_size: side of each person's crop in pixels, or its height and width, multiples of 16: smaller is faster and
            places keypoints worse; that of the weights by default.
        precision: ``fp32``, the default, or ``bf16`` or ``fp16``, in which products of matrices and convolutions take
            about half the time on hardware with instructions for them. Exports choose for themselves.

    Raises:
        WeightsError: the file is missing, broken, unsafe, or not of a SIA Pose model.
        ConfigError: the device, a size, the precision or the flip test can't be had, or a package is missing.
    """
    size, crop = ((side, side) if isinstance(side, int) else side for side in (imgsz, roi_size))
    if size is not None and not within_sides(size):
        raise ConfigError(f"imgsz {format_size(size)} must be from {SIDES[0]} to {SIDES[1]} pixels a side.")
    return PoseEstimator(Predictor.load(find_weights(weights), device, size, roi_score_thresh, tta, crop, precision))


class PoseEstimator:
    """Finds people in images and videos with one model on one device. Made by `load`.

    Attributes:
        predictor: runs the model on arrays.
    """

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor

    def __repr__(self) -> str:
        return f"<PoseEstimator: {self.predictor.describe()}>"

    @property
    def skeleton(self) -> Skeleton:
        """Names, edges and flip pairs of the K keypoints."""
        return self.predictor.skeleton

    @overload
    def __call__(self, images: Image, conf: float = 0.6, batch_size: int = 8) -> People: ...

    @overload
    def __call__(self, images: list[Any] | tuple[Any, ...], conf: float = 0.6, batch_size: int = 8) -> list[People]: ...

    def __call__(
        self, images: Image | list[Any] | tuple[Any, ...], conf: float = 0.6, batch_size: int = 8
    ) -> People | list[People]:
        """Finds the people in an image, or in each of several.

        Args:
            images: a path, an http(s) address, an image of Pillow, a (H, W, 3) uint8 RGB array (OpenCV's images are
                BGR: ``image[..., ::-1]``), a (3, H, W) tensor of uint8 or of floats from 0 to 1, or a list of these;
                an array or a tensor of four dimensions is a list.
            conf: people whose score, in [0, 1], is lower are left out.
            batch_size: images at a time.

        Returns:
            `People` in pixels of the image (x to the right, y down), best first; a list of them for several images.

        Raises:
            DataError: something that is no image, or can't be read.
            ConfigError: a batch doesn't fit into the memory of the GPU.
        """
        several: Any = images
        if isinstance(images, list | tuple) or getattr(images, "ndim", 0) == 4:
            files = [os.path.expanduser(file) for file in several if _is_file(file)]  # noqa: PTH111 (an address is no path)
            folder = common_folder(map(Path, files)) if files else None
            return list(self._find((self._read(image, folder) for image in several), conf, batch_size))
        return next(self._find(map(self._read, [images]), conf, 1))

    def stream(
        self,
        source: Any,
        conf: float = 0.6,
        batch_size: int = 8,
        track: bool = True,
        reader: str = "av",
        track_memory: float = 0.0,
        watch: bool = False,
    ) -> Iterator[People]:
        """Yields the people of each image or frame as they are found, at constant memory.

        Args:
            source: as the command takes it: a video or an image by its path or address, a folder of images, a glob in
                quotes (``"shots/**/*.jpg"``), a stream (``rtsp://...``), a camera (0, ``/dev/video0``), ``screen``, a
                page of YouTube, or ``-`` for stdin; or anything that yields images. Of what is live the newest frame
                is taken, and others are left out.
            conf: people whose score, in [0, 1], is lower are left out. Of a tracked video some down to a third of
                it may be there: they continue a track.
            batch_size: images or frames at a time; those that are live or watched come one by one.
            track: whether people of a video or a camera get ids that stay.
            reader: decoder of videos, ``av`` or ``decord``.
            track_memory: seconds for which people who are away keep their ids, known again by their clothes.
            watch: whether to wait for more images in a folder, for ever.

        Yields:
            `People`, best first; those of videos have ``image``, ``frame``, ``time`` and, with tracking, ``ids``.

        Raises:
            DataError: the source is missing, broken, or of a wrong type; of several files those that can't be read
                are left out with a warning.
            ConfigError: a package is missing, or a batch doesn't fit into the memory of the GPU.
        """
        if isinstance(source, int):
            source = str(source)
        if not isinstance(source, str | os.PathLike):
            if not isinstance(source, Iterable) or isinstance(source, PIL.Image.Image):
                raise _no_image(source)
            return self._find(map(self._read, source), conf, batch_size)
        name = os.path.expanduser(os.fspath(source))  # noqa: PTH111 (an address is no path)
        if watch:
            return self._find(self._readable(filter(None, watch_folder(name))), conf, 1)
        if is_video(name):
            return self._follow(name, reader, conf, batch_size, track, track_memory)
        if is_one_image(name):
            return self._find(map(self._read, [name]), conf, batch_size)
        files = find_images(name, flag="the source")
        images = self._readable(files, common_folder(files)) if len(files) > 1 else map(self._read, files)
        return self._find(images, conf, batch_size)

    def _readable(
        self, files: Iterable[Path], folder: Path | None = None
    ) -> Iterator[tuple[NDArray[np.uint8], Source]]:
        for file in files:
            try:
                yield self._read(file, folder)
            except DataError as error:  # noqa: PERF203 (one broken file doesn't end the work on a folder)
                warn(f"{error} It is left out.")

    def _find(self, images: Iterable[tuple[NDArray[np.uint8], Source]], conf: float, size: int) -> Iterator[People]:
        for batch in _batches(images, size):
            pixels = [image for image, _ in batch]
            for people, source in zip(self.predictor.predict(pixels), (source for _, source in batch), strict=True):
                yield replace(people.above(conf), source=source)

    def _follow(
        self, name: str, reader: str, conf: float, batch_size: int, track: bool, memory: float
    ) -> Iterator[People]:
        need_extra("video", "Following people")
        from sia.tracking.tracker import Tracker
        from sia.video.live import LiveReader
        from sia.video.open import open_video

        tracker = Tracker(self.skeleton, conf, memory)
        with open_video(name, reader) as video:
            frames = ((frame.image, frame.number, float(frame.pts * video.info.time_base)) for frame in video)
            for batch in _batches(frames, 1 if isinstance(video, LiveReader) else batch_size):
                found = self.predictor.predict([image for image, _, _ in batch])
                for (image, number, time), people in zip(batch, found, strict=True):
                    source = Source(self.skeleton, image.shape[:2], mask(name), image, number, time)
                    if not track:
                        yield replace(people.above(conf), source=source)
                        continue
                    tracked = tracker.update(people, time, image)
                    yield replace(tracked.people, ids=tracked.ids, source=source)

    def _read(self, image: Any, folder: Path | None = None) -> tuple[NDArray[np.uint8], Source]:
        """The pixels, and where they are from: those of a file are not held longer than they are needed.

        Args:
            image: what holds it.
            folder: in or below which files have their names; without it they have no more than their last part.
        """
        if not isinstance(image, str | os.PathLike):
            pixels = _pixels_of(image)
            return pixels, Source(self.skeleton, (pixels.shape[0], pixels.shape[1]), None, pixels)
        path = os.path.expanduser(os.fspath(image))  # noqa: PTH111 (an address is no path)
        if is_video(path):
            raise DataError(f"{mask(path)} is a video. Use stream() instead of a call.")
        pixels = read_named(path)
        size = pixels.shape[0], pixels.shape[1]
        if is_one_image(path):
            return pixels, Source(self.skeleton, size, mask(path), pixels, name=name_in(path) or "image")
        file = Path(path)  # which can be read again
        return pixels, Source(self.skeleton, size, path, name=name_below(file, folder or file.absolute().parent))


def _is_file(image: Any) -> bool:
    return isinstance(image, str | os.PathLike) and not is_one_image(os.fspath(image))


def _pixels_of(image: Any) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB of an image in memory.

    Raises:
        DataError: it is something else.
    """
    if isinstance(image, PIL.Image.Image):
        return pixels_of(image)
    if "torch" in sys.modules and isinstance(image, sys.modules["torch"].Tensor):
        return _pixels_of_tensor(image.detach().cpu())
    if not isinstance(image, np.ndarray) or image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise _no_image(image)
    if not image.size:
        raise DataError(f"An image of {image.shape[1]}x{image.shape[0]} pixels is empty.")
    return image


def _pixels_of_tensor(image: torch.Tensor) -> NDArray[np.uint8]:
    values = np.asarray(image.float() if image.is_floating_point() else image)
    if values.ndim != 3 or values.shape[0] != 3 or values.dtype not in (np.uint8, np.float32) or not values.size:
        raise DataError(
            f"A tensor must be (3, H, W), of uint8 or of floats from 0 to 1, but one is {values.shape} {image.dtype}."
        )
    if values.dtype == np.float32:
        if not (values.min() >= 0 and values.max() <= 1):  # NaN, too
            raise DataError("A tensor of floats must hold values from 0 to 1. Divide by 255, or give uint8.")
        values = np.rint(255 * values).astype(np.uint8)
    return np.ascontiguousarray(values.transpose(1, 2, 0))


def _no_image(value: Any) -> DataError:
    what = f"{value.shape} {value.dtype}" if isinstance(value, np.ndarray) else f"of type {type(value).__name__}"
    return DataError(
        "An image must be a path, an address, an image of Pillow, a (H, W, 3) uint8 array or a (3, H, W) tensor, but "
        f"one is {what}."
    )


def _batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """So many at a time, fewer where they are large; the first element of an item is its pixels."""
    batch: list[Any] = []
    pixels = 0
    for item in items:
        batch.append(item)
        pixels += batch[-1][0].shape[0] * batch[-1][0].shape[1]
        if len(batch) >= size or pixels >= BATCH_PIXELS:
            yield batch
            batch, pixels = [], 0
    if batch:
        yield batch

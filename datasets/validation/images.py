"""Checks of the images: badly named, missing, broken, of another size, twice in a file, or in both splits."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import cv2
import numpy as np
from numpy.typing import NDArray

from sia.coco.annotation_file import AnnotationFile, Issue
from sia.coco.image_name import ImageFolders, Located, problem_of_name
from sia.errors import DataError
from sia.io.images import open_image, orientation, read_image
from sia.io.input_file import sha256_of

GRID = 16
"""A fingerprint has a bit for each of so many by so many frequencies."""
SIMILAR = 48
"""Fingerprints that differ in at most so many of their 256 bits are of nearly the same image."""


@dataclass(frozen=True)
class ImageInfo:
    """What was read of one image.

    Attributes:
        image: index of the image in its file.
        file: where it is; None where it is missing.
        problem: why it can't be used; empty where it can.
        size: width and height in pixels as a viewer shows it; None where it can't be decoded.
        digest: sha256 of the file, empty where it can't be read.
        fingerprint: (4,) uint64, 256 bits of which image (not which file) it is.
    """

    image: int
    file: Path | None
    problem: str = ""
    size: tuple[int, int] | None = None
    digest: str = ""
    fingerprint: NDArray[np.uint64] = field(default_factory=lambda: np.zeros(4, np.uint64))


def locate_images(data: AnnotationFile, folder: Path) -> Located:
    """Where the images are; the same decisions as `datasets.coco.coco_pose.CocoPose` makes.

    Raises:
        DataError: the folder is none, or holds a name in several of its sub folders.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder of images. Check --img_dir.")
    return ImageFolders(folder, data.path).locate(_names(data))


def _names(data: AnnotationFile) -> list[str]:
    return [str(row.get("file_name") or "") for row in data.content["images"]]


def read_images(
    data: AnnotationFile, folder: Path, located: Located, workers: int, progress: Callable[[int], object]
) -> list[ImageInfo]:
    """Decodes all images that have a usable name; ``progress`` is called with 1 after each."""
    names = _names(data)
    places = {i: path for i, path in enumerate(located.paths) if path or not problem_of_name(names[i])}
    infos = []
    with ThreadPoolExecutor(max(workers, 1)) as pool:
        for info in pool.map(lambda image: _read(image, folder, places[image]), places):
            progress(1)
            infos.append(info)
    return infos


def _read(image: int, folder: Path, place: str | None) -> ImageInfo:
    if place is None:
        return ImageInfo(image, None, "it is not in the folder")
    file = folder / place
    try:
        pixels = read_image(file)
        digest = sha256_of(file)
    except (DataError, OSError) as error:
        return ImageInfo(image, file, str(error))
    height, width = pixels.shape[:2]
    return ImageInfo(image, file, "", (width, height), digest, fingerprint(pixels))


def fingerprint(pixels: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """(4,) uint64: which of the 16 x 16 lowest frequencies of the image are above their median.

    The perceptual hash by discrete cosine transform (Zauner, 2010, section 3.2.1) with more bits. On 700
    photographs of COCO, copies at 70 % size and JPEG quality 60 differ in 14 bits at most, 99 of 100 of those with 2 %
    cut off each side in 48, and different photographs in 84 or more.
    """
    grey = cv2.resize(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), (64, 64), interpolation=cv2.INTER_AREA)
    low = cv2.dct(grey.astype(np.float32))[:GRID, :GRID].copy()
    low[0, 0] = np.median(low)  # the brightness of the whole
    return np.packbits(low > np.median(low)).view(np.uint64)


def check_images(data: AnnotationFile, located: Located, infos: list[ImageInfo]) -> Iterator[Issue]:
    """Findings about the images of one file and their names."""
    for image, name in enumerate(_names(data)):
        problem = problem_of_name(name)
        if image in located.doubtful:
            yield Issue("image-name", f"{name!r} leads to the file of another image by its last parts.", image)
        elif image in located.foreign:
            yield Issue("image-name-foreign", f"{name!r} is taken as {located.paths[image]}.", image)
        elif located.paths[image] is None and problem is not None and name.strip("./\\ ") and "\0" not in name:
            yield Issue("image-name", f"file_name {name!r}{problem}", image)
    first: dict[str, int] = {}
    for info in infos:
        image, name = info.image, data.file_name(info.image)
        if info.size is None:
            yield Issue("image-missing" if info.file is None else "image-broken", f"{name}: {info.problem}", image)
            continue
        declared = data.sizes[image]
        if declared is not None and declared != info.size:
            yield Issue("image-size", _describe_sizes(info, declared), image)
        twin = first.setdefault(info.digest, image)
        if twin != image:
            key = data.content["images"][twin].get("id")
            yield Issue("image-twice", f"The same file as {data.file_name(twin)} (image {key}).", image)


def _describe_sizes(info: ImageInfo, declared: tuple[int, int]) -> str:
    assert info.size is not None and info.file is not None
    found, said = (f"{width}x{height}" for width, height in (info.size, declared))
    message = f"The image has {found} pixels, the file says {said}."
    with open_image(info.file) as image:
        turned = declared == info.size[::-1] and orientation(image) >= 5
    return message + " EXIF turns it by 90 degrees: it was annotated lying on its side." * turned


def check_splits(
    data: AnnotationFile, infos: list[ImageInfo], other: AnnotationFile, other_infos: list[ImageInfo]
) -> Iterator[Issue]:
    """What two splits share: images, nearly the same images, videos. Places are those of the first file."""
    usable, theirs = ([p for p in group if p.size is not None] for group in (infos, other_infos))
    by_digest = {info.digest: info.image for info in theirs}
    same = {p.image: by_digest[p.digest] for p in usable if p.digest in by_digest}
    for image, twin in same.items():
        yield Issue("split-same-image", f"The same file as {other.file_name(twin)} of {other.path.name}.", image)
    others = np.array([info.fingerprint for info in theirs]).reshape(-1, 4)
    for info in usable if theirs else []:
        bits = np.bitwise_count(others ^ info.fingerprint).sum(axis=1, dtype=np.int64)
        twin = int(bits.argmin())
        if info.image not in same and bits[twin] <= SIMILAR:
            named = f"{other.file_name(theirs[twin].image)} of {other.path.name}"
            message = f"Nearly the same as {named} ({bits[twin]} of 256 bits differ)."
            yield Issue("split-similar-image", message, info.image)
    files = [one.file_name(image) for one in (data, other) for image in range(len(one.content["images"]))]
    videos, count = video_names(files), len(data.content["images"])
    ours, others_videos = videos[:count], videos[count:]
    for name in sorted({*ours} & {*others_videos} - {None}, key=str):
        message = f"Frames of '{name}': {ours.count(name)} here, {others_videos.count(name)} in {other.path.name}."
        yield Issue("split-same-video", message, ours.index(name))


FEW = 20
"""So many images may all be of one video; of more, half."""

_NO_VIDEO = frozenset(
    {"img", "im", "image", "images", "pic", "picture", "pictures", "photo", "photos", "dsc", "dscn", "p", "frame"}
    | {"frames", "train", "val", "test", "coco", "jpg", "png", "data", "dataset", "raw", "person", "people"}
)


def video_names(files: Sequence[str]) -> list[str | None]:
    """The video of each image, by its name; a name that most of many images share is that of a folder or a camera."""
    common = common_name(files)
    return [None if name == common else name for name in map(video_name, files)]


def common_name(files: Sequence[str]) -> str | None:
    """What would be the video of most of many images; None where nothing would."""
    ((name, count),) = Counter(map(video_name, files)).most_common(1) or [(None, 0)]
    return name if count > max(len(files) // 2, FEW) else None


def video_name(file_name: str) -> str | None:
    """What comes before the number of the frame, folders included; None where that names no video.

    ``walk_0012.jpg`` is of ``walk``, ``kitchen/0012.jpg`` of ``kitchen``; ``000000000139.jpg``, ``IMG_1234.jpg`` and
    ``train2017/000000000139.jpg`` are of none.
    """
    path = PurePosixPath(file_name.replace("\\", "/"))
    if not re.search(r"\d$", path.stem):
        return None
    group = str(path.with_name(re.sub(r"\d+$", "", path.stem) or "-")).rstrip("-_. /")
    words = set(re.findall(r"[a-z]+", group.lower()))
    return group if words - _NO_VIDEO else None

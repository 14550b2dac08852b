"""Image ids of a COCO annotation file for the files of an inference, so that its results can be evaluated."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path, PurePosixPath

from sia.coco.coco_files import load_ground_truth, read_json
from sia.errors import DataError
from sia.io.results import Ids
from sia.skeletons.skeleton import Skeleton

Name = tuple[str, ...]


@dataclass(frozen=True)
class ImageIds:
    """What results are written under.

    Attributes:
        of: id of each file; those that have none are left out.
        category: id of the category of people, or of each of the skeleton's.
    """

    of: dict[Path, int]
    category: Ids = 1

    @classmethod
    def numbered(cls, files: Sequence[Path]) -> ImageIds:
        """The last number in each file name where all have one and no two the same, else 1, 2, 3, ...

        COCO names its files by image id, so results of COCO's own images can be evaluated as they are.
        """
        numbers = [re.findall(r"[0-9]+", file.stem)[-1:] for file in files]
        ids = [int(found[0]) for found in numbers if found and len(found[0]) <= 18]
        return cls(dict(zip(files, ids if len(set(ids)) == len(files) else count(1), strict=False)))

    @classmethod
    def annotated(cls, files: Sequence[Path], ann_file: Path, skeleton: Skeleton) -> ImageIds:
        """By the ``file_name`` of the images in an annotation file.

        A file is an image whose whole ``file_name`` its path ends with. Failing that, it is the only image with the
        same name in another folder, unless another file is that image already.

        Raises:
            DataError: no annotation file of these keypoints, a file that may be several images, or an image that is
                several files.
        """
        content = read_json(ann_file, "annotation file")
        truth = load_ground_truth(content, skeleton, labelled=False)
        named = defaultdict[str, list[tuple[Name, int]]](list)
        for image in truth.rows:
            parts = PurePosixPath(str(image.get("file_name", "")).replace("\\", "/")).parts
            named[parts[-1] if parts else ""].append((parts, image["id"]))
        exact = {path: found for path in files if (found := _exact(path, named[path.name], ann_file)) is not None}
        taken = set(exact.values())
        rest = {path: named[path.name] for path in files if path not in exact and len(named[path.name]) == 1}
        loose = {path: image_id for path, ((_, image_id),) in rest.items() if image_id not in taken}
        of = {path: found for path in files if (found := exact.get(path, loose.get(path))) is not None}
        first: dict[int, Path] = {}
        for path, image_id in of.items():
            if first.setdefault(image_id, path) != path:
                raise DataError(f"Image {image_id} of {ann_file} is {first[image_id]} and {path}. Name one of them.")
        if not of:
            raise DataError(f"{ann_file} has none of the {len(files)} images, such as {files[0].name}.")
        return cls(of, truth.category_ids)


def _exact(path: Path, named: Sequence[tuple[Name, int]], ann_file: Path) -> int | None:
    """Of several that fit, the one that names most folders."""
    parts = path.absolute().parts
    fitting = [(len(name), image_id) for name, image_id in named if parts[-len(name) :] == name]
    ids = [image_id for length, image_id in fitting if length == max(fitting)[0]]
    if len(ids) > 1:
        raise DataError(f"{ann_file} has {path.name} as images {ids[0]} and {ids[1]}. Remove one of them.")
    return ids[0] if ids else None

"""The images of a pipeline: divided when it begins, and the same from then on."""

from __future__ import annotations

import time
from pathlib import Path

from sia.errors import ConfigError, DataError
from stages.pipeline.manifest import Manifest, StoredFile
from stages.pipeline.splits import FILE, check_images, make_splits, read_splits
from stages.stage import PARTS
from utils.config.train_config import TrainConfig

_ANEW = "Start anew in another -PIPELINE folder."


def splits_folder(manifest: Manifest) -> Path:
    """Where the parts lie."""
    return manifest.folder / "splits"


def part_files(manifest: Manifest) -> dict[str, Path]:
    """The annotation file of each part."""
    return {part: splits_folder(manifest) / f"{part}.json" for part in PARTS}


def prepare_data(manifest: Manifest, config: TrainConfig) -> None:
    """Divides the images of a new pipeline, or makes sure that those of an old one are the same.

    Raises:
        SiaError: they can't be used, or something was altered.
    """
    if manifest.splits:
        _check(manifest, config)
    else:
        _divide(manifest, config)


def _divide(manifest: Manifest, config: TrainConfig) -> None:
    folder = splits_folder(manifest)
    test = None if config.val_ann == config.train_ann else config.val_ann
    folder.mkdir(exist_ok=True)
    manifest.write()  # from here on the folder is one of a pipeline, also after a kill
    manifest.images_read = time.time()
    make_splits(folder, config.coco_root, config.train_ann, test, config.calibrate, config.seed)
    manifest.sources = _sources(manifest, config)
    manifest.splits = [manifest.store(path) for path in (*part_files(manifest).values(), folder / FILE)]


def _sources(manifest: Manifest, config: TrainConfig) -> dict[str, StoredFile]:
    files = {"-TRAIN_ANN": config.train_ann, "-VAL_ANN": config.val_ann}
    return {flag: manifest.store(path) for flag, path in files.items()}


def _check(manifest: Manifest, config: TrainConfig) -> None:
    """Whether everything is as it was when the pipeline began."""
    for name in ("seed", "calibrate"):
        old, new = manifest.config.get(name), getattr(config, name)
        if old != new:
            raise ConfigError(f"-{name.upper()} {old} -> {new} would change the splits of {manifest.folder}. {_ANEW}")
    for flag, stored in _sources(manifest, config).items():
        if stored.sha256 != manifest.sources[flag].sha256:
            raise ConfigError(f"{flag} {stored.path} is not the file that {manifest.folder} began with. {_ANEW}")
    altered = manifest.altered(manifest.splits)
    if altered:
        raise DataError(f"{', '.join(altered)} in {manifest.folder} was altered or removed. Put it back. {_ANEW}")
    check_images(config.coco_root, read_splits(splits_folder(manifest)), manifest.images_read)

"""The images of a training, and their loaders."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any

from datasets.augmentation.transforms import Augmentation
from datasets.coco.coco_pose import CocoPose
from datasets.loader import TrainingLoader, ValidationLoader, training_loader, validation_loader
from sia.batch import PoseBatch
from sia.coco.coco_files import load_ground_truth
from stages.training.auto_config import choose_workers
from utils.config.train_config import TrainConfig
from utils.distributed.context import DistributedContext


@dataclass(frozen=True)
class Data:
    """Both data sets and their loaders."""

    train: CocoPose
    val: CocoPose
    training: TrainingLoader[PoseBatch]
    validation: ValidationLoader
    workers: int

    def identity(self) -> dict[str, Any]:
        """What a resumed run must share: the order of the data depends on it."""
        images = zlib.crc32(",".join(map(str, self.train.image_ids)).encode())
        return {
            "images": len(self.train),
            "image ids (checksum)": images,
            "keypoints": list(self.train.skeleton.names),
        }


def load_data(config: TrainConfig, ranks: DistributedContext) -> Data:
    """Reads the annotations, and makes the loaders."""
    train = CocoPose(config.coco_root, config.train_ann)
    val = CocoPose(config.coco_root, config.val_ann, skeleton=train.skeleton)
    load_ground_truth(config.val_ann, train.skeleton)  # a fault is found now, not after the first epoch
    return with_loaders(train, val, config, ranks)


def with_loaders(train: CocoPose, val: CocoPose, config: TrainConfig, ranks: DistributedContext) -> Data:
    """Makes the loaders."""
    workers = choose_workers(config.workers, ranks.local_world_size)
    shared: dict[str, Any] = {
        "image_size": config.imgsz, "batch_size": config.bs, "workers": workers, "rank": ranks.rank,
        "world_size": ranks.world_size, "pin_memory": ranks.device.torch.type == "cuda",
    }  # fmt: skip
    augmentation = Augmentation(
        flip=config.flip, scale=(config.scale_min, config.scale_max), shift=config.shift, rotation=config.rotate,
        colour=config.colour, mosaic=config.mosaic,
    )  # fmt: skip
    training = training_loader(train, seed=config.seed, augmentation=augmentation, **shared)
    return Data(train, val, training, validation_loader(val, **shared), workers)

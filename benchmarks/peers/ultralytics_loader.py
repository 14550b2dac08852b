"""Times Ultralytics' training loader. Run by the Python of benchmarks/.peers-venv, never imported by the product.

Prints one json line: a list of {size, augmentation, images_per_second, images_per_cpu_second}.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from pathlib import Path

import cv2
import torch
from ultralytics import __version__
from ultralytics.cfg import get_cfg
from ultralytics.data.build import build_dataloader
from ultralytics.data.dataset import YOLODataset

AUGMENTATIONS = {"as shipped": {}, "all mosaic, 15 degrees": {"mosaic": 1.0, "degrees": 15.0}}


def main() -> None:
    """Times each size and augmentation."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--folder", type=Path, required=True, help="images/train/, labels/train/ and data.yaml")
    parser.add_argument("--sizes", type=int, nargs="+", required=True)
    parser.add_argument("--images", type=int, required=True)
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    args = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    rows = [
        {"size": size, "augmentation": name, **time_loader(args, size, options)}
        for size in args.sizes
        for name, options in AUGMENTATIONS.items()
    ]
    print(json.dumps({"version": __version__, "rows": rows}))


def time_loader(args: argparse.Namespace, size: int, options: dict) -> dict:
    """One measurement, after two batches of warm-up."""
    torch.manual_seed(args.seed)
    config = get_cfg(overrides={"task": "pose", "imgsz": size, **options})
    dataset = YOLODataset(
        img_path=str(args.folder / "images" / "train"),
        data=json.loads((args.folder / "data.yaml").read_text()),
        task="pose",
        hyp=config,
        imgsz=size,
        augment=True,
        cache=False,
        rect=False,
        batch_size=args.batch,
        stride=32,
    )
    batches = iter(build_dataloader(dataset, args.batch, workers=0, shuffle=True))
    list(itertools.islice(batches, 2))
    wall, cpu, seen = time.perf_counter(), time.process_time(), 0
    while seen < args.images:
        batch = next(batches, None)
        if batch is None:
            break
        seen += len(batch["img"])
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {"images_per_second": seen / wall, "images_per_cpu_second": seen / cpu}


if __name__ == "__main__":
    main()

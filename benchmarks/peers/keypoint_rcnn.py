"""torchvision's Keypoint R-CNN with ResNet-50-FPN, from random weights. See runner.py for the commands.

torchvision trains it with SGD of momentum 0.9, learning rate 0.02 for 16 images, a linear warm-up, two falls by ten
after 36 and 43 of 46 epochs, and flips as the only augmentation (its references/detection). The same here, in fractions of
the time. Smaller batches get a learning rate in proportion, as theirs do. BSD licence: it runs in the product's
environment.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from numpy.typing import NDArray
from torch import Tensor, nn
from torchvision.models.detection import keypointrcnn_resnet50_fpn

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.peers.runner import Checkpoint, Clock, Contestant, Job, Record, Row, Run, main
from datasets.coco.coco_pose import CocoPose
from sia.io.images import read_image

RATE, RATE_BATCH, WARMUP = 0.02, 16, 0.05
PEOPLE = 20
"""As many as COCO counts in an image. torchvision's 100 take five times as long in the keypoint head."""
FALLS = (36 / 46, 43 / 46)
Target = dict[str, Tensor]


class KeypointRcnn(Contestant):
    """One model; its name is free. Options: batch (default 4) and lr (of a batch of 16, default 0.02)."""

    def train(self, job: Job) -> Record:
        """SGD until the time is over."""
        torch.set_num_threads(1)
        torch.manual_seed(job.seed)
        data = CocoPose(job.data / "images", job.data / "train.json")
        model = build(job.side, data.skeleton.num_keypoints, job.start).train()
        batch, rate = int(job.options.get("batch", "4")), float(job.options.get("lr", RATE))
        optimizer = torch.optim.SGD(model.parameters(), lr=rate, momentum=0.9, weight_decay=1e-4)
        parameters = sum(parameter.numel() for parameter in model.parameters())
        record = Record(parameters, versions(), {"batch": batch, "lr": rate * batch / RATE_BATCH})
        fit(model, optimizer, batches(data, batch, job.seed), job, record)
        return record

    def speed(self, job: Job) -> float:
        """Of a training as short as a calibration."""
        last = self.train(replace(job, minutes=job.calibration / 60)).checkpoints[-1]
        return last.images / last.seconds

    def predict(self, model: str, weights: Path, data: Path, side: int) -> list[Row]:
        """torchvision's own threshold and NMS."""
        truth = CocoPose(data / "images", data / "val.json")
        network = build(side, truth.skeleton.num_keypoints, weights).eval()
        rows = []
        for index in range(len(truth)):
            rows += coco_rows(detect(network, truth.read_image(index)), truth.image_id(index))
        return rows

    def read(self, image: Path) -> Any:
        """RGB."""
        return read_image(image)

    def load(self, model: str, weights: Path, side: int) -> Run:
        """Eager only."""
        torch.set_num_threads(1)
        count = torch.load(weights, weights_only=True)["roi_heads.keypoint_predictor.kps_score_lowres.weight"].shape[1]
        network = build(side, count, weights).eval()
        return lambda image: detect(network, image)


def build(side: int, keypoints: int, weights: Path | None) -> nn.Module:
    """The longer side of an image becomes ``side``, as for all contestants."""
    model: nn.Module = keypointrcnn_resnet50_fpn(
        weights=None,
        weights_backbone=None,
        num_keypoints=keypoints,
        min_size=side,
        max_size=side,
        box_detections_per_img=PEOPLE,
    )
    if weights is not None:
        model.load_state_dict(torch.load(weights, weights_only=True))
    return model


def fit(model: nn.Module, optimizer: torch.optim.Optimizer, stream: Iterator[Any], job: Job, record: Record) -> None:
    """Steps, and checkpoints at fixed times."""
    clock, images, peak = Clock(job), 0, record.plan["lr"]
    while not clock.over:
        images, targets = next(stream)
        for group in optimizer.param_groups:
            group["lr"] = peak * rate_factor(clock.share)
        loss = torch.stack(list(model(images, targets).values())).sum()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        images += len(images)
        if clock.due():
            keep(model, job, record, clock.seconds, images)
    keep(model, job, record, clock.seconds, images)


def rate_factor(share: float) -> float:
    """Of the peak learning rate, at a fraction of the time."""
    return float(min(1.0, 1e-3 + share / WARMUP) * 0.1 ** sum(share >= fall for fall in FALLS))


def keep(model: nn.Module, job: Job, record: Record, seconds: float, images: int) -> None:
    """Saves a checkpoint."""
    file = job.output / f"{len(record.checkpoints) + 1:03d}.pt"
    torch.save(model.state_dict(), file)
    record.checkpoints.append(Checkpoint(str(file), seconds, images))


def batches(data: CocoPose, size: int, seed: int) -> Iterator[tuple[list[Tensor], list[Target]]]:
    """Endless shuffled batches; as in torchvision's reference, images without labelled people are left out."""
    random = np.random.default_rng(seed)
    usable = [i for i in range(len(data)) if data.annotation(i).keypoints[..., 2].any()]
    while True:
        order = random.permutation(usable).tolist()
        for first in range(0, len(order) - size + 1, size):
            samples = [
                sample(data, index, random.random() < 0.5 and data.skeleton.mirrors)
                for index in order[first : first + size]
            ]
            yield [image for image, _ in samples], [target for _, target in samples]


def sample(data: CocoPose, index: int, flip: bool) -> tuple[Tensor, Target]:
    """An image (3, H, W) in [0, 1] and its people with labelled keypoints, in its pixels."""
    image, labels = to_tensor(data.read_image(index)), data.annotation(index)
    chosen = labels.keypoints[..., 2].any(axis=1)
    boxes, joints = torch.tensor(labels.boxes[chosen]).float(), torch.tensor(labels.keypoints[chosen]).float()
    if flip:
        width = image.shape[-1]
        image, boxes = (
            image.flip(-1),
            torch.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], dim=1),
        )
        joints = joints[:, data.skeleton.flip_order]
        joints[..., 0] = torch.where(joints[..., 2] > 0, width - joints[..., 0], joints[..., 0])
    return image, {"boxes": boxes, "keypoints": joints, "labels": torch.ones(len(boxes), dtype=torch.int64)}


def to_tensor(image: NDArray[np.uint8]) -> Tensor:
    """(H, W, 3) uint8 to (3, H, W) float in [0, 1]."""
    return torch.from_numpy(image).permute(2, 0, 1).float() / 255


@torch.inference_mode()
def detect(model: nn.Module, image: NDArray[np.uint8]) -> dict[str, Tensor]:
    """Boxes, scores and keypoints of one image, in its pixels."""
    found: dict[str, Tensor] = model([to_tensor(image)])[0]
    return found


def coco_rows(found: dict[str, Tensor], image_id: int) -> list[Row]:
    """One row a person."""
    rows = []
    for box, score, joints in zip(found["boxes"], found["scores"], found["keypoints"], strict=True):
        x1, y1, x2, y2 = box.tolist()
        row = {"image_id": image_id, "category_id": 1, "bbox": [x1, y1, x2 - x1, y2 - y1], "score": score.item()}
        rows.append({**row, "keypoints": joints.reshape(-1).tolist()})
    return rows


def versions() -> dict[str, str]:
    """Of what did the work."""
    return {"torch": torch.__version__, "torchvision": torchvision.__version__}


if __name__ == "__main__":
    sys.exit(main(KeypointRcnn()))

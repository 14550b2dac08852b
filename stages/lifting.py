"""Training of the network that lifts poses to 3D: motions, random cameras, and the noise of a detector."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from multiprocessing import Pool
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor
from torch.nn.functional import avg_pool1d, pad

from datasets.synthetic.human.body import sample_shape
from datasets.synthetic.human.motion import sample_motion
from sia.errors import DataError
from sia.io.npz_file import Wanted, read_npz
from sia.io.output_file import write_bytes
from sia.lifting.network import HIPS, LIMBS, RATE, LiftingNetwork, body_length, normalise
from sia.lifting.skeleton import IN_COCO
from sia.lifting.tracks import resample
from utils.optimizer import one_cycle

_SECONDS, _CLIP, _BATCH = 4, 81, 24
"""Of a synthetic motion; frames of a clip, and clips of a step."""


MOTION = {"joints": Wanted("fiu", ("T", "K", 3), finite=True), "rate": Wanted("fiu", (), finite=True)}
"""What a file of motion capture has to hold."""


def synthetic(seed: int) -> Any:
    """(T, 21, 3) points of one motion."""
    rng = np.random.default_rng(seed)
    return sample_motion(rng, sample_shape(rng), _SECONDS, RATE)


def read_motion(path: Path) -> Tensor:
    """(T, 21, 3) points of a file at the network's rate; eyes and ears, which it lacks, are NaN.

    Raises:
        DataError: it can't be read, or holds something else.
    """
    file = read_npz(
        path, MOTION, "motion", "Give an .npz with joints (T, 17, 3) in metres and rate in frames a second."
    )
    joints, rate = np.asarray(file["joints"], np.float64), float(file["rate"])
    if joints.shape[1] not in (17, 21) or len(joints) < 2 or not rate > 0:
        raise DataError(f"{path} must have joints (T, 17, 3) and a rate above 0, not {joints.shape} and {rate}.")
    known = np.arange(len(joints)) / rate
    joints = resample(np.arange(0, known[-1], 1 / RATE), known, joints)
    face = np.full((len(joints), 21 - joints.shape[1], 3), np.nan)
    return torch.tensor(np.concatenate([joints, face], axis=1), dtype=torch.float32)


def film(points: Tensor, generator: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Random cameras that look at moving people.

    Args:
        points: (B, T, 21, 3) metres, y up.
        generator: of PyTorch; draws them.

    Returns:
        (B, T, 17, 2) COCO's keypoints in the image, without noise; (B, T, 17, 3) joints in body lengths as the network
        has them; (B,) body lengths in metres.
    """

    def normal(*size: int) -> Tensor:
        return torch.randn(*size, generator=generator)

    n, frames = points.shape[:2]
    points = points - points[:, :, :1]
    unit = body_length(points[:, :, :17]).mean(1)
    high = torch.rand(n, generator=generator)
    pitch = torch.where(high < 0.1, high * 12 - 0.2, 0.1 + 0.2 * normal(n))  # radians; some look steeply down
    turn = _turn(2, 0.06 * normal(n)) @ _turn(0, pitch) @ _turn(1, 6.2832 * torch.rand(n, generator=generator))
    seen = torch.einsum("bij,btkj->btki", turn, points) * torch.tensor([1.0, -1.0, -1.0])
    away = unit * (2.2 + 10 * torch.rand(n, generator=generator) ** 1.5)
    along = torch.linspace(-1, 1, frames)[:, None] * normal(n, 1, 3) + normal(n, 1, 3)  # people move
    place = along * torch.tensor([0.08, 0.06, 0.1]) + torch.tensor([0.0, 0.0, 1.0])
    placed = seen + (away[:, None, None] * place)[:, :, None]
    order = [IN_COCO.index(i) if i in IN_COCO else 16 + i for i in range(17)]  # eyes and ears are the last four
    image = placed[:, :, order, :2] / placed[:, :, order, 2:].clamp(min=0.2)
    return image, seen[:, :, :17] / unit[:, None, None, None], unit


def _turn(axis: int, angles: Tensor) -> Tensor:
    """(B,) radians -> (B, 3, 3)."""
    matrix = torch.eye(3).repeat(len(angles), 1, 1)
    a, b = (i for i in range(3) if i != axis)
    matrix[:, a, a] = matrix[:, b, b] = angles.cos()
    matrix[:, a, b], matrix[:, b, a] = -angles.sin(), angles.sin()
    return matrix


def detected(image: Tensor, generator: Any) -> tuple[Tensor, Tensor]:
    """What a detector makes of (B, T, 17, 2) keypoints: noise that lasts for some frames, spells of bad ones.

    Returns:
        The keypoints, and (B, T, 17) confidences. Keypoints that are NaN lie at the nose, with none.
    """

    def uniform(*size: int) -> Tensor:
        return torch.rand(*size, generator=generator)

    def lasting(values: Tensor) -> Tensor:
        flat = pad(values.flatten(2).transpose(1, 2), (4, 4), mode="replicate")
        return avg_pool1d(flat, 9, 1).transpose(1, 2).reshape(values.shape)

    n, frames = image.shape[:2]
    absent = image.isnan()
    image = torch.where(absent, image[:, :, :1], image)
    placed = image - image[:, :, HIPS].mean(2, keepdim=True)
    size = placed[:, :, LIMBS].square().sum(-1).mean((1, 2)).sqrt()[:, None, None, None]
    spells = (lasting(uniform(n, frames, 17, 1)) > 0.66) & (uniform(n, 1, 17, 1) < 0.5)
    deviation = (0.01 + 0.05 * uniform(n, 1, 1, 1) ** 2) * (1 + 2 * uniform(n, 1, 17, 1) ** 3) + 0.12 * spells
    shake = 0.6 * torch.randn(image.shape, generator=generator)
    shake += 2.1 * lasting(torch.randn(image.shape, generator=generator))
    habit = 0.025 * torch.randn(n, 1, 17, 2, generator=generator)  # where this detector sees a joint
    sure = torch.exp(-deviation[..., 0] / 0.08) * (0.7 + 0.3 * uniform(n, 1, 1))
    sure = (sure + 0.08 * torch.randn(n, frames, 17, generator=generator)).clamp(0, 1)
    return image + size * (shake * deviation + habit), torch.where(absent[..., 0], 0.0, sure)


def errors(network: Any, points: Tensor, generator: Any) -> tuple[float, float]:
    """Millimetres: mean error of a joint relative to the hips (MPJPE), and after the best similarity (PA-MPJPE).

    Args:
        network: to be measured.
        points: (B, T, 21, 3) of several motions or views.
        generator: draws cameras and noise.
    """
    image, joints, unit = film(points, generator)
    with torch.inference_mode():
        found = network.eval()(normalise(*detected(image, generator)))
    scale = 1000 * unit[:, None, None, None].expand(-1, joints.shape[1], -1, -1)
    a, b = (x.flatten(0, 1) - x.flatten(0, 1).mean(1, keepdim=True) for x in (found * scale, joints * scale))
    u, s, v = torch.linalg.svd(a.transpose(1, 2) @ b)  # Procrustes: Schoenemann (1966), without reflections
    sign = torch.ones_like(s)
    sign[:, 2] = torch.det(u @ v).sign()
    factor = (s * sign).sum(-1) / a.square().sum((1, 2))
    aligned = factor[:, None, None] * a @ (u * sign[:, None]) @ v
    return float(((found - joints) * scale).norm(dim=-1).mean()), float((aligned - b).norm(dim=-1).mean())


def clips(motions: Sequence[Tensor], generator: Any) -> Iterator[Tensor]:
    """(B, T, 21, 3) parts of random motions, longer ones more often, for ever.

    Raises:
        DataError: no motion is as long as a clip.
    """
    motions = [motion for motion in motions if len(motion) >= _CLIP]
    if not motions:
        raise DataError(f"No motion has the {_CLIP} frames of a clip. Give longer ones as --data, or --motions.")
    weights = torch.tensor([float(len(motion)) for motion in motions])
    while True:
        chosen = torch.multinomial(weights, _BATCH, replacement=True, generator=generator).tolist()
        starts = [int(torch.randint(len(motions[i]) - _CLIP + 1, (1,), generator=generator)) for i in chosen]
        yield torch.stack([motions[i][s : s + _CLIP] for i, s in zip(chosen, starts, strict=True)])


def train(network: Any, motions: Sequence[Tensor], steps: int, generator: Any) -> None:
    """The loss is the mean error of joints, and of how they move."""
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=0.01)
    schedule = one_cycle(optimizer, 2e-3, steps, 0.1)
    begin = time.perf_counter()
    for step, points in zip(range(1, steps + 1), clips(motions, generator), strict=False):
        image, joints, _ = film(points, generator)
        wrong = network.train()(normalise(*detected(image, generator))) - joints
        loss = wrong.norm(dim=-1).mean() + 0.3 * wrong.diff(dim=1).norm(dim=-1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 200 == 0 or step == steps:
            print(f"step {step}/{steps}, loss {loss.item():.4f}, {time.perf_counter() - begin:.0f} s", flush=True)


def run(args: argparse.Namespace) -> None:
    """Makes or reads the motions, trains, writes the weights, and measures."""
    own, unseen = [read_motion(path) for path in args.data], [read_motion(path) for path in args.test]
    seeds = [args.seed * 1_000_003 + i for i in range(args.motions)]
    with Pool(args.workers) as pool:
        made = [torch.tensor(np.asarray(m), dtype=torch.float32) for m in pool.imap(synthetic, seeds, chunksize=8)]
    held = made[: args.motions // 20]
    generator = torch.manual_seed(args.seed)
    network = LiftingNetwork()
    train(network, [*made[len(held) :], *own], args.steps, generator)
    state = network.state_dict()
    write_bytes(args.output, save({k: v.half() if v.is_floating_point() else v for k, v in state.items()}))
    print(f"Written: {args.output.resolve()}")
    measured = {"synthetic, held out": torch.stack(held)} if held else {}
    measured |= {str(path): motion.expand(16, -1, -1, -1) for path, motion in zip(args.test, unseen, strict=True)}
    for name, points in measured.items():
        print("{}: MPJPE {:.1f} mm, PA-MPJPE {:.1f} mm".format(name, *errors(network, points, torch.manual_seed(1))))

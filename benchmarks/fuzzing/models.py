"""Weights, checkpoints, exports and pipelines of the miniature model."""

from __future__ import annotations

import contextlib
import io
import json
import struct
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any
from unittest import mock

import numpy as np
import torch
from safetensors.torch import save_file

import inference_image_pose
import train_pose
from benchmarks.fuzzing.labels import PEOPLE, people, results, write
from benchmarks.fuzzing.mutations import ODD, mutate_bytes, mutate_json, mutate_value, mutate_zip
from sia.errors import SiaError
from sia.io.checkpoint import FORMAT, save_checkpoint
from sia.registry import ModelConfig, create_model
from sia.runtimes.export_onnx import export_onnx
from sia.runtimes.predictor import Predictor
from sia.runtimes.torch_runtime import TorchRuntime
from sia.skeletons.skeleton import COCO_PERSON
from stages.training import train as baseline
from stages.training.initialization import load_pretrained
from stages.training.trainer import Trainer
from utils.packing import mean_of, pack

IMAGE = np.zeros((1, 3, 64, 64), np.uint8)
ONE = torch.ones(4, 4)
ODD_ENTRIES: tuple[Any, ...] = (
    *ODD, ONE, torch.tensor(1.0), torch.ones(0), torch.full((4, 4), torch.nan), ONE.double(), ONE.to(torch.complex64),
    ONE.to_sparse(), torch.ones(1).expand(100_000, 100_000),
    torch.tensor([2**62, -1]), ONE.bool(), torch.zeros(5056, dtype=torch.uint8), ONE.t(), torch.ones(10, device="meta"),
    ONE.to(torch.float8_e4m3fn), "vit_7b_patch16_dinov3", "vit_giant_patch14_dinov2", "vit_tiny_patch16_224",
    "resnet18", "sapiens_2b", "l14", "b16", "sia_pose", "hf_hub:a/b",
)  # fmt: skip
"""Tensors and names of models that somebody might not have thought of."""


def mutate_pickled(data: bytes, rng: Random) -> bytes:
    """What torch.save writes: its bytes, the members of its archive, or what stands in it."""
    how = rng.random()
    if how < 0.35:
        return mutate_bytes(data, rng) if how < 0.15 else mutate_zip(data, rng)
    content = mutate_value(_with_lists(torch.load(io.BytesIO(data), weights_only=True)), rng, ODD_ENTRIES)
    if how < 0.38 and isinstance(content, dict) and content:
        content[rng.choice(list(content))] = content
    written = io.BytesIO()
    try:
        torch.save(content, written, _use_new_zipfile_serialization=rng.random() < 0.95)
    except (RuntimeError, RecursionError, UnicodeEncodeError, NotImplementedError):  # what can't be written
        return mutate_zip(data, rng)
    return written.getvalue()


def _with_lists(value: Any) -> Any:
    """Tuples as lists, so that their entries can be changed too; the schemas don't mind."""
    if isinstance(value, dict):
        return {key: _with_lists(entry) for key, entry in value.items()}
    return [_with_lists(entry) for entry in value] if isinstance(value, list | tuple) else value


def mutate_safetensors(data: bytes, rng: Random) -> bytes:
    """The header, or the bytes."""
    if rng.random() < 0.4:
        return mutate_bytes(data, rng)
    size = struct.unpack("<Q", data[:8])[0]
    header = mutate_json(data[8 : 8 + size], rng)
    return struct.pack("<Q", len(header)) + header + data[8 + size :]


def mutate_onnx(data: bytes, rng: Random) -> bytes:
    """What the file says of itself, its graph, or its bytes."""
    import onnx

    if rng.random() < 0.5:
        return mutate_bytes(data, rng)
    model = onnx.load_from_string(data)
    entry, nodes = model.metadata_props[0], model.graph.node
    node, other = rng.choice(nodes), rng.choice(nodes)
    if rng.random() < 0.5:
        entry.value = mutate_json(entry.value.encode(), rng).decode(errors="replace")
    else:
        rng.choice((
            lambda: nodes.remove(node), lambda: setattr(node, "op_type", other.op_type),
            lambda: node.input.extend([other.output[0]]), model.graph.initializer.pop,
        ))()  # fmt: skip
    return bytes(model.SerializeToString())


def save_model(path: Path, name: str) -> Any:
    """A checkpoint of the miniature model with random weights; returns its model."""
    torch.manual_seed(0)
    mean_pose = tuple((0.0, k / 17 - 0.5) for k in range(17))
    config = ModelConfig(name, "test", 17, (64, 64), mean_pose, COCO_PERSON.sigmas)
    model = create_model(config)
    payload = {"model_config": config.to_dict(), "skeleton": COCO_PERSON.to_dict(), "weights": model.state_dict()}
    save_checkpoint(path, {"format": FORMAT, **payload, "metrics": {}})
    return model


def make_weights(folder: Path) -> Sequence[Path]:
    """Whole models, and backbones as others publish them."""
    save_model(folder / "led.pt", "sia_pose_decoder_led")
    state = save_model(folder / "pose.pt", "sia_pose").backbone.vit.state_dict()
    save_file({key: value.clone() for key, value in state.items()}, folder / "backbone.safetensors")
    teacher = {f"module.{key}": value.clone() for key, value in state.items()}
    torch.save({"epoch": 3, "teacher": teacher}, folder / "backbone.pth")
    return [folder / name for name in ("led.pt", "pose.pt", "backbone.safetensors", "backbone.pth")]


def read_weights(path: Path) -> None:
    """As inference (.pt), packing and -BACKBONE (others) do."""
    if path.suffix == ".pt":
        TorchRuntime.load(path, "cpu").find(IMAGE)
        pack(mean_of([path]), path)
        return
    pretrained = load_pretrained(str(path))
    config = ModelConfig("sia_pose", "test", 1, (64, 64), ((0.0, 0.0),), (0.1,), pretrained.architecture)
    create_model(config, pretrained.weights)


def make_exports(folder: Path) -> Sequence[Path]:
    """An ONNX file."""
    save_model(folder / "led.pt", "sia_pose_decoder_led")
    export_onnx(TorchRuntime.load(folder / "led.pt", "cpu"), folder / "led.onnx", (64, 64))
    return [folder / "led.onnx"]


def read_exports(path: Path) -> None:
    """As inference does."""

    Predictor.load(path, "cpu").runtime.find(IMAGE)


def train(folder: Path, flags: str) -> None:
    """Runs train_pose.py on the people in a folder.

    Raises:
        SiaError: it refused, with what it said.
    """
    root, said = (folder / PEOPLE).resolve(), io.StringIO()
    data = f"-COCO_ROOT {root}/images -TRAIN_ANN {root}/train.json -VAL_ANN {root}/val.json"
    with contextlib.redirect_stderr(said):
        status = train_pose.main([*data.split(), *flags.split()])
    if status:
        raise SiaError("\n".join(line for line in said.getvalue().splitlines() if line.startswith("error: ")))


def make_checkpoints(folder: Path) -> Sequence[Path]:
    """The last.pt of a run, and the same in the middle of it."""
    people(folder)
    model = "-MODEL sia_pose_decoder_led -SIZE test -INIT scratch -IMGSZ 64 -BS 4 -EPOCH 2 -WORKERS 0 -DEVICE cpu"
    train(folder, f"{model} -OUTPUT {folder.resolve()} -EXP run")
    last, early = (folder / "run" / "weights" / f"{name}.pt" for name in ("last", "early"))
    content = torch.load(last, weights_only=True)
    content["training"]["cursor"].update(epoch=1, batch=0)
    torch.save(content, early)
    return [last, early]


def read_checkpoints(path: Path) -> None:
    """As --RESUME does, until the first step: what was restored has to be of use."""
    with mock.patch.object(Trainer, "run", _step), mock.patch.object(baseline, "conclude"):
        train(path.parents[2], f"-DEVICE cpu --RESUME {path}")


def _step(trainer: Trainer, interruption: object) -> int:
    state = trainer.state
    for parameter in state.model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    state.optimizer.step()
    state.scheduler.step()
    state.ema.update_parameters(state.model)
    return 0


def make_manifests(folder: Path) -> Sequence[Path]:
    """A pipeline whose baseline is results of another program."""
    people(folder, images=12)
    for split in ("train", "val"):
        content = json.loads((folder / PEOPLE / f"{split}.json").read_text())
        write(folder / PEOPLE / f"{split}-results.json", results(content))
    root = (folder / PEOPLE).resolve()
    given = f"-RESULTS_CALIBRATE {root}/train-results.json -RESULTS_TEST {root}/val-results.json -CALIBRATE 0.4"
    train(folder, f"{given} -PIPELINE {folder / 'pipeline'} -STAGE baseline")
    return [folder / "pipeline" / "state.json", folder / "pipeline" / "splits" / "splits.json"]


def read_manifests(path: Path) -> None:
    """As the use of the pipeline on new images, and its next stage, do."""
    folder = path.parent if path.stem == "state" else path.parent.parent
    images = folder.parent / PEOPLE / "images" / "val"
    command = f"--image_path {images} --pipeline {folder} --output_dir {folder / 'found'}"
    with contextlib.suppress(SystemExit):
        inference_image_pose.main(command.split())
    train(folder.parent, f"-PIPELINE {folder} -STAGE postprocess")

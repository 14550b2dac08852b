"""Weights, checkpoints, exports and pipelines of the miniature model."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import struct
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import torch

from benchmarks.fuzzing.labels import PEOPLE, people
from benchmarks.fuzzing.mutations import ODD, mutate_bytes, mutate_json, mutate_value, mutate_zip

_NAMES = (
    "vit_7b_patch16_dinov3", "vit_giant_patch14_dinov2", "vit_tiny_patch16_224", "resnet18", "sapiens_2b", "l14", "b16",
    "sia_pose", "hf_hub:a/b",
)  # fmt: skip


def _odd_tensors() -> tuple[Any, ...]:
    one = torch.ones(4, 4)
    return (
        one, torch.tensor(1.0), torch.ones(0), torch.full((4, 4), torch.nan), one.double(), one.to(torch.complex64),
        one.to_sparse(), torch.ones(1).expand(100_000, 100_000), torch.quantize_per_tensor(one, 0.1, 0, torch.qint8),
        torch.tensor([2**62, -1]), torch.ones(4, 4, dtype=torch.bool), torch.zeros(5056, dtype=torch.uint8), one.t(),
        torch.ones(10, device="meta"),
        one.to(torch.float8_e4m3fn),
    )  # fmt: skip


def mutate_pickled(data: bytes, rng: Random) -> bytes:
    """What torch.save writes: its bytes, the members of its archive, or what stands in it."""
    how = rng.random()
    if how < 0.15:
        return mutate_bytes(data, rng)
    if how < 0.35:
        return mutate_zip(data, rng)
    content = torch.load(io.BytesIO(data), weights_only=True)
    content = mutate_value(_with_lists(content), rng, (*ODD, *_odd_tensors(), *_NAMES))
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
    if isinstance(value, list | tuple):
        return [_with_lists(entry) for entry in value]
    return value


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
    if rng.random() < 0.5:
        entry = model.metadata_props[0]
        entry.value = mutate_json(entry.value.encode(), rng).decode(errors="replace")
    else:
        nodes = model.graph.node
        node = nodes[rng.randrange(len(nodes))]
        rng.choice((
            lambda: nodes.remove(node), lambda: setattr(node, "op_type", rng.choice(nodes).op_type),
            lambda: node.input.extend([rng.choice(nodes).output[0]]), lambda: model.graph.initializer.pop(),
            lambda: node.input.pop() if node.input else None,
        ))()  # fmt: skip
    return bytes(model.SerializeToString())


def save_model(path: Path, name: str, size: tuple[int, int] = (64, 64)) -> Any:
    """A checkpoint of the miniature model with random weights; returns its model."""
    from sia.io.checkpoint import FORMAT, save_checkpoint
    from sia.registry import ModelConfig, create_model
    from sia.skeletons.skeleton import COCO_PERSON

    torch.manual_seed(0)
    mean_pose = tuple((0.0, k / 17 - 0.5) for k in range(17))
    config = ModelConfig(name, "test", 17, size, mean_pose, COCO_PERSON.sigmas)
    model = create_model(config)
    payload = {"model_config": config.to_dict(), "skeleton": COCO_PERSON.to_dict(), "weights": model.state_dict()}
    save_checkpoint(path, {"format": FORMAT, **payload, "metrics": {}})
    return model


def make_weights(folder: Path) -> Sequence[Path]:
    """Whole models, and backbones as others publish them."""
    from safetensors.torch import save_file

    save_model(folder / "led.pt", "sia_pose_decoder_led")
    state = save_model(folder / "pose.pt", "sia_pose").backbone.vit.state_dict()
    state = {key: value.clone() for key, value in state.items()}
    save_file(state, folder / "backbone.safetensors")
    torch.save(
        {"epoch": 3, "teacher": {f"module.{key}": value for key, value in state.items()}}, folder / "backbone.pth"
    )
    return [folder / name for name in ("led.pt", "pose.pt", "backbone.safetensors", "backbone.pth")]


def read_weights(path: Path) -> None:
    """As inference (.pt), packing and -BACKBONE (others) do."""
    from sia.registry import ModelConfig, create_model
    from sia.runtimes.runtime import TorchRuntime
    from stages.training.pretrained import load_pretrained
    from utils.packing import mean_of, pack

    if path.suffix == ".pt":
        runtime = TorchRuntime.load(path, "cpu")
        runtime.find(torch.zeros(1, 3, 64, 64, dtype=torch.uint8))
        pack(mean_of([path]), path)
        return
    pretrained = load_pretrained(str(path))
    config = ModelConfig("sia_pose", "test", 1, (64, 64), ((0.0, 0.0),), (0.1,), pretrained.architecture)
    create_model(config, pretrained.weights)


def make_exports(folder: Path) -> Sequence[Path]:
    """An ONNX file."""
    from sia.runtimes.export_onnx import export_onnx
    from sia.runtimes.runtime import TorchRuntime

    save_model(folder / "led.pt", "sia_pose_decoder_led")
    export_onnx(TorchRuntime.load(folder / "led.pt", "cpu"), folder / "led.onnx", (64, 64))
    return [folder / "led.onnx"]


def read_exports(path: Path) -> None:
    """As inference does."""
    from sia.runtimes.predictor import Predictor

    Predictor.load(path, "cpu").runtime.find(torch.zeros(1, 3, 64, 64, dtype=torch.uint8))


_DATA = "-COCO_ROOT {root}/images -TRAIN_ANN {root}/train.json -VAL_ANN {root}/val.json"


def _data_flags(folder: Path) -> str:
    return _DATA.format(root=(folder / PEOPLE).resolve())


def make_checkpoints(folder: Path) -> Sequence[Path]:
    """The last.pt of a run of one epoch, and that of one with adapters and a phase of frozen blocks."""
    import train_pose

    people(folder)
    model = "-MODEL sia_pose_decoder_led -SIZE test -INIT scratch -IMGSZ 64 -BS 4 -EPOCH 2 -WORKERS 0 -DEVICE cpu"
    command = f"{_data_flags(folder)} {model} -OUTPUT {(folder / 'shared').resolve()} -EXP run"
    if train_pose.main(command.split()):
        raise RuntimeError("the training for good checkpoints failed")
    run = folder / "shared" / "run" / "weights"
    content = torch.load(run / "last.pt", weights_only=True)
    early = copy.deepcopy(content)
    early["training"]["cursor"].update(epoch=1, batch=0)
    torch.save(content, folder / "last.pt")
    torch.save(early, folder / "early.pt")
    return [folder / "last.pt", folder / "early.pt"]


def read_checkpoints(path: Path) -> None:
    """As --RESUME does, until the first step."""
    import train_pose
    from sia.io.checkpoint import load_checkpoint
    from sia.registry import ModelConfig
    from stages.training.auto_config import make_plan
    from stages.training.data import load_data
    from stages.training.initialization import Start, build_model, describe_model, find_start
    from stages.training.phases import adapt
    from stages.training.train import check_identity, make_state
    from utils.config.flags import parse_flags
    from utils.distributed.context import init_distributed

    given = parse_flags([*_data_flags(path.parent).split(), "-DEVICE", "cpu", "--RESUME", str(path)])
    checkpoint = load_checkpoint(path)
    config, _ = train_pose.configure(given, checkpoint)
    ModelConfig(config.model, config.size, 0, config.imgsz, (), (), roi_size=config.roi_size)
    start = Start(checkpoint)
    with init_distributed("cpu") as ranks:
        data = load_data(config, ranks)
        start = find_start(config, start, data.train)
        model_config, pretrained = describe_model(config, data.train, start)
        model = build_model(model_config, pretrained, start)
        plan = make_plan(config, ranks, len(data.training), 0, pretrained)
        if config.lora:
            adapt(model, config.lora, config.recompute, plan.dtype)
        epoch = 0 if start.training is None else start.training.cursor.epoch
        state = make_state(model, plan, config, ranks.device.torch, epoch)
        if start.training is not None:
            check_identity(start.training.identity, data.identity())
            state.restore(start.training, ranks, path)
            _one_step(state)


def _one_step(state: Any) -> None:
    """What was restored has to be of use."""
    for group in state.optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = torch.zeros_like(parameter)
    state.optimizer.step()
    state.scheduler.step()
    state.ema.update_parameters(state.model)


def make_manifests(folder: Path) -> Sequence[Path]:
    """A pipeline whose baseline is results of another program."""
    import train_pose

    people(folder, images=12)
    for part in ("train", "val"):
        content = json.loads((folder / PEOPLE / f"{part}.json").read_text())
        rows = [
            {
                "image_id": row["image_id"],
                "category_id": 1,
                "score": 0.9,
                "bbox": row["bbox"],
                "keypoints": row["keypoints"],
            }
            for row in content["annotations"]
        ]
        (folder / PEOPLE / f"{part}-results.json").write_text(json.dumps(rows))
    root = (folder / PEOPLE).resolve()
    results = f"-RESULTS_CALIBRATE {root}/train-results.json -RESULTS_TEST {root}/val-results.json"
    command = f"{_data_flags(folder)} {results} -PIPELINE {folder / 'pipeline'} -CALIBRATE 0.4 -STAGE baseline"
    if train_pose.main(command.split()):
        raise RuntimeError("the pipeline for good manifests failed")
    return [folder / "pipeline" / "manifest.json", folder / "pipeline" / "splits" / "splits.json"]


def read_manifests(path: Path) -> None:
    """As the next call of the pipeline does, and its use on new images."""
    from sia.errors import SiaError
    from stages.pipeline.predictor import FinishedPipeline
    from stages.pipeline.report_data import write_report
    from stages.pipeline.runner import Pipeline, read_config
    from stages.pipeline.splits import describe, read_splits

    folder = path.parent if path.stem == "manifest" else path.parent.parent
    describe(read_splits(folder / "splits"))
    with contextlib.suppress(SiaError):
        FinishedPipeline.open(folder, "cpu", 1)
    pipeline = Pipeline(read_config({"pipeline": folder}), (), lambda line: None)
    pipeline.training_config()
    pipeline.ledger.standing()
    for name, record in pipeline.manifest.stages.items():
        if record.done and name == "baseline":
            pipeline._outcome(name)
    write_report(pipeline.ledger, pipeline.parts, pipeline.matches)

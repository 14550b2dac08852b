"""Stage 1: trains a model on labelled images."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

import torch

from sia.backbones.lora import add_adapters, halve_frozen
from sia.commands.signals import SignalHandler
from sia.errors import ConfigError
from sia.io.checkpoint import load_checkpoint
from sia.io.input_file import set_pixel_limit
from sia.io.optional import need
from sia.model import PoseModel
from sia.registry import ModelConfig
from stages.training.auto_config import Plan, make_plan
from stages.training.compilation import check_compiler, compile_blocks
from stages.training.console import announce, conclude
from stages.training.context import TrainerContext
from stages.training.data import Data, load_data, with_loaders
from stages.training.initialization import Pretrained, Start, build_model, describe_model, find_start
from stages.training.phases import phase_at, start_phase
from stages.training.state import TrainingState, seed_everything
from stages.training.time_budget import fit_to_time
from stages.training.trainer import Trainer
from stages.training.trial import fit_to_memory
from stages.training.visualizer import TrainingVisualizer
from utils.config.builder import build_config
from utils.config.train_config import TrainConfig
from utils.distributed.context import DistributedContext, init_distributed, wrap
from utils.distributed.launch import Launch
from utils.distributed.sharding import shard
from utils.ema import ExponentialMovingAverage
from utils.logger import Dashboards, Progress, ResultsFile
from utils.memory import keep_freed_memory
from utils.run_folder import RunFolder, create_run_folder, run_folder_of, write_description


def run(config: TrainConfig, start: Start) -> int:
    """Trains, evaluates, and prints what to do next.

    Returns:
        0, or the number of the signal that stopped it after saving.

    Raises:
        SiaError: anything that the user can fix.
    """
    set_pixel_limit(config.max_pixels)
    # The names are checked before minutes of reading.
    ModelConfig(config.model, config.size, 0, config.imgsz, (), (), roi_size=config.roi_size)
    if config.lora:
        need("peft", "-LORA")
    with init_distributed(config.device) as ranks:
        config, start = go_on(config, start, ranks)
        is_free = not config.bs  # -BS auto
        config = replace(config, bs=config.bs or 1)
        seed_everything(config.seed)
        with ranks.shared_errors():
            if config.compile:
                check_compiler(ranks.device.torch)
            data = load_data(config, ranks)
            start = find_start(config, start, data.train)
            model_config, pretrained = describe_model(config, data.train, start)
            model = build_model(model_config, pretrained, start)
            pretrained = replace(pretrained, weights=None, trunk=None)  # the model has its own copy
            plan = make_plan(config, ranks, len(data.training), data.workers, pretrained)
        prepare(model, config, plan, ranks)
        notes: tuple[tuple[str, str], ...] = ()
        if is_free:
            images, text = fit_to_memory(config, plan, ranks, data, model)
            config, notes = replace(config, bs=images), (("batch size", text),)
            with ranks.shared_errors():
                data = with_loaders(data.train, data.val, config, ranks)
                plan = make_plan(config, ranks, len(data.training), data.workers, pretrained)
        config, plan, deadline = fit_to_time(config, plan, ranks, data, model, pretrained, start)
        seed_everything(config.seed + ranks.rank)
        plan = replace(plan, lines=(*notes, *plan.lines))
        parts = assemble(config, plan, ranks, data, model, model_config, pretrained, start)
        parts.deadline = deadline
        if ranks.is_main:
            announce(parts, data, pretrained, start)
        trainer = Trainer(parts)
        try:
            if deadline is not None and deadline.compares:
                trainer.measure_start()
            with SignalHandler() as interruption:
                number = trainer.run(interruption)
        finally:
            parts.close()
        if ranks.is_main:
            conclude(parts, trainer, data, number)
        return number


def prepare(model: PoseModel, config: TrainConfig, plan: Plan, ranks: DistributedContext) -> None:
    """Makes the model what is trained, on its device: with -LORA, --FREEZE_ROI, --RECOMPUTE, --COMPILE and so on.

    Raises:
        ConfigError: peft is missing.
    """
    device = ranks.device.torch
    model.backbone.recompute = config.recompute
    if config.lora:
        add_adapters(model.backbone, config.lora)
        if plan.dtype == torch.bfloat16:
            halve_frozen(model.backbone)
    if config.certainty_only:
        model.train_certainty_only()
    if config.freeze_roi:
        model.freeze_roi_head()
    model.to(device)
    if device.type == "cpu":
        keep_freed_memory()
    # On CPUs PyTorch's fused attention is made for fp32: in bf16 it takes two to six times as long as plain products.
    if device.type == "cpu" and plan.dtype == torch.bfloat16:
        model.fuse_attention(False)
    if config.compile:
        compile_blocks(model)


def assemble(
    config: TrainConfig,
    plan: Plan,
    ranks: DistributedContext,
    data: Data,
    model: PoseModel,
    model_config: ModelConfig,
    pretrained: Pretrained,
    start: Start,
) -> TrainerContext:
    """Everything that the trainer needs, restored where a run is continued; the model is prepared.

    Raises:
        ConfigError: the run to continue was trained on other data.
    """
    epoch = 0 if start.training is None else start.training.cursor.epoch
    average: ExponentialMovingAverage | None = None
    if config.parallel == "fsdp" and ranks.world_size > 1:
        average = shard(model, model.backbone.vit.blocks, plan.ema, ranks)
    optimizer, scheduler = start_phase(model, phase_at(plan.phases, epoch), config.wd)
    scaler = torch.amp.GradScaler(ranks.device.torch.type, enabled=plan.dtype == torch.float16)
    average = average or ExponentialMovingAverage(model, plan.ema)
    state, measured = TrainingState(model, average, optimizer, scheduler, scaler), dict[str, Any]()
    if start.training is not None:
        for name, value in data.identity().items():
            saved = start.training.identity.get(name)
            if saved != value:
                raise ConfigError(
                    f"-TRAIN_ANN: the run was trained with {name} {saved}, but now has {value}, so it can't be "
                    "continued exactly. Start anew from the weights with --RESUME .../best.pt."
                )
        state.restore(start.training, ranks, start.source)
        measured = dict((start.checkpoint or {}).get("metrics", {}))
    folder = choose_folder(config, ranks, start)
    results = dashboards = visualizer = None
    if ranks.is_main:
        flags, processes = config.to_dict(), {"processes": ranks.world_size, "device": str(ranks.device)}
        write_description(folder, flags, start.argv, processes)
        dashboards = Dashboards(
            folder.path, (*config.logger, *(name for name in ("wandb", "tensorboard") if getattr(config, name))),
            name=folder.path.name, config=flags, step=state.cursor.step,
        )  # fmt: skip
        visualizer = TrainingVisualizer(folder, data.val, config.imgsz, ranks.device.torch)
        results = ResultsFile(folder.results, state.cursor.epoch)
    return TrainerContext(
        config=config, plan=plan, ranks=ranks, data=data, network=wrap(model, ranks), state=state, folder=folder,
        measured=measured,
        description={"model_config": model_config.to_dict(), "skeleton": data.train.skeleton.to_dict()},
        pretrained=pretrained,
        progress=Progress(state.cursor.total or plan.total_steps, state.cursor.step, enabled=ranks.is_main),
        results=results, dashboards=dashboards, visualizer=visualizer,
    )  # fmt: skip


def choose_folder(config: TrainConfig, ranks: DistributedContext, start: Start) -> RunFolder:
    """The folder of the run to continue, or a new one; rank 0 makes it."""
    folder = None
    with ranks.shared_errors():
        if ranks.is_main:
            folder = _folder_to_continue(config, start) or _begun(config, start)
            name = config.exp or f"{config.model}-{config.size}-{datetime.now():%Y%m%d-%H%M%S}"
            folder = folder or create_run_folder(config.output, name, Launch.present(start.argv))
    return RunFolder(ranks.from_main(None if folder is None else folder.path))


def go_on(config: TrainConfig, start: Start, ranks: DistributedContext) -> tuple[TrainConfig, Start]:
    """Where torchrun has started its processes anew: the last save of the run that they had begun, if there is one.

    Raises:
        WeightsError: it can't be read.
    """
    begun = _begun(config, start) if ranks.is_main and _folder_to_continue(config, start) is None else None
    last = ranks.from_main(begun.last if begun is not None and begun.last.is_file() else None)
    if last is not None:
        with ranks.shared_errors():
            start = Start(load_checkpoint(last), (), start.argv)
            assert start.training is not None
            saved = build_config({}, start.training.config)[0]
            config = replace(config, resume=last, bs=config.bs or saved.bs)
    return config, start


def _folder_to_continue(config: TrainConfig, start: Start) -> RunFolder | None:
    """Of the run that --RESUME names."""
    return run_folder_of(config.resume) if start.training is not None and config.resume is not None else None


def _begun(config: TrainConfig, start: Start) -> RunFolder | None:
    """The run that earlier processes of this launch have begun."""
    launch = Launch.present(start.argv)
    path = launch.find(config.output.glob("*")) if launch is not None else None
    return RunFolder(path) if path is not None else None

"""Stage 1: trains a model on labelled pictures."""

from __future__ import annotations

import shlex
import shutil
import signal
import sys
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from datasets.coco_pose import CocoPose, mean_pose
from datasets.loader import TrainingLoader, ValidationLoader, training_loader, validation_loader
from datasets.transforms import Augmentation
from sia.backbone_weights import resize_positions
from sia.criterion import PoseCriterion
from sia.model import PoseModel
from sia.registry import ModelConfig, create_model
from stages.interruption import Interruption
from stages.phases import adapt, adapter_lines, phase_at, start_phase
from stages.pictures import Pictures
from stages.plan import Plan, choose_workers, make_plan
from stages.pretrained import Pretrained, load_pretrained
from stages.trainer import Parts, Trainer
from stages.training_state import TrainingState, seed_everything
from stages.weights import load_weights, read_description
from utils.coco_files import load_ground_truth
from utils.config import TrainConfig
from utils.distributed import Ranks, start_ranks, wrap
from utils.ema import make_ema
from utils.errors import ConfigError, WeightsError
from utils.logger import Dashboards, Progress, ResultsFile
from utils.optional import need
from utils.run_folder import RunFolder, create_run_folder, default_name, run_folder_of, write_description
from utils.structures import PoseBatch


@dataclass(frozen=True)
class Start:
    """What a run starts from.

    Attributes:
        checkpoint: the content of --RESUME, if any.
        changes: flags that differ from the resumed run, as lines.
        argv: the command line, for the record.
    """

    checkpoint: Mapping[str, Any] | None = None
    changes: tuple[str, ...] = ()
    argv: tuple[str, ...] = ()

    @property
    def training(self) -> Mapping[str, Any] | None:
        """The state of the run to continue, or None for a new run."""
        return None if self.checkpoint is None else self.checkpoint.get("training")


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
            "pictures": len(self.train),
            "picture ids (checksum)": images,
            "keypoints": list(self.train.skeleton.names),
        }


def run(config: TrainConfig, start: Start) -> int:
    """Trains, evaluates, and prints what to do next.

    Returns:
        0, or the number of the signal that stopped it after saving.

    Raises:
        SiaError: anything that the user can mend.
    """
    # The names are checked before minutes of reading.
    ModelConfig(config.model, config.size, 0, config.imgsz, (), ())
    if config.lora:
        need("peft", "-LORA")
    with start_ranks(config.device) as ranks:
        seed_everything(config.seed)
        with ranks.shared_errors():
            data = load_data(config, ranks)
            model_config, pretrained = describe_model(config, data.train, start)
            model = build_model(model_config, pretrained, start)
            pretrained = replace(pretrained, weights=None)  # the model has its own copy
            plan = make_plan(config, ranks, len(data.training), data.workers, pretrained)
        seed_everything(config.seed + ranks.rank)
        parts = assemble(config, plan, ranks, data, model, model_config, pretrained, start)
        if ranks.is_main:
            announce(parts, data, pretrained, start)
        trainer = Trainer(parts)
        try:
            with Interruption() as interruption:
                number = trainer.run(interruption)
        finally:
            parts.progress.close()
            if parts.dashboards is not None:
                parts.dashboards.close()
        if ranks.is_main:
            conclude(parts, trainer, data, number)
        return number


def load_data(config: TrainConfig, ranks: Ranks) -> Data:
    """Reads the annotations and makes the loaders."""
    train = CocoPose(config.coco_root, config.train_ann)
    val = CocoPose(config.coco_root, config.val_ann, skeleton=train.skeleton)
    load_ground_truth(config.val_ann, train.skeleton)  # a fault is found now, not after the first epoch
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


def describe_model(config: TrainConfig, train: CocoPose, start: Start) -> tuple[ModelConfig, Pretrained]:
    """What to build and with which weights; a checkpoint brings its own mean pose, which its weights expect."""
    skeleton = train.skeleton
    pretrained = Pretrained() if start.checkpoint is not None else load_pretrained(config.backbone)
    if start.checkpoint is not None:
        saved, _ = read_description(start.checkpoint, config.resume)
        trained, whole = (True, True) if start.training is None else _start_of(start.training, config.resume)
        pretrained = Pretrained(saved.backbone, None, f"{config.resume}", trained, whole)
    model_config = ModelConfig(
        name=config.model,
        size=config.size,
        num_keypoints=skeleton.num_keypoints,
        image_size=config.imgsz,
        mean_pose=tuple((float(x), float(y)) for x, y in mean_pose(train)),
        sigmas=skeleton.sigmas,
        backbone=pretrained.architecture,
    )
    if start.checkpoint is not None and saved.num_keypoints == skeleton.num_keypoints:
        model_config = replace(model_config, mean_pose=saved.mean_pose)
    return model_config, pretrained


def _start_of(training: Mapping[str, Any], source: object) -> tuple[bool, bool]:
    """What the run started from, which its automatic choices depend on: `is_trained` and `is_whole`."""
    saved = training.get("pretrained")
    if not isinstance(saved, Mapping):
        raise WeightsError(f"{source} is of an earlier version and can't be continued. Start anew from its best.pt.")
    return bool(saved.get("is_trained")), bool(saved.get("is_whole"))


def build_model(model_config: ModelConfig, pretrained: Pretrained, start: Start) -> PoseModel:
    """The model with its start weights.

    Raises:
        WeightsError: weights that don't fit; the message names the keys.
    """
    model = create_model(model_config, pretrained.weights)
    if start.checkpoint is not None:
        weights = start.checkpoint.get("weights")
        weights = resize_positions(weights, model.backbone) if isinstance(weights, Mapping) else weights
        load_weights(model, weights, pretrained.source, "Use the -MODEL, -SIZE and keypoints it was trained with.")
    return model


def assemble(
    config: TrainConfig,
    plan: Plan,
    ranks: Ranks,
    data: Data,
    model: PoseModel,
    model_config: ModelConfig,
    pretrained: Pretrained,
    start: Start,
) -> Parts:
    """Everything that the trainer needs, restored where a run is continued."""
    device = ranks.device.torch
    adapt(model, config.lora, config.recompute, plan.dtype)
    model.to(device)
    # On CPUs PyTorch's fused attention is made for fp32: in bf16 it takes two to six times as long as plain products.
    if device.type == "cpu" and plan.dtype == torch.bfloat16:
        model.fuse_attention(False)
    state = make_state(model, plan, config, device, 0 if start.training is None else _epoch_of(start.training))
    if start.training is not None and start.checkpoint is not None:
        check_identity(start.training["identity"], data.identity())
        state.restore(dict(start.training), ranks)
    folder = choose_folder(config, ranks, start)
    results, dashboards, pictures = _records(config, ranks, data, folder, state, start)
    return Parts(
        config=config, plan=plan, ranks=ranks, network=wrap(model, ranks), state=state,
        criterion=PoseCriterion(torch.tensor(model_config.sigmas)).to(device),
        training=data.training, validation=data.validation, skeleton=data.train.skeleton, folder=folder,
        description={"model_config": model_config.to_dict(), "skeleton": data.train.skeleton.to_dict()},
        identity=data.identity(), pretrained=pretrained,
        progress=Progress(plan.total_steps, state.cursor.step, enabled=ranks.is_main),
        results=results, dashboards=dashboards, pictures=pictures,
    )  # fmt: skip


def _epoch_of(training: Mapping[str, Any]) -> int:
    cursor = training.get("cursor")
    return int(cursor["epoch"]) if isinstance(cursor, Mapping) and "epoch" in cursor else 0


def _records(
    config: TrainConfig, ranks: Ranks, data: Data, folder: RunFolder, state: TrainingState, start: Start
) -> tuple[ResultsFile | None, Dashboards | None, Pictures | None]:
    """What the first rank writes into the run folder."""
    if not ranks.is_main:
        return None, None, None
    write_description(
        folder, config.to_dict(), start.argv, {"processes": ranks.world_size, "device": str(ranks.device)}
    )
    dashboards = Dashboards(
        folder.path, tensorboard=config.tensorboard, wandb=config.wandb, name=folder.path.name, config=config.to_dict(),
        step=state.cursor.step,
    )  # fmt: skip
    pictures = Pictures(folder, data.val, config.imgsz, ranks.device.torch)
    return ResultsFile(folder.results, state.cursor.epoch), dashboards, pictures


def make_state(
    model: PoseModel, plan: Plan, config: TrainConfig, device: torch.device, epoch: int = 0
) -> TrainingState:
    """Average, optimiser, schedule and loss scale for a model on its device, in the phase of an epoch."""
    optimizer, scheduler = start_phase(model, phase_at(plan.phases, epoch), config.wd)
    scaler = torch.amp.GradScaler(device.type, enabled=plan.dtype == torch.float16)
    return TrainingState(model, make_ema(model, plan.ema), optimizer, scheduler, scaler)


def check_identity(saved: Mapping[str, Any], present: Mapping[str, Any]) -> None:
    """Refuses to continue on other data.

    Raises:
        ConfigError: the training set changed.
    """
    for name, value in saved.items():
        if present[name] != value:
            raise ConfigError(
                f"-TRAIN_ANN: the run was trained with {name} {value}, but now has {present[name]}, so it can't be "
                "continued exactly. Start anew from the weights with --RESUME .../best.pt."
            )


def choose_folder(config: TrainConfig, ranks: Ranks, start: Start) -> RunFolder:
    """The folder of the run to continue, or a new one; rank 0 makes it."""
    folder = None
    with ranks.shared_errors():
        if ranks.is_main:
            if start.training is not None and config.resume is not None:
                folder = run_folder_of(config.resume)
            name = config.exp or default_name(config.model, config.size)
            folder = folder or create_run_folder(config.output, name)
    path = ranks.from_main(None if folder is None else str(folder.path))
    return RunFolder(Path(path))


def announce(parts: Parts, data: Data, pretrained: Pretrained, start: Start) -> None:
    """The start block: every automatic choice and its reason."""
    config, ranks, cursor = parts.config, parts.ranks, parts.state.cursor
    loaded = str(getattr(parts.state.model.backbone, "loaded", ""))
    millions = sum(p.numel() for p in parts.state.model.parameters()) / 1e6
    size = f"{config.imgsz[0]}x{config.imgsz[1]}"
    rows: list[tuple[str, str]] = [
        ("device", str(ranks.device)),
        ("processes", f"{ranks.world_size}" + (" (torchrun starts more)" if ranks.world_size == 1 else "")),
        ("model", f"{config.model} {config.size}, {millions:.2f} M parameters, {size} pixels, "
                  f"{parts.skeleton.num_keypoints} keypoints"),
        ("weights", "; ".join(filter(None, [pretrained.source, loaded]))),
        *adapter_lines(parts.state.model),
        *parts.plan.lines,
        ("training", data.train.describe()),
        ("validation", data.val.describe()),
        ("output", str(parts.folder.path.absolute())),
    ]  # fmt: skip
    if start.training is not None:
        rows.append(
            ("resumed", f"at epoch {cursor.epoch + 1}, step {cursor.step}, exactly where {config.resume} was saved")
        )
    elif start.checkpoint is not None:
        rows.append(("resumed", "no: these are weights only, so a new run starts from them"))
    rows += [("changed flag", line) for line in start.changes]
    parts.progress.say("\n".join(f"{label:<14}{text}" for label, text in rows))
    dashboards = parts.dashboards
    warnings = [ranks.device.warning, *(dashboards.warnings if dashboards else [])]
    for text in filter(None, warnings):
        print(f"warning: {text}", file=sys.stderr)
    for text in dashboards.lines if dashboards else []:
        parts.progress.say(text)


def conclude(parts: Parts, trainer: Trainer, data: Data, number: int) -> None:
    """What was reached, what was written, and the command to run next."""
    say, folder = parts.progress.say, parts.folder
    if number:
        name = signal.Signals(number).name
        say(f"Stopped by {name} after step {trainer.cursor.step}; everything is saved. Continue with:")
        say(f"  {_launcher(parts.ranks)} {_script('train_pose.py')} --RESUME {_quoted(folder.last)}")
        return
    if trainer.metrics is not None:
        say(f"\nValidation of the averaged weights after epoch {parts.config.epoch}:\n{trainer.metrics.table()}")
        say(f"Best AP of the run: {100 * trainer.cursor.best:.1f} (weights/best.pt)")
    say("\nWritten:")
    say("\n".join(f"  {path}" for path in _without_dashboards(folder.written())))
    command = f"{_python()} {_script('inference_image_pose.py')}"
    say("\nRun it on a picture:")
    say(f"  {command} --image_path {_quoted(data.val.files[0])} --weight_path {_quoted(folder.best)}")


def _launcher(ranks: Ranks) -> str:
    if ranks.world_size == 1:
        return _python()
    nodes = ranks.world_size // ranks.local_world_size
    more = f" --nnodes={nodes} ..." if nodes > 1 else ""
    return f"{_python()} -m torch.distributed.run --nproc_per_node={ranks.local_world_size}{more}"


def _python() -> str:
    """How this interpreter is called: by its path where no environment is active that would find it."""
    return "python" if shutil.which("python") == sys.executable else shlex.quote(sys.executable)


def _script(name: str) -> str:
    """How one of the entry points is called from the present folder."""
    root = Path(__file__).resolve().parents[1]
    return name if Path.cwd() == root else _quoted(root / name)


def _quoted(path: Path) -> str:
    return shlex.quote(str(path.absolute()))


def _without_dashboards(paths: Sequence[Path]) -> list[Path]:
    return [path for path in paths if not {"wandb", "tensorboard"} & set(path.parts)]

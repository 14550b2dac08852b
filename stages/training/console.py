"""What a training says when it starts and when it ends."""

from __future__ import annotations

import shlex
import shutil
import signal
import sys
from pathlib import Path

import torch
from torch import nn

from sia.evaluation.coco_eval import Metrics
from sia.evaluation.keypoint_scores import percent
from stages.training.context import TrainerContext
from stages.training.data import Data
from stages.training.initialization import Pretrained, Start
from stages.training.trainer import Trainer
from utils.distributed.context import DistributedContext


def announce(parts: TrainerContext, data: Data, pretrained: Pretrained, start: Start) -> None:
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
        *_adapters(parts.state.model.backbone),
        *parts.plan.lines,
        ("training", data.train.describe()),
        ("validation", data.val.describe()),
        ("mirroring", parts.skeleton.describe_flips()),
        ("output", str(parts.folder.path.absolute())),
    ]  # fmt: skip
    if start.training is not None and cursor.epoch < config.epoch:
        rows.append(
            ("resumed", f"at epoch {cursor.epoch + 1}, step {cursor.step}, exactly where {config.resume} was saved")
        )
    elif start.training is not None:
        rows.append(("resumed", f"after its last epoch, {cursor.epoch}"))
    elif config.resume is not None:
        rows.append(("resumed", "no: these are weights only, so a new run starts from them"))
    rows += [("changed flag", line) for line in start.changes]
    parts.progress.say("\n".join(f"{label:<14}{text}" for label, text in rows))
    warnings, lines = ([], []) if parts.dashboards is None else (parts.dashboards.warnings, parts.dashboards.lines)
    for text in filter(None, [ranks.device.warning, *warnings]):
        print(f"warning: {text}", file=sys.stderr)
    for text in lines:
        parts.progress.say(text)


def conclude(parts: TrainerContext, trainer: Trainer, data: Data, number: int) -> None:
    """What was reached, what was written, and the command to run next."""
    say, folder, cursor = parts.progress.say, parts.folder, trainer.cursor
    if number:
        name = signal.Signals(number).name
        say(f"Stopped by {name} after step {cursor.step}; everything is saved. Continue with:")
        say(f"  {_command(parts.ranks, 'train_pose.py')} --RESUME {_quoted(folder.last)}")
        return
    patience = parts.config.patience
    stopped = f"AP had not risen for {patience} epochs (-PATIENCE)" if trainer.out_of_patience else ""
    if trainer.metrics is None:  # the run is resumed, and not even a last evaluation was left to do
        config, best = parts.config, folder.best.absolute()
        length = f"-EPOCH {config.epoch}" if config.time is None else f"-TIME {config.time:g}"
        say(
            f"This run is finished: its {cursor.epoch} epochs are done, so nothing was trained now.\n"
            f"Best AP {100 * cursor.best:.1f}: {best}\n"
            f"{stopped or 'Its learning rate has come down to its end'}. To train longer, start a new run "
            "from these weights:\n"
            f"  {_command(parts.ranks, 'train_pose.py')} --RESUME {_quoted(best)} -COCO_ROOT "
            f"{_quoted(config.coco_root)} -TRAIN_ANN {_quoted(config.train_ann)} -VAL_ANN {_quoted(config.val_ann)} "
            f"{length}"
        )
    else:
        say(f"\nValidation of the averaged weights after epoch {cursor.epoch}:\n{trainer.metrics.table()}")
        if trainer.before is not None:
            say(comparison(trainer.before, trainer.metrics))
        say(f"Best AP of the run: {100 * cursor.best:.1f} (weights/best.pt)")
        if stopped:
            say(f"Stopped before the end of the schedule: {stopped}.")
    say("\nWritten:")
    say("\n".join(f"  {path}" for path in folder.written() if not {"wandb", "tensorboard"} & set(path.parts)))
    say("\nRun it on an image:")
    command = f"{_python()} {_script('inference_image_pose.py')}"
    say(f"  {command} --image_path {_quoted(data.val.files[0])} --weight_path {_quoted(folder.best)}")


def _adapters(backbone: nn.Module) -> list[tuple[str, str]]:
    """Label and text for the start block; none without adapters."""
    adapters = [p for name, p in backbone.named_parameters() if ".lora_A." in name or ".lora_B." in name]
    if not adapters:
        return []
    kept = "bf16" if any(p.dtype == torch.bfloat16 for p in backbone.parameters()) else "fp32"
    count = sum(p.numel() for p in adapters) / 1e6
    return [("adapters", f"{len(adapters) // 2}, {count:.2f} M parameters; the matrices under them are kept in {kept}")]


def comparison(before: Metrics, after: Metrics) -> str:
    """The figures of the weights that the run started from, beside those it ended with, in percent."""
    first, last = before.figures(), after.figures()
    rows = [f"{'':<8}{'before':>8}{'after':>8}"]
    rows += [f"{name:<8}{percent(first[name]):>8}{percent(last[name]):>8}" for name in ("AP", "AP50", "AP75", "AR")]
    return "\n" + "\n".join(rows)


def _command(ranks: DistributedContext, script: str) -> str:
    """How a script is started on as many processes."""
    if ranks.world_size == 1:
        return f"{_python()} {_script(script)}"
    nodes = ranks.world_size // ranks.local_world_size
    more = f" --nnodes={nodes} ..." if nodes > 1 else ""
    launcher = f"-m torch.distributed.run --nproc_per_node={ranks.local_world_size}{more}"
    return f"{_python()} {launcher} {_script(script)}"


def _python() -> str:
    """How this interpreter is called: by its path where no environment is active that would find it."""
    return "python" if shutil.which("python") == sys.executable else shlex.quote(sys.executable)


def _script(name: str) -> str:
    """How one of the entry points is called from the present folder."""
    root = Path(__file__).resolve().parents[2]
    return name if Path.cwd() == root else _quoted(root / name)


def _quoted(path: Path) -> str:
    return shlex.quote(str(path.absolute()))

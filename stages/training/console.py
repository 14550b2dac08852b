"""What a training says when it starts and when it ends."""

from __future__ import annotations

import shlex
import shutil
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from stages.training.context import TrainerContext
from stages.training.data import Data
from stages.training.initialization import Pretrained, Start
from stages.training.phases import adapter_lines
from stages.training.trainer import Trainer
from utils.distributed.context import DistributedContext
from utils.metrics.coco_eval import Metrics
from utils.metrics.keypoint_scores import percent


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
        *adapter_lines(parts.state.model),
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
    dashboards = parts.dashboards
    warnings = [ranks.device.warning, *(dashboards.warnings if dashboards else [])]
    for text in filter(None, warnings):
        print(f"warning: {text}", file=sys.stderr)
    for text in dashboards.lines if dashboards else []:
        parts.progress.say(text)


def conclude(parts: TrainerContext, trainer: Trainer, data: Data, number: int) -> None:
    """What was reached, what was written, and the command to run next."""
    say, folder = parts.progress.say, parts.folder
    if number:
        name = signal.Signals(number).name
        say(f"Stopped by {name} after step {trainer.cursor.step}; everything is saved. Continue with:")
        say(f"  {_launcher(parts.ranks)} {_script('train_pose.py')} --RESUME {_quoted(folder.last)}")
        return
    if trainer.metrics is None:  # not even a last evaluation was left to do
        say(finished(parts, trainer))
    else:
        say(f"\nValidation of the averaged weights after epoch {trainer.cursor.epoch}:\n{trainer.metrics.table()}")
        if trainer.before is not None:
            say(comparison(trainer.before, trainer.metrics))
        say(f"Best AP of the run: {100 * trainer.cursor.best:.1f} (weights/best.pt)")
    say("\nWritten:")
    say("\n".join(f"  {path}" for path in _without_dashboards(folder.written())))
    command = f"{_python()} {_script('inference_image_pose.py')}"
    say("\nRun it on an image:")
    say(f"  {command} --image_path {_quoted(data.val.files[0])} --weight_path {_quoted(folder.best)}")


def comparison(before: Metrics, after: Metrics) -> str:
    """The figures of the weights that the run started from, beside those it ended with, in percent."""
    first, last = before.figures(), after.figures()
    rows = [f"{'':<8}{'before':>8}{'after':>8}"]
    rows += [f"{name:<8}{percent(first[name]):>8}{percent(last[name]):>8}" for name in ("AP", "AP50", "AP75", "AR")]
    return "\n" + "\n".join(rows)


def finished(parts: TrainerContext, trainer: Trainer) -> str:
    """What to say where a run is resumed that has nothing left to do."""
    config = parts.config
    flags = ("--RESUME", parts.folder.best, "-COCO_ROOT", config.coco_root, "-TRAIN_ANN", config.train_ann,
             "-VAL_ANN", config.val_ann)  # fmt: skip
    words = [word if isinstance(word, str) else _quoted(word) for word in flags]
    length = f"-EPOCH {config.epoch}" if config.time is None else f"-TIME {config.time:g}"
    return (
        f"This run is finished: its {trainer.cursor.epoch} epochs are done, so nothing was trained now.\n"
        f"Best AP {100 * trainer.cursor.best:.1f}: {parts.folder.best.absolute()}\n"
        "Its learning rate has come down to its end. To train longer, start a new run from these weights:\n"
        f"  {_launcher(parts.ranks)} {_script('train_pose.py')} {' '.join(words)} {length}"
    )


def _launcher(ranks: DistributedContext) -> str:
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
    root = Path(__file__).resolve().parents[2]
    return name if Path.cwd() == root else _quoted(root / name)


def _quoted(path: Path) -> str:
    return shlex.quote(str(path.absolute()))


def _without_dashboards(paths: Sequence[Path]) -> list[Path]:
    return [path for path in paths if not {"wandb", "tensorboard"} & set(path.parts)]

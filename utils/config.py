"""The flags of train_pose.py: declared once here, as the fields of a frozen and validated configuration."""

from __future__ import annotations

import argparse
import difflib
import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, Field, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from utils.errors import ConfigError

STAGES = ("baseline",)
"""What -STAGE takes. A stage joins this table when it works."""

PRECISIONS = ("auto", "fp32", "bf16", "fp16")


def image_size(text: str) -> tuple[int, int]:
    """``256`` -> (256, 256); ``192x256`` -> height 192, width 256."""
    parts = text.lower().split("x")
    if len(parts) > 2 or not all(part.isdecimal() for part in parts):
        raise ValueError("give N or HxW in pixels, such as 256 or 192x256")
    return int(parts[0]), int(parts[-1])


def _flag(
    name: str,
    group: str,
    text: str,
    *,
    kind: Callable[[str], Any] = str,
    default: Any = MISSING,
    choices: tuple[str, ...] | None = None,
    free: bool = False,
) -> Any:
    """A field with its flag; a default of None means ``auto``, and ``free`` that a resumed run may change it."""
    metadata = {"flag": name, "group": group, "text": text, "kind": kind, "choices": choices, "free": free}
    return field(metadata=metadata) if default is MISSING else field(default=default, metadata=metadata)


_WHAT, _DATA, _LENGTH = "what to train", "data", "length and batch"
_OPTIMISER, _AUGMENTATION, _MACHINE, _RUN = "optimiser", "augmentation", "machine", "run folder and logging"


@dataclass(frozen=True)
class TrainConfig:
    """Everything a training depends on; the flags of train_pose.py in the order of its help.

    Raises:
        ConfigError: a value that can't work; the message names the flag.
    """

    model: str = _flag(
        "-MODEL", _WHAT, "Architecture: sia_pose_simple (fastest), sia_pose (refined keypoints) or "
        "sia_pose_decoder_led (lightest)."
    )  # fmt: skip
    coco_root: Path = _flag(
        "-COCO_ROOT", _DATA, "Folder of the pictures, or COCO's own layout with train2017/ and val2017/ below it.",
        kind=Path, free=True,
    )  # fmt: skip
    train_ann: Path = _flag("-TRAIN_ANN", _DATA, "COCO keypoint annotations (json) to train on.", kind=Path, free=True)
    val_ann: Path = _flag("-VAL_ANN", _DATA, "COCO keypoint annotations (json) to evaluate on.", kind=Path, free=True)

    size: str = _flag(
        "-SIZE", _WHAT, "Size of the model: n16, ti16, s16, b16, l14; test is a miniature.", default="n16"
    )
    backbone: str | None = _flag(
        "-BACKBONE", _WHAT, "Pretrained ViT: a timm name (weights are downloaded), or a file of weights. "
        "Without it the backbone of -SIZE starts from random weights.", default=None,
    )  # fmt: skip
    imgsz: tuple[int, int] = _flag(
        "-IMGSZ", _WHAT, "Input size in pixels, N or HxW; pictures are letterboxed into it.", kind=image_size,
        default=(256, 256),
    )  # fmt: skip
    stage: str = _flag("-STAGE", _WHAT, "Stage of the pipeline.", default="baseline", choices=STAGES)
    resume: Path | None = _flag(
        "--RESUME", _WHAT, "A checkpoint. Of a training (last.pt): continues exactly that run, with its flags. "
        "Of weights only (best.pt): starts a new run from them.", kind=Path, default=None, free=True,
    )  # fmt: skip

    epoch: int = _flag("-EPOCH", _LENGTH, "Epochs: passes over the training pictures.", kind=int, default=100)
    bs: int = _flag("-BS", _LENGTH, "Batch: pictures per process and forward pass.", kind=int, default=16)
    accum: int = _flag(
        "-ACCUM", _LENGTH, "Forward passes per step of the optimiser. Effective batch = BS x ACCUM x processes.",
        kind=int, default=1,
    )  # fmt: skip

    lr: float | None = _flag(
        "-LR", _OPTIMISER, "Peak learning rate of AdamW. auto: 2e-3 from scratch (5e-4 from s16 on), 2e-4 with a pretrained "
        "start, for an effective batch of 32; times the square root of the batch over 32, at most 2.", kind=float, default=None,
    )  # fmt: skip
    warmup: int | None = _flag(
        "-WARMUP", _OPTIMISER, "Warm-up in steps of the optimiser. auto: 5 percent of the run, at most 1000.",
        kind=int, default=None,
    )  # fmt: skip
    wd: float = _flag("-WD", _OPTIMISER, "Weight decay of AdamW (not on norms, biases, tokens and positions).",
                      kind=float, default=0.05)  # fmt: skip
    clip: float = _flag("-CLIP", _OPTIMISER, "Largest norm of the gradient; 0 never clips.", kind=float, default=1.0)
    llrd: float | None = _flag(
        "-LLRD", _OPTIMISER, "Layer-wise decay: the learning rate of each backbone block is this times that of the block "
        "above. auto: 1 from scratch, 0.8 with a pretrained start.", kind=float, default=None,
    )  # fmt: skip
    ema: float | None = _flag(
        "-EMA", _OPTIMISER, "Decay per step of the averaged weights, which are evaluated and saved; 0 averages nothing. "
        "auto: 1 - 10 / steps of the run.", kind=float, default=None,
    )  # fmt: skip

    mosaic: float = _flag("-MOSAIC", _AUGMENTATION, "Share of pictures made of four.", kind=float, default=0.5)
    rotate: float = _flag("-ROTATE", _AUGMENTATION, "Largest rotation in degrees.", kind=float, default=15.0)
    scale_min: float = _flag(
        "-SCALE_MIN", _AUGMENTATION, "Smallest random scale, as a factor.", kind=float, default=0.5
    )
    scale_max: float = _flag("-SCALE_MAX", _AUGMENTATION, "Largest random scale, as a factor.", kind=float, default=1.5)
    shift: float = _flag(
        "-SHIFT", _AUGMENTATION, "Largest shift, as a share of the input side.", kind=float, default=0.1
    )
    flip: float = _flag("-FLIP", _AUGMENTATION, "Share of pictures mirrored, left and right swapped.", kind=float,
                        default=0.5)  # fmt: skip
    colour: float = _flag("-COLOUR", _AUGMENTATION, "Strength of the colour changes; 0 is none, 1 the usual.",
                          kind=float, default=1.0)  # fmt: skip
    plain_epochs: int | None = _flag(
        "-PLAIN_EPOCHS", _AUGMENTATION, "Last epochs without mosaic. auto: 10 percent of them.", kind=int, default=None
    )

    workers: int | None = _flag(
        "-WORKERS", _MACHINE, "Processes that load pictures, per training process; 0 loads in the training process. "
        "auto: the cores left to each, at most 8.", kind=int, default=None, free=True,
    )  # fmt: skip
    device: str = _flag(
        "-DEVICE", _MACHINE, "auto, cpu, cuda or mps; auto takes a GPU where there is one.", default="auto", free=True
    )
    precision: str = _flag("-PRECISION", _MACHINE, "Arithmetic of the model. auto: bf16 on a GPU that has it, else fp32.",
                           default="auto", choices=PRECISIONS)  # fmt: skip
    seed: int = _flag("-SEED", _MACHINE, "Seed of the weights, the order of the data and the augmentation.", kind=int,
                      default=0)  # fmt: skip

    output: Path = _flag("-OUTPUT", _RUN, "Folder of all runs.", kind=Path, default=Path("runs"), free=True)
    exp: str | None = _flag("-EXP", _RUN, "Name of the run's folder. auto: model, size and date.", default=None)
    eval_every: int = _flag(
        "-EVAL_EVERY",
        _RUN,
        "Epochs between evaluations; the last epoch is always evaluated.",
        kind=int,
        default=1,
        free=True,
    )
    save_minutes: float = _flag(
        "-SAVE_MINUTES", _RUN, "Most minutes between two saves of last.pt.", kind=float, default=5.0, free=True
    )
    save: bool = _flag(
        "--SAVE", _RUN, "Keep the weights of every evaluated epoch (weights/epoch-012.pt), beside last and best.",
        kind=bool, default=False, free=True,
    )  # fmt: skip
    wandb: bool = _flag("--WANDB", _RUN, "Log to Weights & Biases; offline, in the run folder, where there is no account.",
                        kind=bool, default=False, free=True)  # fmt: skip
    tensorboard: bool = _flag("--TENSORBOARD", _RUN, "Log to TensorBoard, in the run folder.", kind=bool, default=False,
                              free=True)  # fmt: skip

    def __post_init__(self) -> None:
        for name, low, high in _RANGES:
            self._check_range(name, low, high)
        if self.scale_min > self.scale_max:
            raise ConfigError(f"-SCALE_MIN {self.scale_min} is above -SCALE_MAX {self.scale_max}.")
        if self.plain_epochs is not None and self.plain_epochs > self.epoch:
            raise ConfigError(f"-PLAIN_EPOCHS {self.plain_epochs} is more than -EPOCH {self.epoch}.")
        if min(self.imgsz) < 32 or max(self.imgsz) > 4096:
            raise ConfigError(f"-IMGSZ {format_value(self.imgsz)} must be between 32 and 4096 pixels a side.")
        if self.exp is not None and (self.exp in ("", ".", "..") or Path(self.exp).name != self.exp):
            raise ConfigError(f"-EXP '{self.exp}' must be a plain name; -OUTPUT sets the folder it lies in.")
        for entry in flag_fields():
            choices = entry.metadata["choices"]
            if choices and getattr(self, entry.name) not in choices:
                raise ConfigError(_unknown(entry.metadata["flag"], getattr(self, entry.name), choices))

    def _check_range(self, name: str, low: float, high: float) -> None:
        value = getattr(self, name)
        if value is None or (math.isfinite(value) and low <= value <= high):
            return
        limits = f"at least {low:g}" if high == math.inf else f"from {low:g} to {high:g}"
        raise ConfigError(f"{_flag_of(name)} {value} must be {limits}.")

    def to_dict(self) -> dict[str, Any]:
        """Plain types only, for checkpoints and JSON."""
        return {name: _plain(value) for name, value in asdict(self).items()}


_RANGES: tuple[tuple[str, float, float], ...] = (
    ("epoch", 1, math.inf), ("bs", 1, math.inf), ("accum", 1, math.inf), ("lr", 1e-12, 10), ("warmup", 0, math.inf),
    ("wd", 0, 10), ("clip", 0, math.inf), ("llrd", 0.01, 1), ("ema", 0, 0.999999), ("mosaic", 0, 1),
    ("rotate", 0, 180), ("scale_min", 0.05, 20), ("scale_max", 0.05, 20), ("shift", 0, 1), ("flip", 0, 1),
    ("colour", 0, 2), ("plain_epochs", 0, math.inf), ("workers", 0, 256), ("seed", 0, 2**32 - 1),
    ("eval_every", 1, math.inf), ("save_minutes", 0, math.inf),
)  # fmt: skip


def flag_fields() -> tuple[Field[Any], ...]:
    """The fields of `TrainConfig`; their metadata holds flag, group, help text, kind, choices and free."""
    return fields(TrainConfig)


def format_value(value: Any) -> str:
    """A flag's value as a user would type it."""
    if value is None:
        return "auto"
    if isinstance(value, (tuple, list)):
        return "x".join(map(str, value))
    return str(value)


def parse_flags(argv: Sequence[str]) -> dict[str, Any]:
    """Reads the command line.

    Returns:
        The values given, by field name; flags left out are absent, so that a resumed run can supply them.

    Raises:
        ConfigError: an unknown or abbreviated flag, a missing or malformed value.
    """
    _check_names(argv)
    return vars(_parser().parse_args(list(argv)))


def build_config(given: Mapping[str, Any], saved: Mapping[str, Any] | None = None) -> tuple[TrainConfig, list[str]]:
    """Fills flags left out from a resumed run, or else by their defaults.

    Args:
        given: from `parse_flags`.
        saved: `TrainConfig.to_dict` of the run to resume.

    Returns:
        The configuration, and a line for each flag that differs from the resumed run.

    Raises:
        ConfigError: a required flag is missing, or a flag changes that a resumed run can't change.
    """
    if saved is None:
        missing = [f.metadata["flag"] for f in flag_fields() if f.default is MISSING and f.name not in given]
        if missing:
            raise ConfigError(f"{', '.join(missing)} must be given. See python train_pose.py --help.")
        return TrainConfig(**given), []
    base = {f.name: _restore(f, saved[f.name]) for f in flag_fields() if f.name in saved}
    changed = [f for f in flag_fields() if f.name in given and f.name in base and given[f.name] != base[f.name]]
    changed = [f for f in changed if f.name != "resume"]
    lines = [f"{f.metadata['flag']} {format_value(base[f.name])} -> {format_value(given[f.name])}" for f in changed]
    fixed = [line for line, entry in zip(lines, changed, strict=True) if not entry.metadata["free"]]
    if fixed:
        raise ConfigError(
            f"A resumed run can't change {'; '.join(fixed)}. Leave it out to continue exactly, or start a new run "
            "from the weights with --RESUME .../best.pt."
        )
    return TrainConfig(**{**base, **given}), lines


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="train_pose.py",
        description="Train a multi-person pose estimator on pictures with COCO keypoint annotations.",
        epilog="Several processes: torchrun --nproc_per_node=N train_pose.py ... (see docs/training.md).",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    groups: dict[str, Any] = {}
    for entry in flag_fields():
        group = entry.metadata["group"]
        groups.setdefault(group, parser.add_argument_group(group))
    for entry in flag_fields():
        _declare(groups[entry.metadata["group"]], entry)
    return parser


def _declare(group: Any, entry: Field[Any]) -> None:
    meta = entry.metadata
    text = meta["text"].replace("%", "%%")
    if meta["kind"] is bool:
        group.add_argument(meta["flag"], dest=entry.name, action="store_true", help=f"{text} Default: off.")
        return
    default = "required" if entry.default is MISSING else f"default: {_default_text(entry)}"
    choices = f" One of: {', '.join(meta['choices'])}." if meta["choices"] else ""
    group.add_argument(
        meta["flag"],
        dest=entry.name,
        type=_reader(entry),
        metavar=_METAVARS.get(meta["kind"], "NAME"),
        help=f"{text}{choices} ({default})",
    )


_METAVARS: dict[Any, str] = {int: "N", float: "X", Path: "PATH", image_size: "SIZE"}


def _default_text(entry: Field[Any]) -> str:
    return "none" if entry.name in ("backbone", "resume") else format_value(entry.default)


def _reader(entry: Field[Any]) -> Callable[[str], Any]:
    """Converts one value; ``auto`` is None where the flag has an automatic choice."""

    def read(text: str) -> Any:
        if text == "auto" and entry.default is None:
            return None
        try:
            return entry.metadata["kind"](text)
        except ValueError as error:
            hint = str(error) if entry.metadata["kind"] is image_size else _NUMBERS[entry.metadata["kind"]]
            raise ConfigError(f"{entry.metadata['flag']} '{text}': {hint}.") from error

    return read


_NUMBERS: dict[Any, str] = {int: "give a whole number", float: "give a number"}


class _Parser(argparse.ArgumentParser):
    """argparse that raises instead of leaving the program, and wraps its help."""

    def error(self, message: str) -> Any:
        raise ConfigError(f"{message}. See python {self.prog} --help.")

    def format_help(self) -> str:
        text = super().format_help()
        return textwrap.dedent(text)


def _check_names(argv: Sequence[str]) -> None:
    """argparse takes prefixes of single-dash words whatever allow_abbrev says, so names are compared here."""
    known = [f.metadata["flag"] for f in flag_fields()] + ["-h", "--help"]
    for word in argv:
        name = word.split("=", 1)[0]
        if name.startswith("-") and not _is_number(word) and name not in known:
            raise ConfigError(_unknown("flag", name, known))


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _unknown(what: str, value: str, known: Sequence[str]) -> str:
    by_letters = {name.lstrip("-").lower(): name for name in known}
    bare = str(value).lstrip("-").lower()
    close = [letters for letters in by_letters if bare and letters.startswith(bare)]
    close += difflib.get_close_matches(bare, list(by_letters), n=3, cutoff=0.5)
    names = list(dict.fromkeys(by_letters[letters] for letters in close))[:3]
    hint = f" Did you mean {' or '.join(names)}?" if names else f" Known: {', '.join(known)}."
    return f"{what} {value} is unknown.{hint}"


def _flag_of(name: str) -> str:
    return next(str(f.metadata["flag"]) for f in flag_fields() if f.name == name)


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    return list(value) if isinstance(value, tuple) else value


def _restore(entry: Field[Any], value: Any) -> Any:
    if value is not None and entry.metadata["kind"] is Path:
        return Path(value)
    return tuple(value) if isinstance(value, list) else value

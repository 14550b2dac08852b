"""The flags of train_pose.py: declared once here, as the fields of a frozen and validated configuration."""

# ruff: noqa: RUF009 (each default is a field made by a function, which is the point of this file)

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import MISSING, Field, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from sia.commands.values import SIDES, image_size, within_sides
from sia.description.llm_flags import check_llm
from sia.errors import ConfigError, unknown
from sia.io.input_file import MAX_PIXELS

STAGES = ("baseline", "ssl", "ensemble", "prior", "postprocess")
"""The stages of a pipeline, in their order."""

PRECISIONS = ("auto", "fp32", "bf16", "fp16")

LOGGERS = ("trackio", "mlflow")
"""Dashboards beside those that have flags of their own."""

AUGMENTATIONS = ("geometry", "appearance", "occlusion")
"""Ways to change an unlabelled image (`datasets.unlabelled.strong_view`)."""


def batch_size(text: str) -> int:
    """``8`` -> 8; ``auto`` -> 0."""
    if text == "0":
        raise ValueError("0 images")
    return 0 if text == "auto" else int(text)


def name_list(text: str) -> tuple[str, ...]:
    """``a,b`` -> ("a", "b"); ``none`` -> ()."""
    return () if text == "none" else tuple(part.strip() for part in text.split(",") if part.strip())


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
# A group whose title has the name of a stage holds the flags of that stage: changing one repeats that stage only.
_PIPELINE = "pipeline"
_SSL = "semi-supervised learning (ssl)"
_ENSEMBLE = "ensemble"
_PRIOR = "pose prior"
_WORDS = "postprocess: words"


@dataclass(frozen=True)
class TrainConfig:
    """Everything a training depends on; the flags of train_pose.py in the order of its help.

    Raises:
        ConfigError: a value that can't work; the message names the flag.
    """

    model: str = _flag(
        "-MODEL", _WHAT, "Architecture: sia_pose_simple (the faster full encoder), sia_pose (refined "
        "keypoints) or sia_pose_decoder_led (lightest and fastest)."
    )  # fmt: skip
    coco_root: Path = _flag(
        "-COCO_ROOT", _DATA, "Folder of the images, or COCO's own layout with train2017/ and val2017/ below it.",
        kind=Path, free=True,
    )  # fmt: skip
    train_ann: Path = _flag("-TRAIN_ANN", _DATA, "COCO keypoint annotations (json) to train on.", kind=Path, free=True)
    val_ann: Path = _flag("-VAL_ANN", _DATA, "COCO keypoint annotations (json) to evaluate on.", kind=Path, free=True)
    teacher: str | None = _flag(
        "-TEACHER", _DATA, "Who poses people of -TRAIN_ANN that have a box and no keypoints: a bigger model as "
        "KIND:PATH (see -MEMBERS), or a json of COCO results or annotations. Its keypoints count by their confidence.",
        default=None, free=True,
    )  # fmt: skip
    max_pixels: int = _flag(
        "-MAX_PIXELS", _DATA, "Images of more pixels are refused before they are decoded.", kind=int,
        default=MAX_PIXELS, free=True,
    )  # fmt: skip

    size: str = _flag(
        "-SIZE",
        _WHAT,
        "Size of the model: p32, n16, h16, n32, ti16, s16, b16, l14; test is a miniature.",
        default="n16",
    )
    backbone: str | None = _flag(
        "-BACKBONE", _WHAT, "Pretrained ViT: a timm name (weights are downloaded), or a file of weights. "
        "Without it the backbone of -SIZE, with the start that -INIT chooses.", default=None,
    )  # fmt: skip
    init: str = _flag(
        "-INIT", _WHAT, "Start of a new training without -BACKBONE and --RESUME. auto: the bundled weights, "
        "for less than 10000 images, where there are some of this -MODEL and -SIZE; of other keypoints, what fits. "
        "Else random ones, as scratch.",
        default="auto", choices=("auto", "scratch"),
    )  # fmt: skip
    imgsz: tuple[int, int] = _flag(
        "-IMGSZ", _WHAT, "Input size in pixels, N or HxW; images are letterboxed into it.", kind=image_size,
        default=(256, 256),
    )  # fmt: skip
    roi_size: int | None = _flag(
        "-ROI_SIZE", _WHAT, "Pixels along the crop of each person that the RoI keypoint head reads, a multiple of 16: "
        "more place keypoints better, and cost more. auto: as in the weights it starts from, if they are of this "
        "-SIZE, else 96 (p32 and n32: 64).", kind=int, default=None,
    )  # fmt: skip
    roi_trunk: str | None = _flag(
        "-ROI_TRUNK", _WHAT, "Convolutional network of timm that reads these crops, with what it learned on ImageNet: "
        "NAME (weights are downloaded) or NAME:FILE. It needs maps at strides 4, 8 and 16. auto: as in the weights it "
        "starts from, else that of -SIZE (h16: tf_efficientnet_lite0; others: an hourglass without pretraining).",
        default=None,
    )  # fmt: skip
    stage: str = _flag(
        "-STAGE", _WHAT, "Stage of the pipeline, or all of them; baseline without -PIPELINE is a plain training.",
        default="baseline", choices=(*STAGES, "all"), free=True,
    )  # fmt: skip
    resume: Path | None = _flag(
        "--RESUME", _WHAT, "A checkpoint. Of a training (last.pt): continues exactly that run, with its flags. "
        "Of weights only (best.pt): starts a new run from them.", kind=Path, default=None, free=True,
    )  # fmt: skip

    epoch: int = _flag("-EPOCH", _LENGTH, "Epochs: passes over the training images.", kind=int, default=100)
    time: float | None = _flag(
        "-TIME", _LENGTH, "Minutes that the whole command may take, instead of -EPOCH: the speed of this machine is "
        "measured first, and the schedule, its evaluations included, is fitted to it.", kind=float, default=None,
    )  # fmt: skip
    patience: int = _flag(
        "-PATIENCE", _LENGTH, "Stop after so many epochs without a better AP; 0 never does.", kind=int, default=0,
    )  # fmt: skip
    bs: int = _flag(
        "-BS", _LENGTH, "Batch: images per process and forward pass. auto: as many as fit into the memory, with at "
        "least 10 steps an epoch.", kind=batch_size, default=16,
    )  # fmt: skip
    certainty_only: bool = _flag(
        "--CERTAINTY_ONLY", _LENGTH, "Train nothing but what tells the visibility and the standard deviation of each "
        "keypoint; all else stays as --RESUME or -INIT brought it.", kind=bool, default=False,
    )  # fmt: skip
    accum: int = _flag(
        "-ACCUM", _LENGTH, "Forward passes per step of the optimiser. Effective batch = BS x ACCUM x processes.",
        kind=int, default=1,
    )  # fmt: skip

    freeze_epochs: int | None = _flag(
        "-FREEZE_EPOCHS", _LENGTH, "First epochs, in which the backbone is frozen and only the rest learns. auto: with "
        "a pretrained backbone a tenth of them, but no more than 1000 steps need; else 0.", kind=int, default=None,
    )  # fmt: skip

    lr: float | None = _flag(
        "-LR", _OPTIMISER, "Peak learning rate of AdamW; Muon's is 2.5 times it. auto: 2e-3 from scratch (5e-4 from "
        "s16 on), 1.4e-3 from a small model of ours, 1.5e-4 with another pretrained start, 1e-3 (5e-4) "
        "while its backbone is frozen, 5e-4 with -LORA, for an effective batch of 16; times the square root "
        "of the batch over 16, at most 2.",
        kind=float, default=None,
    )  # fmt: skip
    optimizer: str = _flag(
        "-OPTIMIZER", _OPTIMISER, "auto, muon (for the matrices inside the transformer layers, AdamW for the rest) or "
        "adamw. auto: muon from scratch and from a small model of ours, adamw with another pretrained start.",
        default="auto", choices=("auto", "muon", "adamw"),
    )  # fmt: skip
    warmup: int | None = _flag(
        "-WARMUP", _OPTIMISER, "Warm-up in steps of the optimiser, in each phase. auto: 5 percent of it, at most 1000.",
        kind=int, default=None,
    )  # fmt: skip
    wd: float = _flag("-WD", _OPTIMISER, "Weight decay (not on norms, biases, tokens and positions).",
                      kind=float, default=0.05)  # fmt: skip
    clip: float = _flag(
        "-CLIP",
        _OPTIMISER,
        "Largest norm of the gradient (20 to 100 is usual here); 0 never clips.",
        kind=float,
        default=100.0,
    )
    llrd: float | None = _flag(
        "-LLRD", _OPTIMISER, "Layer-wise decay: each backbone block learns at this fraction of the learning rate of "
        "the block above. auto: 1 from scratch, from a small model of ours and with -LORA, 0.8 with another pretrained "
        "start.", kind=float, default=None,
    )  # fmt: skip
    ema: float | None = _flag(
        "-EMA", _OPTIMISER, "Decay per step of the averaged weights, which are evaluated and saved; 0 averages "
        "nothing. auto: 1 - 10 / steps of the run.", kind=float, default=None,
    )  # fmt: skip

    lora: int = _flag(
        "-LORA", _OPTIMISER, "Rank of low-rank adapters (needs peft), which then are all of the backbone that learns, "
        "in far less memory; 0 trains all of it. Saved weights have them merged.", kind=int, default=0,
    )  # fmt: skip

    mosaic: float = _flag("-MOSAIC", _AUGMENTATION, "Fraction of images made of four.", kind=float, default=0.5)
    rotate: float = _flag("-ROTATE", _AUGMENTATION, "Largest rotation in degrees.", kind=float, default=15.0)
    scale_min: float = _flag(
        "-SCALE_MIN", _AUGMENTATION, "Smallest random scale, as a factor.", kind=float, default=0.5
    )
    scale_max: float = _flag("-SCALE_MAX", _AUGMENTATION, "Largest random scale, as a factor.", kind=float, default=1.5)
    shift: float = _flag(
        "-SHIFT", _AUGMENTATION, "Largest shift, as a fraction of the input side.", kind=float, default=0.1
    )
    flip: float = _flag("-FLIP", _AUGMENTATION, "Fraction of images mirrored, left and right swapped.", kind=float,
                        default=0.5)  # fmt: skip
    colour: float = _flag("-COLOUR", _AUGMENTATION, "Strength of the colour changes; 0 is none, 1 the usual.",
                          kind=float, default=1.0)  # fmt: skip
    plain_epochs: int | None = _flag(
        "-PLAIN_EPOCHS",
        _AUGMENTATION,
        "Last epochs with milder augmentation: no mosaic, no rotation, sizes 0.8 to "
        "1.25, half the colour changes. auto: a tenth of them, rounded down.",
        kind=int,
        default=None,
    )

    workers: int | None = _flag(
        "-WORKERS", _MACHINE, "Processes that load images, per training process; 0 loads in the training process. "
        "auto: the cores left to each, at most 8.", kind=int, default=None, free=True,
    )  # fmt: skip
    device: str = _flag(
        "-DEVICE", _MACHINE, "auto, cpu, cuda or mps; auto takes a GPU where there is one.", default="auto", free=True
    )
    precision: str = _flag(
        "-PRECISION", _MACHINE, "Arithmetic of the model in training. auto: bf16 on a GPU or CPU that has instructions "
        "for it, else fp32.", default="auto", choices=PRECISIONS,
    )  # fmt: skip
    parallel: str = _flag(
        "-PARALLEL", _MACHINE, "How several processes share the work. ddp: each holds the whole model. fsdp: the parts "
        "of weights, gradients and optimiser are shared out, for backbones that outgrow a GPU.", default="ddp",
        choices=("ddp", "fsdp"), free=True,
    )  # fmt: skip
    recompute: bool = _flag(
        "--RECOMPUTE", _MACHINE, "Compute the backbone's blocks again for the gradient instead of keeping what they "
        "computed: a third slower, far less memory.", kind=bool, default=False,
    )  # fmt: skip
    compile: bool = _flag(
        "--COMPILE", _MACHINE, "Compile the backbone's blocks (torch.compile): the first step takes minutes, the "
        "others less. For long trainings of the larger sizes on GPUs.", kind=bool, default=False,
    )  # fmt: skip
    seed: int = _flag("-SEED", _MACHINE, "Seed of the weights, the order of the data and the augmentation.", kind=int,
                      default=0)  # fmt: skip

    output: Path = _flag("-OUTPUT", _RUN, "Folder of all runs.", kind=Path, default=Path("runs"))
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
    wandb: bool = _flag("--WANDB", _RUN, "Log to Weights & Biases; offline, in the run folder, unless WANDB_API_KEY or "
                        "WANDB_MODE say otherwise.", kind=bool, default=False, free=True)  # fmt: skip
    logger: tuple[str, ...] = _flag("-LOGGER", _RUN, "Log to trackio and MLflow, on this machine: trackio,mlflow.",
                                    kind=name_list, default=(), free=True)  # fmt: skip
    tensorboard: bool = _flag("--TENSORBOARD", _RUN, "Log to TensorBoard, in the run folder.", kind=bool, default=False,
                              free=True)  # fmt: skip

    pipeline: Path | None = _flag(
        "-PIPELINE", _PIPELINE, "Folder of the pipeline, new or to go on with; flags left out are those it was started "
        "with. With -STAGE all, none makes a new one below -OUTPUT.", kind=Path, default=None, free=True,
    )  # fmt: skip
    config_file: Path | None = _flag(
        "-CONFIG", _PIPELINE, "YAML file of flags (without dashes, such as EPOCH: 50); those on the command line win.",
        kind=Path, default=None, free=True,
    )  # fmt: skip
    calibrate: float = _flag(
        "-CALIBRATE", _PIPELINE, "Fraction of the images of -TRAIN_ANN to calibrate with; without -VAL_ANN as many "
        "again are set aside to prove on.", kind=float, default=0.15,
    )  # fmt: skip
    results_calibrate: Path | None = _flag(
        "-RESULTS_CALIBRATE", _PIPELINE, "COCO results (json) of another program on -TRAIN_ANN, instead of a baseline; "
        "those of the calibration images are used.", kind=Path, default=None, free=True,
    )  # fmt: skip
    results_test: Path | None = _flag(
        "-RESULTS_TEST",
        _PIPELINE,
        "Its results on -VAL_ANN, or on -TRAIN_ANN where that is divided.",
        kind=Path,
        default=None,
        free=True,
    )
    force_stage: tuple[str, ...] = _flag(
        "--FORCE_STAGE", _PIPELINE, "Stages (such as ssl,prior) that are applied even where the proof refuses them; "
        "the report says so. none takes it back.", kind=name_list, default=(), free=True,
    )  # fmt: skip
    unlabelled: tuple[str, ...] = _flag(
        "-UNLABELLED", _SSL, "Folders or globs of images without labels, separated by commas. Those of the training, "
        "calibration and test images that lie there too are left out.", kind=name_list, default=(),
    )  # fmt: skip
    ssl_epoch: int = _flag(
        "-SSL_EPOCH", _SSL, "Epochs of the stage: passes over the labelled images, each step with -BS "
        "unlabelled ones beside.", kind=int, default=30,
    )  # fmt: skip
    ssl_augmentations: tuple[str, ...] = _flag(
        "-SSL_AUGMENTATIONS", _SSL, "Strong augmentations of an unlabelled image for the student, one view each: of "
        "geometry, appearance and occlusion.", kind=name_list, default=AUGMENTATIONS,
    )  # fmt: skip
    pseudo_precision: float = _flag(
        "-PSEUDO_PRECISION", _SSL, "Fraction of the teacher's people, and of their joints, that must be right on the "
        "calibration images for the teacher to be believed.", kind=float, default=0.7,
    )  # fmt: skip
    ssl_weight: float = _flag(
        "-SSL_WEIGHT", _SSL, "What the losses of unlabelled images count after the ramp.", kind=float, default=1.0
    )
    ssl_ramp: float = _flag(
        "-SSL_RAMP", _SSL, "Fraction of the steps in which that weight rises.", kind=float, default=0.3
    )
    members: str | None = _flag(
        "-MEMBERS", _ENSEMBLE, "Models beside the pipeline's own, as KIND:PATH,KIND:PATH with the kinds own, vitpose, "
        "sapiens, sapiens2, sdpose, dwpose, rtmpose.", default=None,
    )  # fmt: skip
    tta: str = _flag(
        "-TTA", _ENSEMBLE, "Views of the pipeline's own model that join the ensemble.", default="flip,scale",
        choices=("none", "flip", "flip,scale"),
    )  # fmt: skip
    refinement_steps: int = _flag(
        "-REFINEMENT_STEPS", _ENSEMBLE, "Training steps, of 32 people, of each of the two networks that look at the "
        "image once more and correct the poses; 0 leaves them out.", kind=int, default=1500,
    )  # fmt: skip
    prior_poses: Path | None = _flag(
        "-PRIOR_POSES", _PRIOR, "More poses to learn from than the labels of the fit part: COCO annotations (json), "
        "or an npz of image_id, bbox, keypoints and keypoint_names. No images needed.", kind=Path, default=None,
    )  # fmt: skip
    prior_steps: int = _flag(
        "-PRIOR_STEPS", _PRIOR, "Most steps, of 512 poses, that each of the two priors is trained; few poses take "
        "fewer.", kind=int, default=3000,
    )  # fmt: skip
    llm: str | None = _flag(
        "-LLM",
        _WORDS,
        "Language model that describes people: a folder or hub name for transformers; with -LLM_URL, the "
        "model's name on that server. Without it, template sentences.",
        default=None,
    )
    llm_url: str | None = _flag(
        "-LLM_URL", _WORDS, "OpenAI-compatible server, such as http://127.0.0.1:8000/v1; its key is read from the "
        "environment variable SIA_LLM_KEY.", default=None,
    )  # fmt: skip
    llm_people: int = _flag(
        "-LLM_PEOPLE", _WORDS, "Most people that the language model describes; the rest get template sentences.",
        kind=int, default=50,
    )  # fmt: skip

    def __post_init__(self) -> None:
        for name, low, high in _RANGES:
            if name == "bs" and self.bs == 0:  # auto
                continue
            self._check_range(name, low, high)
        self._check_pipeline()
        self._check_augmentations()
        if self.scale_min > self.scale_max:
            raise ConfigError(f"-SCALE_MIN {self.scale_min} is above -SCALE_MAX {self.scale_max}.")
        if self.plain_epochs is not None and self.plain_epochs > self.epoch:
            raise ConfigError(f"-PLAIN_EPOCHS {self.plain_epochs} is more than -EPOCH {self.epoch}.")
        if self.freeze_epochs is not None and self.freeze_epochs > self.epoch:
            raise ConfigError(f"-FREEZE_EPOCHS {self.freeze_epochs} is more than -EPOCH {self.epoch}.")
        if self.certainty_only and (self.lora or self.freeze_epochs or self.backbone):
            raise ConfigError(
                "--CERTAINTY_ONLY leaves all else as it is. Leave out -LORA, -FREEZE_EPOCHS and -BACKBONE."
            )
        if not within_sides(self.imgsz):
            raise ConfigError(
                f"-IMGSZ {format_value(self.imgsz)} must be between {SIDES[0]} and {SIDES[1]} pixels a side."
            )
        if self.exp is not None and (self.exp in ("", ".", "..") or Path(self.exp).name != self.exp):
            raise ConfigError(f"-EXP '{self.exp}' must be a plain name; -OUTPUT sets the folder it lies in.")
        for name in self.logger:
            if name not in LOGGERS:
                raise ConfigError(unknown("-LOGGER", name, LOGGERS))
        check_llm(self.llm, self.llm_url)
        for entry in flag_fields():
            choices = entry.metadata["choices"]
            if choices and getattr(self, entry.name) not in choices:
                raise ConfigError(unknown(entry.metadata["flag"], getattr(self, entry.name), choices))

    def _check_pipeline(self) -> None:
        for name in self.force_stage:
            if name not in STAGES:
                raise ConfigError(unknown("--FORCE_STAGE", name, STAGES))
        if (self.results_calibrate is None) != (self.results_test is None):
            raise ConfigError("-RESULTS_CALIBRATE and -RESULTS_TEST go together. Give both.")
        if self.stage != "baseline" or self.pipeline is not None:
            self._check_alone()
        if self.parallel == "fsdp":
            self._check_fsdp()
        given = (self.results_test, self.force_stage) if self.stage == "baseline" and self.pipeline is None else ()
        if any(given):
            raise ConfigError("--FORCE_STAGE and -RESULTS_TEST are for a pipeline. Name its folder with -PIPELINE.")

    def _check_alone(self) -> None:
        """Flags of a training by itself."""
        for given, flag, reason in (
            (self.time is not None, "-TIME", "whose stages have lengths of their own"),
            (not self.bs, "-BS auto", "whose stages share one batch size"),
            (self.certainty_only, "--CERTAINTY_ONLY", "whose stages train all of a model"),
        ):
            if given:
                raise ConfigError(f"{flag} is for a training, not for a pipeline, {reason}. Leave it out.")

    def _check_fsdp(self) -> None:
        others = {
            "-TIME": self.time, "-BS auto": not self.bs, "-LORA": self.lora, "--COMPILE": self.compile,
            "-PRECISION fp16": self.precision == "fp16", "-STAGE": self.stage != "baseline",
            "-PIPELINE": self.pipeline is not None,
        }  # fmt: skip
        named = [flag for flag, is_given in others.items() if is_given]
        if named:
            raise ConfigError(f"-PARALLEL fsdp does not go with {', '.join(named)}. Leave one of them out.")

    def _check_augmentations(self) -> None:
        for name in self.ssl_augmentations:
            if name not in AUGMENTATIONS:
                raise ConfigError(unknown("-SSL_AUGMENTATIONS", name, AUGMENTATIONS))
        if not self.ssl_augmentations or len(set(self.ssl_augmentations)) < len(self.ssl_augmentations):
            raise ConfigError(
                f"-SSL_AUGMENTATIONS {format_value(self.ssl_augmentations)} must name one to three different ones."
            )

    def _check_range(self, name: str, low: float, high: float) -> None:
        value = getattr(self, name)
        if value is None or (math.isfinite(value) and low <= value <= high):
            return
        limits = f"at least {low:g}" if high == math.inf else f"from {low:g} to {high:g}"
        raise ConfigError(f"{flag_of(name)} {value} must be {limits}.")

    def to_dict(self) -> dict[str, Any]:
        """Plain types only, for checkpoints and JSON."""
        return {name: _plain(value) for name, value in asdict(self).items()}


_RANGES: tuple[tuple[str, float, float], ...] = (
    ("time", 0.1, 1e6),
    ("epoch", 1, math.inf), ("bs", 1, math.inf), ("accum", 1, math.inf), ("lr", 1e-12, 10), ("warmup", 0, math.inf),
    ("wd", 0, 10), ("clip", 0, math.inf), ("llrd", 0.01, 1), ("ema", 0, 0.999999), ("mosaic", 0, 1),
    ("rotate", 0, 180), ("scale_min", 0.05, 20), ("scale_max", 0.05, 20), ("shift", 0, 1), ("flip", 0, 1),
    ("colour", 0, 1), ("plain_epochs", 0, math.inf), ("workers", 0, 256), ("seed", 0, 2**32 - 1),
    ("eval_every", 1, math.inf), ("save_minutes", 0, math.inf), ("freeze_epochs", 0, math.inf), ("lora", 0, 1024),
    ("patience", 0, math.inf),
    ("calibrate", 0.01, 0.45), ("ssl_epoch", 1, math.inf), ("pseudo_precision", 0.05, 0.99),
    ("ssl_weight", 0.001, 100), ("ssl_ramp", 0, 1), ("refinement_steps", 0, math.inf), ("prior_steps", 1, math.inf),
    ("llm_people", 0, math.inf), ("max_pixels", 1, math.inf),
)  # fmt: skip


def flag_fields() -> tuple[Field[Any], ...]:
    """The fields of `TrainConfig`; their metadata holds flag, group, help text, kind, choices and free."""
    return fields(TrainConfig)


def format_value(value: Any) -> str:
    """A flag's value as a user would type it."""
    if value is None:
        return "auto"
    if isinstance(value, (tuple, list)):
        numbers = all(isinstance(part, int) for part in value)
        return ("x" if numbers else ",").join(map(str, value)) or "none"
    return str(value)


def flag_of(name: str) -> str:
    """The flag of a field, such as ``-BS`` of ``bs``."""
    return next(str(f.metadata["flag"]) for f in flag_fields() if f.name == name)


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    return list(value) if isinstance(value, tuple) else value

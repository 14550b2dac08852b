"""The flags of train_pose.py: declared once here, as the fields of a frozen and validated configuration."""

# ruff: noqa: RUF009 (each default is a field made by a function, which is the point of this file)

from __future__ import annotations

from dataclasses import Field, asdict, dataclass, fields
from pathlib import Path
from typing import Any

from sia.commands.values import image_size
from sia.io.input_file import MAX_PIXELS
from utils.config.checks import check
from utils.config.declaration import (
    AUGMENTATION,
    AUGMENTATIONS,
    DATA,
    ENSEMBLE,
    LENGTH,
    MACHINE,
    OPTIMISER,
    PIPELINE,
    PRECISIONS,
    PRIOR,
    RUN,
    SSL,
    STAGES,
    WHAT,
    WORDS,
    batch_size,
    flag,
    name_list,
)


@dataclass(frozen=True)
class TrainConfig:
    """Everything a training depends on; the flags of train_pose.py in the order of its help.

    Raises:
        ConfigError: a value that can't work; the message names the flag.
    """

    model: str = flag(
        "-MODEL", WHAT, "Architecture: sia_pose_simple (the faster full encoder), sia_pose (refined "
        "keypoints) or sia_pose_decoder_led (lightest and fastest)."
    )  # fmt: skip
    coco_root: Path = flag(
        "-COCO_ROOT", DATA, "Folder of the images, or COCO's own layout with train2017/ and val2017/ below it.",
        kind=Path, free=True,
    )  # fmt: skip
    train_ann: Path = flag("-TRAIN_ANN", DATA, "COCO keypoint annotations (json) to train on.", kind=Path, free=True)
    val_ann: Path = flag("-VAL_ANN", DATA, "COCO keypoint annotations (json) to evaluate on.", kind=Path, free=True)
    teacher: str | None = flag(
        "-TEACHER", DATA, "Who poses people of -TRAIN_ANN that have a box and no keypoints: a bigger model as "
        "KIND:PATH (see -MEMBERS), or a json of COCO results or annotations. Its keypoints count by their confidence.",
        default=None, free=True,
    )  # fmt: skip
    max_pixels: int = flag(
        "-MAX_PIXELS", DATA, "Images of more pixels are refused before they are decoded.", kind=int,
        default=MAX_PIXELS, free=True,
    )  # fmt: skip

    size: str = flag(
        "-SIZE",
        WHAT,
        "Size of the model: p32, n16, h16, n32, ti16, s16, b16, l14; test is a miniature.",
        default="n16",
    )
    backbone: str | None = flag(
        "-BACKBONE", WHAT, "Pretrained ViT: a timm name (weights are downloaded), or a file of weights. "
        "Without it the backbone of -SIZE, with the start that -INIT chooses.", default=None,
    )  # fmt: skip
    init: str = flag(
        "-INIT", WHAT, "Start of a new training without -BACKBONE and --RESUME. auto: the bundled weights, "
        "for less than 10000 images, where there are some of this -MODEL and -SIZE; of other keypoints, what fits. "
        "Else random ones, as scratch.",
        default="auto", choices=("auto", "scratch"),
    )  # fmt: skip
    imgsz: tuple[int, int] = flag(
        "-IMGSZ", WHAT, "Input size in pixels, N or HxW; images are letterboxed into it.", kind=image_size,
        default=(256, 256),
    )  # fmt: skip
    roi_size: tuple[int, int] | None = flag(
        "-ROI_SIZE", WHAT, "Size in pixels, N or HxW, of the crop of each person that the RoI keypoint head reads, "
        "multiples of 16: more place keypoints better, and cost more. auto: as in the weights it starts from, if they "
        "are of this -SIZE, else 96 (p32 and n32: 64).", kind=image_size, default=None,
    )  # fmt: skip
    roi_trunk: str | None = flag(
        "-ROI_TRUNK", WHAT, "Convolutional network of timm that reads these crops, with what it learned on ImageNet: "
        "NAME (weights are downloaded) or NAME:FILE. It needs maps at strides 4, 8 and 16. auto: as in the weights it "
        "starts from, else that of -SIZE (h16: tf_efficientnet_lite0; others: an hourglass without pretraining).",
        default=None,
    )  # fmt: skip
    stage: str = flag(
        "-STAGE", WHAT, "Stage of the pipeline, or all of them; baseline without -PIPELINE is a plain training.",
        default="baseline", choices=(*STAGES, "all"), free=True,
    )  # fmt: skip
    resume: Path | None = flag(
        "--RESUME", WHAT, "A checkpoint. Of a training (last.pt): continues exactly that run, with its flags. "
        "Of weights only (best.pt; or a name: sia_pose-n16, hf:owner/name): starts a new run from them.",
        kind=Path, default=None, free=True,
    )  # fmt: skip

    epoch: int = flag("-EPOCH", LENGTH, "Epochs: passes over the training images.", kind=int, default=100)
    time: float | None = flag(
        "-TIME", LENGTH, "Minutes that the whole command may take, instead of -EPOCH: the speed of this machine is "
        "measured first, and the schedule, its evaluations included, is fitted to it.", kind=float, default=None,
    )  # fmt: skip
    patience: int = flag(
        "-PATIENCE", LENGTH, "Stop after so many epochs without a better AP; 0 never does.", kind=int, default=0,
    )  # fmt: skip
    bs: int = flag(
        "-BS", LENGTH, "Batch: images per process and forward pass. auto: as many as fit into the memory, with at "
        "least 10 steps an epoch.", kind=batch_size, default=16,
    )  # fmt: skip
    certainty_only: bool = flag(
        "--CERTAINTY_ONLY", LENGTH, "Train nothing but what tells the visibility and the standard deviation of each "
        "keypoint; all else stays as --RESUME or -INIT brought it.", kind=bool, default=False,
    )  # fmt: skip
    freeze_roi: bool = flag(
        "--FREEZE_ROI", LENGTH, "The RoI keypoint head, and what follows it, stay as --RESUME or -INIT brought them: "
        "only what finds people is trained.", kind=bool, default=False,
    )  # fmt: skip
    accum: int = flag(
        "-ACCUM", LENGTH, "Forward passes per step of the optimiser. Effective batch = BS x ACCUM x processes.",
        kind=int, default=1,
    )  # fmt: skip

    freeze_epochs: int | None = flag(
        "-FREEZE_EPOCHS", LENGTH, "First epochs, in which the backbone is frozen and only the rest learns. auto: with "
        "a pretrained backbone a tenth of them, but no more than 1000 steps need; else 0.", kind=int, default=None,
    )  # fmt: skip

    lr: float | None = flag(
        "-LR", OPTIMISER, "Peak learning rate of AdamW; Muon's is 2.5 times it. auto: 2e-3 from scratch (5e-4 from "
        "s16 on), 1.4e-3 from a small model of ours, 1.5e-4 with another pretrained start, 1e-3 (5e-4) "
        "while its backbone is frozen, 5e-4 with -LORA, for an effective batch of 16; times the square root "
        "of the batch over 16, at most 2.",
        kind=float, default=None,
    )  # fmt: skip
    optimizer: str = flag(
        "-OPTIMIZER", OPTIMISER, "auto, muon (for the matrices inside the transformer layers, AdamW for the rest) or "
        "adamw. auto: muon from scratch and from a small model of ours, adamw with another pretrained start.",
        default="auto", choices=("auto", "muon", "adamw"),
    )  # fmt: skip
    warmup: int | None = flag(
        "-WARMUP", OPTIMISER, "Warm-up in steps of the optimiser, in each phase. auto: 5 percent of it, at most 1000.",
        kind=int, default=None,
    )  # fmt: skip
    wd: float = flag("-WD", OPTIMISER, "Weight decay (not on norms, biases, tokens and positions).",
                      kind=float, default=0.05)  # fmt: skip
    clip: float = flag(
        "-CLIP",
        OPTIMISER,
        "Largest norm of the gradient (20 to 100 is usual here); 0 never clips.",
        kind=float,
        default=100.0,
    )
    llrd: float | None = flag(
        "-LLRD", OPTIMISER, "Layer-wise decay: each backbone block learns at this fraction of the learning rate of "
        "the block above. auto: 1 from scratch, from a small model of ours and with -LORA, 0.8 with another pretrained "
        "start.", kind=float, default=None,
    )  # fmt: skip
    ema: float | None = flag(
        "-EMA", OPTIMISER, "Decay per step of the averaged weights, which are evaluated and saved; 0 averages "
        "nothing. auto: 1 - 10 / steps of the run.", kind=float, default=None,
    )  # fmt: skip

    lora: int = flag(
        "-LORA", OPTIMISER, "Rank of low-rank adapters (needs peft), which then are all of the backbone that learns, "
        "in far less memory; 0 trains all of it. Saved weights have them merged.", kind=int, default=0,
    )  # fmt: skip

    mosaic: float = flag("-MOSAIC", AUGMENTATION, "Fraction of images made of four.", kind=float, default=0.5)
    rotate: float = flag("-ROTATE", AUGMENTATION, "Largest rotation in degrees.", kind=float, default=15.0)
    scale_min: float = flag("-SCALE_MIN", AUGMENTATION, "Smallest random scale, as a factor.", kind=float, default=0.5)
    scale_max: float = flag("-SCALE_MAX", AUGMENTATION, "Largest random scale, as a factor.", kind=float, default=1.5)
    shift: float = flag(
        "-SHIFT", AUGMENTATION, "Largest shift, as a fraction of the input side.", kind=float, default=0.1
    )
    flip: float = flag("-FLIP", AUGMENTATION, "Fraction of images mirrored, left and right swapped.", kind=float,
                        default=0.5)  # fmt: skip
    colour: float = flag("-COLOUR", AUGMENTATION, "Strength of the colour changes; 0 is none, 1 the usual.",
                          kind=float, default=1.0)  # fmt: skip
    plain_epochs: int | None = flag(
        "-PLAIN_EPOCHS",
        AUGMENTATION,
        "Last epochs with milder augmentation: no mosaic, no rotation, sizes 0.8 to "
        "1.25, half the colour changes. auto: a tenth of them, rounded down.",
        kind=int,
        default=None,
    )

    workers: int | None = flag(
        "-WORKERS", MACHINE, "Processes that load images, per training process; 0 loads in the training process. "
        "auto: the cores left to each, at most 8.", kind=int, default=None, free=True,
    )  # fmt: skip
    device: str = flag(
        "-DEVICE", MACHINE, "auto, cpu, cuda or mps; auto takes a GPU where there is one.", default="auto", free=True
    )
    precision: str = flag(
        "-PRECISION", MACHINE, "Arithmetic of the model in training. auto: bf16 on a GPU or CPU that has instructions "
        "for it, else fp32.", default="auto", choices=PRECISIONS,
    )  # fmt: skip
    parallel: str = flag(
        "-PARALLEL", MACHINE, "How several processes share the work. ddp: each holds the whole model. fsdp: the parts "
        "of weights, gradients and optimiser are shared out, for backbones that outgrow a GPU.", default="ddp",
        choices=("ddp", "fsdp"), free=True,
    )  # fmt: skip
    recompute: bool = flag(
        "--RECOMPUTE", MACHINE, "Compute the backbone's blocks again for the gradient instead of keeping what they "
        "computed: a third slower, far less memory.", kind=bool, default=False,
    )  # fmt: skip
    compile: bool = flag(
        "--COMPILE", MACHINE, "Compile the backbone's blocks (torch.compile): the first step takes minutes, the "
        "others less. For long trainings of the larger sizes on GPUs.", kind=bool, default=False,
    )  # fmt: skip
    seed: int = flag("-SEED", MACHINE, "Seed of the weights, the order of the data and the augmentation.", kind=int,
                      default=0)  # fmt: skip

    output: Path = flag("-OUTPUT", RUN, "Folder of all runs.", kind=Path, default=Path("runs"))
    exp: str | None = flag("-EXP", RUN, "Name of the run's folder. auto: model, size and date.", default=None)
    eval_every: int = flag(
        "-EVAL_EVERY",
        RUN,
        "Epochs between evaluations; the last epoch is always evaluated.",
        kind=int,
        default=1,
        free=True,
    )
    save_minutes: float = flag(
        "-SAVE_MINUTES", RUN, "Most minutes between two saves of last.pt.", kind=float, default=5.0, free=True
    )
    save: bool = flag(
        "--SAVE", RUN, "Keep the weights of every evaluated epoch (weights/epoch-012.pt), beside last and best.",
        kind=bool, default=False, free=True,
    )  # fmt: skip
    wandb: bool = flag("--WANDB", RUN, "Log to Weights & Biases; offline, in the run folder, unless WANDB_API_KEY or "
                        "WANDB_MODE say otherwise.", kind=bool, default=False, free=True)  # fmt: skip
    logger: tuple[str, ...] = flag("-LOGGER", RUN, "Log to trackio and MLflow, on this machine: trackio,mlflow.",
                                    kind=name_list, default=(), free=True)  # fmt: skip
    tensorboard: bool = flag("--TENSORBOARD", RUN, "Log to TensorBoard, in the run folder.", kind=bool, default=False,
                              free=True)  # fmt: skip

    pipeline: Path | None = flag(
        "-PIPELINE", PIPELINE, "Folder of the pipeline, new or to go on with; flags left out are those it was started "
        "with. With -STAGE all, none makes a new one below -OUTPUT.", kind=Path, default=None, free=True,
    )  # fmt: skip
    config_file: Path | None = flag(
        "-CONFIG", PIPELINE, "YAML file of flags (without dashes, such as EPOCH: 50); those on the command line win.",
        kind=Path, default=None, free=True,
    )  # fmt: skip
    calibrate: float = flag(
        "-CALIBRATE", PIPELINE, "Fraction of the images of -TRAIN_ANN to calibrate with; without -VAL_ANN as many "
        "again are set aside to prove on.", kind=float, default=0.15,
    )  # fmt: skip
    results_calibrate: Path | None = flag(
        "-RESULTS_CALIBRATE", PIPELINE, "COCO results (json) of another program on -TRAIN_ANN, instead of a baseline; "
        "those of the calibration images are used.", kind=Path, default=None, free=True,
    )  # fmt: skip
    results_test: Path | None = flag(
        "-RESULTS_TEST",
        PIPELINE,
        "Its results on -VAL_ANN, or on -TRAIN_ANN where that is divided.",
        kind=Path,
        default=None,
        free=True,
    )
    force_stage: tuple[str, ...] = flag(
        "--FORCE_STAGE", PIPELINE, "Stages (such as ssl,prior) that are applied even where the proof refuses them; "
        "the report says so. none takes it back.", kind=name_list, default=(), free=True,
    )  # fmt: skip
    unlabelled: tuple[str, ...] = flag(
        "-UNLABELLED", SSL, "Folders or globs of images without labels, separated by commas. Those of the training, "
        "calibration and test images that lie there too are left out.", kind=name_list, default=(),
    )  # fmt: skip
    ssl_epoch: int = flag(
        "-SSL_EPOCH", SSL, "Epochs of the stage: passes over the labelled images, each step with -BS "
        "unlabelled ones beside.", kind=int, default=30,
    )  # fmt: skip
    ssl_augmentations: tuple[str, ...] = flag(
        "-SSL_AUGMENTATIONS", SSL, "Strong augmentations of an unlabelled image for the student, one view each: of "
        "geometry, appearance and occlusion.", kind=name_list, default=AUGMENTATIONS,
    )  # fmt: skip
    pseudo_precision: float = flag(
        "-PSEUDO_PRECISION", SSL, "Fraction of the teacher's people, and of their joints, that must be right on the "
        "calibration images for the teacher to be believed.", kind=float, default=0.7,
    )  # fmt: skip
    ssl_weight: float = flag(
        "-SSL_WEIGHT", SSL, "What the losses of unlabelled images count after the ramp.", kind=float, default=1.0
    )
    ssl_ramp: float = flag(
        "-SSL_RAMP", SSL, "Fraction of the steps in which that weight rises.", kind=float, default=0.3
    )
    members: str | None = flag(
        "-MEMBERS", ENSEMBLE, "Models beside the pipeline's own, as KIND:PATH,KIND:PATH with the kinds own, vitpose, "
        "sapiens, sapiens2, sdpose, dwpose, rtmpose.", default=None,
    )  # fmt: skip
    tta: str = flag(
        "-TTA", ENSEMBLE, "Views of the pipeline's own model that join the ensemble.", default="flip,scale",
        choices=("none", "flip", "flip,scale"),
    )  # fmt: skip
    refinement_steps: int = flag(
        "-REFINEMENT_STEPS", ENSEMBLE, "Training steps, of 32 people, of each of the two networks that look at the "
        "image once more and correct the poses; 0 leaves them out.", kind=int, default=1500,
    )  # fmt: skip
    prior_poses: Path | None = flag(
        "-PRIOR_POSES", PRIOR, "More poses to learn from than the labels of the fit part: COCO annotations (json), "
        "or an npz of image_id, bbox, keypoints and keypoint_names. No images needed.", kind=Path, default=None,
    )  # fmt: skip
    prior_steps: int = flag(
        "-PRIOR_STEPS", PRIOR, "Most steps, of 512 poses, that each of the two priors is trained; few poses take "
        "fewer.", kind=int, default=3000,
    )  # fmt: skip
    llm: str | None = flag(
        "-LLM",
        WORDS,
        "Language model that describes people: a folder or hub name for transformers; with -LLM_URL, the "
        "model's name on that server. Without it, template sentences.",
        default=None,
    )
    llm_url: str | None = flag(
        "-LLM_URL", WORDS, "OpenAI-compatible server, such as http://127.0.0.1:8000/v1; its key is read from the "
        "environment variable SIA_LLM_KEY.", default=None,
    )  # fmt: skip
    llm_people: int = flag(
        "-LLM_PEOPLE", WORDS, "Most people that the language model describes; the rest get template sentences.",
        kind=int, default=50,
    )  # fmt: skip

    def __post_init__(self) -> None:
        check(self)

    def to_dict(self) -> dict[str, Any]:
        """Plain types only, for checkpoints and JSON."""
        return {name: _plain(value) for name, value in asdict(self).items()}


def flag_fields() -> tuple[Field[Any], ...]:
    """The fields of `TrainConfig`; their metadata holds flag, group, help text, kind, choices and free."""
    return fields(TrainConfig)


def flag_of(name: str) -> str:
    """The flag of a field, such as ``-BS`` of ``bs``."""
    return next(str(f.metadata["flag"]) for f in flag_fields() if f.name == name)


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    return list(value) if isinstance(value, tuple) else value

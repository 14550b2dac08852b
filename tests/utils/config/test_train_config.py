"""The configuration: defaults, ranges, and what a resumed run may change."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import pytest

from sia.commands.values import image_size, input_size
from sia.errors import ConfigError
from utils.config.builder import build_config, pipeline_config
from utils.config.train_config import TrainConfig, flag_fields

REQUIRED = {"model": "sia_pose", "coco_root": Path("a"), "train_ann": Path("b"), "val_ann": Path("c")}


@pytest.fixture
def config() -> TrainConfig:
    return build_config(REQUIRED)[0]


def test_missing_flags_are_named() -> None:
    with pytest.raises(ConfigError, match="-COCO_ROOT, -TRAIN_ANN, -VAL_ANN must be given"):
        build_config({"model": "sia_pose"})


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("epoch", 0, "-EPOCH 0 must be at least 1"),
        ("bs", -1, "-BS -1 must be at least 1"),
        ("lr", -0.1, "-LR"),
        ("lr", float("nan"), "-LR nan"),
        ("clip", float("inf"), "-CLIP inf"),
        ("ema", 1.0, "-EMA 1.0 must be from 0 to"),
        ("mosaic", 1.5, "-MOSAIC 1.5 must be from 0 to 1"),
        ("scale_min", 3.0, "-SCALE_MIN 3.0 is above -SCALE_MAX 1.5"),
        ("plain_epochs", 101, "-PLAIN_EPOCHS 101 is more than -EPOCH 100"),
        ("imgsz", (16, 64), "-IMGSZ 16x64"),
        ("freeze_epochs", 101, "-FREEZE_EPOCHS 101 is more than -EPOCH 100"),
        ("lora", -1, "-LORA -1 must be from 0"),
        ("exp", "../x", "-EXP"),
        ("exp", "", "-EXP"),
        ("stage", "basline", "Did you mean baseline"),
        ("precision", "int8", "-PRECISION int8 is unknown"),
        ("seed", -1, "-SEED -1"),
        ("workers", -1, "-WORKERS -1"),
        ("ssl_augmentations", ("geometri",), "-SSL_AUGMENTATIONS geometri is unknown. Did you mean geometry"),
        ("ssl_augmentations", (), "-SSL_AUGMENTATIONS none must name one to three"),
        ("ssl_augmentations", ("occlusion", "occlusion"), "-SSL_AUGMENTATIONS occlusion,occlusion must name"),
        ("pseudo_precision", 1.0, "-PSEUDO_PRECISION 1.0 must be from 0.05 to 0.99"),
        ("ssl_weight", 0.0, "-SSL_WEIGHT 0.0"),
        ("llm_url", "http://127.0.0.1:1/v1", "-LLM_URL needs -LLM"),
        ("llm_people", -1, "-LLM_PEOPLE -1"),
    ],
)
def test_values_that_can_not_work(config: TrainConfig, name: str, value: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(config, **{name: value})


def test_what_was_saved_without_a_required_flag(config: TrainConfig) -> None:
    saved = {name: value for name, value in config.to_dict().items() if name != "train_ann"}
    for build in (build_config, pipeline_config):
        with pytest.raises(ConfigError, match=r"^-TRAIN_ANN must be given"):
            build({}, saved)
        build({"train_ann": Path("b")}, saved)


def test_the_one_file_of_a_pipeline_may_be_moved(config: TrainConfig) -> None:
    moved = {"train_ann": Path("moved.json")}
    one = replace(config, val_ann=config.train_ann).to_dict()
    assert pipeline_config(moved, one).val_ann == Path("moved.json")
    assert pipeline_config({**moved, "val_ann": Path("b")}, one).val_ann == Path("b")
    two = replace(config, val_ann=Path("other.json")).to_dict()
    assert pipeline_config(moved, two).val_ann == Path("other.json")


def test_survives_a_checkpoint(config: TrainConfig) -> None:
    config = replace(config, imgsz=(192, 256), lr=0.1, resume=Path("x/last.pt"), exp="run", unlabelled=("a", "b"))
    again, changes = build_config({}, config.to_dict())
    assert again == config
    assert changes == []


def test_resume_lists_free_changes(config: TrainConfig) -> None:
    again, changes = build_config({"workers": 3, "resume": Path("last.pt")}, config.to_dict())
    assert again.workers == 3
    assert changes == ["-WORKERS auto -> 3"]


def test_repeating_a_flag_is_no_change(config: TrainConfig) -> None:
    assert build_config({"bs": 16, "model": "sia_pose"}, config.to_dict())[1] == []


@pytest.mark.parametrize(
    ("name", "value"),
    [("model", "sia_pose_simple"), ("size", "s16"), ("bs", 4), ("epoch", 7), ("lr", 0.1), ("imgsz", (64, 64)),
     ("seed", 5), ("accum", 2), ("backbone", "x"), ("mosaic", 0.0), ("ema", 0.5), ("precision", "fp16")],
)  # fmt: skip
def test_resume_refuses_dangerous_changes(config: TrainConfig, name: str, value: object) -> None:
    flag = next(f.metadata["flag"] for f in flag_fields() if f.name == name)
    with pytest.raises(ConfigError, match=f"{flag} .*best.pt"):
        build_config({name: value}, config.to_dict())


def test_image_sizes() -> None:
    assert image_size("256") == (256, 256)
    assert image_size("192x256") == (192, 256)
    for text in ("", "x", "1x2x3", "-5", "25.6", "axb"):
        with pytest.raises(ValueError, match="HxW"):
            image_size(text)


@pytest.mark.parametrize(("text", "message"), [("8", "between 32 and 4096"), ("64x5000", "between"), ("big", "HxW")])
def test_an_input_size_that_can_not_be(text: str, message: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=message):
        input_size(text)
    assert input_size("192x256") == (192, 256)

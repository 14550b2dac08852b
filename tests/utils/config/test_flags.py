"""The command line: a frozen set of flags, no abbreviations, and errors that help."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sia.errors import ConfigError
from sia.registry import HEAD_CONFIGS, MODELS
from utils.config.flags import parse_flags
from utils.config.train_config import flag_fields

ROOT = Path(__file__).resolve().parents[3]

FLAGS = (
    "-MODEL", "-COCO_ROOT", "-TRAIN_ANN", "-VAL_ANN", "-TEACHER", "-MAX_PIXELS", "-SIZE", "-BACKBONE", "-INIT",
    "-IMGSZ", "-ROI_SIZE", "-ROI_TRUNK", "-STAGE", "--RESUME", "-EPOCH", "-TIME", "-PATIENCE", "-BS",
    "--CERTAINTY_ONLY", "--FREEZE_ROI", "-ACCUM", "-FREEZE_EPOCHS", "-LR", "-OPTIMIZER", "-WARMUP", "-WD",
    "-CLIP", "-LLRD", "-EMA", "-LORA", "-MOSAIC", "-ROTATE",
    "-SCALE_MIN", "-SCALE_MAX", "-SHIFT", "-FLIP", "-COLOUR", "-PLAIN_EPOCHS", "-WORKERS", "-DEVICE", "-PRECISION",
    "-PARALLEL", "--RECOMPUTE", "--COMPILE", "-SEED", "-OUTPUT", "-EXP", "-EVAL_EVERY", "-SAVE_MINUTES", "--SAVE",
    "--WANDB", "-LOGGER", "--TENSORBOARD", "-PIPELINE", "-CONFIG", "-CALIBRATE", "-RESULTS_CALIBRATE",
    "-RESULTS_TEST", "--FORCE_STAGE", "-UNLABELLED", "-SSL_EPOCH", "-SSL_AUGMENTATIONS", "-PSEUDO_PRECISION",
    "-SSL_WEIGHT", "-SSL_RAMP", "-MEMBERS", "-TTA", "-REFINEMENT_STEPS", "-PRIOR_POSES", "-PRIOR_STEPS", "-LLM",
    "-LLM_URL", "-LLM_PEOPLE",
)  # fmt: skip


def test_the_set_of_flags_is_frozen() -> None:
    """People's scripts depend on it: add here what you add there, and never take one away lightly."""
    assert [f.metadata["flag"] for f in flag_fields()] == list(FLAGS)


@pytest.mark.parametrize("flag", FLAGS)
def test_no_prefix_is_taken(flag: str) -> None:
    for length in range(2, len(flag)):
        prefix = flag[:length]
        if prefix not in FLAGS and prefix not in ("-", "--"):
            with pytest.raises(ConfigError, match="unknown"):
                parse_flags([prefix, "5"])


@pytest.mark.parametrize(
    ("argv", "hint"),
    [
        (["-E", "5"], "Did you mean -EPOCH"),
        (["-EPO", "5"], "Did you mean -EPOCH"),
        (["-EPOCHS", "5"], "Did you mean -EPOCH"),
        (["-EPOCHS=5"], "Did you mean -EPOCH"),
        (["-epoch", "5"], "Did you mean -EPOCH"),
        (["--RES", "x"], "Did you mean --RESUME"),
        (["-SAVE"], "Did you mean --SAVE"),
        (["--MODEL", "x"], "Did you mean -MODEL"),
        (["-XYZZY"], "Known: -MODEL"),
    ],
)
def test_close_matches_are_suggested(argv: list[str], hint: str) -> None:
    with pytest.raises(ConfigError, match=hint):
        parse_flags(argv)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["-EPOCH", "many"], "-EPOCH 'many': give a whole number"),
        (["-LR", "fast"], "-LR 'fast': give a number"),
        (["-IMGSZ", "big"], "-IMGSZ 'big': give N or HxW"),
        (["-BS", "0"], "-BS '0': give a whole number from 1 on, or auto"),
        (["-BS", "many"], "from 1 on, or auto"),
        (["-EPOCH"], "expected one argument"),
        (["-EPOCH", "auto"], "give a whole number"),
        (["stray"], "unrecognized arguments: stray"),
    ],
)
def test_malformed_values(argv: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_flags(argv)


def test_values_arrive() -> None:
    argv = ["-MODEL", "m", "-LR", "auto", "-IMGSZ=192x256", "-WORKERS", "0", "--SAVE", "--RESUME", "x.pt", "-BS", "-1"]
    expected = {"model": "m", "lr": None, "imgsz": (192, 256), "workers": 0, "save": True, "resume": Path("x.pt")}
    assert parse_flags(argv) == {**expected, "bs": -1}


def defaults_in(guide: str) -> dict[str, str]:
    """Of the flags in tables, a row of which may have several: ``| `-A`, `-B` | 1, 2 | ... |``."""
    found: dict[str, str] = {}
    for line in guide.splitlines():
        cells = line.split(" | ")
        flags = re.findall(r"`(--?[A-Z_]+)`", cells[0]) if line.startswith("| `-") and len(cells) > 2 else []
        values = cells[1].split(", ") if flags else []
        found |= dict(zip(flags, values, strict=False)) if len(flags) == len(values) else {}
    return found


def test_help_and_guide_know_every_flag(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "10000")
    with pytest.raises(SystemExit) as leaving:
        parse_flags(["--help"])
    assert leaving.value.code == 0
    shown = capsys.readouterr().out
    guide = "\n".join(page.read_text() for page in (ROOT / "docs").glob("*.md"))
    defaults = defaults_in(guide)
    for field in flag_fields():
        flag = field.metadata["flag"]
        line = next(line for line in shown.splitlines() if line.strip().startswith(flag + " "))
        assert field.metadata["text"] in line
        assert f"`{flag}" in guide
        if isinstance(field.default, (int, float)) and not isinstance(field.default, bool):
            assert float(defaults[flag]) == field.default, flag
    for name in (*MODELS, *HEAD_CONFIGS):
        assert name in shown

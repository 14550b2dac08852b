"""-CONFIG: flags from a YAML file, taken as they are written, and one clear line for everything else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import timm

from sia.errors import ConfigError
from sia.registry import ModelConfig
from tests.conftest import ROOT
from utils.config.builder import build_config
from utils.config.config_file import with_config_files
from utils.config.declaration import STAGES
from utils.config.flags import parse_flags


def read(tmp_path: Path, text: str, *argv: str) -> dict[str, object]:
    (tmp_path / "c.yaml").write_text(text)
    given = parse_flags(with_config_files(["-CONFIG", str(tmp_path / "c.yaml"), *argv]))
    assert given.pop("config_file") == tmp_path / "c.yaml"
    return given


def test_values_arrive_as_on_the_command_line(tmp_path: Path) -> None:
    text = "EPOCH: 5\nLR: 1e-3\nIMGSZ: 192x256\nEXP: on\nSEED: 010\nSAVE: true\nWANDB: false\nWARMUP: auto\nWD: 0\n"
    expected = {"epoch": 5, "lr": 0.001, "imgsz": (192, 256), "exp": "on", "seed": 10, "save": True, "warmup": None}
    assert read(tmp_path, text) == {**expected, "wd": 0.0}


def test_lists(tmp_path: Path) -> None:
    assert read(tmp_path, "FORCE_STAGE: [ssl, prior]")["force_stage"] == ("ssl", "prior")
    assert read(tmp_path, "FORCE_STAGE:\n- ssl\n- prior\n")["force_stage"] == ("ssl", "prior")
    assert read(tmp_path, "FORCE_STAGE: none")["force_stage"] == ()


def test_the_command_line_wins_wherever_it_stands(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("EPOCH: 5\nBS: 3\n")
    for argv in (["-EPOCH", "7", f"-CONFIG={tmp_path}/c.yaml"], [f"-CONFIG={tmp_path}/c.yaml", "-EPOCH=7"]):
        given = parse_flags(with_config_files(argv))
        assert (given["epoch"], given["bs"]) == (7, 3)


def test_an_empty_file_says_nothing(tmp_path: Path) -> None:
    assert read(tmp_path, "# nothing\n") == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("BS: 2\nEPOCHS: 5", "line 2: flag EPOCHS is unknown. Did you mean EPOCH"),
        ("epoch: 5", "flag epoch is unknown. Did you mean EPOCH"),
        ("-EPOCH: 5", "flag -EPOCH is unknown. Did you mean EPOCH"),
        ("CONFIG: other.yaml", "flag CONFIG is unknown"),
        ("BS: 2\nBS: 3", "line 2: BS stands there twice"),
        ("EPOCH:", "EPOCH needs a value"),
        ("EPOCH: {a: 1}", "EPOCH needs a value"),
        ("FORCE_STAGE: []", "FORCE_STAGE needs a value"),
        ("EPOCH: many", "-EPOCH 'many': give a whole number"),
        ("SAVE: yes", "SAVE 'yes' must be true or false"),
        ("- EPOCH", "must have lines such as EPOCH: 50"),
        ("EPOCH: [5", "is no YAML"),
        ("a: \0", "is no YAML"),
        ("? [1, 2]\n: 3", "is no flag"),
        ("a: " + 3000 * "[", "it is nested more than 20 times"),
        ("a: &a [x]\nb: &b [*a, *a]\n? [*b, *b]\n: 1", "it has an alias"),
    ],
)
def test_what_does_not_fit_is_one_clear_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)) as caught:
        read(tmp_path, text)
    assert "\n" not in str(caught.value)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"Can't read .*none\.yaml: no such file\. Give a YAML file with lines"):
        with_config_files(["-CONFIG", str(tmp_path / "none.yaml")])


@pytest.mark.parametrize("stage", [*STAGES, "all"])
def test_ready_made_files_are_read(stage: str) -> None:
    given = parse_flags(with_config_files(["-CONFIG", str(ROOT / "extras" / "configs" / f"{stage}.yaml")]))
    assert given["stage"] == stage


def test_the_recipe_for_coco_is_read_and_can_be() -> None:
    given = parse_flags(with_config_files(["-CONFIG", str(ROOT / "extras" / "configs" / "coco-s16.yaml")]))
    assert given["roi_size"] == (192, 128) and given["epoch"] == 36
    assert timm.is_model(given["backbone"])
    flags = {**given, **dict.fromkeys(("coco_root", "train_ann", "val_ann"), ROOT)}
    config, _ = build_config(flags)
    ModelConfig(config.model, config.size, 0, config.imgsz, (), (), roi_size=config.roi_size)

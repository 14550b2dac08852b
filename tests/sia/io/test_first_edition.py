"""What the first edition called otherwise is read: keys of weights, fields, losses and flags."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sia.io.bundled_weights import bundled_models
from sia.io.checkpoint import load_checkpoint
from sia.io.first_edition import MODULES, rename_checkpoint, rename_fields, rename_flags, rename_modules
from sia.registry import create_model, read_description

WEIGHTS = list(bundled_models().values())


@pytest.mark.parametrize("path", WEIGHTS, ids=lambda path: path.stem)
def test_every_key_of_the_six_files_is_one_of_the_model(path: Path) -> None:
    payload = load_checkpoint(path)
    config, _ = read_description(payload, path)
    with torch.device("meta"):
        assert payload["weights"].keys() == create_model(config).state_dict().keys()


@pytest.mark.parametrize("path", WEIGHTS, ids=lambda path: path.stem)
def test_a_file_with_the_names_of_the_first_edition_is_the_same_model(path: Path, tmp_path: Path) -> None:
    """All bundled files have been written again since; before, their keys and fields were these."""
    payload = load_checkpoint(path)
    old = {new: name for name, new in MODULES.items()}
    stored = {key: key.split(".", 1) for key in payload["weights"]}
    weights = {f"{old.get(first, first)}.{rest[0]}" if rest else key: payload["weights"][key]
               for key, (first, *rest) in stored.items()}  # fmt: skip
    config = dict(payload["model_config"])
    config["square"] = config.pop("roi_size")
    assert any(key.startswith("glimpse.") for key in weights) and weights.keys() != payload["weights"].keys()
    torch.save(payload | {"weights": weights, "model_config": config}, tmp_path / "old.pt")
    now, then = load_checkpoint(path), load_checkpoint(tmp_path / "old.pt")
    assert read_description(then, path) == read_description(now, path)
    assert then["weights"].keys() == now["weights"].keys()
    assert all(torch.equal(then["weights"][key], value) for key, value in now["weights"].items())


def test_only_whole_first_words_change() -> None:
    old = {
        "glimpse.heat.weight": 1,
        "rivalry.penalty.bias": 2,
        "narrow.bias": 3,
        "head.narrow.bias": 4,
        "glimpses.x": 5,
    }
    new = ["roi_head.heat.weight", "duplicate_suppression.penalty.bias", "input_proj.bias", "head.narrow.bias"]
    assert list(rename_modules(old)) == [*new, "glimpses.x"]


def test_a_training_goes_on_under_the_present_names() -> None:
    training = {
        "model": {"rivalry.penalty.bias": 0},
        "averaged": {"glimpse.sure": 0},
        "config": {"square": 96, "corrector_steps": 5, "bs": 4},
        "cursor": {"epoch": 1, "sums": [{"place": 1.0, "box": 2.0}]},
        "identity": {"pictures": 3, "picture ids (checksum)": 7, "keypoints": ["nose"]},
        "scaler": {},
    }
    renamed = rename_checkpoint({"weights": {"narrow.weight": 1}, "training": training})
    assert renamed["weights"] == {"input_proj.weight": 1}
    assert renamed["training"] == {
        "model": {"duplicate_suppression.penalty.bias": 0},
        "averaged": {"roi_head.sure": 0},
        "config": {"roi_size": [96, 96], "refinement_steps": 5, "bs": 4},
        "cursor": {"epoch": 1, "sums": [{"heatmap": 1.0, "box": 2.0}]},
        "identity": {"images": 3, "image ids (checksum)": 7, "keypoints": ["nose"]},
        "scaler": {},
    }


def test_damage_is_left_to_the_schemas() -> None:
    training: object
    for training in (None, 5, {"cursor": None, "model": 3, "config": []}):
        assert rename_checkpoint({"weights": 4, "training": training}) == {"weights": 4, "training": training}
    with pytest.raises(TypeError):
        rename_fields(5)  # type: ignore[arg-type]


def test_old_flags_are_taken_with_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    assert rename_flags(["-SQUARE", "64", "--look_thresh=0.3", "-BS", "4"]) == [
        "-ROI_SIZE", "64", "--roi_score_thresh=0.3", "-BS", "4",
    ]  # fmt: skip
    warnings = capsys.readouterr().err.splitlines()
    assert [line.split(";")[0] for line in warnings] == [
        "WARNING: -SQUARE is now -ROI_SIZE",
        "WARNING: --look_thresh is now --roi_score_thresh",
    ]

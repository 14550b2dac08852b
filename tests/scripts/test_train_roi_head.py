"""Training of the RoI keypoint head alone, through the command: crops, exact resume, refusals."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import timm
import torch

from datasets.synthetic import write_dataset
from scripts.train_roi_head import main
from sia.commands.values import format_size
from sia.io.bundled_weights import DEFAULT
from sia.io.checkpoint import load_checkpoint
from sia.registry import read_description
from stages.roi_head import crops as crops_module
from stages.roi_head.crops import EXTENT, SIDE, Crops
from stages.roi_head.job import Source
from stages.roi_head.sampling import CropAugmentation, augmented, plain
from stages.roi_head.train import HeadTraining

ROI_SIZE = format_size(read_description(load_checkpoint(DEFAULT), DEFAULT)[0].head_config.roi_size)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Synthetic people, and a network to take the place of the hourglass."""
    folder = tmp_path_factory.mktemp("roi_head")
    write_dataset(folder, 10, 5, 192, 0, 0)
    torch.manual_seed(0)
    torch.save(timm.create_model("test_efficientnet").state_dict(), folder / "trunk.pth")
    return folder


def flags(folder: Path, to: Path, **changes: str | None) -> list[str]:
    """Of a short training around the new network; None leaves one out."""
    values = {
        "weight_path": DEFAULT, "output": to, "crops": folder / "crops",
        "data": f"{folder}/images:{folder}/train.json:192", "val": f"{folder}/images:{folder}/val.json:192",
        "trunk": f"test_efficientnet:{folder}/trunk.pth", "roi_size": "96x64", "epochs": 2, "batch": 8, "every": 2,
    }  # fmt: skip
    given = {name: value for name, value in (values | changes).items() if value is not None}
    return [word for name, value in given.items() for word in (f"--{name}", str(value))]


def test_only_the_head_is_trained_and_a_stopped_run_goes_on_exactly(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    assert main(flags(folder, tmp_path / "whole.pt")) == 0
    assert "above 0.50" in capsys.readouterr().out
    step = HeadTraining.train_on

    def stopping(self: HeadTraining, *arguments: object) -> object:
        if self.step == 3:
            raise KeyboardInterrupt
        return step(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(HeadTraining, "train_on", stopping)
    assert main(flags(folder, tmp_path / "broken.pt")) != 0
    monkeypatch.undo()
    assert main(flags(folder, tmp_path / "broken.pt", epochs="3")) == 1
    assert "is of a run with epochs 2.0, not 3.0" in capsys.readouterr().err
    assert main(flags(folder, tmp_path / "broken.pt")) == 0
    whole, broken, first = (load_checkpoint(p) for p in (tmp_path / "whole.pt", tmp_path / "broken.pt", DEFAULT))
    assert whole["model_config"]["roi_trunk"] == "test_efficientnet"
    moved = [key for key, value in whole["weights"].items() if not torch.equal(value, broken["weights"][key])]
    assert not moved, "a run that was stopped and went on ends with other weights"
    kept = [key for key in first["weights"] if not key.startswith(("roi_head.", "certainty."))]
    assert all(torch.equal(first["weights"][key].float(), whole["weights"][key].float()) for key in kept)
    start = torch.load(folder / "trunk.pth")
    trunk = {key.removeprefix("roi_head.body.trunk.net."): value for key, value in whole["weights"].items()}
    assert torch.equal(trunk["conv_stem.weight"], start["conv_stem.weight"]), "the first stages are frozen"
    assert not torch.equal(trunk["blocks.3.0.conv_pw.weight"], start["blocks.3.0.conv_pw.weight"])


def test_a_head_goes_on_without_a_new_network(folder: Path, tmp_path: Path):
    """The bundled hourglass learns on; what it says of visibility stays."""
    assert main(flags(folder, tmp_path / "more.pt", epochs="1", roi_size=ROI_SIZE, trunk=None)) == 0
    first, more = load_checkpoint(DEFAULT), load_checkpoint(tmp_path / "more.pt")
    assert read_description(more, "more.pt") == read_description(first, DEFAULT)
    moved = {
        key for key, value in first["weights"].items() if not torch.equal(value.float(), more["weights"][key].float())
    }
    assert moved and all(key.startswith("roi_head.") for key in moved)


def test_the_head_is_compiled_on_request(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """What reads the crops alone; without a compiler that is one line, before any crop is made."""
    compiled: list[str] = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self: compiled.append(type(self).__name__))
    monkeypatch.setattr(torch, "compile", lambda module, **_: module)
    words = [*flags(folder, tmp_path / "head.pt", epochs="0.01"), "--compile"]
    assert main(words) == 0
    assert compiled == ["ConvPyramid"]
    monkeypatch.setattr(torch, "compile", Mock(side_effect=RuntimeError("no g++")))
    assert main([*words, "--output", str(tmp_path / "other.pt"), "--crops", str(tmp_path / "crops")]) == 1
    assert "--compile found no working compiler (no g++)" in capsys.readouterr().err
    assert not (tmp_path / "crops").exists()


def test_a_head_starts_from_that_of_another_variant(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Its token is narrower, so the layer that reads it is the model's own; all else is the other file's."""
    led, other = DEFAULT.with_name("sia_pose_decoder_led-n16.safetensors"), DEFAULT
    words = flags(
        folder, tmp_path / "led.pt", weight_path=str(led), crops=str(tmp_path / "crops"), epochs="0.01",
        roi_size=ROI_SIZE, head=str(other), lr="1e-9", trunk=None,
    )  # fmt: skip
    assert main(words) == 0
    own, taken, result = (load_checkpoint(file)["weights"] for file in (led, other, tmp_path / "led.pt"))
    heads = [key for key in own if key.startswith("roi_head.") and own[key].ndim > 1]
    expected = {**taken, "roi_head.body.person.weight": own["roi_head.body.person.weight"]}
    wrong = [key for key in heads if not torch.allclose(expected[key].float(), result[key], atol=1e-5)]
    assert not wrong
    assert f"{len([k for k in taken if k.startswith('roi_head.')]) - 1} of the" in capsys.readouterr().out
    assert main([*words, "--output", str(tmp_path / "both.pt"), "--trunk", "resnet18"]) == 1
    assert "Leave one of them out" in capsys.readouterr().err


def test_a_refiner_is_added_and_trained_alone(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """`sia_pose` from the weights of `sia_pose_simple`: all that both have stays."""
    words = [*flags(folder, tmp_path / "refined.pt", epochs="1", roi_size=ROI_SIZE, trunk=None), "--refiner_only"]
    assert main(words) == 1
    assert "this head has no refiner. Give --model sia_pose" in capsys.readouterr().err
    assert main([*words, "--model", "sia_pose"]) == 0
    first, refined = load_checkpoint(DEFAULT), load_checkpoint(tmp_path / "refined.pt")
    config, _ = read_description(refined, "refined.pt")
    assert (config.name, config.map_refiner) == ("sia_pose", False)
    kept = [
        key
        for key, value in first["weights"].items()
        if not torch.equal(value.float(), refined["weights"][key].float())
    ]
    assert kept == []
    new = refined["weights"].keys() - first["weights"].keys()
    assert new and all(key.startswith("roi_head.refiner.") for key in new)
    assert refined["weights"]["roi_head.refiner.kernel.weight"].any(), "a new refiner's are zeros"


def test_other_images_have_crops_of_their_own(folder: Path, tmp_path: Path):
    """Annotation files of the same name in other places, or edited ones, don't share crops."""
    first = Source.parse(f"{folder}/images:{folder}/train.json", 192)
    (tmp_path / folder.name).mkdir()
    copy = tmp_path / folder.name / "train.json"
    copy.write_text((folder / "train.json").read_text() + " ")
    second = Source.parse(f"{folder}/images:{copy}", 192)
    third = Source.parse(f"{tmp_path}:{folder}/train.json", 192)
    assert len({source.folder(tmp_path, DEFAULT) for source in (first, second, third)}) == 3


def test_labels_move_with_the_pixels(folder: Path, tmp_path: Path):
    """A bright dot drawn at a keypoint of a cached crop is where the augmented label says."""
    rng = np.random.default_rng(0)
    pixels = np.zeros((1, SIDE, SIDE, 3), np.uint8)
    place = np.array([-0.12, 0.15])
    x, y = (place / EXTENT + 0.5) * SIDE
    pixels[0, int(y) - 4 : int(y) + 5, int(x) - 4 : int(x) + 5] = 255
    keypoints = np.array([[[*place, 2.0], [0.5, -0.6, 2.0]]], np.float32)
    crops = Crops(
        pixels, np.zeros((1, 2, 4), np.float16), np.zeros(1, np.float32), np.array([[0.6, 1]], np.float32), keypoints,
        np.ones(1, np.float32),
    )  # fmt: skip
    size = (96, 64)
    rows = [plain(crops, 0, size)]
    np.testing.assert_allclose(rows[0].keypoints[0, :2], place / 1.25, atol=1e-6)
    assert rows[0].area == pytest.approx(1.25**-2)
    rows += [augmented(crops, 0, size, (1, 0), CropAugmentation(colour=0, erase=0), rng) for _ in range(20)]
    mirrored = 0
    for row in rows:
        bright = np.argwhere(row.image[..., 0] > 128)
        shown = bright.mean(0)[::-1] + 0.5
        near = np.abs(row.keypoints[:, :2] * 96 + np.array([32, 48]) - shown).max(1)
        assert near.min() < 1.0
        mirrored += int(near.argmin() == 1)
    assert 3 < mirrored < 17, "left and right change places in a mirror image"


def test_a_crop_is_of_the_fill_beyond_the_image():
    """And a large square is reduced without aliasing."""
    checks = np.indices((300, 300)).sum(0) % 2 * 200  # their mean is 100 wherever blocks are averaged
    image = np.repeat(checks.astype(np.uint8)[..., None], 3, 2)
    crop = crops_module._cut(image, np.array([0.0, 150.0]), 4.0 * SIDE)
    assert (crop[:, : SIDE // 2 - 1] == crops_module.FILL).all()
    assert (crop[SIDE // 2, SIDE // 2 + 1 : SIDE // 2 + 70] == 100).all()


def test_a_crop_shows_the_person_of_its_label(folder: Path):
    """Cached crops: the labels of a person lie around the middle, those of background are empty."""
    (cached,) = (folder / "crops").glob(f"{folder.name}-train-192-*")
    crops = Crops.load(cached)
    people = crops.areas > 0
    assert people.any()
    seen = crops.keypoints[people]
    middle = np.array([row[row[:, 2] > 0, :2].mean(0) for row in seen])
    assert np.abs(np.median(middle, 0)).max() < 0.4
    np.testing.assert_allclose(crops.boxes.max(1), 1, rtol=1e-6)
    assert not crops.keypoints[~people].any()


def test_an_unfinished_cache_is_made_again(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    cut = crops_module._cut

    def failing(*arguments: object) -> object:
        raise KeyboardInterrupt

    monkeypatch.setattr(crops_module, "_cut", failing)
    assert main(flags(folder, tmp_path / "a.pt", crops=str(tmp_path / "crops"))) != 0
    monkeypatch.setattr(crops_module, "_cut", cut)
    assert [path.suffix for path in (tmp_path / "crops").iterdir()] == [".unfinished"]
    assert main(flags(folder, tmp_path / "a.pt", crops=str(tmp_path / "crops"), epochs="0.5")) == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"output": "head.pth"}, "weights are .pt files"),
        ({"data": "nowhere"}, "'nowhere' is not ROOT:ANN"),
        ({"epochs": "0"}, "must be positive"),
        ({"epochs": "nan"}, "must be positive"),
        ({"output": "nowhere/head.pt"}, "there is no folder nowhere"),
        ({"val": "{folder}/images:{folder}/val.json:0"}, "an input of 0 px can't be"),
        ({"roi_size": "496x520"}, "multiples of 16"),
        ({"trunk": "resnet81"}, "resnet81"),
        ({"trunk": "resnet18:{folder}/trunk.pth"}, "don't fit resnet18"),
        ({"trunk": "vit_tiny_patch16_224:{folder}/trunk.pth"}, "maps at strides"),
        ({"roi_size": "50"}, "multiples of 16"),
    ],
)
def test_bad_input_is_one_line_before_any_crop_is_made(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, str], message: str
):
    filled = {name: value.format(folder=folder) for name, value in changes.items()}
    assert main(flags(folder, tmp_path / "head.pt", **{"crops": str(tmp_path / "crops"), **filled})) == 1
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error
    assert not (tmp_path / "crops").exists()

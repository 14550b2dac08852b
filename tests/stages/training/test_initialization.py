"""What a training takes over from weights of another variant, or of other keypoints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import timm
import torch

import train_pose
from datasets.synthetic import write_dataset
from sia.commands.values import image_size
from sia.io.checkpoint import load_checkpoint, save_checkpoint
from sia.registry import read_description


def limbs_only(path: Path) -> Path:
    """The annotations without the face: 12 keypoints instead of 17."""
    content: dict[str, Any] = json.loads(path.read_text())
    names = content["categories"][0]["keypoints"][5:]
    content["categories"][0] |= {"keypoints": names, "skeleton": [[1, 2], [1, 3]]}
    for person in content["annotations"]:
        person["keypoints"] = person["keypoints"][15:]
        person["num_keypoints"] = sum(v > 0 for v in person["keypoints"][2::3])
    target = path.with_name(f"limbs-{path.name}")
    target.write_text(json.dumps(content))
    return target


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with synthetic people, and a model of all their keypoints after one step."""
    folder = tmp_path_factory.mktemp("start")
    write_dataset(folder, 4, 2, 64, 0, 0)
    for split in ("train", "val"):
        limbs_only(folder / f"{split}.json")
    assert train(folder, "-EXP first -LR 1e-3") == 0
    return folder


def train(folder: Path, flags: str, prefix: str = "") -> int:
    model = "" if "-MODEL" in flags else "-MODEL sia_pose_simple "
    return train_pose.main(
        f"{model}-COCO_ROOT {folder}/images -TRAIN_ANN {folder}/{prefix}train.json -VAL_ANN {folder}/{prefix}val.json "
        f"-SIZE test -IMGSZ 64 -BS 4 -EPOCH 1 -EMA 0 -WORKERS 0 -DEVICE cpu -OUTPUT {folder} {flags}".split()
    )


def weights(folder: Path, name: str) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = load_checkpoint(folder / name / "weights" / "best.pt")["weights"]
    return found


@pytest.mark.parametrize(
    ("flags", "prefix", "said", "new"),
    [
        ("-MODEL sia_pose", "", "of sia_pose_simple: what fits is taken over", "roi_head.refiner."),
        ("", "limbs-", "of other keypoints (17): what fits is taken over", "roi_head.heat."),
    ],
)
def test_what_fits_is_taken_over(
    first: Path, capsys: pytest.CaptureFixture[str], flags: str, prefix: str, said: str, new: str
) -> None:
    """After a step that moves nothing, all weights are the old ones, but for those the old model didn't have."""
    name = f"next-{prefix}{flags[7:]}"
    assert train(first, f"-EXP {name} -LR 1e-12 --RESUME {first}/first/weights/best.pt {flags}", prefix) == 0
    assert said in capsys.readouterr().out
    old, found = weights(first, "first"), weights(first, name)
    shared = [key for key in found if key in old and found[key].shape == old[key].shape]
    learned = [key for key in shared if key.startswith(("backbone.vit.blocks.", "roi_head.body.to8", "head.box."))]
    learned = [key for key in learned if "running_" not in key and "num_batches" not in key]
    moved = [key for key in learned if not torch.allclose(found[key].float(), old[key].float(), atol=1e-6)]
    assert moved == []
    assert {key for key in found if key.startswith("backbone.vit.blocks.")} <= set(shared)
    assert any(key.startswith(new) for key in found if key not in shared)


@pytest.fixture(scope="module")
def wide(first: Path) -> Path:
    """Weights of the same model with crops of 96 px, and units that see across them."""
    assert train(first, "-EXP wide -ROI_SIZE 96") == 0
    return first / "wide" / "weights" / "best.pt"


def roi_size_of(folder: Path, name: str) -> tuple[int, int]:
    return read_description(load_checkpoint(folder / name / "weights" / "best.pt"), name)[0].head_config.roi_size


def test_weights_keep_the_size_of_their_crops(first: Path, wide: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In a new run of their size, and in one that goes on; the size's own is 64."""
    assert train(first, f"-EXP again -LR 1e-12 --RESUME {wide}") == 0
    assert "rois" not in capsys.readouterr().out
    assert roi_size_of(first, "again") == (96, 96)
    key = "roi_head.body.across.1.norm1.weight"
    assert torch.equal(weights(first, "again")[key], weights(first, "wide")[key])
    assert train_pose.main(["--RESUME", str(wide.with_name("last.pt"))]) == 0
    assert roi_size_of(first, "wide") == (96, 96)


@pytest.mark.parametrize(
    ("source", "roi_size", "units"), [("first", "96x64", 2), ("wide", "64", 0), ("wide", "128", 4)]
)
def test_other_crops_take_all_that_fits_and_say_so(
    first: Path, wide: Path, capsys: pytest.CaptureFixture[str], source: str, roi_size: str, units: int
) -> None:
    """But for the units that see across the crop, every weight has to fit."""
    name = f"{source}-{roi_size}"
    flags = f"-EXP {name} -LR 1e-12 -ROI_SIZE {roi_size} --RESUME {first}/{source}/weights/best.pt"
    assert train(first, flags) == 0
    assert f"reads crops of {roi_size} px, not" in capsys.readouterr().out
    assert roi_size_of(first, name) == image_size(roi_size)
    old, found = weights(first, source), weights(first, name)
    assert len({key.split(".")[3] for key in found if key.startswith("roi_head.body.across")}) == units
    for key in ("roi_head.heat.weight", "head.box.2.weight", "roi_head.body.deep.0.first.weight"):
        torch.testing.assert_close(found[key], old[key], atol=1e-6, rtol=0)


def test_other_crops_are_no_excuse_for_missing_weights(first: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = torch.load(first / "first" / "weights" / "best.pt", weights_only=True)
    del content["weights"]["head.box.2.weight"]
    torch.save(content, first / "holes.pt")
    assert train(first, f"-EXP holes -ROI_SIZE 96 --RESUME {first}/holes.pt") == 1
    assert "missing: head.box.2.weight" in capsys.readouterr().err


def test_a_crop_that_cannot_be_is_refused(first: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(first, "-EXP odd -ROI_SIZE 70") == 1
    assert "Crops of 70 px" in capsys.readouterr().err


def test_another_head_starts_anew_behind_the_same_blocks(first: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = "-MODEL sia_pose_decoder_led"
    assert train(first, f"-EXP led -LR 1e-12 --RESUME {first}/first/weights/best.pt {model}") == 0
    assert "layer decay" in capsys.readouterr().out
    old, found = weights(first, "first"), weights(first, "led")
    for key in ("backbone.vit.blocks.1.attn.qkv.weight", "roi_head.body.to4.0.0.weight"):
        torch.testing.assert_close(found[key], old[key], atol=1e-6, rtol=0)
    assert found["head.score.0.weight"].shape != old["head.score.0.weight"].shape
    assert train(first, f"-EXP back --RESUME {first}/led/weights/best.pt") == 1
    assert "missing: backbone.vit.blocks.3." in capsys.readouterr().err


def test_other_names_keep_their_own_mean_pose_and_sigmas(first: Path) -> None:
    """As many keypoints as before, but others: what is made from the annotations isn't taken over."""
    for split in ("train", "val"):
        content = json.loads((first / f"{split}.json").read_text())
        category = content["categories"][0]
        category["keypoints"] = [f"point {name}" for name in category["keypoints"]]
        for person in content["annotations"]:
            person["keypoints"][1::3] = [y + 3 for y in person["keypoints"][1::3]]
        (first / f"renamed-{split}.json").write_text(json.dumps(content))
    assert train(first, f"-EXP renamed -LR 1e-12 --RESUME {first}/first/weights/best.pt", "renamed-") == 0
    old, found = weights(first, "first"), weights(first, "renamed")
    assert not torch.allclose(found["head.mean_pose"], old["head.mean_pose"])
    saved = load_checkpoint(first / "renamed" / "weights" / "best.pt")["model_config"]
    torch.testing.assert_close(found["head.mean_pose"], torch.tensor(saved["mean_pose"]), atol=1e-3, rtol=1e-3)
    assert torch.allclose(found["head.pose.2.weight"], old["head.pose.2.weight"], atol=1e-6)


def test_other_keypoints_have_a_mean_pose_of_their_own(first: Path) -> None:
    assert train(first, f"-EXP limbs --RESUME {first}/first/weights/best.pt", "limbs-") == 0
    saved = load_checkpoint(first / "limbs" / "weights" / "best.pt")
    assert saved["model_config"]["num_keypoints"] == 12
    assert len(saved["model_config"]["mean_pose"]) == 12


def test_a_pretrained_network_reads_the_crops(first: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """-ROI_TRUNK takes the place of the hourglass; a run from such weights keeps it without the flag."""
    file = tmp_path / "trunk.pth"
    torch.save(timm.create_model("test_efficientnet").state_dict(), file)
    start = f"--RESUME {first}/first/weights/best.pt -LR 1e-9"
    assert train(first, f"-EXP trunk -ROI_TRUNK test_efficientnet:{file} {start}") == 0
    said = capsys.readouterr().out
    assert "with another reader of crops (hourglass): what fits is taken over" in said and "crop network" in said
    assert f"; crops are read by test_efficientnet, pretrained, from {file}\n" in said
    assert train_pose.main(["--RESUME", f"{first}/trunk/weights/last.pt"]) == 0  # with a rate of its own, as before
    assert "crop network" in capsys.readouterr().out
    made, published = weights(first, "trunk"), torch.load(file)
    key = "roi_head.body.trunk.net.conv_stem.weight"
    torch.testing.assert_close(made[key], published["conv_stem.weight"], atol=1e-6, rtol=1e-5)
    block = "backbone.vit.blocks.0.attn.qkv.weight"
    torch.testing.assert_close(made[block], weights(first, "first")[block], atol=1e-6, rtol=1e-5)
    trained = load_checkpoint(first / "trunk" / "weights" / "best.pt")
    trained["weights"][key] += 1
    save_checkpoint(first / "trunk" / "weights" / "best.pt", trained)
    made = weights(first, "trunk")  # what was learned is not replaced by the published weights
    start = f"--RESUME {first}/trunk/weights/best.pt -LR 1e-9"
    assert train(first, f"-EXP same -ROI_TRUNK test_efficientnet:{file} {start}") == 0
    torch.testing.assert_close(weights(first, "same")[key], made[key], atol=1e-6, rtol=1e-5)
    assert "crop network" not in capsys.readouterr().out, "what was trained on goes on as all else"
    assert train(first, f"-EXP more {start}") == 0
    torch.testing.assert_close(weights(first, "more")[key], made[key], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(
    ("trunk", "message"),
    [
        ("test_efficientnet:nowhere.pth", "nowhere.pth"),
        ("test_efficientnet", "-ROI_TRUNK test_efficientnet can't be had"),
        ("resnet81", "timm has no network 'resnet81'"),
    ],
)
def test_a_network_that_cannot_be_had_is_one_line(
    first: Path, trunk: str, message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert train(first, f"-EXP none -ROI_TRUNK {trunk}") == 1
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("-ROI_TRUNK resnet81", "timm has no network 'resnet81'"),
        ("-ROI_TRUNK resnet18:nowhere.pth", "nowhere.pth: no such file"),
        ("-ROI_TRUNK resnet18 -ROI_SIZE 32", "resnet18 can't learn from crops of 32 px"),
        ("-ROI_TRUNK resnet81 -STAGE all", "timm has no network 'resnet81'"),
    ],
)
def test_such_a_network_is_refused_before_the_data_are_read(
    first: Path, flags: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for split in ("train", "val"):
        (first / f"broken-{split}.json").write_text("{")
    assert train(first, f"-EXP none {flags}", "broken-") == 1
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error

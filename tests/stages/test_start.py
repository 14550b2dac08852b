"""What a training takes over from weights of another variant, or of other keypoints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import train_pose
from datasets.synthetic import write_dataset
from utils.checkpoint import load_checkpoint


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
    """A folder with drawn people, and a model of all their keypoints after one step."""
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
        ("-MODEL sia_pose", "", "of sia_pose_simple: what fits is taken over", "refiner."),
        ("", "limbs-", "of 17 other keypoints: what fits is taken over", "glimpse.heat."),
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
    learned = [key for key in shared if "running_" not in key and "num_batches" not in key]
    moved = [key for key in learned if not torch.allclose(found[key].float(), old[key].float(), atol=1e-6)]
    assert moved == []
    assert {key for key in found if key.startswith("backbone.vit.blocks.")} <= set(shared)
    assert any(key.startswith(new) for key in found if key not in shared)


def test_other_keypoints_have_a_mean_pose_of_their_own(first: Path) -> None:
    assert train(first, f"-EXP limbs --RESUME {first}/first/weights/best.pt", "limbs-") == 0
    saved = load_checkpoint(first / "limbs" / "weights" / "best.pt")
    assert saved["model_config"]["num_keypoints"] == 12
    assert len(saved["model_config"]["mean_pose"]) == 12

from __future__ import annotations

import pickle
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch

from sia.errors import ConfigError, DataError, WeightsError
from sia.io.checkpoint import load_checkpoint, save_checkpoint
from sia.registry import MODELS, create_model
from sia.runtimes import torch_runtime
from sia.runtimes.device import choose_device, multiplies_bf16
from sia.runtimes.predictor import Predictor
from sia.runtimes.torch_runtime import TorchRuntime
from sia.skeletons.skeleton import COCO_PERSON, Skeleton
from tests.inference_helpers import save_weights

PAW = Skeleton(("nose", "left_paw", "right_paw"), ((0, 1), (0, 2)), ((1, 2),), (0.05, 0.1, 0.1))


def test_people_of_images_of_any_size(weights: Path) -> None:
    predictor = Predictor.load(weights, "cpu")
    rng = np.random.default_rng(0)
    sizes = [(48, 200), (64, 64), (1, 1), (300, 7), (90, 50)]
    images = [rng.integers(0, 255, (*size, 3), dtype=np.uint8) for size in sizes]
    found = predictor.predict(images)
    assert len(found) == len(images)
    for people, (height, width) in zip(found, sizes, strict=True):
        assert people.keypoints.shape == (len(people), 17, 2)
        assert people.confidences.shape == (len(people), 17)
        assert (np.diff(people.scores) <= 0).all()
        assert (people.boxes >= 0).all()
        assert (people.boxes[:, 2:] <= (width, height)).all()
    assert predictor.predict([]) == []


def test_a_image_has_the_same_people_in_any_batch(weights: Path) -> None:
    predictor = Predictor.load(weights, "cpu")
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 255, (50 + 9 * i, 80, 3), dtype=np.uint8) for i in range(3)]
    for image, together in zip(images, predictor.predict(images), strict=True):
        (alone,) = predictor.predict([image])
        assert np.allclose(alone.keypoints, together.keypoints, atol=1e-2)
        assert np.allclose(alone.scores, together.scores, atol=1e-5)


def test_maps_input_pixels_back_through_the_letterbox(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An image of 128x32 fills the middle quarter of the 64x64 input at half its size."""
    keypoints = torch.tensor([[[[10.0, 28.0, 1.0]] * 17]])
    decoded = (torch.ones(1, 1), torch.tensor([[[10.0, 28.0, 20.0, 36.0]]]), keypoints)
    monkeypatch.setattr(torch_runtime, "decode", lambda output, size, blocks: decoded)
    (people,) = Predictor.load(weights, "cpu").predict([np.zeros((32, 128, 3), np.uint8)])
    assert people.boxes[0].tolist() == [20, 8, 40, 24]
    assert people.keypoints[0, 0].tolist() == [20, 8]


def test_another_skeleton_and_a_training_checkpoint(tmp_path: Path) -> None:
    path = save_weights(tmp_path / "last.pt", PAW, training={"epoch": 3})
    predictor = Predictor.load(path, "cpu")
    assert predictor.skeleton == PAW
    assert predictor.predict([np.zeros((40, 40, 3), np.uint8)])[0].keypoints.shape[1:] == (3, 2)


def test_says_what_runs_where_and_why(weights: Path) -> None:
    line = Predictor.load(weights, "cpu").describe()
    for part in ("sia_pose_simple test", "17 keypoints", "64x64", str(weights), "cpu (as asked by --device cpu"):
        assert part in line


def test_fewer_people_are_looked_at_again(weights: Path) -> None:
    looks, lines = [], []
    for score in (0.0, None, 1.0):
        predictor = Predictor.load(weights, "cpu", roi_score_thresh=score)
        assert isinstance(predictor.runtime, TorchRuntime)
        roi_head = predictor.runtime.model.roi_head
        roi_head.register_forward_hook(lambda module, given, made: looks.append(len(made.scores)))
        (people,) = predictor.predict([np.zeros((64, 64, 3), np.uint8)])
        lines.append(predictor.describe())
        assert len(people) == 4  # nobody is lost
    assert looks[0] == 4
    assert looks[2] == 1
    assert ["RoI refinement from" in line for line in lines] == [True, False, True]


CROPS = {"sia_pose_simple": 1, "sia_pose": 2, "sia_pose_decoder_led": 1}
"""Of each person, by variant."""


@pytest.mark.parametrize("name", MODELS)
def test_crops_of_another_size(tmp_path: Path, name: str) -> None:
    path = save_weights(tmp_path / "best.pt", name=name)
    image = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    plain, wide = (Predictor.load(path, "cpu", roi_size=size) for size in (None, (32, 48)))
    assert isinstance(wide.runtime, TorchRuntime)
    shapes = []
    wide.runtime.model.roi_head.body.register_forward_hook(
        lambda module, given, made: shapes.append(given[0].shape[2:])
    )
    (found,), (other,) = plain.predict([image]), wide.predict([image])
    assert shapes == [(32, 48)] * CROPS[name]
    assert found.keypoints.shape == other.keypoints.shape and not np.allclose(
        found.keypoints, other.keypoints, atol=0.1
    )
    assert "crops 32x48," in wide.describe() and "crops 64," in plain.describe()
    for size in ((50, 64), (16, 64), (64, 1024)):
        with pytest.raises(ConfigError, match=f"Crops of {size[0]}x{size[1]} px can't be had"):
            Predictor.load(path, "cpu", roi_size=size)


@pytest.mark.parametrize("name", ["sia_pose_simple", "sia_pose"])
def test_a_flip_test_reads_the_crops_twice_and_the_image_once(tmp_path: Path, name: str) -> None:
    path = save_weights(tmp_path / "best.pt", name=name)
    image = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    found, passes, lines = [], [], []
    for tta in (False, True):
        predictor = Predictor.load(path, "cpu", roi_score_thresh=0.0, tta=tta)
        assert isinstance(predictor.runtime, TorchRuntime)
        model = predictor.runtime.model
        for part in (model.backbone.vit.blocks[0], model.roi_head.body):
            part.register_forward_hook(lambda module, given, made: passes.append(type(module).__name__))
        found += predictor.predict([image])
        lines.append(predictor.describe())
        assert "roi_flip_order" not in model.state_dict()
    once = ["Hourglass"] * CROPS[name]
    assert passes == ["Block", *once, "Block", *once, *once]
    assert not np.allclose(found[0].keypoints, found[1].keypoints, atol=0.1)
    assert ["flip test" in line for line in lines] == [False, True]


def test_a_flip_test_is_not_for_training(make_config, make_batch) -> None:
    model, batch = create_model(make_config("sia_pose_simple")).train(), make_batch([2, 1])
    scores = []
    for order in (None, torch.tensor(COCO_PERSON.flip_order)):
        model.roi_flip_order = order
        torch.manual_seed(0)
        scores.append(model(batch.images, batch).people.scores)
    assert torch.equal(*scores)


def test_a_flip_test_needs_to_know_left_from_right(tmp_path: Path) -> None:
    for flips, names in (("unknown", ("a", "b")), ("declared", ("a", "b"))):
        skeleton = Skeleton(names, (), (), (0.1, 0.1), flips=flips)
        path = save_weights(tmp_path / f"{flips}.pt", skeleton)
        if skeleton.mirrors:
            assert Predictor.load(path, "cpu", tta=True).runtime.tta
            continue
        with pytest.raises(ConfigError, match=r"Leave --tta out\. For .*unknown\.pt mirroring is off, since") as error:
            Predictor.load(path, "cpu", tta=True)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("image", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)])
def test_arrays_that_are_no_images(weights: Path, image: np.ndarray) -> None:
    with pytest.raises(DataError, match="uint8"):
        Predictor.load(weights, "cpu").predict([image])


def changed(source: Path, path: Path, **parts) -> Path:
    save_checkpoint(path, {**load_checkpoint(source), **parts})
    return path


def test_weights_of_before_the_native_side_was_saved(weights: Path, tmp_path: Path) -> None:
    good = load_checkpoint(weights)["weights"]
    old = {key: value for key, value in good.items() if key != "backbone.native_side"}
    image = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    paths = (weights, changed(weights, tmp_path / "old.pt", weights=old))
    first, second = (Predictor.load(path, "cpu").predict([image])[0] for path in paths)
    np.testing.assert_array_equal(first.boxes, second.boxes)


def test_weights_that_do_not_fit_are_named_by_key(weights: Path, tmp_path: Path) -> None:
    good = load_checkpoint(weights)["weights"]
    first, second, *_ = good
    cases = {
        "missing: " + first: {key: value for key, value in good.items() if key != first},
        "not in the model: surplus": {**good, "surplus": torch.zeros(1)},
        f"wrong shape: {second} ": {**good, second: torch.zeros(3, 1, 4, 1, 5)},
        f"wrong shape: {first} without shape": {**good, first: "text"},
        "holds no weights": [1, 2],
    }
    for message, state in cases.items():
        with pytest.raises(WeightsError) as error:
            Predictor.load(changed(weights, tmp_path / "a.pt", weights=state), "cpu")
        assert message in str(error.value)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "parts",
    [
        {"model_config": {}},
        {"model_config": None},
        {"skeleton": {"names": []}},
        {"skeleton": PAW.to_dict()},
        {"model_config": {"name": "unknown"}},
    ],
)
def test_a_description_that_is_wrong(weights: Path, tmp_path: Path, parts: dict) -> None:
    with pytest.raises(WeightsError, match=r"a\.pt"):
        Predictor.load(changed(weights, tmp_path / "a.pt", **parts), "cpu")


def test_weights_that_are_not_finite(weights: Path, tmp_path: Path) -> None:
    broken = {
        key: torch.full_like(value, torch.nan) if value.is_floating_point() else value
        for key, value in load_checkpoint(weights)["weights"].items()
    }
    with pytest.raises(WeightsError, match="not finite"):
        Predictor.load(changed(weights, tmp_path / "a.pt", weights=broken), "cpu")


@pytest.mark.skipif(not multiplies_bf16(torch.device("cpu")), reason="this processor has no bf16")
def test_bf16_finds_nearly_the_same(weights: Path) -> None:
    image = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    precise, fast = (Predictor.load(weights, "cpu", roi_score_thresh=0.0, precision=name) for name in ("fp32", "bf16"))
    assert ", float32, " in precise.describe() and ", bfloat16, " in fast.describe()
    assert isinstance(fast.runtime, TorchRuntime)
    dtypes = []
    fast.runtime.model.roi_head.body.register_forward_hook(lambda module, given, made: dtypes.append(made[0].dtype))
    (expected,), (found,) = (predictor.predict([image]) for predictor in (precise, fast))
    np.testing.assert_allclose(found.scores, expected.scores, atol=0.02)
    assert dtypes == [torch.bfloat16]


@pytest.mark.parametrize(("name", "able", "problem"), [
    ("bf16", False, "--precision bf16: cpu .* has no instructions for it"),
    ("fp16", True, "--precision fp16 is for GPUs"),
])  # fmt: skip
def test_a_precision_that_the_device_cant_have_is_refused(weights: Path, name: str, able: bool, problem: str) -> None:
    with (
        mock.patch("sia.runtimes.torch_runtime.multiplies_bf16", return_value=able),
        pytest.raises(ConfigError, match=problem),
    ):
        Predictor.load(weights, "cpu", precision=name)


class Attack:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_a_malicious_pickle_is_not_run(tmp_path: Path) -> None:
    (tmp_path / "a.pt").write_bytes(pickle.dumps({"format": "sia_pose/1", "weights": Attack(tmp_path / "ran")}))
    torch.save({"format": "sia_pose/1", "weights": Attack(tmp_path / "ran")}, tmp_path / "b.pt")
    for name in ("a.pt", "b.pt"):
        with pytest.raises(WeightsError):
            Predictor.load(tmp_path / name, "cpu")
    assert not (tmp_path / "ran").exists()


def test_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="unknown"):
        choose_device("tpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert choose_device("auto").torch.type == "cpu"
    assert "no GPU" in choose_device("auto").reason
    for name in ("cuda", "mps"):
        with pytest.raises(ConfigError, match="can't be used"):
            choose_device(name)


def test_an_idle_gpu_is_pointed_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda *_: "Test GPU")
    assert "Test GPU is present but unused" in choose_device("cpu").warning


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_the_gpu_finds_what_the_cpu_finds(weights: Path) -> None:
    image = np.random.default_rng(0).integers(0, 255, (80, 120, 3), dtype=np.uint8)
    (here,), (there,) = (Predictor.load(weights, device).predict([image]) for device in ("cpu", "cuda"))
    assert np.allclose(here.keypoints, there.keypoints, atol=0.1)

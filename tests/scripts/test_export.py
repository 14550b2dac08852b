"""scripts/export.py: every format gives PyTorch's people at any size, and is used as weights by the other commands."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import torch

import inference_image_pose
import scripts.evaluate
import scripts.export
from sia.commands.jobs import export_job
from sia.errors import ConfigError, OutputError, WeightsError
from sia.io.images import read_image, write_image
from sia.registry import ModelConfig
from sia.runtimes import export_openvino
from sia.runtimes.device import multiplies_bf16
from sia.runtimes.metadata import ModelMetadata
from sia.runtimes.onnx_runtime import OnnxRuntime
from sia.runtimes.openvino_runtime import OpenVinoRuntime
from sia.runtimes.parity import Parity, compare
from sia.runtimes.predictor import Predictor
from sia.runtimes.runtime import Runtime
from sia.runtimes.torch_runtime import TorchRuntime
from sia.skeletons.skeleton import COCO_PERSON, Skeleton
from tests.conftest import ROOT
from tests.inference_helpers import quarters, save_video, save_weights
from tests.two_categories import DOG

FILES = {"onnx": "best.onnx", "openvino": "best.xml", "openvino-int8": "best-int8.xml"}
PACKAGES = {
    "onnx": ("onnx", "onnxscript", "onnxruntime"),
    "openvino": ("onnx", "onnxscript", "onnxruntime", "openvino"),
    "openvino-int8": ("onnx", "onnxscript", "onnxruntime", "openvino", "nncf"),
}


def export(weights: Path, kind: str, *flags: object) -> int:
    return scripts.export.main(["--weight_path", str(weights), "--format", kind, *map(str, flags)])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """best.pt of a model with a refiner, four images and their annotations."""
    folder = tmp_path_factory.mktemp("exported")
    save_weights(folder / "best.pt", image_size=(96, 64), name="sia_pose", certainty=True)
    (folder / "images").mkdir()
    rng = np.random.default_rng(0)
    images = [{"id": n, "file_name": f"{n}.png", "height": 90 + n, "width": 70} for n in range(1, 5)]
    for image in images:
        size = image["height"], image["width"]
        noisy = quarters(*size) + rng.integers(-30, 30, (*size, 3))
        write_image(folder / "images" / image["file_name"], np.clip(noisy, 0, 255).astype(np.uint8))
    points = [value for k in range(17) for value in (20 + k, 20 + 2 * k, 2)]
    common = {"category_id": 1, "iscrowd": 0, "num_keypoints": 17, "area": 2000.0, "bbox": [10, 10, 50, 70]}
    people = [{**common, "id": image["id"], "image_id": image["id"], "keypoints": points} for image in images]
    category = {"id": 1, "name": "person", "keypoints": list(COCO_PERSON.names)}
    (folder / "val.json").write_text(json.dumps({"images": images, "annotations": people, "categories": [category]}))
    return folder


@pytest.fixture(scope="module")
def onnx_file(folder: Path) -> Path:
    """Made by the command itself; the slow part, so it is done once."""
    for package in PACKAGES["onnx"]:
        pytest.importorskip(package)
    assert export(folder / "best.pt", "onnx") == 0
    return folder / "best.onnx"


@pytest.fixture
def quick(onnx_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command takes the graph that is there already."""

    def copy(runtime, path: Path, size: tuple[int, int]) -> ModelMetadata:
        shutil.copy(onnx_file, path)
        description = Predictor.load(onnx_file).runtime.description
        return replace(description, config=replace(description.config, image_size=size))

    monkeypatch.setattr(export_job, "export_onnx", copy)


def made(folder: Path, kind: str) -> Path:
    """A file of this format; made once."""
    for package in PACKAGES[kind]:
        pytest.importorskip(package)
    path = folder / FILES[kind]
    if not path.exists():
        flags = ["--image_path", folder / "images", "--coco_root", folder / "images"]
        assert export(folder / "best.pt", kind, *flags, "--ann_file", folder / "val.json") == 0
    return path


@pytest.fixture(params=list(FILES))
def exported(request: pytest.FixtureRequest, folder: Path, quick: None) -> Path:
    """A file of each format."""
    return made(folder, request.param)


@pytest.fixture
def openvino_file(folder: Path, quick: None) -> Path:
    return made(folder, "openvino")


def load_exactly(path: Path) -> Runtime:
    """Computes in float32, whatever the processor multiplies faster."""
    return OpenVinoRuntime.load(path, "cpu", exact=True) if path.suffix == ".xml" else OnnxRuntime.load(path, "cpu")


def test_the_same_people_in_any_batch_and_size(folder: Path, exported: Path) -> None:
    ours, theirs = TorchRuntime.load(folder / "best.pt", "cpu"), load_exactly(exported)
    shapes = ((0, 3, 96, 64), (3, 3, 70, 101), (1, 3, 96, 64), (3, 3, 64, 128), (2, 3, 32, 32), (1, 3, 48, 33))
    for shape in shapes[:2] if "int8" in exported.name else shapes:  # each takes int8 five seconds
        images = np.random.default_rng(1).integers(0, 255, shape, dtype=np.uint8)
        found = theirs.find(images)
        expected = ours.find(images if len(images) else np.zeros((1, *shape[1:]), np.uint8))
        expected = type(expected)(*(part[: len(images)] for part in expected))
        assert [part.shape for part in found] == [part.shape for part in expected]
        for part, wanted in zip(found, expected, strict=True):
            assert "int8" in exported.name or np.abs(part - wanted).max(initial=0) <= 0.01
    with pytest.raises(ConfigError, match="needs 32 pixels on each side"):
        theirs.find(np.zeros((1, 3, 16, 32), np.uint8))


def test_visibility_and_sigma_are_outputs_of_their_own(folder: Path, exported: Path) -> None:
    image = np.random.default_rng(2).integers(0, 255, (80, 60, 3), dtype=np.uint8)
    for path in (folder / "best.pt", exported):
        (people,) = Predictor.load(path, "cpu").predict([image])
        assert people.visibilities.shape == people.sigmas.shape == people.confidences.shape
        assert people.visibilities.dtype == people.sigmas.dtype == np.float32
        assert (people.sigmas > 0).all() and (people.visibilities > 0).all() and (people.visibilities < 1).all()


def test_a_single_patch_gives_a_file_of_one_size(tmp_path: Path, capsys) -> None:
    for package in PACKAGES["onnx"]:
        pytest.importorskip(package)
    weights, path = save_weights(tmp_path / "p32.pt", size="p32", certainty=True), tmp_path / "small.onnx"
    assert export(weights, "onnx", "--imgsz", "32", "--output_path", path) == 0
    assert "Size:     32x32 only, because of its few patches" in capsys.readouterr().out
    small, whole = load_exactly(path), TorchRuntime.load(weights, "cpu")
    images = np.random.default_rng(4).integers(0, 255, (3, 3, 32, 32), dtype=np.uint8)
    for part, wanted in zip(small.find(images), whole.find(images), strict=True):
        assert part.shape == wanted.shape and np.abs(part - wanted).max() <= 0.01
    with pytest.raises(ConfigError, match="takes 32x32 only"):
        small.find(np.zeros((1, 3, 64, 64), np.uint8))
    with pytest.raises(ConfigError, match="takes 32x32 only"):
        Predictor.load(path, "cpu", (64, 64))


def test_more_shapes_than_are_kept_give_the_same_people(openvino_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sia.runtimes.openvino_runtime.MOST_SHAPES", 1)
    runtime = load_exactly(openvino_file)
    images = np.random.default_rng(2).integers(0, 255, (2, 3, 96, 64), dtype=np.uint8)
    both, first = runtime.find(images), runtime.find(images[:1])
    for part, alone in zip(both, first, strict=True):
        assert np.abs(part[:1] - alone).max() <= 0.01


@pytest.mark.skipif(not multiplies_bf16(torch.device("cpu")), reason="this processor has no bfloat16")
def test_features_are_rounded_where_the_processor_multiplies_bfloat16(openvino_file: Path) -> None:
    """Features only: places stay within a pixel, and a second call gives the same numbers."""
    rounded, exact = OpenVinoRuntime.load(openvino_file, "cpu"), load_exactly(openvino_file)
    assert "features in bfloat16" in rounded.describe() and "bfloat16" not in exact.describe()
    images = np.random.default_rng(3).integers(0, 255, (1, 3, 96, 64), dtype=np.uint8)
    found, expected = rounded.find(images), exact.find(images)
    moved = np.linalg.norm((found.keypoints - expected.keypoints)[..., :2], axis=-1)
    assert 0 < np.median(moved) < 0.5
    assert 0 < np.abs(found.scores - expected.scores).max() < 0.02
    np.testing.assert_array_equal(rounded.find(images).keypoints, found.keypoints)


def test_int8_is_near_and_smaller(folder: Path, quick: None) -> None:
    files = [made(folder, kind) for kind in ("openvino", "openvino-int8")]
    images = [read_image(path) for path in sorted((folder / "images").iterdir())]
    plain, small = (Predictor(load_exactly(file)) for file in files)
    found = compare(plain, small, images)
    # Nobody is sure in random weights: rounding, other on each kind of processor, decides which candidates return.
    assert found.missed == 0 and found.matched >= found.people / 2 and 0 < found.median < 0.5
    sizes = [file.with_suffix(".bin").stat().st_size for file in files]
    assert sizes[1] < 0.8 * sizes[0]
    names = re.findall(r'name="([^"]*)/fq_', files[1].read_text())  # of what is rounded
    for part in ("backbone.vit.blocks", "roi_head.body"):
        assert any(name.startswith(part) for name in names), part


def test_it_describes_itself(folder: Path, exported: Path) -> None:
    ours, theirs = Predictor.load(folder / "best.pt", "cpu"), Predictor.load(exported, "cpu")
    assert theirs.skeleton == ours.skeleton and theirs.image_size == (96, 64)
    assert theirs.runtime.description.parameters == ours.runtime.description.parameters
    line = theirs.describe()
    library = "ONNX Runtime" if exported.suffix == ".onnx" else "OpenVINO"
    precision = "int8 in blocks and RoI keypoint head" if "int8" in exported.name else "float32"
    assert all(part in line for part in ("sia_pose test", "64x96", library, precision, str(exported), "thread"))


def test_nothing_of_this_machine_is_in_it(exported: Path) -> None:
    for file in exported.parent.glob(f"{exported.stem}.*"):
        if file.suffix != ".pt":
            assert str(ROOT).encode() not in file.read_bytes()


def test_the_other_commands_take_it(folder: Path, exported: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    images = folder / "images"
    flags = ["--weight_path", str(exported), "--device", "cpu"]
    assert inference_image_pose.main([*flags, "--image_path", str(images), "--output_dir", "a"]) == 0
    data = ["--coco_root", str(images), "--ann_file", str(folder / "val.json"), "--workers", "0"]
    assert scripts.evaluate.main([*flags, *data, "--output_dir", "b"]) == 0
    assert scripts.evaluate.main(["--weight_path", str(folder / "best.pt"), *data, "--output_dir", "c"]) == 0
    found, expected = (json.loads((tmp_path / name / "results.json").read_text()) for name in "bc")
    assert len(found) == len(expected) > 0
    assert exported.name in json.loads((tmp_path / "a" / "run.json").read_text())["model"]


def test_a_video(onnx_file: Path, tmp_path: Path) -> None:
    import inference_video_pose

    video = save_video(tmp_path / "a.mp4", frames=3)
    flags = ["--video_path", str(video), "--weight_path", str(onnx_file), "--output_dir", str(tmp_path / "out")]
    assert inference_video_pose.main(flags) == 0


@pytest.mark.parametrize(("flags", "problem"), [
    (["--tta"], "best.onnx is an export, which reads each crop once. Leave --tta out"),
    (["--precision", "bf16"], "best.onnx is an export, which computes as its runtime chooses. Leave --precision out"),
])  # fmt: skip
def test_what_is_not_for_exports(onnx_file: Path, folder: Path, flags: list[str], problem: str, capsys) -> None:
    given = ["--weight_path", str(onnx_file), "--image_path", str(folder / "images"), *flags]
    assert inference_image_pose.main(given) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and problem in error


def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    """OpenVINO says `basic_ios::clear: iostream error`."""
    library = Mock(save_model=Mock(side_effect=RuntimeError("basic_ios::clear: iostream error")))
    with pytest.raises(OutputError, match=r"Can't write .*best.xml: OpenVINO could not save it") as caught:
        export_openvino._save(library, Mock(), tmp_path / "best.xml", Mock())
    assert "iostream" not in str(caught.value)


def test_what_the_runtime_says_is_one_line(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four colours are what ONNX Runtime refuses; OpenVINO's refusal is made up, since it may crash instead."""
    runtime = Predictor.load(exported, "cpu").runtime
    if exported.suffix == ".xml":
        refusal = Mock(side_effect=RuntimeError("no memory\nat node 7"))
        monkeypatch.setattr(runtime, "_graph_for", lambda shape: refusal)
    with pytest.raises(WeightsError, match=r"can't be run on \(1, 4, 64, 64\): .") as failure:
        runtime.find(np.zeros((1, 4, 64, 64), np.uint8))
    assert len(str(failure.value).splitlines()) == 1


def test_it_says_what_it_compared(folder: Path, quick: None, tmp_path: Path, capsys) -> None:
    data = ["--coco_root", folder / "images", "--ann_file", folder / "val.json"]
    assert export(folder / "best.pt", "onnx", *data, "--output_path", tmp_path / "new" / "a.onnx") == 0
    printed = capsys.readouterr().out
    for part in ("16 of 16 people of 4 images", "pixels (median)", "AP50:", "times as fast", "a.onnx"):
        assert part in printed
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.onnx"]


def test_an_export_that_differs_is_refused(folder: Path, quick: None, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(export_job, "compare", lambda *_: Parity(4, 16, 16, 0, 0.2, 0.001, 0.01, 0.0))
    assert export(folder / "best.pt", "onnx", "--output_path", tmp_path / "a.onnx") == 1
    error = capsys.readouterr().err
    assert error.startswith("error: The export differs") and error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
    apart = [(12, 4, 0.0, 0.0, 0.0, 0.0), (7, 0, 0.0, 0.0, 0.0, 0.0), (16, 0, 0.0, 0.0, 0.0, 0.02)]
    for other in (Parity(4, 16, *values) for values in apart):
        with pytest.raises(WeightsError, match="differs"):
            export_job.refuse_if_wrong(other)
    export_job.refuse_if_wrong(Parity(4, 16, 12, 0, 3.0, 0.001, 0.0005, 0.005))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--output_path", "a.pt"], "must end in .onnx"),
        (["--output_path", "{here}/taken.onnx"], "exists already"),
        (["--ann_file", "a.json"], "go together"),
        (["--image_path", "/none", "--output_path", "{here}/b.onnx"], "/none"),
        (["--weight_path", "/none.pt", "--output_path", "{here}/b.onnx"], "/none.pt: no such file"),
    ],
)
def test_bad_flags(folder: Path, tmp_path: Path, capsys, flags: list[str], message: str) -> None:
    pytest.importorskip("onnxscript")
    (tmp_path / "taken.onnx").write_text("mine")
    assert export(folder / "best.pt", "onnx", *(flag.format(here=tmp_path) for flag in flags)) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and message in error
    assert [path.name for path in tmp_path.iterdir()] == ["taken.onnx"]
    assert (tmp_path / "taken.onnx").read_text() == "mine"


def test_a_missing_package_is_named(folder: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    (tmp_path / "a.onnx").write_bytes(b"x")
    (tmp_path / "a.xml").write_bytes(b"x")
    for package, name in (("onnxruntime", "a.onnx"), ("openvino", "a.xml")):
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(ConfigError, match=f"pip install {package}$"):
            Predictor.load(tmp_path / name)
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert export(folder / "best.pt", "onnx", "--output_path", tmp_path / "b.onnx") == 1
    assert "pip install onnx\n" in capsys.readouterr().err


@pytest.mark.parametrize(("package", "name"), [("onnxruntime", "a.onnx"), ("openvino", "a.xml")])
def test_broken_files(package: str, name: str, tmp_path: Path) -> None:
    pytest.importorskip(package)
    with pytest.raises(WeightsError, match="no such file"):
        Predictor.load(tmp_path / name)
    for file in (tmp_path / name, tmp_path / "a.bin"):
        file.write_bytes(b"<net>")
    with pytest.raises(WeightsError, match="broken"):
        Predictor.load(tmp_path / name)


def test_an_onnx_file_of_another_program(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    onnx = pytest.importorskip("onnx")
    shape = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
    node = onnx.helper.make_node("Identity", ["x"], ["y"])
    graph = onnx.helper.make_graph([node], "other", [shape], [onnx.helper.make_tensor_value_info("y", 1, [1])])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=9)
    note = model.metadata_props.add()
    note.key, note.value = "note", "damaged"
    onnx.save(model, tmp_path / "a.onnx")
    with pytest.raises(WeightsError, match="no export of SIA Pose"):
        Predictor.load(tmp_path / "a.onnx")
    content = (tmp_path / "a.onnx").read_bytes()
    (tmp_path / "a.onnx").write_bytes(content.replace(b"damaged", b"\xff\xa2maged"))  # no UTF-8
    with pytest.raises(WeightsError, match="is broken or no ONNX file"):
        Predictor.load(tmp_path / "a.onnx")


def test_a_signal_after_openvino_ends_nothing(openvino_file: Path) -> None:
    """In a process of its own: where it fails, that process ends by a segmentation fault."""
    code = (
        "import gc, os, pathlib, signal, sys; import numpy as np; from sia.runtimes.predictor import Predictor; "
        "predictor = Predictor.load(pathlib.Path(sys.argv[1])); predictor.predict([np.zeros((96, 64, 3), np.uint8)]); "
        "del predictor; gc.collect(); "
        "signal.signal(signal.SIGTERM, lambda *_: print('handled')); os.kill(os.getpid(), signal.SIGTERM)"
    )
    command = [sys.executable, "-c", code, str(openvino_file)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=250)
    assert (done.returncode, done.stdout) == (0, "handled\n")


def test_a_gpu_is_not_promised(onnx_file: Path) -> None:
    for device in ("cuda", "mps", "cuda:1"):
        with pytest.raises(ConfigError, match=f"--device {device} can't be used: an exported model"):
            Predictor.load(onnx_file, device)


def test_several_categories_a_trunk_and_a_threshold_of_its_own(tmp_path: Path, onnx_file: Path, capsys) -> None:
    """The class is decided in the graph: boxes go around the keypoints of one category. So is who gets a crop: of
    untrained weights, which are sure of nobody, only the best unless all do. A trunk is as train_roi_head.py writes
    it, with weights that don't tell visibility; nor did those of before, whose description has no word of it."""
    both = Skeleton.join([(1, COCO_PERSON), (18, Skeleton.from_category(DOG))])
    weights, file = save_weights(tmp_path / "best.pt", both, roi_trunk="test_efficientnet"), tmp_path / "best.onnx"
    assert export(weights, "onnx", "--roi_score_thresh", 0, "--roi_size", "32x64") == 0
    assert "RoI refinement from 0)" in capsys.readouterr().out
    exported, ours, plain = (
        Predictor.load(path, "cpu", roi_score_thresh=score, roi_size=(32, 64))
        for path, score in ((file, 0.0), (weights, 0.0), (weights, None))
    )
    for shape in ((2, 3, 64, 64), (1, 3, 70, 101)):
        images = np.random.default_rng(5).integers(0, 255, shape, dtype=np.uint8)
        for part, wanted in zip(exported.runtime.find(images)[:3], ours.runtime.find(images)[:3], strict=True):
            assert part.shape == wanted.shape and np.abs(part - wanted).max() <= 0.01
    image = np.random.default_rng(0).integers(0, 256, (90, 70, 3), np.uint8)
    first, second, best = (model.predict([image])[0] for model in (ours, exported, plain))
    assert len(first) and second.visibilities is None and second.sigmas is None
    config = exported.runtime.description.config.to_dict()
    assert config.pop("certainty") is False and ModelConfig.from_dict(config) == exported.runtime.description.config
    assert both.classes(second.confidences) == both.classes(first.confidences)
    np.testing.assert_allclose(second.boxes, first.boxes, atol=0.05)
    np.testing.assert_allclose(second.keypoints, first.keypoints, atol=0.05)
    assert exported.skeleton == both
    assert not np.allclose(best.keypoints, first.keypoints, atol=1)
    assert "RoI refinement from 0)" in exported.describe()
    assert "RoI refinement" not in Predictor.load(onnx_file, "cpu").describe()
    with pytest.raises(ConfigError, match="exported with --roi_score_thresh 0, and can't change it"):
        Predictor.load(file, "cpu", roi_score_thresh=0.1)
    with pytest.raises(ConfigError, match="exported with --roi_size 32x64, and can't change it"):
        Predictor.load(file, "cpu", roi_size=(64, 64))

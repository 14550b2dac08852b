import zipfile
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

from sia.errors import WeightsError
from stages.ensemble.experts import simcc
from stages.ensemble.experts.simcc import load_simcc

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402


def write_model(path: Path, joints: int = 17, size: tuple[int, int] = (256, 192), bins: int = 2) -> Path:
    """The published inputs and outputs; each joint is where the crop is brightest."""
    height, width = size
    nodes, outputs = [], []
    for name, side in (("simcc_x", width), ("simcc_y", height)):
        nodes.append(helper.make_node("ReduceMax", ["input", f"{name}_axes"], [f"{name}_one"], keepdims=0))
        nodes.append(helper.make_node("Gather", [f"{name}_one", f"{name}_index"], [f"{name}_fine"], axis=1))
        nodes.append(helper.make_node("Unsqueeze", [f"{name}_fine", "one"], [f"{name}_row"]))
        nodes.append(helper.make_node("Tile", [f"{name}_row", "repeats"], [name]))
        outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", joints, bins * side]))
    constants = {
        "one": np.array([1]), "repeats": np.array([1, joints, 1]), "simcc_x_axes": np.array([1, 2]),
        "simcc_y_axes": np.array([1, 3]), "simcc_x_index": np.arange(bins * width) // bins,
        "simcc_y_index": np.arange(bins * height) // bins,
    }  # fmt: skip
    tensors = [numpy_helper.from_array(value.astype(np.int64), name) for name, value in constants.items()]
    given = helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", 3, height, width])
    graph = helper.make_graph(nodes, "simcc", [given], outputs, tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, str(path))
    return path


def dot_image() -> np.ndarray:
    image = np.zeros((200, 320, 3), np.uint8)
    return cv2.circle(image, (61, 93), 2, (255, 255, 255), -1)


@pytest.mark.parametrize(("joints", "size"), [(17, (256, 192)), (133, (384, 288))])
def test_rtmpose_and_dwpose_find_the_dot(tmp_path: Path, joints: int, size: tuple[int, int]) -> None:
    expert = load_simcc(write_model(tmp_path / "end2end.onnx", joints, size), "cpu")
    poses = expert.predict(dot_image(), np.array([[40.0, 30, 90, 170], [20, 20, 100, 180]]))
    assert poses.keypoints.shape == (2, 17, 2)
    assert np.abs(poses.keypoints - (61, 93)).max() < 3.5
    assert ((poses.confidences > 0) & (poses.confidences < 1)).all()


def test_the_published_zip_is_read_as_it_is(tmp_path: Path) -> None:
    write_model(tmp_path / "end2end.onnx")
    with zipfile.ZipFile(tmp_path / "rtmpose.zip", "w") as archive:
        archive.write(tmp_path / "end2end.onnx", "20230831/rtmpose_onnx/rtmpose-m/end2end.onnx")
    plain = load_simcc(tmp_path / "end2end.onnx", "cpu").predict(dot_image(), np.array([[40.0, 30, 90, 170]]))
    zipped = load_simcc(tmp_path / "rtmpose.zip", "cpu").predict(dot_image(), np.array([[40.0, 30, 90, 170]]))
    assert np.array_equal(plain.keypoints, zipped.keypoints)


def test_a_gpu_is_used_where_the_library_can(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simcc, "choose_device", lambda name: SimpleNamespace(torch=torch.device(name)))
    expert = load_simcc(write_model(tmp_path / "end2end.onnx"), "cuda:1")  # this ONNX Runtime can't
    assert expert.session.get_providers() == ["CPUExecutionProvider"]
    library = SimpleNamespace(get_available_providers=lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"])
    first, last = simcc._providers(library, torch.device("cuda:1"))
    assert first == ("CUDAExecutionProvider", {"device_id": 1}) and last == "CPUExecutionProvider"
    assert simcc._providers(library, torch.device("cpu")) == ["CPUExecutionProvider"]


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"inputs .* and outputs .*192.*SimCC"):
        load_simcc(write_model(tmp_path / "bins.onnx", bins=1), "cpu")
    with pytest.raises(WeightsError, match="26 keypoints; known are 17, 133, 308"):
        load_simcc(write_model(tmp_path / "halpe.onnx", joints=26), "cpu")
    (tmp_path / "broken.onnx").write_bytes(b"\x08\x07 no onnx")
    with pytest.raises(WeightsError, match="broken or no ONNX"):
        load_simcc(tmp_path / "broken.onnx", "cpu")
    with zipfile.ZipFile(tmp_path / "empty.zip", "w") as archive:
        archive.writestr("readme.txt", "x")
    with pytest.raises(WeightsError, match=r"one end2end\.onnx"):
        load_simcc(tmp_path / "empty.zip", "cpu")

"""Training of what lifts poses: cameras, noise, motions, and a short run through the command."""

from pathlib import Path

import numpy as np
import pytest
import torch

from datasets.synthetic.human.body import sample_shape
from datasets.synthetic.human.motion import sample_motion
from scripts.train_lifting import main
from sia.lifting.network import LiftingNetwork, body_length, normalise
from sia.lifting.skeleton import IN_COCO, JOINTS, PLACE
from stages.lifting import detected, errors, film
from tests.sia.lifting.test_motion_files import rigid


def moving(seed: int, seconds: float = 3.0) -> tuple[np.ndarray, float]:
    rng = np.random.default_rng(seed)
    shape = sample_shape(rng)
    return sample_motion(rng, shape, seconds, 30), shape.height


def test_motions_are_of_one_body_and_smooth() -> None:
    for seed in range(12):
        points, height = moving(seed)
        assert points.shape == (90, 21, 3) and np.abs(points[:, 0]).max() == 0
        for joint in ("RightKnee", "RightAnkle", "LeftKnee", "LeftElbow", "LeftWrist", "RightWrist"):
            place = PLACE[joint]
            bone = np.linalg.norm(points[:, place] - points[:, JOINTS[place].parent], axis=-1)
            assert np.ptp(bone) < 1e-9
        assert np.linalg.norm(np.diff(points, axis=0), axis=-1).max() * 30 < 12 * height  # metres a second
        assert np.ptp(points, axis=0).max() > 0.01
        left, right = points[:, PLACE["LeftHip"]], points[:, PLACE["RightHip"]]
        assert np.allclose(left, -right)


def test_a_camera_sees_what_the_joints_say() -> None:
    points = torch.tensor(np.stack([moving(seed)[0] for seed in range(8)]), dtype=torch.float32)
    image, joints, unit = film(points, torch.manual_seed(0))
    assert torch.allclose(body_length(points[:, :, :17]).mean(1), unit)
    assert torch.allclose(body_length(joints).mean(1), torch.ones(8), atol=1e-5)
    # Rotations keep distances, and y is down: the image agrees with the joints up to perspective.
    apart = torch.cdist(points[0, 0, :17], points[0, 0, :17])
    assert torch.allclose(torch.cdist(joints[0, 0], joints[0, 0]) * unit[0], apart, atol=1e-4)
    placed = image - image[:, :, [11, 12]].mean(2, keepdim=True)
    for joint in ("LeftAnkle", "RightWrist", "LeftShoulder"):
        seen, known = placed[:, :, IN_COCO[PLACE[joint]]].flatten(0, 1), joints[:, :, PLACE[joint], :2].flatten(0, 1)
        assert torch.nn.functional.cosine_similarity(seen, known).mean() > 0.9


def test_size_and_place_in_the_image_do_not_matter() -> None:
    points = torch.tensor(moving(3)[0][None], dtype=torch.float32)
    image, _, _ = film(points, torch.manual_seed(0))
    sure = torch.full(image.shape[:3], 0.8)
    assert torch.allclose(normalise(image * 700 + 300, sure), normalise(image, sure), atol=1e-3)


def test_detections_are_noisy_where_they_are_unsure() -> None:
    points = torch.tensor(np.stack([moving(seed)[0] for seed in range(8)]), dtype=torch.float32)
    image, _, _ = film(points, torch.manual_seed(0))
    found, sure = detected(image, torch.manual_seed(1))
    error = (found - image).norm(dim=-1)
    assert error[sure < 0.3].mean() > 2 * error[sure > 0.6].mean() > 0
    points[:, :, 17:] = torch.nan  # motion capture without eyes and ears
    found, sure = detected(film(points, torch.manual_seed(0))[0], torch.manual_seed(1))
    assert found.isfinite().all() and (sure[:, :, 1:5] == 0).all() and sure[:, :, 5:].mean() > 0.3


class Knows(torch.nn.Module):
    """Gives what it was told, turned and scaled."""

    def __init__(self, joints: torch.Tensor) -> None:
        super().__init__()
        self.joints = joints

    def forward(self, _: torch.Tensor) -> torch.Tensor:
        turn = torch.linalg.matrix_exp(torch.tensor([[0.0, 0.3, 0.1], [-0.3, 0, 0.2], [-0.1, -0.2, 0]]))
        return 1.1 * self.joints @ turn


def test_errors_are_in_millimetres_and_aligned_ones_ignore_turns_and_scales() -> None:
    points = torch.tensor(np.stack([moving(seed)[0] for seed in range(3)]), dtype=torch.float32)
    _, joints, _ = film(points, torch.manual_seed(5))
    plain, aligned = errors(Knows(joints), points, torch.manual_seed(5))
    assert aligned < 0.5 and plain > 30


def test_a_training_learns_measures_and_writes_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(tmp_path / "mocap.npz", joints=rigid(100), rate=25.0)
    path = tmp_path / "lift.safetensors"
    words = ["--output", path, "--motions", 40, "--steps", 60, "--test", tmp_path / "mocap.npz", "--workers", 1]
    assert main(list(map(str, words))) == 0
    out = capsys.readouterr().out
    assert f"Written: {path}" in out and f"{tmp_path / 'mocap.npz'}: MPJPE" in out
    assert path.stat().st_size < 2_000_000
    network = LiftingNetwork.load(path)
    points = torch.tensor(np.stack([moving(seed)[0] for seed in range(90, 100)]), dtype=torch.float32)
    assert (
        errors(network, points, torch.manual_seed(0))[0]
        < 0.6 * errors(LiftingNetwork(), points, torch.manual_seed(0))[0]
    )
    assert main(list(map(str, words))) == 1  # nothing is overwritten
    assert "exists already" in capsys.readouterr().err


def test_motion_that_can_not_be_used_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(tmp_path / "bad.npz", joints=np.zeros((5, 13, 3)), rate=25.0)
    (tmp_path / "text.npz").write_text("no")
    joints = np.zeros((90, 17, 3))
    np.savez(tmp_path / "infinite.npz", joints=joints, rate=np.inf)
    joints[4, 2, 1] = np.nan
    np.savez(tmp_path / "gap.npz", joints=joints, rate=25.0)
    whole = (tmp_path / "gap.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    messages = {
        "bad.npz": "(5, 13, 3)", "text.npz": "not a zip file", "none.npz": "no such file",
        "infinite.npz": "'rate' has values that are not finite", "gap.npz": "'joints' has values that are not finite",
        "cut.npz": "not a zip file",
    }  # fmt: skip
    for name, message in messages.items():
        assert main(["--output", str(tmp_path / "a.safetensors"), "--test", str(tmp_path / name)]) == 1
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1


def test_motions_shorter_than_a_clip_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(tmp_path / "short.npz", joints=np.random.default_rng(0).normal(size=(40, 17, 3)), rate=30.0)
    flags = ["--output", str(tmp_path / "a.safetensors"), "--motions", "0", "--data", str(tmp_path / "short.npz")]
    assert main([*flags, "--steps", "2", "--workers", "1"]) == 1
    assert "No motion has the 81 frames of a clip." in capsys.readouterr().err
    assert not (tmp_path / "a.safetensors").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--workers", "0"], "--workers"), (["--steps", "0"], "--steps"), (["--seed", "-1"], "--seed -1 must be 0"),
        (["--output", "nowhere/x.safetensors"], "there is no folder nowhere. Make it first."),
    ],
)  # fmt: skip
def test_wrong_flags_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    try:
        assert main(["--output", str(tmp_path / "x.safetensors"), *words]) == 1
    except SystemExit as stopped:
        assert stopped.code == 2
    assert message in capsys.readouterr().err and not any(tmp_path.iterdir())

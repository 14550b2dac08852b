"""TRC, C3D and BVH, read back by readers that know nothing of how they were written."""

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from sia.lifting.motion_files import WRITERS
from sia.lifting.skeleton import JOINTS, PLACE

REST = {
    "RightHip": (-0.1, 0, 0), "RightKnee": (0, -0.42, 0), "RightAnkle": (0, -0.4, 0),
    "LeftHip": (0.1, 0, 0), "LeftKnee": (0, -0.42, 0), "LeftAnkle": (0, -0.4, 0),
    "Spine": (0, 0.25, 0), "Neck": (0, 0.25, 0), "Nose": (0, 0.12, 0.1), "Head": (0, 0.15, 0),
    "LeftShoulder": (0.17, -0.03, 0), "LeftElbow": (0.28, 0, 0), "LeftWrist": (0.25, 0, 0),
    "RightShoulder": (-0.17, -0.03, 0), "RightElbow": (-0.28, 0, 0), "RightWrist": (-0.25, 0, 0),
}  # fmt: skip


def rigid(frames: int = 40) -> np.ndarray:
    """(T, 17, 3) of a body with bones of constant length that turns, bends knees, and swings its arms."""
    phase = np.linspace(0, 6, frames)
    world: list[Rotation] = []
    joints = np.zeros((frames, 17, 3))
    for i, joint in enumerate(JOINTS):
        bend = np.zeros((frames, 3))
        if joint.parent < 0:
            bend[:, 1] = phase
        elif "Knee" in joint.name:
            bend[:, 0] = 0.9 + 0.8 * np.sin(phase)
        elif "Elbow" in joint.name or "Shoulder" in joint.name:
            bend[:, 1], bend[:, 2] = 0.7 * np.sin(phase + i), np.cos(phase)
        elif joint.name == "Spine":
            bend[:, 0] = 0.4 * np.sin(phase)
        own = Rotation.from_rotvec(bend)
        if joint.parent >= 0:
            joints[:, i] = joints[:, joint.parent] + world[joint.parent].apply(REST[joint.name])
            own = world[joint.parent] * own
        world.append(own)
    return joints


def read_bvh(path: Path) -> tuple[np.ndarray, float]:
    """(T, joints and ends, 3) by the format's rules: offset, then rotations in the order of the channels."""
    tokens = iter(path.read_text().split())
    offsets, parents, channels, stack = [], [], [], []
    for token in tokens:
        if token in ("ROOT", "JOINT", "End"):
            next(tokens)
            parents.append(stack[-1] if stack else -1)
            channels.append([])
            current = len(parents) - 1
        elif token == "{":
            stack.append(current)
        elif token == "}":
            stack.pop()
        elif token == "OFFSET":
            offsets.append([float(next(tokens)) for _ in range(3)])
        elif token == "CHANNELS":
            channels[stack[-1]] = [next(tokens) for _ in range(int(next(tokens)))]
        elif token == "MOTION":
            break
    assert next(tokens) == "Frames:"
    count = int(next(tokens))
    assert (next(tokens), next(tokens)) == ("Frame", "Time:")
    step = float(next(tokens))
    values = np.array([float(token) for token in tokens]).reshape(count, -1)
    places, turns, column = [], [], 0
    for parent, offset, names in zip(parents, offsets, channels, strict=True):
        own = values[:, column : column + len(names)]
        column += len(names)
        order = "".join(name[0] for name in names if name.endswith("rotation"))
        turn = Rotation.from_euler(order, own[:, -3:], degrees=True) if order else Rotation.identity(count)
        if parent < 0:
            places.append(own[:, :3] + offset)
            turns.append(turn)
        else:
            places.append(places[parent] + turns[parent].apply(offset))
            turns.append(turns[parent] * turn)
    assert column == values.shape[1]
    return np.stack(places, axis=1), step


def test_bvh_moves_as_the_joints_do(tmp_path: Path) -> None:
    joints = rigid()
    WRITERS["bvh"](tmp_path / "a.bvh", joints, 30)
    found, step = read_bvh(tmp_path / "a.bvh")
    assert step == pytest.approx(1 / 30)
    assert (tmp_path / "a.bvh").read_text().split()[:3] == ["HIERARCHY", "ROOT", "Hips"]
    # Joints in the file come depth first, which is the order of JOINTS.
    assert np.abs(found / 100 - joints).max() < 1e-4


def test_a_bone_that_points_straight_back_is_written(tmp_path: Path) -> None:
    joints = np.repeat(rigid(1), 3, axis=0)
    for i in ("LeftKnee", "LeftAnkle"):  # the leg points up, against the rest pose
        joints[:, PLACE[i]] = joints[:, PLACE["LeftHip"]] + (0, 0.42 if i == "LeftKnee" else 0.82, 0)
    WRITERS["bvh"](tmp_path / "a.bvh", joints, 30)
    assert np.abs(read_bvh(tmp_path / "a.bvh")[0] / 100 - joints).max() < 1e-4


def test_trc_has_opensims_layout(tmp_path: Path) -> None:
    joints = rigid()
    WRITERS["trc"](tmp_path / "a.trc", joints, 30)
    lines = (tmp_path / "a.trc").read_text().split("\n")
    assert lines[0].split("\t") == ["PathFileType", "4", "(X/Y/Z)", "a.trc"]
    about = dict(zip(lines[1].split("\t"), lines[2].split("\t"), strict=True))
    assert about == {
        "DataRate": "30", "CameraRate": "30", "NumFrames": "40", "NumMarkers": "17", "Units": "mm",
        "OrigDataRate": "30", "OrigDataStartFrame": "1", "OrigNumFrames": "40",
    }  # fmt: skip
    assert lines[3].split("\t")[:6] == ["Frame#", "Time", "Hips", "", "", "RightHip"]
    assert lines[4].split("\t")[-1] == "Z17" and lines[5] == ""
    rows = np.array([[float(cell) for cell in line.split("\t")] for line in lines[6:46]])
    assert rows[:, 0].tolist() == list(range(1, 41)) and rows[3, 1] == pytest.approx(0.1)
    assert np.abs(rows[:, 2:].reshape(40, 17, 3) / 1000 - joints).max() < 1e-6


def test_c3d_is_read_by_ezc3d(tmp_path: Path) -> None:
    ezc3d = pytest.importorskip("ezc3d")
    joints = rigid()
    WRITERS["c3d"](tmp_path / "a.c3d", joints, 30)
    file = ezc3d.c3d(str(tmp_path / "a.c3d"))
    point = file["parameters"]["POINT"]
    assert point["LABELS"]["value"] == [joint.name for joint in JOINTS] and point["UNITS"]["value"] == ["mm"]
    assert point["RATE"]["value"][0] == 30
    assert np.abs(file["data"]["points"][:3].transpose(2, 1, 0) / 1000 - joints).max() < 1e-4

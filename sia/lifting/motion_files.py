"""Lifted motion as files of other programs: TRC (OpenSim), C3D (biomechanics), BVH (animation).

All take one person: (T, 17, 3) joints in metres, x to the viewer's right, y up, z towards the viewer.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from sia.io.optional import need
from sia.io.output_file import write_text, writing
from sia.lifting.skeleton import JOINTS, PLACE

Floats = NDArray[np.float64]

_ROOTS = {"Hips": ("RightHip", "LeftHip"), "Neck": ("RightShoulder", "LeftShoulder")}
"""Joints with several children: these two give across, and the spine gives up."""
_CHILDREN = [[i for i, joint in enumerate(JOINTS) if joint.parent == parent] for parent in range(len(JOINTS))]
_ORDER = "ZXY"


def write_trc(path: Path, joints: Floats, rate: float) -> None:
    """Millimetres, as tab-separated text (OpenSim's Marker (.trc) Files)."""
    millimetres = (1000 * joints).reshape(len(joints), -1)
    names = "DataRate CameraRate NumFrames NumMarkers Units OrigDataRate OrigDataStartFrame OrigNumFrames"
    values = [rate, rate, len(joints), len(JOINTS), "mm", rate, 1, len(joints)]
    lines = [
        f"PathFileType\t4\t(X/Y/Z)\t{path.name}",
        names.replace(" ", "\t"),
        "\t".join(map(str, values)),
        "Frame#\tTime\t" + "\t".join(f"{joint.name}\t\t" for joint in JOINTS),
        "\t\t" + "\t".join(f"{axis}{i}" for i in range(1, len(JOINTS) + 1) for axis in "XYZ"),
        "",
    ]
    lines += [
        "\t".join([str(i + 1), f"{i / rate:.6f}", *(f"{value:.3f}" for value in row)])
        for i, row in enumerate(millimetres)
    ]
    write_text(path, "\n".join(lines) + "\n")


def write_c3d(path: Path, joints: Floats, rate: float) -> None:
    """Millimetres, by the package ezc3d.

    Raises:
        ConfigError: it is not installed.
    """
    file = need("ezc3d", "--save c3d").c3d()
    file["parameters"]["POINT"]["RATE"]["value"] = [rate]
    file["parameters"]["POINT"]["UNITS"]["value"] = ["mm"]
    file["parameters"]["POINT"]["LABELS"]["value"] = [joint.name for joint in JOINTS]
    points = np.ones((4, len(JOINTS), len(joints)))
    points[:3] = 1000 * joints.transpose(2, 1, 0)
    file["data"]["points"] = points
    with writing(path):
        file.write(str(path))


def write_bvh(path: Path, joints: Floats, rate: float) -> None:
    """Centimetres and degrees: bones of a constant length, the rest pose a T."""
    offsets, turns = to_rotations(joints)
    lines = ["HIERARCHY", *_hierarchy(0, 100 * offsets, ""), "MOTION", f"Frames: {len(joints)}"]
    lines.append(f"Frame Time: {1 / rate:.8f}")
    order = [i for i in _depth_first(0) if _CHILDREN[i]]
    angles = np.stack([turns[i].as_euler(_ORDER, degrees=True) for i in order], axis=1).reshape(len(joints), -1)
    rows = np.concatenate([100 * joints[:, 0], angles], axis=1)
    lines += [" ".join(f"{value:.5f}" for value in row) for row in rows]
    write_text(path, "\n".join(lines) + "\n")


WRITERS: dict[str, Callable[[Path, Floats, float], None]] = {"trc": write_trc, "c3d": write_c3d, "bvh": write_bvh}
"""By the ending of their files."""


def to_rotations(joints: Floats) -> tuple[Floats, list[Rotation]]:
    """A rigid skeleton that follows the joints.

    Hips and neck turn with the line across them and the spine; every other bone takes the shortest way from its
    parent's orientation, as positions don't say how it is twisted.

    Returns:
        (17, 3) places of the joints in their parents' frames, metres, and of each joint its T rotations in its
        parent's frame.
    """
    offsets, world = np.zeros((len(JOINTS), 3)), [Rotation.identity(len(joints))] * len(JOINTS)
    turns = list(world)
    for i, joint in enumerate(JOINTS):
        parent = world[joint.parent] if joint.parent >= 0 else world[0]
        if joint.name in _ROOTS:
            right, left = (PLACE[name] for name in _ROOTS[joint.name])
            spine = (
                joints[:, PLACE["Spine"]] - joints[:, 0]
                if joint.name == "Hips"
                else joints[:, i] - joints[:, joint.parent]
            )
            world[i] = _frame(joints[:, left] - joints[:, right], spine)
        elif _CHILDREN[i]:
            child = joints[:, _CHILDREN[i][0]] - joints[:, i]
            world[i] = _shortest(parent, _rest(JOINTS[_CHILDREN[i][0]].name), child)
        turns[i] = parent.inv() * world[i]
        for child_place in _CHILDREN[i]:
            local = world[i].inv().apply(joints[:, child_place] - joints[:, i])
            mean = np.median(local, axis=0)
            length = np.median(np.linalg.norm(local, axis=1))
            offsets[child_place] = mean / max(float(np.linalg.norm(mean)), 1e-9) * length
    turns[0] = world[0]
    return offsets, turns


def _rest(child: str) -> Floats:
    """The direction of a bone in the T pose, by where it ends; y is up, x to the person's left."""
    if child.startswith(("Left", "Right")) and ("Elbow" in child or "Wrist" in child):
        return np.array([1.0 if child.startswith("Left") else -1.0, 0.0, 0.0])
    return np.array([0.0, -1.0 if child.startswith(("Left", "Right")) else 1.0, 0.0])


def _frame(across: Floats, up: Floats) -> Rotation:
    """(T, 3) and (T, 3) -> rotations whose x is across and whose y is near up."""
    x = across / np.linalg.norm(across, axis=1, keepdims=True).clip(min=1e-9)
    z = np.cross(x, up)
    z /= np.linalg.norm(z, axis=1, keepdims=True).clip(min=1e-9)
    return Rotation.from_matrix(np.stack([x, np.cross(z, x), z], axis=-1))


def _shortest(parent: Rotation, rest: Floats, direction: Floats) -> Rotation:
    """From the parent's orientation on, what turns ``rest`` into (T, 3) directions."""
    local = parent.inv().apply(direction)
    local /= np.linalg.norm(local, axis=1, keepdims=True).clip(min=1e-9)
    half = np.concatenate([np.cross(rest, local), 1 + (local @ rest)[:, None]], axis=1)
    half[half[:, 3] < 1e-8] = (0.0, 0.0, 1.0, 0.0)  # straight back: any way round
    return parent * Rotation.from_quat(half)


def _depth_first(place: int) -> list[int]:
    return [place, *(other for child in _CHILDREN[place] for other in _depth_first(child))]


def _hierarchy(place: int, offsets: Floats, indent: str) -> list[str]:
    """The lines of a joint and of those below it."""
    joint, children = JOINTS[place], _CHILDREN[place]
    offset = "OFFSET " + " ".join(f"{value:.6f}" for value in offsets[place])
    if not children:
        return [f"{indent}End Site", f"{indent}{{", f"{indent}  {offset}", f"{indent}}}"]
    turns = " ".join(f"{axis}rotation" for axis in _ORDER)
    channels = f"6 Xposition Yposition Zposition {turns}" if joint.parent < 0 else f"3 {turns}"
    lines = [f"{indent}{'ROOT' if joint.parent < 0 else 'JOINT'} {joint.name}", f"{indent}{{"]
    lines += [f"{indent}  {offset}", f"{indent}  CHANNELS {channels}"]
    for child in children:
        lines += _hierarchy(child, offsets, f"{indent}  ")
    return [*lines, f"{indent}}}"]

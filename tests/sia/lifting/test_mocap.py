"""The bundled network on motion capture that it never saw: the clips of DeepMimic in pybullet's source package.

pip download --no-deps --no-binary :all: pybullet
SIA_MOCAP=pybullet-3.2.7.tar.gz python -m pytest tests/sia/lifting/test_mocap.py -s
"""

import json
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from datasets.synthetic.human.head import FACE_POINTS
from sia.io.bundled_weights import FOLDER
from sia.lifting.network import LiftingNetwork
from sia.lifting.skeleton import PLACE
from sia.lifting.tracks import resample
from stages.lifting import errors

RATE, HEAD, VIEWS = 30.0, 0.23, 16
SIDES = {"Right": (0.085, 0.183, 16, 25), "Left": (-0.085, -0.183, 30, 39)}
"""Places of hip and shoulder along z, metres, and the columns of their rotations. x is ahead, y up, z to the right."""


def points_of(frames: np.ndarray) -> np.ndarray:
    """(T, 44) seconds, place and rotations of a clip -> (T, 21, 3) at `RATE`, by pybullet's humanoid.urdf."""

    def turn(column: int) -> Rotation:
        return Rotation.from_quat(frames[:, [column + 1, column + 2, column + 3, column]])

    points = np.zeros((len(frames), 21, 3))
    hips = turn(4)
    chest = hips * turn(8)
    neck = chest * turn(12)
    points[:, PLACE["Spine"]] = hips.apply((0, 0.236, 0))
    points[:, PLACE["Neck"]] = points[:, PLACE["Spine"]] + chest.apply((0, 0.224, 0))
    head = points[:, PLACE["Neck"]] + neck.apply((0, 0.05, 0))
    for place, (x, y, z) in zip((9, 17, 18, 19, 20, 10), (*FACE_POINTS, (0, 1, 0)), strict=True):
        points[:, place] = head + neck.apply(np.array((z, y, -x)) * HEAD)
    for side, (hip, shoulder, leg, arm) in SIDES.items():
        ways = (
            (hips, 0, ("Hip", "Knee", "Ankle"), leg, ((0, 0, hip), -0.4215, -0.41)),
            (chest, PLACE["Spine"], ("Shoulder", "Elbow", "Wrist"), arm, ((-0.024, 0.2435, shoulder), -0.275, -0.259)),
        )
        for parent, base, names, column, (start, upper_length, lower_length) in ways:
            first, second, third = (PLACE[f"{side}{name}"] for name in names)
            upper = parent * turn(column)
            lower = upper * Rotation.from_rotvec(frames[:, column + 4 : column + 5] * (0, 0, 1))
            points[:, first] = points[:, base] + parent.apply(start)
            points[:, second] = points[:, first] + upper.apply((0, upper_length, 0))
            points[:, third] = points[:, second] + lower.apply((0, lower_length, 0))
    known = np.concatenate([[0], frames[:-1, 0].cumsum()])
    return resample(np.arange(0, known[-1], 1 / RATE), known, points)


def clips(package: Path) -> dict[str, np.ndarray]:
    found = {}
    with tarfile.open(package) as archive:
        for member in archive:
            name = member.name.partition("/motions/humanoid3d_")[2].removesuffix(".txt")
            file = archive.extractfile(member) if name else None
            if file is not None:
                found[name] = points_of(np.array(json.load(file)["Frames"]))
    return found


@pytest.mark.skipif("SIA_MOCAP" not in os.environ, reason="SIA_MOCAP doesn't name pybullet's source package")
def test_motion_capture_is_lifted_as_well_as_is_said() -> None:
    network = LiftingNetwork.load(FOLDER / "sia_lift.safetensors")
    found = {}
    for name, points in clips(Path(os.environ["SIA_MOCAP"])).items():
        views = torch.tensor(points, dtype=torch.float32).expand(VIEWS, -1, -1, -1)
        found[name] = errors(network, views, torch.manual_seed(1))
        print("{}: MPJPE {:.1f} mm, PA-MPJPE {:.1f} mm".format(name, *found[name]))
    assert len(found) == 15
    assert found["walk"][0] < 90 and found["jump"][0] < 100 and found["run"][0] < 110
    assert max(plain for plain, _ in found.values()) < 200

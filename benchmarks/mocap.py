"""Motion capture to measure lifting on: the clips of DeepMimic in pybullet's source package.

pip download --no-deps --no-binary :all: pybullet
python benchmarks/mocap.py pybullet-3.2.7.tar.gz --output mocap
python scripts/train_lifting.py --output lift.safetensors --test mocap/*.npz
"""

from __future__ import annotations

import argparse
import json
import sys
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.common import launch

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

_RATE, _HEAD = 30.0, 0.23
_SIDES = {"Right": (0.085, 0.183, 16, 25), "Left": (-0.085, -0.183, 30, 39)}
"""Places of hip and shoulder along z, metres, and the columns of their rotations. x is ahead, y up, z to the right."""


def points_of(frames: Floats) -> Floats:
    """(T, 44) seconds, place and rotations of a clip -> (T, 21, 3) at `_RATE`, by pybullet's humanoid.urdf."""
    import numpy as np
    from scipy.spatial.transform import Rotation

    from datasets.synthetic.human.head import FACE_POINTS
    from sia.lifting.skeleton import PLACE
    from sia.lifting.tracks import resample

    def turn(column: int) -> Any:
        return Rotation.from_quat(frames[:, [column + 1, column + 2, column + 3, column]])

    points = np.zeros((len(frames), 21, 3))
    hips = turn(4)
    chest = hips * turn(8)
    neck = chest * turn(12)
    points[:, PLACE["Spine"]] = hips.apply((0, 0.236, 0))
    points[:, PLACE["Neck"]] = points[:, PLACE["Spine"]] + chest.apply((0, 0.224, 0))
    head = points[:, PLACE["Neck"]] + neck.apply((0, 0.05, 0))
    for place, (x, y, z) in zip((9, 17, 18, 19, 20, 10), (*FACE_POINTS, (0, 1, 0)), strict=True):
        points[:, place] = head + neck.apply(np.array((z, y, -x)) * _HEAD)
    for side, (hip, shoulder, leg, arm) in _SIDES.items():
        for parent, base, names, column, offsets in (
            (hips, 0, ("Hip", "Knee", "Ankle"), leg, ((0, 0, hip), (0, -0.4215, 0), (0, -0.41, 0))),
            (
                chest, PLACE["Spine"], ("Shoulder", "Elbow", "Wrist"), arm,
                ((-0.024, 0.2435, shoulder), (0, -0.275, 0), (0, -0.259, 0)),
            ),
        ):  # fmt: skip
            first, second, third = (PLACE[f"{side}{name}"] for name in names)
            upper = parent * turn(column)
            lower = upper * Rotation.from_rotvec(frames[:, column + 4 : column + 5] * (0, 0, 1))
            points[:, first] = points[:, base] + parent.apply(offsets[0])
            points[:, second] = points[:, first] + upper.apply(offsets[1])
            points[:, third] = points[:, second] + lower.apply(offsets[2])
    known = np.concatenate([[0], frames[:-1, 0].cumsum()])
    return resample(np.arange(0, known[-1], 1 / _RATE), known, points)


def run(args: argparse.Namespace) -> None:
    """Writes a file a clip."""
    import numpy as np

    args.output.mkdir(parents=True)
    with tarfile.open(args.package) as archive:
        for member in archive:
            clip = member.name.partition("/motions/humanoid3d_")[2]
            file = archive.extractfile(member) if clip else None
            if file is not None:
                points = points_of(np.array(json.load(file)["Frames"]))
                np.savez(args.output / Path(clip).stem, joints=points, rate=_RATE)
                print(f"{clip}: {len(points) / _RATE:.1f} s")


def _flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("package", type=Path, metavar="PYBULLET.tar.gz", help="its source package")
    parser.add_argument("--output", type=Path, required=True, help="a new folder")


if __name__ == "__main__":
    sys.exit(launch(__doc__, _flags, run))

"""`sia lift`: tracked people of a video in 3D."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sia.errors import ConfigError, SiaError, unknown
from sia.io.bundled_weights import FOLDER
from sia.io.input_file import check_input_file
from sia.io.optional import need, need_extra

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from sia.lifting.network import LiftingNetwork
    from sia.lifting.tracks import Track

KINDS = ("json", "trc", "bvh", "c3d", "picture")
_TALLEST = 3.0


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Those of `sia lift`."""
    parser.add_argument("results", metavar="RESULTS.jsonl", type=Path, help="of sia predict VIDEO --track")
    parser.add_argument(
        "--height", type=_height, default=1.7, metavar="METRES", help="of the people: it sets the scale (default: 1.7)",
    )  # fmt: skip
    parser.add_argument(
        "--id", type=int, action="append", metavar="N", help="of one person; may be repeated (default: all)"
    )
    parser.add_argument(
        "--save", type=_kinds, default=("json", "trc", "bvh", "picture"), metavar="KIND,KIND",
        help=f"what is written, of {', '.join(KINDS)} (default: all but c3d)",
    )  # fmt: skip
    parser.add_argument(
        "--lift_weights", type=Path, default=FOLDER / "sia_lift.safetensors", metavar="FILE",
        help="made by scripts/train_lifting.py (default: those that are bundled)",
    )  # fmt: skip
    parser.add_argument("--output_dir", type=Path, metavar="FOLDER", help="default: runs/lift-1, 2, ...")


def _height(text: str) -> float:
    value = float(text)
    if not 0 < value <= _TALLEST:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and {_TALLEST} metres")
    return value


def _kinds(text: str) -> tuple[str, ...]:
    kinds = tuple(dict.fromkeys(text.split(",")))
    for kind in kinds:
        if kind not in KINDS:
            raise argparse.ArgumentTypeError(unknown("the kind", kind, KINDS))
    return kinds


def run(args: argparse.Namespace) -> None:
    """Lifts, and says what was written.

    Raises:
        SiaError: the rows or the weights can't be used, a package is missing, or nothing can be written.
    """
    check_input_file(args.results, "Make it with sia predict VIDEO --track.")
    need_extra("lift", "sia lift")
    if "c3d" in args.save:
        need("ezc3d", "--save c3d")
    from sia.commands.run import output_folder, remove_if_empty
    from sia.lifting.network import LiftingNetwork
    from sia.lifting.tracks import read_tracks, video_of

    tracks = read_tracks(args.results)
    chosen = [track for track in tracks if args.id is None or track.id in args.id]
    missing = sorted(set(args.id or ()) - {track.id for track in tracks})
    if missing:
        raise ConfigError(f"--id {missing[0]} is not there. {args.results} has {', '.join(str(t.id) for t in tracks)}.")
    network = LiftingNetwork.load(args.lift_weights)
    folder = output_folder(args.output_dir, "lift")
    with remove_if_empty(folder):
        files = _write(args, chosen, network, folder, video_of(args.results))
    print(f"{len(chosen)} people lifted, {sum(len(track.frames) for track in chosen)} poses. Written:")
    for file in files:
        print(file.resolve())


def lift_track(track: Track, network: LiftingNetwork, height: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(T,) seconds at the network's rate, and (T, 17, 3) metres: x right, y up, z towards the viewer, hips at 0."""
    import numpy as np
    import torch

    from sia.lifting.network import RATE
    from sia.lifting.skeleton import BODY_SHARE

    times, keypoints, confidences = track.every(RATE)
    joints = network.lift(torch.tensor(keypoints, dtype=torch.float32), torch.tensor(confidences, dtype=torch.float32))
    return times, joints.double().numpy() * np.array([1.0, -1.0, -1.0]) * BODY_SHARE * height


def _write(
    args: argparse.Namespace, tracks: Sequence[Track], network: LiftingNetwork, folder: Path, video: str
) -> list[Path]:
    """All files; their paths."""
    from sia.lifting.motion_files import WRITERS
    from sia.lifting.network import RATE
    from sia.lifting.tracks import resample

    files: list[Path] = []
    rows: dict[int, dict[str, Any]] = {}
    for track in tracks:
        times, joints = lift_track(track, network, args.height)
        for kind in args.save:
            if kind in WRITERS:
                files.append(folder / f"{args.results.stem}-{track.id}.{kind}")
                WRITERS[kind](files[-1], joints, RATE)
        seen = resample(track.times, times, joints)
        for frame, time, pose in zip(track.frames.tolist(), track.times.tolist(), seen.round(4).tolist(), strict=True):
            row = rows.setdefault(frame, {"frame": frame, "time": round(time, 6), "people": []})
            row["people"].append({"id": track.id, "joints": pose})
    if "json" in args.save:
        files += _write_rows(args, folder, rows)
    if "picture" in args.save:
        files.append(folder / f"{args.results.stem}.png")
        _draw(files[-1], tracks, rows, video)
    return files


def _write_rows(args: argparse.Namespace, folder: Path, rows: dict[int, dict[str, Any]]) -> list[Path]:
    from sia.io.output_file import write_json
    from sia.io.results import JsonLines
    from sia.lifting.skeleton import JOINTS

    path, about = folder / f"{args.results.stem}-3d.jsonl", folder / "run.json"
    with JsonLines(path) as lines:
        for frame in sorted(rows):
            lines.write(rows[frame])
    description = {
        "format": "sia_pose_3d/1",
        "joints": [joint.name for joint in JOINTS],
        "parents": [joint.parent for joint in JOINTS],
        "coordinates": "metres from the middle of the hips, along the line of sight to the person: x to the viewer's "
        "right, y up, z towards the viewer; where the person is in the room is not known",
        "height": args.height,
        "lifted": str(args.results),
        "weights": str(args.lift_weights),
    }
    write_json(about, description, indent=1)
    return [path, about]


def _draw(path: Path, tracks: Sequence[Track], rows: dict[int, dict[str, Any]], video: str) -> None:
    """The surest pose of all; without the frame where the video can't be read any more."""
    import numpy as np

    from sia.lifting.picture import draw_picture

    sure = [track.confidences.mean(axis=1) for track in tracks]
    best = max(range(len(tracks)), key=lambda i: sure[i].max())
    track, place = tracks[best], int(sure[best].argmax())
    number = int(track.frames[place])
    joints = next(person["joints"] for person in rows[number]["people"] if person["id"] == track.id)
    draw_picture(path, _frame(video, number), track.keypoints[place], np.array(joints))


def _frame(video: str, number: int) -> NDArray[np.uint8] | None:
    if not os.path.isfile(video):  # noqa: PTH113 (it may be an address)
        return None
    try:
        need_extra("video", "the picture's frame")
        from sia.video.reader import VideoReader

        with VideoReader(video) as reader:
            return next((frame.image for frame in reader if frame.number == number), None)
    except SiaError:
        return None

"""Runs an inference entry point, with weights chosen where none are named: the newest that a training left.

python scripts/launch_inference.py inference_image_pose.py --image_path photo.jpg
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from sia.commands.parser import Parser

ROOT = Path(__file__).resolve().parents[1]

FINDERS = ("--weight_path", "--pipeline")
"""Flags that name what finds people."""


def newest_weights(folders: Sequence[Path]) -> Path | None:
    """The newest best.pt of all runs below the folders."""
    found = [path for folder in folders for path in folder.glob("runs/*/weights/best.pt")]
    return max(found, key=lambda path: path.stat().st_mtime, default=None)


def with_weights(flags: Sequence[str]) -> list[str]:
    """The flags, and ``--weight_path`` if none of `FINDERS` is among them and there is a run."""
    named = any(flag.partition("=")[0] in FINDERS for flag in flags)
    if named or {"-h", "--help"} & set(flags):
        return list(flags)
    weights = newest_weights([Path.cwd(), ROOT])
    if weights is None:  # the entry point takes the bundled ones
        return list(flags)
    print(f"No --weight_path: taking the newest, {weights}", flush=True)
    return [*flags, "--weight_path", str(weights)]


if __name__ == "__main__":
    parser = Parser(description=__doc__.splitlines()[0])
    parser.add_argument("script", help="inference_image_pose.py or inference_video_pose.py")
    parser.add_argument("flags", nargs=argparse.REMAINDER, help="its flags")
    args = parser.parse_args()
    os.execv(sys.executable, [sys.executable, args.script, *with_weights(args.flags)])

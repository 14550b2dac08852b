"""`sia evaluate` from a clone: COCO keypoint AP and AR, and what is wrong, of weights or of any COCO results file.

python scripts/evaluate.py --weight_path runs/.../weights/best.pt --coco_root images --ann_file val.json
torchrun --nproc_per_node=4 scripts/evaluate.py --weight_path ... --coco_root ... --ann_file ...
python scripts/evaluate.py --results results.json --ann_file val.json
python scripts/evaluate.py --results before.json --compare after.json --ann_file val.json
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from sia.commands.evaluate import add_flags, run
from sia.commands.parser import Parser
from sia.errors import exit_status


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; bad input ends in one line and status 1."""
    parser = Parser(description="COCO keypoint AP and AR, and what is wrong, of weights or of any COCO results file.")
    add_flags(parser)
    args = parser.parse_args(argv)
    return exit_status(lambda: run(args))


if __name__ == "__main__":
    sys.exit(main())

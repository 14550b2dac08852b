"""Looks through COCO keypoint annotations and their images for everything that harms a training or an evaluation.

python scripts/validate_annotations.py --img_dir data/images --ann_file data/train.json
python scripts/validate_annotations.py --img_dir data/images --ann_file data/train.json --other_ann_file data/val.json
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from sia.coco.coco_files import write_annotations
from sia.commands.parser import Parser, add_max_pixels
from sia.errors import ConfigError, exit_status
from sia.io.input_file import check_input_file, check_input_folder, set_pixel_limit
from sia.io.output_file import named_folder, numbered_folder

if TYPE_CHECKING:  # the checks load torch; what is wrong with the flags is said first
    from datasets.validation import ValidationReport

EPILOG = """exit status:
  0  no error was found (warnings and notes there may be)
  1  errors were found
  2  the check could not be done: wrong flags, no such file, no place to write"""


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The flags, from the command line by default."""
    parser = Parser(
        description="Checks COCO keypoint annotations and their images, and writes a report to look through.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--img_dir", type=Path, required=True, metavar="DIR", help="folder of the images, or COCO's root folder")
    add("--ann_file", type=Path, required=True, metavar="FILE", help="COCO keypoint annotations (json)")
    add("--output_dir", type=Path, metavar="DIR", help="new folder of the report (default: runs/validate-N)")
    add("--num_samples", type=int, default=60, metavar="N", help="images in the report, faulty first (default: 60)")
    add("--other_ann_file", type=Path, metavar="FILE", help="annotations of another split: find what both share")
    add("--other_img_dir", type=Path, metavar="DIR", help="folder of its images (default: that of --img_dir)")
    add("--results", type=Path, metavar="FILE", help="COCO results of a model on these images: ask it as well")
    add("--fix", action="store_true", help="write a copy of the annotations with the safe repairs into the report")
    add("--workers", type=int, default=4, metavar="N", help="threads that read images (default: 4)")
    add_max_pixels(parser)
    return parser.parse_args(argv)


def check_args(args: argparse.Namespace) -> None:
    """What can be known before any work is done.

    Raises:
        ConfigError: a value or a file that can't work.
    """
    for name, least in (("num_samples", 0), ("workers", 1)):
        if getattr(args, name) < least:
            raise ConfigError(f"--{name} must be {least} or more, but got {getattr(args, name)}.")
    if args.other_img_dir is not None and args.other_ann_file is None:
        raise ConfigError("--other_img_dir needs --other_ann_file, the annotations of the other split.")
    for name in ("ann_file", "other_ann_file", "results", "img_dir", "other_img_dir"):
        path, check = getattr(args, name), check_input_folder if name.endswith("dir") else check_input_file
        if path is not None:
            check(path, f"Check --{name}.", ConfigError)


def run(args: argparse.Namespace) -> ValidationReport:
    """Checks, writes and prints."""
    from datasets.validation import validate
    from datasets.validation.report import write_report

    other = None if args.other_ann_file is None else (args.other_ann_file, args.other_img_dir or args.img_dir)
    with tqdm(desc="images", unit="img", leave=False, disable=None) as bar:
        report_data = validate(args.ann_file, args.img_dir, other, args.results, args.workers, bar.update)
    print(describe(report_data, args.ann_file), flush=True)
    folder = named_folder(args.output_dir) if args.output_dir is not None else numbered_folder(Path("runs"), "validate")
    repaired = write_repairs(report_data, folder, args.ann_file) if args.fix else None
    write_report(report_data, folder, args.num_samples, repaired)
    print(f"Report: {(folder / 'index.html').resolve()}")
    return report_data


def describe(report_data: ValidationReport, file: Path) -> str:
    """The findings by check as a table, and the verdict."""
    from datasets.validation import CHECKS, Severity

    lines, held = [str(file)], report_data.statistics
    if held is not None:
        lines[0] += f": {held.images} images, {held.people} people, {held.posed} with keypoints"
    for name, count in report_data.counts().items():
        lines.append(f"  {CHECKS[name].severity.value:<8} {count:>7}  {name:<22} {CHECKS[name].title}")
    errors, warnings, notes = (report_data.total(severity) for severity in Severity)
    return "\n".join([*lines, f"{errors} errors, {warnings} warnings, {notes} notes"])


def write_repairs(report_data: ValidationReport, folder: Path, file: Path) -> dict[str, int]:
    """Writes the repaired copy, where there is something to repair.

    Raises:
        OutputError: it can't be written, or holds NaN, which JSON doesn't have.
    """
    from datasets.validation.fixes import fix

    data = report_data.data
    content, made = fix(data, report_data.infos, report_data.issues) if data is not None else ({}, {})
    if not made:
        print("Nothing that --fix repairs was found: no copy was written.")
        return made
    path = folder / f"{file.stem}_fixed.json"
    write_annotations(path, content)
    print("Repaired:", ", ".join(f"{count} {name}" for name, count in made.items()))
    print(f"Copy: {path.resolve()}")
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    args = parse_args(argv)

    def job() -> int:
        set_pixel_limit(args.max_pixels)
        check_args(args)
        from datasets.validation import Severity

        return int(run(args).total(Severity.ERROR) > 0)

    return exit_status(job, failed=2)


if __name__ == "__main__":
    sys.exit(main())

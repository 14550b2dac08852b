"""Pictures in, annotated pictures and COCO results out."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from stages.inference_flags import KEYPOINT, SCORE
from stages.inference_run import announce, describe_run, output_folder, remove_if_empty
from stages.interruption import Interruption, sigterm_like_ctrl_c
from stages.predictor import Predictor
from stages.words.picture import describe_picture, make_model, write_words
from stages.words.writer import Writer
from utils.drawing import Image, PoseArtist
from utils.errors import DataError
from utils.images import find_images, read_image, write_image
from utils.output import write_json
from utils.results import Row, coco_rows, number_images, write_coco_results
from utils.structures import People

if TYPE_CHECKING:
    from stages.finished import FinishedPipeline

Find = Callable[[Sequence[Path], Sequence[Image]], tuple[list[People], float]]
"""Files and what they show -> everybody in each, and the milliseconds that a picture took."""


@dataclass
class Tally:
    """What has been done so far."""

    rows: list[Row] = field(default_factory=list)
    images: list[Row] = field(default_factory=list)
    unreadable: list[Row] = field(default_factory=list)
    described: list[Row] = field(default_factory=list)
    written: list[Path] = field(default_factory=list)
    people: int = 0
    milliseconds: float = 0.0


class ImageJob:
    """Pictures in, files out.

    Args:
        args: the flags.
        predictor: the model.
        find: finds people with it.
        files: the pictures.
        folder: of the output; exists and is empty.
        writer: puts people into words; None without --describe.
    """

    def __init__(
        self,
        args: argparse.Namespace,
        predictor: Predictor,
        find: Find,
        files: Sequence[Path],
        folder: Path,
        writer: Writer | None = None,
    ) -> None:
        self.args = args
        self.writer = writer
        self.predictor = predictor
        self.find = find
        self.files = files
        self.folder = folder
        self.artist = PoseArtist(predictor.skeleton, args.kpt_thresh)
        self.ids = number_images(files)
        self.tally = Tally()
        self.names = _output_names(files)

    def run(self, interruption: Interruption) -> None:
        """All batches, or those before the user stops it."""
        size = self.args.batch_size
        for first in range(0, len(self.files), size):
            if interruption.signal:
                return
            self._batch(range(first, min(first + size, len(self.files))))

    def _batch(self, numbers: range) -> None:
        images = {number: image for number in numbers if (image := self._read(number)) is not None}
        found, each = self.find([self.files[number] for number in images], list(images.values()))
        self.tally.milliseconds += each * len(images)
        for (number, image), people in zip(images.items(), found, strict=True):
            kept = people.above(self.args.conf_thresh)
            self._save(number, image, kept)
            self._say(number, f"{_count(len(kept))}, {each:.0f} ms")

    def _read(self, number: int) -> Image | None:
        try:
            return read_image(self.files[number])
        except DataError as error:
            if len(self.files) == 1:
                raise
            self.tally.unreadable.append({"file": str(self.files[number]), "error": str(error)})
            print(f"error: {error}", file=sys.stderr, flush=True)
            return None

    def _say(self, number: int, text: str) -> None:
        total = str(len(self.files))
        print(f"[{number + 1:>{len(total)}}/{total}] {self.files[number]}: {text}", flush=True)

    def _save(self, number: int, image: Image, people: People) -> None:
        path = self.folder / self.names[number]
        write_image(path, self.artist.draw(image, people))
        height, width = image.shape[:2]
        entry = {"id": self.ids[number], "file_name": str(self.files[number]), "width": width, "height": height}
        self.tally.images.append({**entry, "people": len(people), "annotated": path.name})
        self.tally.rows += coco_rows(people, self.ids[number])
        self.tally.written.append(path)
        self.tally.people += len(people)
        if self.writer is not None:
            rows = describe_picture(self.writer, self.predictor.skeleton, people, self.args.kpt_thresh)
            described = {"image_id": self.ids[number], "name": path.name, "file_name": str(self.files[number])}
            self.tally.described.append({**described, "people": rows})

    def save_results(self, complete: bool) -> None:
        """results.json, for COCO's tools, and run.json, which says how to read it."""
        results, sidecar = self.folder / "results.json", self.folder / "run.json"
        write_coco_results(results, self.tally.rows)
        header = describe_run(self.predictor, self.args)
        if self.writer is not None and self.writer.model is not None:
            header["words"] = self.writer.tally.figures()
        state = {"complete": complete, "unreadable": self.tally.unreadable, "images": self.tally.images}
        write_json(sidecar, {**header, **state}, indent=1)
        if self.writer is not None:
            write_words(self.folder, self.tally.described)
        self.tally.written += [results, sidecar]


def _output_names(files: Sequence[Path]) -> list[str]:
    """The pictures' own names, as .png or .jpg, told apart where two of different folders or formats are the same."""
    taken = {"results.json", "run.json", "facts.json"}
    names = []
    for file in files:
        suffix = ".png" if file.suffix.lower() == ".png" else ".jpg"
        name, copy = f"{file.stem}{suffix}", 1
        while name.lower() in taken:
            copy += 1
            name = f"{file.stem}-{copy}{suffix}"
        taken.add(name.lower())
        names.append(name)
    return names


def _count(people: int) -> str:
    return f"{people} {'person' if people == 1 else 'people'}"


def run(args: argparse.Namespace) -> int:
    """The whole job; returns the exit status."""
    files = find_images(args.image_path)
    model = make_model(args.llm, args.llm_url)
    pipeline = open_pipeline(args)
    fill_thresholds(args, pipeline)
    predictor = Predictor.load(args.weight_path, args.device, args.imgsz, args.look_thresh)
    announce(predictor)
    folder = output_folder(args.output_dir, "inference-image")
    with remove_if_empty(folder):
        find = find_with(predictor) if pipeline is None else find_through(pipeline, files)
        writer = Writer(model, folder / "answers", args.llm_people, _warn) if args.describe else None
        job = ImageJob(args, predictor, find, files, folder, writer)
        return carry_out(job)


def carry_out(job: ImageJob) -> int:
    """All pictures, or those before a signal; returns the exit status."""
    with Interruption() as interruption:
        job.run(interruption)
        done = len(job.tally.images) + len(job.tally.unreadable)
        job.save_results(complete=done == len(job.files))
    _summarise(job)
    if interruption.signal:
        print("Stopped early; the results so far are complete files.", file=sys.stderr)
        return 130
    return 1 if job.tally.unreadable else 0


def fill_thresholds(args: argparse.Namespace, pipeline: FinishedPipeline | None) -> None:
    """Those that were not given."""
    score, keypoint = SCORE, KEYPOINT
    if pipeline is not None and None in (args.conf_thresh, args.kpt_thresh):
        display = pipeline.display()
        score, keypoint = display.score, display.keypoint
    args.conf_thresh = score if args.conf_thresh is None else args.conf_thresh
    args.kpt_thresh = keypoint if args.kpt_thresh is None else args.kpt_thresh


def open_pipeline(args: argparse.Namespace) -> FinishedPipeline | None:
    """That of ``--pipeline``, whose weights become those to take.

    Raises:
        SiaError: it can't be used.
    """
    if args.pipeline is None:
        return None
    from stages.finished import FinishedPipeline  # brings all of training, which pictures alone don't need

    pipeline = FinishedPipeline.open(args.pipeline, args.device, args.batch_size)
    args.weight_path = pipeline.weights
    return pipeline


def find_with(predictor: Predictor) -> Find:
    """The model alone, batch by batch."""

    def find(files: Sequence[Path], images: Sequence[Image]) -> tuple[list[People], float]:
        begin = time.perf_counter()
        people = predictor.predict(images)
        return people, (time.perf_counter() - begin) * 1000 / max(len(images), 1)

    return find


def find_through(pipeline: FinishedPipeline, files: Sequence[Path]) -> Find:
    """What the pipeline finds in all files, before the first is drawn."""
    print(pipeline.describe(), flush=True)
    begin = time.perf_counter()
    with sigterm_like_ctrl_c():
        people = pipeline.find(files, lambda line: print(line, flush=True))
    each = (time.perf_counter() - begin) * 1000 / len(files)
    return lambda files, images: ([people[file] for file in files], each)


def _warn(line: str) -> None:
    print(f"WARNING: {line}", file=sys.stderr, flush=True)


def _summarise(job: ImageJob) -> None:
    tally = job.tally
    mean = tally.milliseconds / max(len(tally.images), 1)
    print(
        f"{len(tally.images)} of {len(job.files)} pictures, {_count(tally.people)} with a score of "
        f"{job.args.conf_thresh:.3g} or more, {mean:.0f} ms a picture, {len(tally.unreadable)} unreadable. Written:"
    )
    paths, results = [str(path.resolve()) for path in tally.written[:-2]], tally.written[-2:]
    print("\n".join(paths if len(paths) <= 20 else [f"{len(paths)} pictures in {job.folder.resolve()}"]))
    print("\n".join(str(path.resolve()) for path in results))
    if job.writer is not None:
        print(f"{(job.folder / 'facts.json').resolve()}\n{(job.folder / 'text').resolve()}")

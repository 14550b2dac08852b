"""Images in, annotated images and results out."""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from sia.coco.image_ids import ImageIds
from sia.commands.jobs.image_output import ImageOutput
from sia.commands.jobs.run import Timings, announce, describe_run, load_predictor, output_folder, remove_if_empty
from sia.commands.pipeline import open_pipeline
from sia.commands.predict import BATCH, fill_thresholds
from sia.commands.signals import SignalHandler
from sia.description.doubt import Doubt
from sia.description.image import describe_image, heading, make_model, write_words
from sia.description.writer import DescriptionWriter
from sia.drawing.annotator import Image, PoseAnnotator
from sia.drawing.faces import LEAST, blur_boxes, head_boxes
from sia.drawing.window import Window
from sia.errors import DISK_FULL, DataError, OutputError, SiaError, first_line, warn
from sia.formats.door import Results, Target
from sia.formats.writer import About, Record
from sia.io.image_folder import common_folder, find_images, name_below, readable, watch_folder
from sia.io.input_file import set_pixel_limit
from sia.io.remote import is_one_image, name_in, read_named
from sia.io.results import Row
from sia.people import People, Source
from sia.runtimes.predictor import Predictor
from sia.runtimes.views import Find, look_twice

ROOM = 96_000_000
"""Bytes of images beyond which a batch takes no more: memory must not grow with their size times --batch_size."""


class ImageJob:
    """Images in, files out.

    Args:
        args: the flags.
        predictor: the model.
        find: finds the people of images: the model's own `Predictor.predict`, or a pipeline's.
        ids: the images, and what their results are written under.
        output: the folder.
        writer: puts people into words; None without --describe.
    """

    def __init__(
        self,
        args: argparse.Namespace,
        predictor: Predictor,
        find: Find,
        ids: ImageIds,
        output: ImageOutput,
        writer: DescriptionWriter | None = None,
    ) -> None:
        self.args = args
        self.predictor = predictor
        self.ids = ids
        self.files = list(ids.of)
        self.top = common_folder(self.files) if self.files else Path(args.image_path).absolute()
        self.output = output
        self.writer = writer
        self.find = find
        self.more: Iterable[Path | None] = watch_folder(args.image_path) if args.watch else ()
        self.name = args.image_path if is_one_image(args.image_path) else ""
        self.window = Window("SIA Pose", args.show)
        self.annotator = PoseAnnotator(predictor.skeleton, args.kpt_thresh)
        self.timings = Timings()
        self.described: list[Row] = []
        self.written: list[Path] = []
        self.people = 0

    def run(self, interruption: SignalHandler) -> None:
        """All batches, or those before the user stops it."""
        for batch in self._batches():
            if batch:
                self._do(batch)
            if interruption.signal:
                return

    def _do(self, batch: dict[int, Image]) -> None:
        begin = time.perf_counter()
        found = self.find(list(batch.values()))
        seconds = time.perf_counter() - begin
        is_first = self.timings.add_batch(seconds, len(batch))
        time_taken = _time_of(seconds, len(batch), is_first and len(batch) < len(self.files))
        for number, people in zip(list(batch), found, strict=True):
            if self.args.blur:
                doubtful = people.above(LEAST * self.args.conf_thresh)
                blur_boxes(batch[number], head_boxes(doubtful, self.predictor.skeleton))
            kept = people.above(self.args.conf_thresh)
            self._finish(number, batch.pop(number), kept, time_taken)
            if self.output.is_due():
                self.output.describe(self.header())

    def _batches(self) -> Iterator[dict[int, Image]]:
        """Images by number, read as they are needed."""
        size = self.args.batch_size or (1 if self.predictor.device.type == "cpu" else BATCH)
        batch: dict[int, Image] = {}
        for number in self._numbers():
            image = None if number is None else self._read(number)
            if number is not None and image is not None:
                batch[number] = image
            del image  # the batch alone may hold it
            if number is None or len(batch) == size or sum(image.nbytes for image in batch.values()) >= ROOM:
                yield batch
                batch = {}
        if batch:
            yield batch

    def _numbers(self) -> Iterator[int | None]:
        """Those of `files`, and of those that come; None where none has come."""
        yield from range(len(self.files))
        for file in self.more:
            if file is not None:
                self.files.append(file)
                self.ids.of[file] = len(self.files)
            yield None if file is None else len(self.files) - 1

    def _read(self, number: int) -> Image | None:
        try:
            with self.timings.measure("reading"):
                return read_named(self.name or str(self.files[number]), self.warn)
        except DataError as error:
            self._note(number, error, str(error))
            return None

    def _finish(self, number: int, image: Image, people: People, time_taken: str) -> None:
        """Writes and says everything about one image."""
        try:
            source = Source(self.predictor.skeleton, (image.shape[0], image.shape[1]), str(self.files[number]))
            people = replace(people, source=source)
            with self.timings.measure("writing"):
                path = self._save(number, image, people)
            self._say(number, f"{_count(len(people))}, {time_taken}")
            self._describe(number, path, people)
        except (KeyboardInterrupt, BrokenPipeError):
            raise
        except Exception as error:
            if getattr(error.__cause__, "errno", None) in DISK_FULL:
                raise
            text = str(error) if isinstance(error, SiaError) else f"{type(error).__name__}: {first_line(error)}"
            self._note(number, error, text if str(self.files[number]) in text else f"{self.files[number]}: {text}")

    def _note(self, number: int, error: Exception, text: str) -> None:
        """An image that can't be done costs itself; where it is the only one, the error is the answer."""
        if len(self.files) == 1 and not self.args.watch:
            raise error
        self.output.tally.unreadable.append({"file": readable(self.files[number]), "error": readable(text)})
        print(f"error: {text}", file=sys.stderr, flush=True)

    def warn(self, line: str) -> None:
        """Says it, and puts it into run.json."""
        self.output.tally.warnings.append(readable(line))
        warn(line)

    def _say(self, number: int, text: str) -> None:
        total = str(len(self.files))
        print(f"[{number + 1:>{len(total)}}/{total}] {self.files[number]}: {text}", flush=True)

    def _save(self, number: int, image: Image, people: People) -> Path:
        file = self.files[number]
        image_id, name = self.ids.of[file], readable(file)
        drawn = self.annotator.draw(image, people, in_place=True)
        self.window.show(drawn)
        path = self.output.write(file, drawn)
        self.written.append(path)
        height, width = image.shape[:2]
        entry = {"id": image_id, "file_name": name, "width": width, "height": height}
        entry |= {"people": len(people), "annotated": readable(path.name)}
        self.output.results.add(Record(people, image_id, name_below(file, self.top)))
        self.output.tally.images.append(entry)
        self.people += len(people)
        return path

    def _describe(self, number: int, path: Path, people: People) -> None:
        """A line a person, or what can be said of each."""
        skeleton, threshold = self.predictor.skeleton, self.args.kpt_thresh
        if self.writer is None:
            for row in range(len(people)):
                _tell(heading(skeleton, people, row, threshold))
            return
        rows = describe_image(self.writer, skeleton, people, threshold, tell=_tell)
        file = self.files[number]
        described = {"image_id": self.ids.of[file], "name": path.name, "file_name": readable(file)}
        self.described.append({**described, "people": rows})

    def header(self) -> Row:
        """How run.json begins."""
        header = describe_run(self.predictor, self.args)
        header["milliseconds"] = self.timings.medians()
        if self.writer is not None and self.writer.model is not None:
            header["words"] = self.writer.tally.figures()
        return header


def _time_of(seconds: float, images: int, is_warm_up: bool) -> str:
    each = f"{1000 * seconds / images:.0f} ms"
    notes = [f"{images} at once"] * (images > 1) + ["with warm-up"] * is_warm_up
    return f"{each} ({', '.join(notes)})" if notes else each


def _tell(text: str) -> None:
    print(f"  {text}", flush=True)


def _count(people: int) -> str:
    return f"{people} {'person' if people == 1 else 'people'}"


def run(args: argparse.Namespace, targets: Sequence[Target]) -> int:
    """The whole job; returns the exit status."""
    set_pixel_limit(args.max_pixels)
    warnings: list[str] = []
    if is_one_image(args.image_path):  # told under a name
        files = [Path("stdin" if args.image_path == "-" else name_in(args.image_path) or "image")]
    else:
        files = [] if args.watch else find_images(args.image_path, warnings.append)
    model, pipeline = make_model(args.llm, args.llm_url, device=args.device), None
    if args.pipeline is not None:
        pipeline = open_pipeline(args.pipeline, args.device, args.batch_size or BATCH)
        args.weight_path = pipeline.weights
        if None in (args.conf_thresh, args.kpt_thresh):
            display = pipeline.display()
            fill_thresholds(args, display.score, display.keypoint)
    fill_thresholds(args)
    predictor = load_predictor(args.weight_path, args.device, args)
    if args.describe:
        predictor.skeleton.refuse_several("--describe")
    ids = choose_ids(files, args.ann_file, predictor, warnings)
    announce(predictor)
    if pipeline is not None:
        print(pipeline.describe(), flush=True)
    folder = output_folder(args.output_dir, "inference-image")
    with remove_if_empty(folder):
        find = predictor.predict if pipeline is None else pipeline.finder(predictor)
        doubt = Doubt(args.llm_below, args.llm_agree)
        if model is not None and pipeline is None and doubt.agree > 0 and predictor.skeleton.mirrors:
            find = look_twice(find, predictor.skeleton)
        writer = DescriptionWriter(model, folder / "answers", args.llm_people, warn, doubt) if args.describe else None
        about = About(predictor.skeleton, args.kpt_thresh, ids.category)
        results = Results(targets, folder, "results", about)
        job = ImageJob(args, predictor, find, ids, ImageOutput(folder, results), writer)
        for line in warnings:
            job.warn(line)
        with job.window:
            status = carry_out(job)
            if status != 130:
                job.window.wait()
        return status


def choose_ids(files: Sequence[Path], ann_file: Path | None, predictor: Predictor, warnings: list[str]) -> ImageIds:
    """Those of the annotation file, or numbers; what is not in the file is left out, and said."""
    if ann_file is None:
        return ImageIds.numbered(files)
    ids = ImageIds.annotated(files, ann_file, predictor.skeleton)
    absent = [path.name for path in files if path not in ids.of]
    if absent:
        some = ", ".join(absent[:5]) + (f" and {len(absent) - 5} more" if len(absent) > 5 else "")
        warnings.append(f"{some} left out: not among the images of {ann_file}.")
    return ids


def carry_out(job: ImageJob) -> int:
    """All images, or those before a signal or an error; returns the exit status."""
    with SignalHandler() as interruption:
        try:
            job.run(interruption)
        except BaseException:
            if job.output.tally.images:
                with contextlib.suppress(OutputError, OSError):  # which mustn't hide the error
                    job.output.close(job.header(), complete=False)
                _write_words(job)
            raise
        tried = len(job.output.tally.images) + len(job.output.tally.unreadable)
        job.output.close(job.header(), complete=tried == len(job.files))
        _write_words(job)
    _summarise(job)
    if interruption.signal:
        print("Stopped early; the results so far are complete files.", file=sys.stderr)
        return 130
    return 1 if job.output.tally.unreadable else 0


def _write_words(job: ImageJob) -> None:
    if job.writer is not None:
        write_words(job.output.folder, job.described)


def _summarise(job: ImageJob) -> None:
    tally, times = job.output.tally, job.timings.medians()
    print(
        f"{len(tally.images)} of {len(job.files)} images, {_count(job.people)} with a score of "
        f"{job.args.conf_thresh:.3g} or more, {len(tally.unreadable)} unreadable."
    )
    if tally.images:
        print(
            f"Median of an image: model {times['model']:.0f} ms, reading {times['reading']:.0f} ms, drawing and "
            f"writing {times['writing']:.0f} ms. The model's first batch: {times['first_batch']:.0f} ms an image."
        )
    print("Written:")
    paths = [str(path.resolve()) for path in job.written]
    print("\n".join(paths if len(paths) <= 20 else [f"{len(paths)} images in {job.output.folder.resolve()}"]))
    print("\n".join(str(path.resolve()) for path in (*job.output.results.paths, job.output.sidecar_path)))
    if job.writer is not None:
        print(f"{(job.output.folder / 'facts.json').resolve()}\n{(job.output.folder / 'text').resolve()}")

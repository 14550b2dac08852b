"""A video in, an annotated video and rows out."""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

from tqdm import tqdm

from sia.commands.jobs.run import Timings, announce, describe_run, load_predictor, output_folder, remove_if_empty
from sia.commands.signals import Interrupted, SignalHandler
from sia.drawing.annotator import PoseAnnotator
from sia.drawing.tracks import TrackAnnotator
from sia.drawing.window import Window
from sia.errors import ConfigError, OutputError, SiaError, warn
from sia.estimator import BATCH_PIXELS
from sia.formats.door import Results, Target
from sia.formats.writer import About, Record, frame_name
from sia.io.input_file import set_pixel_limit
from sia.io.output_file import write_json
from sia.io.secrets import mask
from sia.motion.motion import Motion
from sia.people import Source
from sia.runtimes.predictor import Predictor
from sia.tracking.face_blur import FaceBlur
from sia.tracking.smoother import Smoother, make_smoother
from sia.tracking.tracker import TrackedPeople, Tracker, untracked
from sia.video.info import Frame
from sia.video.live import LiveReader
from sia.video.open import Reader, open_video
from sia.video.source import kind_of
from sia.video.writer import VideoWriter

_LONGEST_NAME = 200
"""Bytes of an output file's name; file systems have 255, and endings are added."""

_PARTS = ("reading", "model", "writing")
"""Of the work on a frame, as `Timings` has them."""


class VideoJob:
    """A video in, a video and rows out.

    Args:
        args: the flags.
        targets: what --save names.
        predictor: the model.
        reader: an open video.
        folder: of the output; exists and is empty.
    """

    def __init__(
        self, args: argparse.Namespace, targets: Sequence[Target], predictor: Predictor, reader: Reader, folder: Path
    ) -> None:
        self.stem = stem = output_stem(args.video_path)
        self.args = args
        self.predictor = predictor
        self.reader = reader
        self.live = reader if isinstance(reader, LiveReader) else None
        self.window = Window("SIA Pose", args.show)
        self.tracks = args.smooth != "none" or any((args.track, args.track_memory, args.angles, args.count))
        self.tracker = Tracker(predictor.skeleton, args.conf_thresh, args.track_memory)
        self.motion = Motion(predictor.skeleton, args.kpt_thresh, args.angles, args.count)
        self.face_blur = FaceBlur(predictor.skeleton, args.conf_thresh) if args.blur else None
        self.smoother: Smoother[Frame] = make_smoother(args.smooth, float(reader.info.rate))
        self.annotator = PoseAnnotator(predictor.skeleton, args.kpt_thresh)
        self.track_artist = TrackAnnotator(predictor.skeleton, args.kpt_thresh, counted=args.count or "")
        self.ids: set[int] = set()
        self.video_path = folder / f"{stem}.mp4"
        self.angles_path = folder / f"{stem}_angles.csv"
        about = About(predictor.skeleton, args.kpt_thresh)
        self.results = Results(targets, folder, stem, about)
        self.sidecar_path = folder / "run.json"
        self.size = (0, 0)
        self.frames = 0
        self.people = 0
        self.seconds = 0.0
        self.timings = Timings()
        self.warnings: list[str] = []

    def run(self, interruption: SignalHandler) -> None:
        """All frames, or those before the user stops it; what was done so far is kept either way."""
        begin = time.perf_counter()
        try:
            with contextlib.ExitStack() as stack:
                bar = stack.enter_context(tqdm(total=self.reader.info.frames or None, unit="frame", smoothing=0.1))
                stack.callback(self.results.close)
                self.motion.open_table(self.angles_path, stack)
                stack.enter_context(self.window)
                batches = _batches(self._frames(interruption), 1 if self.live else self.args.batch_size, BATCH_PIXELS)
                batch = next(batches, [])  # of an open reader empty only after a signal
                if not batch:
                    return
                self.size = batch[0].image.shape[0], batch[0].image.shape[1]
                video = stack.enter_context(VideoWriter(self.video_path, self.reader.info, self.size))
                self.warnings = video.warnings
                while batch and not interruption.signal:
                    self._batch(batch, video)
                    bar.update(len(batch))
                    batch = next(batches, [])
                for done in self.smoother.finish():
                    self._write(*done, video)
                video.finish(complete=not interruption.signal)
        finally:
            self.seconds = time.perf_counter() - begin
            self.warnings = [*self.reader.warnings, *self.warnings]

    def _frames(self, interruption: SignalHandler) -> Iterator[Frame]:
        frames = iter(self.reader)
        while True:
            try:  # a live source may be silent for long
                with self.timings.measure("reading"), interruption.at_once() if self.live else contextlib.nullcontext():
                    frame = next(frames, None)
            except Interrupted:
                return
            if frame is None:
                return
            yield frame

    def _batch(self, frames: Sequence[Frame], video: VideoWriter) -> None:
        begin = time.perf_counter()
        found = self.predictor.predict([frame.image for frame in frames])
        self.timings.add_batch(time.perf_counter() - begin, len(frames))
        for frame, people in zip(frames, found, strict=True):
            moment = float(frame.pts * self.reader.info.time_base)
            if self.tracks:
                tracked = self.tracker.update(people, moment, frame.image)
            else:
                tracked = untracked(people.above(self.args.conf_thresh))
            if self.face_blur:
                frame = frame._replace(image=self.face_blur.blur(frame.image, people, moment))
            for done in self.smoother.push(frame, tracked, moment):
                self._write(*done, video)

    def _write(self, frame: Frame, time: float, tracked: TrackedPeople, video: VideoWriter) -> None:
        with self.timings.measure("writing"):
            tracked = self.motion.update(frame.number, time, tracked)
            people = self._draw(frame, time, tracked, video)
        self.frames += 1
        self.people += people
        self.ids.update(filter(None, tracked.ids.tolist()))

    def _draw(self, frame: Frame, time: float, tracked: TrackedPeople, video: VideoWriter) -> int:
        interpolated = tracked.interpolated.tolist()
        if self.tracks:
            drawn = self.track_artist.draw(frame.image, tracked.people, tracked.ids.tolist(), interpolated, time)
        else:
            drawn = self.annotator.draw(frame.image, tracked.people)
        size = (frame.image.shape[0], frame.image.shape[1])
        source = Source(self.predictor.skeleton, size, mask(self.args.video_path), frame=frame.number, time=time)
        people = replace(tracked.people, ids=tracked.ids if self.tracks else None, source=source)
        self.results.add(Record(people, frame.number, frame_name(self.stem, frame.number), interpolated))
        self.window.show(drawn)
        video.write(drawn, frame.pts, frame.duration)
        return len(people)

    def save_description(self, complete: bool) -> None:
        """run.json, which says how to read the rows."""
        info, (height, width) = self.reader.info, self.size
        video = {
            "video": mask(self.args.video_path),
            "annotated": self.video_path.name,
            "width": width,
            "height": height,
            "frames_per_second": float(info.rate),
            "frames": self.frames,
            "rows": "frame counts from 0; time is in seconds from the start of the video",
            "milliseconds": self.timings.medians(),
        }
        if self.live:
            video["frames_dropped"] = self.live.dropped
        if self.tracks:
            video["ids"] = (
                "id stays with a person, null where it was seen in one frame so far; interpolated people were not "
                "found in this frame, but lie between two in which they were"
            )
        if self.args.count:
            video["repetitions"] = self.motion.repetitions
        state = {"complete": complete, "warnings": [mask(warning) for warning in self.warnings], **video}
        write_json(self.sidecar_path, {**describe_run(self.predictor, self.args), **state}, indent=1)

    def summarise(self) -> None:
        """Says what was done and where it is."""
        for warning in self.warnings:
            warn(warning)
        medians = self.timings.medians()
        each = ", ".join(f"{part} {medians[part]:.3g} ms" for part in _PARTS if part in medians)
        average = self.people / max(self.frames, 1)
        notes = f", {len(self.ids)} ids" if self.tracks else ""
        notes += f", {self.live.dropped} frames dropped to keep up with the source" if self.live else ""
        for number, count in self.motion.repetitions.items():
            print(f"person {number}: {self.args.count} {count}")
        print(
            f"{self.frames} frames, {average:.1f} people a frame with a score of {self.args.conf_thresh} or more, "
            f"{self.frames / max(self.seconds, 1e-9):.1f} frames/s in all (median of a frame: {each}){notes}. Written:"
        )
        for path in (self.video_path, *self.results.paths, self.angles_path, self.sidecar_path):
            if path.exists():
                print(path.resolve())


def output_stem(source: str) -> str:
    """The video's own name without its ending, as far as any file system and terminal can have it."""
    kind = kind_of(source)
    if kind in ("stream", "youtube", "camera", "screen"):
        return kind
    stem = ("stdin" if source == "-" else Path(source).stem).encode(errors="replace").replace(b"?", b"_")
    name = stem[:_LONGEST_NAME].decode(errors="ignore")
    return f"{name}-video" if name.lower() == "run" else name  # run.json describes the run


def _batches(frames: Iterable[Frame], size: int, pixels: int) -> Iterator[list[Frame]]:
    """The first frame alone, so that something is seen soon; then as many as are asked for, or as memory allows."""
    rest = iter(frames)
    batch = list(islice(rest, 1))
    if not batch:
        return
    height, width = batch[0].image.shape[:2]
    size = max(1, min(size, pixels // (height * width)))
    while batch:
        yield batch
        batch = list(islice(rest, size))


def run(args: argparse.Namespace, targets: Sequence[Target]) -> int:
    """The whole job; returns the exit status."""
    set_pixel_limit(args.max_pixels)
    with open_video(args.video_path, args.reader) as reader, SignalHandler() as interruption:
        if args.smooth == "offline" and isinstance(reader, LiveReader):
            raise ConfigError("--smooth offline waits for frames ahead. Use --smooth online for a live source.")
        predictor = load_predictor(args.weight_path, args.device, args)
        announce(predictor)
        folder = output_folder(args.output_dir, "inference-video")
        with remove_if_empty(folder):
            job = VideoJob(args, targets, predictor, reader, folder)
            try:
                job.run(interruption)
            except SiaError as error:
                job.warnings.append(str(error))
                if job.results.paths:  # the rows that are there, as far as the disk lets it
                    with contextlib.suppress(OutputError):
                        job.save_description(complete=False)
                raise
            job.save_description(complete=not interruption.signal)
        job.summarise()
        if interruption.signal:
            print("Stopped early; the video plays up to here and has its results.", file=sys.stderr)
            return 130
        return 0

"""A video in, an annotated video and rows out."""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from tqdm import tqdm

from stages.inference_run import announce, describe_run, output_folder, remove_if_empty
from stages.interruption import Interruption
from stages.predictor import Predictor
from stages.smoother import Smoother, make_smoother
from stages.tracking import TrackedPeople, Tracker, untracked
from utils.decord_reader import DecordReader
from utils.drawing import PoseArtist
from utils.output import write_json
from utils.results import JsonLines, person_rows
from utils.trails import TrackArtist
from utils.video import VideoReader, open_reader
from utils.video_info import Frame
from utils.video_source import is_address
from utils.video_writer import VideoWriter


class VideoJob:
    """A video in, a video and rows out.

    Args:
        args: the flags.
        predictor: the model.
        reader: an open video.
        folder: of the output; exists and is empty.
    """

    def __init__(
        self, args: argparse.Namespace, predictor: Predictor, reader: VideoReader | DecordReader, folder: Path
    ) -> None:
        stem = "stream" if is_address(args.video_path) else Path(args.video_path).stem
        self.args = args
        self.predictor = predictor
        self.reader = reader
        self.tracks = args.track or args.smooth != "none"
        self.tracker = Tracker(predictor.skeleton, args.conf_thresh)
        self.smoother: Smoother[Frame] = make_smoother(args.smooth, float(reader.info.rate))
        self.artist = PoseArtist(predictor.skeleton, args.kpt_thresh)
        self.track_artist = TrackArtist(predictor.skeleton, args.kpt_thresh)
        self.ids: set[int] = set()
        self.video_path = folder / f"{stem}.mp4"
        self.rows_path = folder / f"{stem}.jsonl"
        self.sidecar_path = folder / "run.json"
        self.size = (0, 0)
        self.frames = 0
        self.people = 0
        self.seconds = 0.0
        self.warnings: list[str] = []

    def run(self, interruption: Interruption) -> None:
        """All frames, or those before the user stops it; what was done so far is kept either way."""
        begin = time.perf_counter()
        with contextlib.ExitStack() as stack:
            bar = stack.enter_context(tqdm(total=self.reader.info.frames or None, unit="frame", smoothing=0.1))
            rows = stack.enter_context(JsonLines(self.rows_path))
            batches = _batches(self.reader, self.args.batch_size)
            batch = next(batches)  # an open reader has at least one frame
            self.size = batch[0].image.shape[0], batch[0].image.shape[1]
            video = stack.enter_context(VideoWriter(self.video_path, self.reader.info, self.size))
            while batch and not interruption.signal:
                self._batch(batch, video, rows)
                bar.update(len(batch))
                batch = next(batches, [])
            for done in self.smoother.finish():
                self._write(*done, video, rows)
            video.finish(complete=not interruption.signal)
        self.seconds = time.perf_counter() - begin
        self.warnings = [*self.reader.warnings, *video.warnings]

    def _batch(self, frames: Sequence[Frame], video: VideoWriter, rows: JsonLines) -> None:
        found = self.predictor.predict([frame.image for frame in frames])
        for frame, people in zip(frames, found, strict=True):
            time = float(frame.pts * self.reader.info.time_base)
            tracked = self.tracker.update(people, time) if self.tracks else untracked(people, self.args.conf_thresh)
            for done in self.smoother.push(frame, tracked, time):
                self._write(*done, video, rows)

    def _write(self, frame: Frame, time: float, tracked: TrackedPeople, video: VideoWriter, rows: JsonLines) -> None:
        people, ids, bridged = person_rows(tracked.people), tracked.ids.tolist(), tracked.bridged.tolist()
        if self.tracks:
            people = [{"id": i or None, "bridged": b, **p} for i, b, p in zip(ids, bridged, people, strict=True)]
            drawn = self.track_artist.draw(frame.image, tracked.people, ids, bridged, time)
        else:
            drawn = self.artist.draw(frame.image, tracked.people)
        rows.write({"frame": frame.number, "time": round(time, 6), "people": people})
        video.write(drawn, frame.pts, frame.duration)
        self.frames += 1
        self.people += len(people)
        self.ids.update(filter(None, ids))

    def save_description(self, complete: bool) -> None:
        """run.json, which says how to read the rows."""
        info, (height, width) = self.reader.info, self.size
        video = {
            "video": info.source,
            "annotated": self.video_path.name,
            "width": width,
            "height": height,
            "frames_per_second": float(info.rate),
            "frames": self.frames,
            "rows": "frame counts from 0; time is in seconds from the start of the video",
        }
        if self.tracks:
            video["ids"] = (
                "id stays with a person, null where it was seen in one frame so far; bridged people were not found in "
                "this frame, but lie between two in which they were"
            )
        state = {"complete": complete, "warnings": self.warnings, **video}
        write_json(self.sidecar_path, {**describe_run(self.predictor, self.args), **state}, indent=1)

    def summarise(self) -> None:
        """Says what was done and where it is."""
        for warning in self.warnings:
            print(f"WARNING: {warning}", file=sys.stderr)
        each = 1000 * self.seconds / max(self.frames, 1)
        average = self.people / max(self.frames, 1)
        ids = f", {len(self.ids)} ids" if self.tracks else ""
        print(
            f"{self.frames} frames, {average:.1f} people a frame with a score of {self.args.conf_thresh} or more, "
            f"{each:.0f} ms a frame in all ({self.frames / max(self.seconds, 1e-9):.1f} frames/s){ids}. Written:"
        )
        for path in (self.video_path, self.rows_path, self.sidecar_path):
            if path.exists():
                print(path.resolve())


def _batches(frames: Iterable[Frame], size: int) -> Iterator[list[Frame]]:
    batch: list[Frame] = []
    for frame in frames:
        batch.append(frame)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def run(args: argparse.Namespace) -> int:
    """The whole job; returns the exit status."""
    with open_reader(args.video_path, args.reader) as reader, Interruption() as interruption:
        predictor = Predictor.load(args.weight_path, args.device, args.imgsz, args.look_thresh)
        announce(predictor)
        folder = output_folder(args.output_dir, "inference-video")
        with remove_if_empty(folder):
            job = VideoJob(args, predictor, reader, folder)
            job.run(interruption)
            job.save_description(complete=not interruption.signal)
        job.summarise()
        if interruption.signal:
            print("Stopped early; the video plays up to here and has its results.", file=sys.stderr)
            return 130
        return 0

"""Through the real script's main, in this process."""

from __future__ import annotations

import csv
import json
import os
import signal
from pathlib import Path

import av
import numpy as np
import pytest

from inference_video_pose import main
from sia.commands.jobs.video_job import output_stem
from sia.people import People
from sia.runtimes.predictor import Predictor
from tests.inference_helpers import files_up_to, frame_times, save_video, sound_packets

pytestmark = pytest.mark.usefixtures("own_folder")


def run(weights: Path, path: object, *flags: str) -> int:
    return main(["--video_path", str(path), "--weight_path", str(weights), "--device", "cpu", *flags])


def rows_of(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_fewer_second_looks_and_a_flip_test_are_noted(tmp_path: Path, weights: Path) -> None:
    source = save_video(tmp_path / "walk.mp4", frames=2)
    assert run(weights, source, "--roi_score_thresh", "0.3", "--tta", "--roi_size", "48x32", "--output_dir", "out") == 0
    assert "RoI refinement from 0.3, flip test)" in json.loads((tmp_path / "out" / "run.json").read_text())["model"]


@pytest.mark.parametrize("reader", ["av", "decord"])
def test_a_video_with_sound_and_uneven_times(
    tmp_path: Path, weights: Path, reader: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if reader == "decord":
        pytest.importorskip("decord")
    times = [0, 30, 100, 120, 200, 230, 300, 390, 400, 500]
    source = save_video(tmp_path / "walk.mp4", frames=10, size=(48, 80), times=times, sound="aac")
    assert run(weights, source, "--conf_thresh", "0", "--batch_size", "4", "--reader", reader) == 0
    folder = tmp_path / "runs" / "inference-video-1"
    assert {path.name for path in folder.iterdir()} == {"walk.mp4", "walk.jsonl", "run.json"}
    assert frame_times(folder / "walk.mp4") == frame_times(source)
    assert sound_packets(folder / "walk.mp4") == sound_packets(source)
    with av.open(str(folder / "walk.mp4")) as made:
        assert (made.streams.video[0].codec.name, made.streams.video[0].pix_fmt) == ("h264", "yuv420p")
    rows = rows_of(folder / "walk.jsonl")
    assert [row["frame"] for row in rows] == list(range(10))
    assert [row["time"] for row in rows] == [time / 1000 for time in times]
    assert all(len(person["keypoints"]) == 51 for row in rows for person in row["people"])
    about = json.loads((folder / "run.json").read_text())
    assert about["complete"]
    assert (about["width"], about["height"], about["frames"]) == (80, 48, 10)
    captured = capsys.readouterr()
    assert "10/10" in captured.err  # the progress bar
    assert set(about["milliseconds"]) == {"reading", "model", "writing", "first_batch"}
    assert str(folder / "walk.mp4") in captured.out


def test_rotated_by_metadata(tmp_path: Path, weights: Path) -> None:
    if not hasattr(av.VideoStream, "set_display_rotation"):
        pytest.skip("this PyAV can't write rotated videos")
    source = save_video(tmp_path / "a.mp4", frames=3, size=(48, 80), rotation=90)
    assert run(weights, source, "--output_dir", "out") == 0
    with av.open(str(tmp_path / "out" / "a.mp4")) as made:
        frame = next(made.decode(video=0))
        assert (frame.height, frame.width, frame.rotation) == (80, 48, 0)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopping_keeps_a_video_that_plays(
    tmp_path: Path, weights: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = save_video(tmp_path / "a.mp4", frames=30, sound="aac")
    before = signal.getsignal(number)
    predict, calls = Predictor.predict, []

    def interrupted(self: Predictor, images: list[np.ndarray]) -> list:
        calls.append(len(images))
        if len(calls) == 3:
            os.kill(os.getpid(), number)
        return predict(self, images)

    monkeypatch.setattr(Predictor, "predict", interrupted)
    assert run(weights, source, "--batch_size", "4", "--output_dir", "out") == 130
    assert frame_times(tmp_path / "out" / "a.mp4") == frame_times(source)[:9]  # 1 + 4 + 4
    assert len(rows_of(tmp_path / "out" / "a.jsonl")) == 9
    assert not json.loads((tmp_path / "out" / "run.json").read_text())["complete"]
    assert signal.getsignal(number) is before


def test_a_video_cut_off_is_done_up_to_the_break(
    tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = save_video(tmp_path / "a.mp4", frames=40, noise=20, movflags="+faststart")
    (tmp_path / "b.mp4").write_bytes(whole.read_bytes()[: whole.stat().st_size * 6 // 10])
    assert run(weights, tmp_path / "b.mp4", "--output_dir", "out") == 0
    rows = rows_of(tmp_path / "out" / "b.jsonl")
    assert len(frame_times(tmp_path / "out" / "b.mp4")) == len(rows)
    warning = json.loads((tmp_path / "out" / "run.json").read_text())["warnings"][0]
    assert f"after frame {len(rows) - 1} " in warning
    assert warning in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "no such file"), (b"", "is empty"), (b"hello\n" * 100, "not a video")],
)
def test_no_video(
    tmp_path: Path, weights: Path, content: bytes | None, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if content is not None:
        (tmp_path / "a.mp4").write_bytes(content)
    assert run(weights, tmp_path / "a.mp4") == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_an_output_that_can_not_be_made(tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = save_video(tmp_path / "a.mp4", frames=3)
    assert run(weights, source, "--output_dir", str(source)) == 1
    assert "is a file" in capsys.readouterr().err


def test_weights_that_are_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(Path("none.pt"), save_video(tmp_path / "a.mp4", frames=3)) == 1
    assert "none.pt" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_a_full_disk_keeps_whole_rows_and_no_half_video(
    tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = save_video(tmp_path / "a.mp4", frames=50, noise=60)
    with files_up_to(20_000):
        assert run(weights, source, "--output_dir", "out") == 1
    assert "Can't write out/a.mp4" in capsys.readouterr().err
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"a.jsonl", "run.json"}
    about = json.loads((tmp_path / "out" / "run.json").read_text())
    assert not about["complete"]
    assert about["frames"] == len(rows_of(tmp_path / "out" / "a.jsonl")) > 0
    assert "Can't write out/a.mp4" in about["warnings"][-1]


def test_a_stream_by_its_address(tmp_path: Path, weights: Path) -> None:
    source = save_video(tmp_path / "a.ts", frames=5)
    assert run(weights, f"file://{source}", "--output_dir", "out") == 0
    assert len(rows_of(tmp_path / "out" / "stream.jsonl")) == 5


@pytest.mark.parametrize("flags", [("--track",), ("--smooth", "online"), ("--smooth", "offline")])
def test_ids_and_smoothing_keep_every_frame_in_its_place(
    tmp_path: Path, weights: Path, flags: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    times = [0, 30, 100, 120, 200, 230, 300, 390, 400, 500]
    source = save_video(tmp_path / "a.mp4", frames=10, times=times)
    assert run(weights, source, "--conf_thresh", "0.01", "--batch_size", "4", "--output_dir", "out", *flags) == 0
    rows = rows_of(tmp_path / "out" / "a.jsonl")
    assert [row["frame"] for row in rows] == list(range(10))
    assert [row["time"] for row in rows] == [time / 1000 for time in times]
    assert frame_times(tmp_path / "out" / "a.mp4") == frame_times(source)
    people = [person for row in rows for person in row["people"]]
    assert people
    assert all(list(person) == ["id", "interpolated", "score", "bbox", "keypoints"] for person in people)
    numbers = {person["id"] for person in people} - {None}
    assert f"{len(numbers)} ids" in capsys.readouterr().out
    assert "ids" in json.loads((tmp_path / "out" / "run.json").read_text())


def bending(knee: float, with_ankle: bool) -> People:
    """A person whose left knee is bent by so many degrees, and who may have lost a foot."""
    points = np.full((1, 17, 2), 40.0, np.float32)
    points[0, 11], points[0, 13] = (30, 10), (30, 30)
    points[0, 15] = 30 + 20 * np.sin(np.radians(knee)), 30 + 20 * np.cos(np.radians(knee))
    confidences = np.full((1, 17), 0.9, np.float32)
    confidences[0, 15] = 0.9 if with_ankle else 0.1
    return People(np.array([[20, 5, 60, 60]], np.float32), np.full(1, 0.8, np.float32), points, confidences)


def test_angles_and_repetitions_of_each_id(
    tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    knees = [50 - 50 * np.cos(t / 25 * np.pi) for t in range(101)]  # bent twice in four seconds
    people = iter([bending(knee, t != 7) for t, knee in enumerate(knees)])
    monkeypatch.setattr(Predictor, "predict", lambda _, images: [next(people) for _ in images])
    source = save_video(tmp_path / "a.mp4", frames=101)
    assert run(weights, source, "--output_dir", "out", "--angles", "left_knee", "--count", "left_knee") == 0
    with (tmp_path / "out" / "a_angles.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    first = [(row["frame"], row["time"], row["id"]) for row in table[:2]]
    assert first == [("0", "0.000000", "1"), ("1", "0.040000", "1")]
    assert [row["left_knee"] for row in table] == ["" if t == 7 else f"{180 - k:.1f}" for t, k in enumerate(knees)]
    counts = [row["people"][0]["repetitions"] for row in rows_of(tmp_path / "out" / "a.jsonl")]
    assert (counts[25], counts[50], counts[75], counts[100]) == (0, 1, 1, 2)
    assert json.loads((tmp_path / "out" / "run.json").read_text())["repetitions"] == {"1": 2}
    assert "person 1: left_knee 2" in capsys.readouterr().out


def test_an_unknown_angle_leaves_nothing(tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = save_video(tmp_path / "a.mp4", frames=2)
    assert run(weights, source, "--angles", "kne", "--output_dir", "none") == 1
    assert "Angle kne is unknown. Did you mean" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_faces_are_blurred_before_anything_is_drawn(
    tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[np.ndarray] = []
    monkeypatch.setattr("sia.tracking.face_blur.blur_boxes", lambda image, boxes: image.__setitem__(slice(None), 7))
    monkeypatch.setattr(
        "sia.commands.jobs.video_job.PoseAnnotator.draw", lambda _, image, people: drawn.append(image) or image
    )
    source = save_video(tmp_path / "a.mp4", frames=3)
    assert run(weights, source, "--blur", "faces", "--output_dir", "out") == 0
    assert len(drawn) == 3 and all((image == 7).all() for image in drawn)


def test_stopping_while_frames_are_held_back_loses_none(
    tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = save_video(tmp_path / "a.mp4", frames=30)
    predict, calls = Predictor.predict, []

    def interrupted(self: Predictor, images: list[np.ndarray]) -> list:
        calls.append(len(images))
        if len(calls) == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return predict(self, images)

    monkeypatch.setattr(Predictor, "predict", interrupted)
    assert run(weights, source, "--batch_size", "4", "--output_dir", "out", "--smooth", "offline") == 130
    assert [row["frame"] for row in rows_of(tmp_path / "out" / "a.jsonl")] == list(range(5))


def test_real_clips(photographs: Path, weights: Path, tmp_path: Path) -> None:
    clip = photographs / "videos" / "intel_classroom_480x270.mp4"
    if not clip.is_file():
        pytest.skip(f"no {clip}")
    assert run(weights, clip, "--output_dir", "out") == 0
    assert frame_times(tmp_path / "out" / clip.name) == frame_times(clip)


def test_a_video_called_run_keeps_its_results() -> None:
    for name, stem in (("run.mp4", "run-video"), ("Run.mov", "Run-video"), ("running.mp4", "running")):
        assert output_stem(name) == stem

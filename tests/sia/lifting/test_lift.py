"""`sia lift` on rows as `sia predict VIDEO --track` writes them."""

import json
import sys
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import torch

from datasets.synthetic.human.body import sample_shape
from datasets.synthetic.human.motion import sample_motion
from sia.cli import main
from sia.lifting.network import body_length
from sia.lifting.skeleton import BODY_SHARE, IN_COCO, JOINTS, MIRRORED
from sia.skeletons.skeleton import COCO_PERSON
from tests.sia.lifting.test_motion_files import read_bvh

YAW = 0.7
TURN = np.array([[np.cos(YAW), 0, np.sin(YAW)], [0, 1, 0], [-np.sin(YAW), 0, np.cos(YAW)]])


def body(seed: int, frames: int = 60) -> np.ndarray:
    """(T, 21, 3) points of a synthetic person, metres, y up; no training had this seed."""
    rng = np.random.default_rng(5_000_000 + seed)
    return sample_motion(rng, sample_shape(rng), frames / 25, 25)


def filmed(points: np.ndarray) -> np.ndarray:
    """(T, 17, 2) COCO keypoints in pixels, seen from 5 m away."""
    seen = points @ TURN.T * (1, -1, -1)
    order = [IN_COCO.index(i) if i in IN_COCO else 16 + i for i in range(17)]
    return seen[:, order, :2] / (seen[:, order, 2:] + 5) * 800 + (320, 240)


def write_rows(folder: Path, people: dict[int | None, np.ndarray], rate: float = 25, names: object = None) -> Path:
    folder.mkdir(exist_ok=True)
    lines = []
    for frame in range(max(map(len, people.values()))):
        row = [
            {"id": number, "score": 0.9, "bbox": [0, 0, 1, 1],
             "keypoints": np.concatenate([poses[frame], np.full((17, 1), 0.8)], axis=1).ravel().round(3).tolist()}
            for number, poses in people.items() if frame < len(poses)
        ]  # fmt: skip
        about = {} if frame else {"about": {"skeleton": {"names": names or list(COCO_PERSON.names)}}}
        lines.append(json.dumps({**about, "frame": frame, "time": frame / rate, "people": row}))
    (folder / "walk.jsonl").write_text("\n".join(lines) + "\n")
    (folder / "run.json").write_text(json.dumps({"video": "gone.mp4"}))
    return folder / "walk.jsonl"


def lift(*words: object) -> int:
    return main(["lift", *map(str, words)])


def test_joints_come_back_in_metres(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    people = {number: body(number) for number in range(12)}
    rows = write_rows(
        tmp_path / "in", {None: filmed(body(2))[:9]} | {i: filmed(points) for i, points in people.items()}
    )
    assert lift(rows, "--save", "json", "--output_dir", tmp_path / "out") == 0
    lines = [json.loads(line) for line in (tmp_path / "out/walk-3d.jsonl").read_text().splitlines()]
    assert [line["frame"] for line in lines] == list(range(60))
    wrong, flat = [], []
    for number, points in people.items():
        truth = points[:, :17] @ TURN.T
        found = np.array([next(p["joints"] for p in line["people"] if p["id"] == number) for line in lines])
        found *= body_length(torch.tensor(truth)).mean().item() / (BODY_SHARE * 1.7)  # to their own heights
        wrong.append(np.linalg.norm(found - truth, axis=-1).mean())
        flat.append(np.abs(truth[..., 2]).mean())
    assert np.mean(wrong) < 0.095 and np.mean(wrong) < 0.7 * np.mean(flat), (wrong, flat)  # better than without depth


def test_all_kinds_are_written_for_all_people(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = write_rows(tmp_path / "in", {1: filmed(body(1)), 4: filmed(body(4))[:20] + 300, None: filmed(body(2))[:9]})
    out = tmp_path / "out"
    assert lift(rows, "--height", 1.8, "--save", "json,trc,bvh,c3d,picture", "--output_dir", out) == 0
    names = {f"walk-{number}.{kind}" for number in (1, 4) for kind in ("trc", "bvh", "c3d")}
    assert {path.name for path in out.iterdir()} == names | {"walk-3d.jsonl", "run.json", "walk.png"}
    assert "2 people lifted, 80 poses" in capsys.readouterr().out
    about = json.loads((out / "run.json").read_text())
    assert about["joints"] == [joint.name for joint in JOINTS] and about["height"] == 1.8
    lines = [json.loads(line) for line in (out / "walk-3d.jsonl").read_text().splitlines()]
    assert [[person["id"] for person in line["people"]] for line in lines[18:22]] == [[1, 4], [1, 4], [1], [1]]
    moved, step = read_bvh(out / "walk-1.bvh")
    assert step == pytest.approx(1 / 30) and len(moved) == 72  # 60 frames at 25 a second
    plain = cv2.imread(str(out / "walk.png"))
    save_green_video(tmp_path / "in/walk.mp4", 60)
    (tmp_path / "in/run.json").write_text(json.dumps({"video": str(tmp_path / "in/walk.mp4")}))
    assert lift(rows, "--save", "picture", "--output_dir", tmp_path / "framed") == 0
    framed = cv2.imread(str(tmp_path / "framed/walk.png"))
    green = [((image[..., 1] > 150) & (image[..., 0] < 80)).mean() for image in (plain, framed)]
    assert green[0] < 0.01 and green[1] > 0.1  # the frame is behind the 2D pose


def save_green_video(path: Path, frames: int) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 640, 480, "yuv420p"
        picture = av.VideoFrame.from_ndarray(np.full((480, 640, 3), (0, 200, 0), np.uint8), format="rgb24")
        for number in range(frames):
            picture.pts = number
            container.mux(stream.encode(picture))
        container.mux(stream.encode())


def test_a_mirrored_track_gives_the_mirrored_pose(tmp_path: Path) -> None:
    poses = filmed(body(1)[:12])
    other = poses[:, COCO_PERSON.flip_order] * (-1, 1) + (640, 0)
    found = {}
    for name, track in (("a", poses), ("b", other)):
        assert (
            lift(write_rows(tmp_path / name, {1: track}), "--save", "json", "--output_dir", tmp_path / f"{name}-3d")
            == 0
        )
        lines = (tmp_path / f"{name}-3d" / "walk-3d.jsonl").read_text().splitlines()
        found[name] = np.array([json.loads(line)["people"][0]["joints"] for line in lines])
    assert np.abs(found["b"] - found["a"][:, list(MIRRORED)] * (-1, 1, 1)).max() < 2e-3


def test_one_person_is_chosen_and_scaled(tmp_path: Path) -> None:
    rows = write_rows(tmp_path / "in", {1: filmed(body(1)[:10]), 2: filmed(body(2)[:12])})
    sizes = []
    for height in (1.0, 2.0):
        out = tmp_path / f"out-{height}"
        assert lift(rows, "--id", 2, "--height", height, "--save", "json", "--output_dir", out) == 0
        row = json.loads((out / "walk-3d.jsonl").read_text().splitlines()[0])
        assert [person["id"] for person in row["people"]] == [2]
        sizes.append(np.abs(row["people"][0]["joints"]).max())
    assert sizes[1] == pytest.approx(2 * sizes[0], rel=1e-2)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["missing.jsonl"], "Can't read missing.jsonl: no such file. Make it with sia predict VIDEO --track."),
        (["in/walk.jsonl", "--id", "7"], "--id 7 is not there. in/walk.jsonl has 1."),
        (["in/walk.jsonl", "--lift_weights", "none.safetensors"], "none.safetensors"),
        (["lonely/walk.jsonl"], "nobody with an id in two frames"),
        (["hand/walk.jsonl"], "3D needs COCO's 17"),
        (["broken/walk.jsonl"], "can't be used"),
        (["slow/walk.jsonl"], "id 1 has 5 poses from 0.0 to 4000000.0 s"),
    ],
)
def test_bad_input_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write_rows(Path("in"), {1: filmed(body(1)[:5])})
    write_rows(Path("lonely"), {None: filmed(body(1)[:5])})
    write_rows(Path("hand"), {1: filmed(body(1)[:5])}, names=["wrist", "thumb"])
    write_rows(Path("broken"), {1: filmed(body(1)[:5])}).write_text('{"frame": 0, "time": 0, "people": [{"keypo')
    write_rows(Path("slow"), {1: filmed(body(1)[:5])}, rate=1e-6)
    assert lift(*words, "--output_dir", "out") == 1
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1 and error.startswith("error: ")
    assert not Path("out").exists()


def test_kinds_and_heights_are_checked_before_anything_is_loaded(capsys: pytest.CaptureFixture[str]) -> None:
    for words, message in ((["--save", "fbx"], "fbx"), (["--height", "170"], "170 is not between 0 and 3.0 metres")):
        with pytest.raises(SystemExit) as ended:
            lift("walk.jsonl", *words)
        assert ended.value.code == 2 and message in capsys.readouterr().err


def test_a_missing_package_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "ezc3d", None)
    rows = write_rows(tmp_path / "in", {1: filmed(body(1)[:5])})
    assert lift(rows, "--save", "c3d", "--output_dir", tmp_path / "out") == 1
    assert "--save c3d needs the package ezc3d" in capsys.readouterr().err

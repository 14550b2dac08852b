"""Formats for programs: COCO results, JSON Lines, CSV, Parquet, OpenPose and SLEAP, each read by its own reader."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from sia.errors import ConfigError
from sia.formats.openpose import BODY_25, OpenPoseWriter
from sia.formats.writer import About, Record
from sia.people import Person
from sia.skeletons.skeleton import COCO_PERSON, Skeleton
from tests.sia.formats.conftest import write

FRAME = "pixel i covers [i, i + 1)"


def everyone(records: list[Record]) -> list[tuple[Record, Person]]:
    return [(record, person) for record in records for person in record.people]


def test_coco_results(images: list[Record], tmp_path: Path) -> None:
    rows = json.loads(write("coco", images, tmp_path / "a.json").read_text())
    for row, (record, person) in zip(rows, everyone(images), strict=True):
        assert (row["image_id"], row["category_id"]) == (record.image_id, 5)
        triples = np.array(row["keypoints"]).reshape(-1, 3)
        assert np.abs(triples[:, :2] - person.keypoints).max() < 0.01
        assert np.abs(triples[:, 2] - person.confidences).max() < 0.001


def test_nobody_is_an_empty_list(images: list[Record], tmp_path: Path) -> None:
    assert json.loads(write("coco", images[1:2], tmp_path / "a.json").read_text()) == []


def test_json_lines_of_images(images: list[Record], tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    path = write("jsonl", images, tmp_path / "a.jsonl")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(line["image_id"], line["file_name"], line["height"]) for line in lines] == [
        (record.image_id, record.name, 480) for record in images
    ]
    assert ["about" in line for line in lines] == [True, False, False]
    assert lines[0]["about"]["format"] == "sia_pose_results/1"
    assert FRAME in lines[0]["about"]["coordinates"]
    rows = [row for people in pandas.read_json(path, lines=True).people for row in people]
    for row, (_, person) in zip(rows, everyone(images), strict=True):
        assert np.abs(np.array(row["keypoints"]).reshape(-1, 3)[:, :2] - person.keypoints).max() < 0.01


def test_json_lines_of_frames_have_ids(frames: list[Record], tmp_path: Path) -> None:
    lines = [json.loads(line) for line in write("jsonl", frames, tmp_path / "a.jsonl").read_text().splitlines()]
    assert [(line["frame"], line["time"]) for line in lines] == [(0, 0.0), (1, 0.04), (2, 0.08)]
    assert [[(p["id"], p["interpolated"]) for p in line["people"]] for line in lines] == [
        [(1, False), (None, False)], [(1, False)], [(1, False), (2, True)],
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["csv", "parquet"])
def test_tables(name: str, images: list[Record], frames: list[Record], tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    read = pandas.read_csv if name == "csv" else pandas.read_parquet
    if name == "parquet":
        arrow = pytest.importorskip("pyarrow.parquet")
    for records, keys in ((images, ["image_id", "file_name"]), (frames, ["frame", "time"])):
        path = write(name, records, tmp_path / f"{keys[0]}.{name}")
        table = read(path)
        assert list(table.columns[:2]) == keys
        assert len(table) == len(everyone(records))
        for (_, row), (record, person) in zip(table.iterrows(), everyone(records), strict=True):
            assert row[keys[0]] == record.image_id
            found = [[row[f"{n}_x"], row[f"{n}_y"], row[f"{n}_confidence"]] for n in COCO_PERSON.names]
            assert np.abs(np.array(found)[:, :2] - person.keypoints).max() < 0.01
            assert np.abs(np.array(found)[:, 2] - person.confidences).max() < 0.001
            assert np.abs(np.array([row[side] for side in ("x1", "y1", "x2", "y2")]) - person.box).max() < 0.01
        if name == "parquet":
            about = arrow.read_schema(path).metadata
            assert (about[b"format"], FRAME in about[b"coordinates"].decode()) == (b"sia_pose_results/1", True)
    assert table.id.tolist() == [1, 0, 1, 1, 2]
    assert table.interpolated.tolist() == [False, False, False, False, True]
    assert list(tmp_path.glob(".*")) == []


def test_openpose(images: list[Record], frames: list[Record], tmp_path: Path) -> None:
    folder = write("openpose", images, tmp_path / "openpose")
    for record in images:
        content = json.loads((folder / f"{Path(record.name).stem}_keypoints.json").read_text())
        assert FRAME in content["sia"]["coordinates"]
        for row, person in zip(content["people"], record.people, strict=True):
            points = dict(zip(BODY_25, np.array(row["pose_keypoints_2d"]).reshape(25, 3), strict=True))
            ours = dict(zip(COCO_PERSON.names, person.keypoints, strict=True))
            assert all(np.abs(points[name][:2] - ours[name]).max() < 0.01 for name in ours)
            for middle, ends in (("neck", "shoulder"), ("mid_hip", "hip")):
                mean = (ours[f"left_{ends}"] + ours[f"right_{ends}"]) / 2
                assert np.abs(points[middle][:2] - mean).max() < 0.01
                least = min(person.confidences[COCO_PERSON.names.index(f"{side}_{ends}")] for side in ("left", "right"))
                assert points[middle][2] == pytest.approx(least, abs=1e-3)
            assert points["left_heel"].tolist() == [0, 0, 0]
    # its own table: https://github.com/CMU-Perceptual-Computing-Lab/openpose/blob/master/doc/02_output.md
    numbers = {0: "nose", 2: "right_shoulder", 5: "left_shoulder", 7: "left_wrist", 8: "mid_hip", 11: "right_ankle",
               14: "left_ankle", 15: "right_eye", 18: "left_ear", 19: "left_big_toe", 24: "right_heel"}  # fmt: skip
    assert {number: BODY_25[number] for number in numbers} == numbers
    first = json.loads((write("openpose", frames, tmp_path / "video") / "walk_000000_keypoints.json").read_text())
    assert [person["person_id"] for person in first["people"]] == [[1], [-1]]


def test_openpose_is_for_people(tmp_path: Path) -> None:
    fish = Skeleton.from_category({"name": "fish", "keypoints": ["fin", "tail"]})
    with pytest.raises(ConfigError, match="openpose is for people: none of the keypoints fin, tail"):
        OpenPoseWriter(tmp_path / "x", About(fish))


def test_sleap(images: list[Record], frames: list[Record], tmp_path: Path) -> None:
    sleap = pytest.importorskip("sleap_io")
    for records in (images, frames):
        path = write("slp", records, tmp_path / f"{len(everyone(records))}.slp")
        labels = sleap.load_slp(str(path), open_videos=False)
        assert labels.skeletons[0].node_names == list(COCO_PERSON.names)
        assert labels.skeletons[0].edge_names[0] == ("left_ankle", "left_knee")
        assert FRAME in labels.provenance["coordinates"]
        wanted = [record for record in records if len(record.people)]
        found = [frame for frame in labels.labeled_frames if len(frame)]
        for frame, record in zip(found, wanted, strict=True):
            assert frame.frame_idx == [each.image_id for each in records].index(record.image_id)
            for instance, person in zip(frame, record.people, strict=True):
                assert np.abs(instance.numpy() - person.keypoints).max() < 0.01
                assert instance.score == pytest.approx(person.score)
                name = instance.track.name if instance.track else None
                assert name == (f"person {person.id}" if person.id else None)
    assert list(tmp_path.glob(".*")) == []

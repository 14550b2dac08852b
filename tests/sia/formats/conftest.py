from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from sia.formats.door import writer_class
from sia.formats.writer import About, Record
from sia.people import People, Source
from sia.skeletons.skeleton import COCO_PERSON, Skeleton

SIZE = (480, 641)
"""Height and width: odd ones show what is swapped."""


def make_people(count: int, seed: int, source: Source, ids: list[int] | None = None) -> People:
    """People with points inside of the image, confidences on both sides of 0.3, and boxes around them."""
    rng = np.random.default_rng(seed)
    height, width = source.size
    k = source.skeleton.num_keypoints
    points = rng.uniform(1, [width - 1, height - 1], (count, k, 2)).astype(np.float32)
    boxes = np.concatenate([points.min(1) - 0.5, points.max(1) + 0.5], 1)
    scores = np.sort(rng.uniform(0.4, 1, count).astype(np.float32))[::-1]
    confidences = rng.uniform(0, 1, (count, k)).astype(np.float32)
    return People(boxes, scores, points, confidences, None if ids is None else np.array(ids, np.int64), source)


@pytest.fixture
def images(tmp_path: Path) -> list[Record]:
    """Two people, nobody, one person; the files are there."""
    records = []
    for number, count in enumerate((2, 0, 1), 1):
        path = tmp_path / "images" / f"a{number}.png"
        path.parent.mkdir(exist_ok=True)
        PIL.Image.new("RGB", SIZE[::-1]).save(path)
        people = make_people(count, number, Source(COCO_PERSON, SIZE, str(path)))
        records.append(Record(people, 40 + number, path.name))
    return records


@pytest.fixture
def frames() -> list[Record]:
    """Three frames with ids; the second person of the last one is interpolated."""
    ids = ([1, 0], [1], [1, 2])
    sources = [Source(COCO_PERSON, SIZE, "walk.mp4", frame=n, time=n / 25) for n in range(3)]
    people = [make_people(len(each), 7 + n, sources[n], each) for n, each in enumerate(ids)]
    told = ([False, False], [False], [False, True])
    return [Record(p, n, f"walk_{n:06d}.jpg", told[n]) for n, p in enumerate(people)]


def write(name: str, records: list[Record], path: Path, skeleton: Skeleton = COCO_PERSON) -> Path:
    writer = writer_class(name)(path, About(skeleton, 0.3, 5))
    for record in records:
        writer.add(record)
    writer.close()
    return path


def assert_labels(content: dict, records: list[Record], boxes: bool = True) -> None:
    """That COCO annotations are what went in, to 0.01 px, with v by confidence."""
    assert [image["file_name"] for image in content["images"]] == [record.name for record in records]
    numbers = [image["id"] for image in content["images"]]
    for number, record in zip(numbers, records, strict=True):
        rows = [row for row in content["annotations"] if row["image_id"] == number]
        assert len(rows) == len(record.people)
        for row, person in zip(rows, record.people, strict=True):
            triples = np.array(row["keypoints"]).reshape(-1, 3)
            assert np.abs(triples[:, :2] - person.keypoints).max() < 0.01
            assert triples[:, 2].tolist() == np.where(person.confidences >= 0.3, 2, 1).tolist()
            if boxes:
                x, y, w, h = row["bbox"]
                assert np.abs(np.array([x, y, x + w, y + h]) - person.box).max() < 0.01

"""Label Studio's JSON export: written from COCO annotations and read again, and all that can be wrong with it."""

from __future__ import annotations

import json

import pytest

from datasets.converters.label_studio import import_label_studio
from sia.errors import DataError
from tests.datasets.converters.conftest import assert_same, joints_of, people_of


def region(kind, own, label, size, parent=None, note=None, **value):
    width, height = size
    about = {"id": own, "type": kind, "original_width": width, "original_height": height, "image_rotation": 0}
    about |= {"parentID": parent} if parent else {}
    about |= {"meta": {"text": [note]}} if note else {}
    return {**about, "value": {**value, kind: [label]}}


def task(name, regions, **changes):
    return {"id": 3, "data": {"image": name}, "annotations": [{"result": regions, "was_cancelled": False}], **changes}


def person(row, content, own, width, height):
    x, y, w, h = row["bbox"]
    sides = {"x": 100 * x / width, "y": 100 * y / height, "width": 100 * w / width, "height": 100 * h / height}
    regions = [region("rectanglelabels", own, "person", (width, height), **sides)]
    for name, px, py, v in joints_of(row, content):
        if v:
            value = {"x": 100 * px / width, "y": 100 * py / height, "width": 0.5}
            note = "Hidden " if v == 1 else None
            regions.append(region("keypointlabels", f"{own}{name}", name, (width, height), own, note, **value))
    return regions


def read(tmp_path, tasks, **options):
    (tmp_path / "export.json").write_text(json.dumps(tasks))
    return import_label_studio(tmp_path / "export.json", **options)


def test_round_trip(coco, tmp_path):
    tasks = []
    for image in coco["images"]:
        size = image["width"], image["height"]
        people = people_of(coco, image["id"])
        regions = [part for i, row in enumerate(people) for part in person(row, coco, f"p{i}", *size)]
        cancelled = {"result": [], "was_cancelled": True}
        address = f"/data/local-files/?d={image['file_name']}"
        tasks.append(task(address, [], annotations=[{"result": regions}, cancelled]))
    writer = read(tmp_path, tasks)
    assert_same(writer.content(), coco, 1e-6)


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("/data/upload/1/0a1b2c3d-my%20dog.jpg", "my dog.jpg"),
        ("http://127.0.0.1/x/a.jpg", "a.jpg"),
        ("/data/local-files/?d=deep/b.jpg", "deep/b.jpg"),
    ],
)
def test_names_of_images(address, name, tmp_path):
    regions = [region("keypointlabels", "a", "nose", (40, 20), x=50, y=50, width=1)]
    content = read(tmp_path, [task(address, regions)]).content()
    assert content["images"][0]["file_name"] == name
    assert content["annotations"][0]["keypoints"][:3] == [20, 10, 2]


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        ({}, "no list of tasks"),
        ([task("/a.jpg", "x")], "no list 'result'"),
        ([task("a", [])], "no image in 'data'"),
        ([task("/a.jpg", [])], "Give --img_dir"),
        ([task("/a.jpg", [region("keypointlabels", "a", "nase", (4, 4), x=1, y=1)])], "did you mean 'nose'"),
        ([task("/a.jpg", [region("keypointlabels", "a", "nose", (4, 4), x=1)])], "without x, y"),
        ([task("/a.jpg", [region("keypointlabels", i, "nose", (4, 4), x=1, y=1) for i in "ab"])], "'nose' twice"),
    ],
)
def test_faults(tasks, message, tmp_path):
    with pytest.raises(DataError, match=message):
        read(tmp_path, tasks)


def test_tasks_that_nobody_has_labelled_are_left_out_and_counted(tmp_path):
    regions = [region("keypointlabels", "a", "nose", (40, 20), x=50, y=50), {"type": "choices", "value": {}}]
    regions[1] |= {"original_width": 40}
    writer = read(tmp_path, [task("/a.jpg", regions), task("/b.jpg", [], annotations=[])])
    assert writer.report["left out: tasks that nobody has labelled"] == 1
    assert writer.report["left out: regions of type 'choices'"] == 1

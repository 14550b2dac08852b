"""Formats that people correct: each is read back by the project's importers, or as the labelling tool reads it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from datasets.converters import import_cvat, import_labelme, import_yolo
from sia.errors import OutputError
from sia.formats.writer import Record
from sia.people import Source
from sia.skeletons.skeleton import Skeleton
from tests.sia.formats.conftest import SIZE, assert_labels, make_people, write

FRAME = "pixel i covers [i, i + 1)"


def test_coco_annotations(images: list[Record], tmp_path: Path) -> None:
    content = json.loads(write("coco-annotations", images, tmp_path / "a.json").read_text())
    assert_labels(content, images)
    assert [image["id"] for image in content["images"]] == [41, 42, 43]
    assert {row["category_id"] for row in content["annotations"]} == {5} == {c["id"] for c in content["categories"]}
    assert content["annotations"][0]["keypoint_confidences"] == pytest.approx(images[0].people.confidences[0], abs=1e-3)
    assert content["info"]["tool"].startswith("sia-pose ")
    assert FRAME in content["info"]["coordinates"]


def test_coco_annotations_train(images: list[Record], tmp_path: Path) -> None:
    from datasets.coco.coco_pose import CocoPose

    data = CocoPose(tmp_path / "images", write("coco-annotations", images, tmp_path / "a.json"))
    assert sorted(data.image_ids) == [41, 42, 43]


def test_cvat(images: list[Record], tmp_path: Path) -> None:
    path = write("cvat", images, tmp_path / "a.xml")
    assert_labels(import_cvat(path).content(), images, boxes=False)
    root = ElementTree.parse(path).getroot()
    assert root.findtext("version") == "1.1"
    assert root.findtext("meta/sia/format") == "sia_pose_results/1"
    assert FRAME in (root.findtext("meta/sia/coordinates") or "")
    # what CVAT's reader takes by name: cvat/apps/dataset_manager/formats/cvat.py, load_anno
    for number, image in enumerate(root.iter("image")):
        assert (image.get("id"), image.get("name")) == (str(number), images[number].name)
        for shape in image:
            assert shape.tag == "skeleton"
            assert all({"label", "occluded", "outside", "points"} <= set(point.attrib) for point in shape)
    (label,) = json.loads((tmp_path / "a.labels.json").read_text())
    assert (label["type"], [part["type"] for part in label["sublabels"]]) == ("skeleton", ["points"] * 17)
    drawing = ElementTree.fromstring(f"<svg>{label['svg']}</svg>")
    assert [node.get("data-label-name") for node in drawing.iter("circle")] == [p["name"] for p in label["sublabels"]]
    assert len(list(drawing.iter("line"))) == 19


def test_cvat_of_frames_goes_by_their_numbers(frames: list[Record], tmp_path: Path) -> None:
    root = ElementTree.parse(write("cvat", frames[1:], tmp_path / "a.xml")).getroot()
    assert [image.get("id") for image in root.iter("image")] == ["1", "2"]


def test_names_with_signs_of_xml(tmp_path: Path) -> None:
    skeleton = Skeleton.from_category({"name": "a&b", "keypoints": ['"<', "c>"], "skeleton": [[1, 2]]})
    people = make_people(1, 0, Source(skeleton, SIZE, "x.png"))
    path = write("cvat", [Record(people, 1, "a&<b>.png")], tmp_path / "a.xml", skeleton)
    content = import_cvat(path).content()
    assert content["categories"][0]["keypoints"] == ['"<', "c>"]
    assert content["images"][0]["file_name"] == "a&<b>.png"
    write("labelstudio", [Record(people, 1, "a&<b>.png")], tmp_path / "b.json", skeleton)
    labels = ElementTree.parse(tmp_path / "b.xml").iter("Label")
    assert [label.get("value") for label in labels] == ["a&b", '"<', "c>"]


def test_yolo(images: list[Record], tmp_path: Path) -> None:
    folder = write("yolo", images, tmp_path / "yolo")
    content = import_yolo(folder / "data.yaml", tmp_path / "images", folder / "labels").content()
    assert_labels(content, images)
    assert content["categories"][0]["flip_pairs"][0] == ["left_eye", "right_eye"]
    assert FRAME in (folder / "data.yaml").read_text()


def test_labelme(images: list[Record], tmp_path: Path) -> None:
    folder = write("labelme", images, tmp_path / "labelme")
    assert_labels(import_labelme(folder, tmp_path / "images").content(), images)
    first = json.loads((folder / "a1.json").read_text())
    assert first["imagePath"] == "../images/a1.png"
    assert FRAME in first["sia"]["coordinates"]
    # what LabelMe's own reader asks for: labelme/_label_file.py
    assert {"version", "imageData", "imagePath", "shapes", "flags"} <= set(first)


def test_label_studio(images: list[Record], tmp_path: Path) -> None:
    tasks = json.loads(write("labelstudio", images, tmp_path / "a.json").read_text())
    config = ElementTree.parse(tmp_path / "a.xml").getroot()
    tags = {tag.get("name"): tag for tag in config}
    assert all(tag.get("toName") in (None, "image") for tag in config)
    names = [label.get("value") for label in tags["keypoint"]]
    assert [label.get("model_index") for label in tags["keypoint"]] == [str(k) for k in range(17)]
    for task, record in zip(tasks, images, strict=True):
        assert task["data"]["image"] == f"/data/local-files/?d={record.name}"
        assert FRAME in task["data"]["sia"]["coordinates"]
        (prediction,) = task["predictions"]
        regions = prediction["result"]
        for region in regions:  # its published schema: required fields, labels of the config, percent of the image
            assert region["to_name"] == "image"
            kind, value = region["type"], region["value"]
            assert tags[region["from_name"]].tag.lower() == kind
            assert value[kind][0] in [label.get("value") for label in tags[region["from_name"]]]
            assert all(0 <= value[side] <= 100 for side in ("x", "y", "width"))
        boxes = [region for region in regions if region["type"] == "rectanglelabels"]
        assert len(boxes) == len(record.people)
        for box, person in zip(boxes, record.people, strict=True):
            # as label_studio_sdk/converter/exports/yolo.py reads them: by parentID
            points = {r["value"]["keypointlabels"][0]: r for r in regions if r.get("parentID") == box["id"]}
            found = [
                [points[n]["value"][a] / 100 * points[n][f"original_{b}"] for a, b in (("x", "width"), ("y", "height"))]
                for n in names
            ]
            assert np.abs(np.array(found) - person.keypoints).max() < 0.01
            assert box["score"] == pytest.approx(person.score, abs=1e-5)
    assert len({region["id"] for region in tasks[0]["predictions"][0]["result"]}) == 2 * 18


def test_what_lies_outside_of_the_image_is_not_labelled(images: list[Record], tmp_path: Path) -> None:
    people = images[0].people
    points, boxes = people.keypoints.copy(), people.boxes.copy()
    points[0, 3], boxes[0, 0] = (-4, 20), -5
    points[1] += 1000  # nothing of the second one is seen
    record = replace(images[0], people=replace(people, keypoints=points, boxes=boxes))
    (row,) = json.loads(write("coco-annotations", [record], tmp_path / "a.json").read_text())["annotations"]
    assert row["keypoints"][9:12] == [0, 0, 0]
    assert (row["num_keypoints"], row["bbox"][0]) == (16, 0)
    for name, read in (("cvat", import_cvat), ("labelme", lambda at: import_labelme(at, tmp_path / "images"))):
        (person,) = read(write(name, [record], tmp_path / f"out-{name}")).content()["annotations"]
        assert person["num_keypoints"] == 16
    folder = write("yolo", [record], tmp_path / "yolo")
    (line,) = (folder / "labels" / "a1.txt").read_text().splitlines()
    assert max(map(float, line.split()[1:5])) <= 1  # YOLO takes no file with more


def test_two_images_of_one_name_are_told(images: list[Record], tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"a1\.png would get the file .*a1\.txt of another image"):
        write("yolo", [images[0], images[0]], tmp_path / "yolo")


@pytest.mark.parametrize("name", ["../../x.png", "/x.png"])
def test_no_file_is_written_outside_of_the_folder(images: list[Record], tmp_path: Path, name: str) -> None:
    folder = write("openpose", [replace(images[0], name=name)], tmp_path / "in" / "openpose")
    assert [file.name for file in folder.iterdir()] == ["x_keypoints.json"]

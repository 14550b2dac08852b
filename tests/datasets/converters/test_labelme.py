"""LabelMe's json: written from COCO annotations and read again, and everything that can be wrong with it."""

from __future__ import annotations

import json
import re

import pytest

from datasets.converters.labelme import import_labelme
from sia.errors import DataError
from tests.datasets.converters.conftest import assert_same, joints_of, people_of


def shape(label, points, kind="point", group=None, **flags):
    return {
        "label": label, "points": points, "group_id": group, "description": "", "shape_type": kind, "flags": flags,
        "mask": None,
    }  # fmt: skip


def labelme(shapes, image="a.jpg", width=100, height=80):
    head = {"version": "5.5.0", "flags": {}, "shapes": shapes, "imagePath": image, "imageData": None}
    return {**head, "imageHeight": height, "imageWidth": width}


def person(row, content, group):
    x, y, w, h = row["bbox"]
    shapes = [shape("person", [[x + w, y], [x, y + h]], "rectangle", group)]  # drawn from another corner
    for name, px, py, v in joints_of(row, content):
        if v:
            shapes.append(shape(name, [[px, py]], group=group, **({"occluded": True} if v == 1 else {})))
    return shapes


def write(folder, content, name="a.json"):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(content if isinstance(content, str) else json.dumps(content))


def test_round_trip(coco, tmp_path):
    for image in coco["images"]:
        people = people_of(coco, image["id"])
        shapes = [part for group, row in enumerate(people, 1) for part in person(row, coco, group)]
        name = image["file_name"]
        write(
            tmp_path / "json" / "deep",
            labelme(shapes, f"..\\..\\images\\{name}".replace("/", "\\"), image["width"], image["height"]),
            f"{image['id']}.json",
        )
    writer = import_labelme(tmp_path / "json", tmp_path / "images")
    assert_same(writer.content(), coco, 1e-6)


def test_one_person_needs_no_group(tmp_path):
    write(tmp_path, labelme([shape("nose", [[5, 6]]), shape("person", [[1, 2], [31, 42]], "rectangle")]))
    (row,) = import_labelme(tmp_path).content()["annotations"]
    assert row["bbox"] == [1, 2, 30, 40]
    assert row["keypoints"][:3] == [5, 6, 2]


def test_rectangles_alone_are_people_and_other_labels_are_left_out(tmp_path):
    boxes = [shape("person", [[1, 2], [31, 42]], "rectangle"), shape("person", [[50, 2], [71, 42]], "rectangle")]
    other = [shape("car", [[1, 2], [31, 42]], "rectangle"), shape("tree", [[1, 2], [3, 4], [5, 6]], "polygon")]
    write(tmp_path, labelme(boxes + other))
    writer = import_labelme(tmp_path)
    assert len(writer.content()["annotations"]) == 2
    assert "left out: rectangles labelled 'car': 1" in writer.describe()
    assert "left out: shapes of type 'polygon': 1" in writer.describe()


WRONG = {
    "no json": ("{", "is not valid JSON"),
    "a list": ("[]", "no list 'shapes'"),
    "no shapes": ({"version": "5"}, "no list 'shapes'"),
    "no size": ({**labelme([]), "imageWidth": None}, "imageWidth and imageHeight are None and 80"),
    "no path": ({**labelme([]), "imagePath": None}, "imagePath is None"),
    "path": (labelme([], "../../etc/a.jpg"), "is outside"),
    "absolute path": (labelme([], "/etc/a.jpg"), "is outside"),
    "windows path": (labelme([], "..\\..\\a.jpg"), "is outside"),
    "unknown keypoint": (labelme([shape("Left Ankl", [[1, 2]])]), "did you mean 'left_ankle'?"),
    "keypoint twice": (labelme([shape("nose", [[1, 2]])] * 2), "'nose' is twice in one group"),
    "two boxes": (
        labelme([shape("nose", [[1, 2]])] + [shape("person", [[1, 2], [3, 4]], "rectangle")] * 2),
        "2 rectangles and 1 points are in one group",
    ),
    "two points": (labelme([shape("nose", [[1, 2], [3, 4]])]), "'nose' has points [[1, 2], [3, 4]], not 1"),
    "one corner": (labelme([shape("person", [[1, 2]], "rectangle")]), "'person' has points [[1, 2]], not 2"),
    "three values": (labelme([shape("nose", [[1, 2, 3]])]), "not 1 of x, y"),
    "words": (labelme([shape("nose", [["a", 2]])]), "not 1 of x, y"),
    "nan": (labelme([shape("nose", [[float("nan"), 2]])]), "not 1 of x, y"),
    "no points": (labelme([{"label": "nose", "shape_type": "point"}]), "'nose' has points None"),
    "group": (labelme([shape("nose", [[1, 2]], group=[1])]), "group_id [1] is no number"),
    "flat box": (labelme([shape("person", [[1, 2], [1, 5]], "rectangle")]), "has a box of 0x3 px"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_one_line(tmp_path, case):
    content, message = WRONG[case]
    write(tmp_path / "labels", content)
    with pytest.raises(DataError, match=re.escape(message)) as error:
        import_labelme(tmp_path / "labels")
    assert "\n" not in str(error.value)


def test_folders(tmp_path):
    with pytest.raises(DataError, match="no such folder"):
        import_labelme(tmp_path / "nowhere")
    with pytest.raises(DataError, match="there is no image in it"):
        import_labelme(tmp_path).content()

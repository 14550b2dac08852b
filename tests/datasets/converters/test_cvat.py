"""CVAT's XML: written from COCO annotations and read again, and everything that can be wrong with it."""

from __future__ import annotations

import re
from xml.sax.saxutils import quoteattr

import pytest

from datasets.coco.coco_file import read_coco_file
from datasets.converters.cvat import import_cvat
from sia.errors import DataError
from sia.io.output_file import write_json
from sia.skeletons.skeleton import COCO_PERSON, Skeleton
from tests.datasets.converters.conftest import assert_same, joints_of, people_of


def labels(names, svg=""):
    parts = "".join(
        f"<label><name>{name}</name><color>#fff</color><type>points</type><attributes></attributes>"
        "<parent>person</parent></label>"
        for name in names
    )
    return (
        "<labels><label><name>person</name><type>skeleton</type><attributes></attributes>"
        f"<svg>{svg.replace('<', '&lt;')}</svg></label>{parts}</labels>"
    )


def document(body, names=COCO_PERSON.names, svg=""):
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n  <version>1.1</version>\n'
        f"  <meta><task><id>7</id>{labels(names, svg)}</task></meta>\n{body}</annotations>\n"
    )


def point(name, x, y, v, extra=""):
    hidden, outside = int(v == 1), int(v == 0)
    return (
        f'<points label="{name}" source="manual" outside="{outside}" occluded="{hidden}" '
        f'points="{x:.2f},{y:.2f}"{extra}></points>'
    )


def box(row, group, label="person"):
    x, y, w, h = row["bbox"]
    attribute = f' group_id="{group}"' if group else ""
    return (
        f'<box label="{label}" source="manual" occluded="0" xtl="{x:.2f}" ytl="{y:.2f}" xbr="{x + w:.2f}" '
        f'ybr="{y + h:.2f}" z_order="0"{attribute}></box>'
    )


def image_element(index, image, shapes):
    size = f'width="{image["width"]}" height="{image["height"]}"'
    return f'  <image id="{index}" name={quoteattr(image["file_name"])} {size}>\n{shapes}  </image>\n'


def as_skeletons(row, content, group):
    joints = "".join(point(*joint) for joint in joints_of(row, content))
    return f'<skeleton label="person" source="manual" z_order="0" group_id="{group}">{joints}</skeleton>'


def as_points(row, content, group):
    return "".join(point(*joint, f' group_id="{group}"') for joint in joints_of(row, content) if joint[3])


def written(coco, shapes, names=COCO_PERSON.names):
    body = ""
    for index, image in enumerate(coco["images"]):
        parts = [
            shapes(row, coco, group) + box(row, group) for group, row in enumerate(people_of(coco, image["id"]), 1)
        ]
        body += image_element(index, image, "".join(parts))
    return document(body, names)


@pytest.fixture
def read(tmp_path):
    def run(text, wanted=None):
        file = tmp_path / "annotations.xml"
        file.write_text(text, "utf-8") if isinstance(text, str) else file.write_bytes(text)
        return import_cvat(file, wanted)

    return run


@pytest.mark.parametrize("shapes", [as_skeletons, as_points])
def test_round_trip(coco, read, tmp_path, shapes):
    writer = read(written(coco, shapes))
    assert_same(writer.content(), coco, 0.006)
    write_json(tmp_path / "coco.json", writer.content())
    people = read_coco_file(tmp_path / "coco.json").boxes
    assert len(people) == len(coco["annotations"])


def test_names_in_another_order_come_in_cocos(coco, read):
    assert_same(read(written(coco, as_skeletons, COCO_PERSON.names[::-1])).content(), coco, 0.006)


SHAPES = "".join(point(name, 10 + i, 20 + i, 2) for i, name in enumerate(COCO_PERSON.names))
IMAGE = {"file_name": "a.jpg", "width": 100, "height": 80}


def one(shapes):
    return document(image_element(0, IMAGE, shapes))


def test_without_a_box_one_is_made_and_counted(read):
    writer = read(one(f'<skeleton label="person">{SHAPES}</skeleton>'))
    x, y, width, height = writer.content()["annotations"][0]["bbox"]
    assert (x, y, width, height) == pytest.approx((8.4, 18.4, 19.2, 19.2))
    assert "boxes made from the joints: none given: 1" in writer.describe()


def test_one_person_and_one_box_without_groups_belong_together(read):
    shapes = f'<skeleton label="person">{SHAPES}</skeleton>' + box({"bbox": [1, 2, 60, 50]}, 0)
    (person,) = read(one(shapes)).content()["annotations"]
    assert person["bbox"] == [1, 2, 60, 50]


def test_a_box_alone_is_a_person_without_keypoints(read):
    (person,) = read(one(box({"bbox": [1, 2, 60, 50]}, 0))).content()["annotations"]
    assert person["num_keypoints"] == 0


def test_other_shapes_are_left_out_and_counted(read):
    shapes = '<polygon label="tree" points="1,2;3,4;5,6"/>' + box({"bbox": [1, 2, 60, 50]}, 0, "car")
    text = read(one(shapes)).describe()
    assert "left out: <polygon>: 1" in text and "left out: <box> of label 'car': 1" in text


def test_points_of_the_label_are_all_keypoints_in_order(read):
    row = ";".join(f"{i}.5,{i + 1}" for i in range(17))
    (person,) = read(one(f'<points label="person" occluded="1" points="{row}"/>')).content()["annotations"]
    assert person["keypoints"][:6] == [0.5, 1, 1, 1.5, 2, 1]


def test_a_skeleton_of_ones_own_keeps_its_lines(read):
    svg = (
        '<line x1="1" data-type="edge" data-node-from="1" data-node-to="2"></line>'
        '<circle data-type="element node" data-element-id="1" data-node-id="1" data-label-name="tail"></circle>'
        '<circle data-type="element node" data-element-id="2" data-node-id="2" data-label-name="left_fin"></circle>'
    )
    fish = point("left_fin", 5, 6, 2) + point("tail", 9, 9, 1)
    text = document(
        image_element(0, IMAGE, f'<skeleton label="person">{fish}</skeleton>'), ["left_fin", "right_fin", "tail"], svg
    )
    content = read(text).content()
    (category,) = content["categories"]
    assert category["keypoints"] == ["left_fin", "right_fin", "tail"]
    assert category["skeleton"] == [[3, 1]]
    assert category["flip_pairs"] == [["left_fin", "right_fin"]]
    assert content["annotations"][0]["keypoints"] == [5, 6, 2, 0, 0, 0, 9, 9, 1]


def test_a_wanted_category_is_used(read):
    wanted = Skeleton(("b", "a"), (), (), (0.1, 0.1), "thing")
    shapes = f'<skeleton label="thing">{point("a", 1, 2, 2)}{point("b", 3, 4, 2)}</skeleton>'
    content = read(one(shapes), wanted).content()
    assert content["annotations"][0]["keypoints"] == [3, 4, 2, 1, 2, 2]


BOMB = '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY x "ha"><!ENTITY y "&x;&x;&x;">]><annotations>&y;</annotations>'
EXTERNAL = '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><annotations>&x;</annotations>'
WRONG = {
    "cut off": (lambda: one("")[:-20], "cut off or not XML"),
    "empty": (lambda: "", "cut off or not XML"),
    "binary": (lambda: b"\x00\x01PK\x03", "cut off or not XML"),
    "unknown encoding": (lambda: '<?xml version="1.0" encoding="klingon"?><a/>', "cut off or not XML"),
    "entities": (lambda: BOMB, "<!DOCTYPE>"),
    "external entity": (lambda: EXTERNAL, "<!DOCTYPE>"),
    "another root": (lambda: "<html></html>", "its outermost element is <html>"),
    "video": (lambda: document('<track id="0" label="person"></track>'), "Export it as 'CVAT for images 1.1'"),
    "path": (lambda: one("").replace("a.jpg", "../../etc/a.jpg"), "outside the image folder"),
    "absolute path": (lambda: one("").replace("a.jpg", "/etc/a.jpg"), "outside the image folder"),
    "windows path": (lambda: one("").replace("a.jpg", "..\\a.jpg"), "outside the image folder"),
    "no name": (lambda: one("").replace('name="a.jpg"', ""), "Give a path relative to the image folder"),
    "no width": (lambda: one("").replace('width="100"', ""), "<image> has width None, which is no number"),
    "infinite width": (lambda: one("").replace('width="100"', 'width="inf"'), "has width 'inf', which is no number"),
    "no height": (lambda: one("").replace('height="80"', 'height="0"'), "has the size 100x0"),
    "image twice": (lambda: document(image_element(0, IMAGE, "") * 2), "'a.jpg' is there twice"),
    "unknown keypoint": (lambda: one(point("left_anke", 1, 2, 2)), "'left_anke'; did you mean 'left_ankle'?"),
    "foreign keypoint": (lambda: one(point("zzz", 1, 2, 2)), "unknown keypoint 'zzz' (known: nose"),
    "keypoint twice": (lambda: one(point("nose", 1, 2, 2) * 2), "one person has 'nose' twice"),
    "two points": (lambda: one('<points label="nose" points="1,2;3,4"/>'), "'nose' has 2 points, not one"),
    "no points": (lambda: one('<points label="nose"/>'), "points '' of 'nose' are not x,y"),
    "words": (lambda: one('<points label="nose" points="a,b"/>'), "points 'a,b' of 'nose' are not x,y"),
    "one value": (lambda: one('<points label="nose" points="1"/>'), "points '1' of 'nose' are not x,y"),
    "nan": (lambda: one('<points label="nose" points="nan,1"/>'), "no finite number"),
    "few points": (
        lambda: one('<points label="person" points="1,2;3,4"/>'),
        "has 2 points, but there are 17 keypoints",
    ),
    "no joint": (lambda: one('<skeleton label="person"></skeleton>'), "neither a box nor a labelled joint"),
    "flat box": (lambda: one(box({"bbox": [1, 2, 0, 5]}, 0)), "has a box of 0x5 px"),
    "no corner": (lambda: one('<box label="person" xtl="1"/>'), "<box> has ytl None"),
    "no image": (lambda: document(""), "there is no image in it"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_one_line(read, case):
    text, message = WRONG[case]
    with pytest.raises(DataError, match=re.escape(message)) as error:
        read(text()).content()
    assert "\n" not in str(error.value)
    assert "annotations.xml" in str(error.value)


def test_a_missing_file_is_one_line(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        import_cvat(tmp_path / "nowhere.xml")


def test_several_skeletons_need_a_choice(read):
    two = labels(["a"]) + labels(["b"]).replace("person", "dog")
    with pytest.raises(DataError, match="several skeletons: 'person', 'dog'"):
        read(f"<annotations><meta>{two}</meta></annotations>")


def test_a_box_that_was_turned_becomes_the_upright_one_around_it(tmp_path):
    shape = '<box label="person" rotation="90" occluded="0" xtl="100" ytl="50" xbr="140" ybr="70"></box>'
    image = {"file_name": "a.jpg", "width": 300, "height": 200}
    (tmp_path / "a.xml").write_text(document(image_element(0, image, shape)))
    writer = import_cvat(tmp_path / "a.xml")
    assert writer.people[0]["bbox"] == pytest.approx([110, 40, 20, 40])
    assert "boxes that were turned: the upright box around each is taken: 1" in writer.describe()

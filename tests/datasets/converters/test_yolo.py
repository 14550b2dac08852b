"""YOLO-pose labels: written from COCO annotations and read again, and everything that can be wrong with them."""

from __future__ import annotations

import re

import pytest
import yaml
from PIL import Image

from datasets.converters.yolo import import_yolo
from sia.errors import DataError
from sia.skeletons.skeleton import COCO_PERSON, Skeleton
from tests.datasets.converters.conftest import assert_same, joints_of, people_of

DATA = {
    "path": "../somewhere",
    "train": "images/train",
    "val": "/etc",
    "kpt_shape": [17, 3],
    "flip_idx": COCO_PERSON.flip_order,
    "names": {0: "person"},
}


def line(row, content, width, height, dims=3):
    x, y, w, h = row["bbox"]
    values = [(x + w / 2) / width, (y + h / 2) / height, w / width, h / height]
    for _, px, py, v in joints_of(row, content):
        joint = [px / width, py / height] if v else [0, 0]
        values += [*joint, v][:dims]
    return "0 " + " ".join(f"{value:.6f}" if value != int(value) else f"{int(value)}" for value in values)


def save_image(path, width, height, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (width, height)).save(path, **options)


def write_yaml(folder, **changes):
    content = {key: value for key, value in {**DATA, **changes}.items() if value is not None}
    folder.mkdir(exist_ok=True)
    (folder / "data.yaml").write_text(yaml.safe_dump(content))
    return folder / "data.yaml"


@pytest.fixture
def files(tmp_path):
    """One image of 200x100 with one person of two keypoints."""
    write_yaml(tmp_path, kpt_shape=[2, 3], flip_idx=[1, 0], kpt_names={0: ["left_end", "right_end"]})
    save_image(tmp_path / "images" / "train" / "a.jpg", 200, 100)
    labels = tmp_path / "labels" / "train"
    labels.mkdir(parents=True)
    (labels / "a.txt").write_text("0 0.5 0.5 0.5 0.5 0.3 0.4 2 0.6 0.7 1\n")
    return tmp_path


def run(files, **options):
    return import_yolo(files / "data.yaml", files / "images" / "train", **options)


@pytest.mark.parametrize("dims", [2, 3])
def test_round_trip(coco, tmp_path, dims):
    for image in coco["images"]:
        width, height = image["width"], image["height"]
        save_image(tmp_path / "images" / image["file_name"], width, height)
        label = (tmp_path / "labels" / image["file_name"]).with_suffix(".txt")
        label.parent.mkdir(parents=True, exist_ok=True)
        label.write_text("\n".join(line(row, coco, width, height, dims) for row in people_of(coco, image["id"])))
    content = import_yolo(write_yaml(tmp_path, kpt_shape=[17, dims]), tmp_path / "images").content()
    if dims == 2:  # the format doesn't say who is hidden
        flat = [[2 if v and i % 3 == 2 else v for i, v in enumerate(r["keypoints"])] for r in coco["annotations"]]
        people = [{**row, "keypoints": values} for row, values in zip(coco["annotations"], flat, strict=True)]
        coco = {**coco, "annotations": people}
    assert_same(content, coco, 0.001)
    assert Skeleton.from_category(content["categories"][0]) == COCO_PERSON


def test_own_keypoints(files):
    content = run(files).content()
    (row,) = content["annotations"]
    assert row["keypoints"] == pytest.approx([60, 40, 2, 120, 70, 1])
    assert row["bbox"] == pytest.approx([50, 25, 100, 50])
    assert content["categories"][0]["flip_pairs"] == [["left_end", "right_end"]]


def test_images_without_labels_are_background_and_counted(files):
    save_image(files / "images" / "train" / "b.png", 30, 20)
    (files / "images" / "train" / "notes.md").write_text("")
    writer = run(files)
    assert len(writer.content()["images"]) == 2
    assert "images without a label file: taken as background: 1" in writer.describe()


def test_images_are_taken_as_viewers_show_them(files):
    exif = Image.Exif()
    exif[0x0112] = 6
    save_image(files / "images" / "train" / "a.jpg", 100, 200, exif=exif)
    (image,) = run(files).content()["images"]
    assert (image["width"], image["height"]) == (200, 100)


def test_several_classes_are_several_categories(files):
    write_yaml(files, kpt_shape=[2, 3], flip_idx=None, kpt_names={0: ["a", "b"], 1: ["a", "b"]}, names=["cat", "dog"])
    (files / "labels" / "train" / "a.txt").write_text("1 0.5 0.5 0.5 0.5 0.3 0.4 2 0.6 0.7 1")
    content = run(files).content()
    assert [row["name"] for row in content["categories"]] == ["cat", "dog"]
    assert content["annotations"][0]["category_id"] == 2


def test_names_from_a_category(files):
    write_yaml(files, kpt_shape=[2, 3], flip_idx=None)
    wanted = Skeleton(("a", "b"), (), (), (0.1, 0.1))
    assert run(files, wanted=wanted).content()["categories"][0]["keypoints"] == ["a", "b"]


ROW = "0 0.5 0.5 0.5 0.5 0.3 0.4 2 0.6 0.7 1"
WRONG_ROWS = {
    "too few": (ROW[:-2], "line 1: 10 values, but class, box and keypoints make 11"),
    "too many": (ROW + " 2", "line 1: 12 values"),
    "second line": (ROW + "\n1", "line 2: 1 values"),
    "words": (ROW.replace("0.3", "left"), "could not convert string to float: 'left'"),
    "class": ("7" + ROW[1:], "line 1: class 7, but names has 1"),
    "half class": ("0.5" + ROW[1:], "line 1: class 0.5"),
    "visibility": (ROW.replace(" 2 ", " 3 "), "line 1: visibility 3"),
    "pixels": ("0 100 50 100 50 0.3 0.4 2 0.6 0.7 1", "is not in fractions of the image"),
    "nan box": (ROW.replace("0.5", "nan", 1), "is not in fractions of the image"),
    "nan": (ROW.replace("0.3", "nan"), "no finite number"),
    "flat": ("0 0.5 0.5 0 0.5 0.3 0.4 2 0.6 0.7 1", "has a box of 0x50 px"),
    "binary": (b"\xff\xfe\x00", "can't read it"),
}
WRONG_YAML = {
    "shape": ({"kpt_shape": [2]}, "kpt_shape is [2]"),
    "dims": ({"kpt_shape": [2, 5]}, "kpt_shape is [2, 5]"),
    "no shape": ({"kpt_shape": None}, "kpt_shape is None"),
    "names": ({"names": {3: "x"}}, "names is {3: 'x'}"),
    "flip of another length": ({"flip_idx": [0]}, "flip_idx [0] doesn't swap 2 keypoints"),
    "flip of words": ({"flip_idx": ["1", "0"]}, "doesn't swap 2 keypoints"),
    "flip that turns": ({"kpt_shape": [3, 3], "kpt_names": [["a", "b", "c"]], "flip_idx": [1, 2, 0]}, "doesn't swap 3"),
    "no keypoint names": ({"kpt_names": None}, "it has no kpt_names. Name its 2 keypoints with --category"),
    "too few names": ({"kpt_names": [["a"]]}, "kpt_shape says 2 keypoints, but there are 1 names"),
}


@pytest.mark.parametrize("case", WRONG_ROWS)
def test_wrong_rows_are_one_line(files, case):
    text, message = WRONG_ROWS[case]
    (files / "labels" / "train" / "a.txt").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DataError, match=re.escape(message)) as error:
        run(files)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("case", WRONG_YAML)
def test_wrong_yaml_is_one_line(files, case):
    changes, message = WRONG_YAML[case]
    names = {0: ["left_end", "right_end"]}
    write_yaml(files, **{"kpt_shape": [2, 3], "flip_idx": [1, 0], "kpt_names": names, **changes})
    with pytest.raises(DataError, match=re.escape(message)) as error:
        run(files)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["a: [", "!!python/object/apply:os.system ['false']", "\x00", "just text"])
def test_what_is_no_safe_yaml_is_refused(files, text):
    (files / "data.yaml").write_text(text)
    with pytest.raises(DataError, match=r"data\.yaml") as error:
        run(files)
    assert "\n" not in str(error.value)


def test_folders_and_files_that_do_not_fit(files):
    with pytest.raises(DataError, match="Check --img_dir"):
        import_yolo(files / "data.yaml", files / "nowhere", files / "labels")
    with pytest.raises(DataError, match="Give --label_dir"):
        import_yolo(files / "data.yaml", files / "labels" / "train")
    (files / "labels" / "train" / "b.txt").write_text("")
    with pytest.raises(DataError, match=r"1 label files have no image .* such as b\.txt"):
        run(files)
    (files / "labels" / "train" / "b.txt").unlink()
    save_image(files / "images" / "train" / "a.png", 3, 3)
    with pytest.raises(DataError, match="1 images share their name"):
        run(files)


def test_a_broken_image_is_named(files):
    (files / "images" / "train" / "a.jpg").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"a\.jpg"):
        run(files)

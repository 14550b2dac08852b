"""Reading COCO keypoint files: what is kept, what is counted, and one clear error for every kind of bad input."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

import sia.io.images
from datasets.coco.coco_pose import CocoPose, mean_pose
from sia.errors import DataError
from sia.skeletons.oks import AREA_OF_BOX
from sia.skeletons.skeleton import COCO_PERSON, Skeleton

Make = Callable[..., CocoPose]
Content = dict[str, Any]


def test_keeps_people_crowds_and_people_without_keypoints(make_dataset: Make) -> None:
    dataset = make_dataset()
    labels = dataset.annotation(1)
    assert len(dataset) == 4 and dataset.image_ids == [10, 11, 12, 13]
    assert dataset.skeleton.names == ("nose", "left_hand", "right_hand")
    np.testing.assert_array_equal(labels.boxes, [[20, 10, 50, 50], [55, 30, 67.5, 50]])
    np.testing.assert_array_equal(labels.keypoints[0], [[30, 20, 2], [36, 30, 1], [0, 0, 0]])
    assert not labels.keypoints[1].any()
    np.testing.assert_array_equal(labels.areas, [700, 150])
    np.testing.assert_array_equal(labels.ignored, [[0, 0, 15, 9]])
    assert len(dataset.annotation(0).ignored) == 0
    assert dataset.report == {}
    assert "8 people (4 with keypoints), 2 ignored regions" in dataset.describe()


def test_people_are_found_whatever_the_order_of_annotations(make_dataset: Make, content: Content) -> None:
    expected = make_dataset().annotation(2)
    content["annotations"].reverse()
    labels = make_dataset(content).annotation(2)
    np.testing.assert_array_equal(np.sort(labels.boxes, axis=0), np.sort(expected.boxes, axis=0))


def test_an_image_without_people_is_kept(make_dataset: Make, content: Content) -> None:
    content["annotations"] = [row for row in content["annotations"] if row["image_id"] != 12]
    dataset = make_dataset(content)
    assert len(dataset) == 4 and len(dataset.annotation(2)) == 0
    assert "1 without people" in dataset.describe()


def test_an_incompletely_labelled_image_is_ignored_as_a_whole(make_dataset: Make, content: Content) -> None:
    content["images"][1]["complete"] = False
    labels = make_dataset(content).annotation(1)
    assert len(labels) == 2
    np.testing.assert_array_equal(labels.ignored, [[0, 0, 15, 9], [0, 0, 80, 60]])


def test_every_annotation_that_is_not_used_is_counted(make_dataset: Make, content: Content) -> None:
    rows = content["annotations"]
    content["categories"].append({"id": 2, "name": "dog"})
    rows.append({"id": 100, "image_id": 10, "category_id": 2, "bbox": [1, 1, 5, 5]})
    rows.append({**rows[0], "id": 101, "bbox": [200, 10, 30, 30]})
    rows.append({**rows[0], "id": 102, "keypoints": [30, 20, 2, 81.5, 5, 2, 80.9, 5, 2]})
    del rows[0]["area"]
    dataset = make_dataset(content)
    assert dataset.report == {
        "annotations not used: category without keypoints": 1,
        "annotations not used: box wholly outside the image": 1,
        "joints taken as unlabelled: outside the image": 1,
        "areas estimated from the box: none given": 1,
    }
    labels = dataset.annotation(0)
    assert labels.areas[0] == pytest.approx(AREA_OF_BOX * 30 * 40)
    assert labels.keypoints[2, :, 2].tolist() == [2, 0, 2]
    for reason in dataset.report:
        assert f"{reason}: 1" in dataset.describe()


def test_boxes_are_cut_at_the_border(make_dataset: Make, content: Content) -> None:
    content["annotations"][0]["bbox"] = [-5, 40, 30, 40]
    np.testing.assert_array_equal(make_dataset(content).annotation(0).boxes[0], [0, 40, 25, 60])


def test_mean_pose_is_relative_to_boxes_and_skips_unlabelled_joints(make_dataset: Make) -> None:
    mean = mean_pose(make_dataset())
    centre = [35, 30]
    expected = [[(30 - centre[0]) / 30, (20 - centre[1]) / 40], [(36.5 - centre[0]) / 30, 0], [0, 0]]
    np.testing.assert_allclose(mean, expected, atol=1e-6)


def test_mean_pose_without_any_joint_is_an_error(make_dataset: Make, content: Content) -> None:
    for row in content["annotations"]:
        row.pop("keypoints", None)
    with pytest.raises(DataError, match="no person has a labelled keypoint"):
        mean_pose(make_dataset(content, labelled=False))


def test_a_given_skeleton_is_used_when_its_names_agree(make_dataset: Make, content: Content) -> None:
    skeleton = Skeleton.from_category({**content["categories"][0], "sigmas": [0.5, 0.5, 0.5]})
    assert make_dataset(content, skeleton=skeleton).skeleton.sigmas == (0.5, 0.5, 0.5)
    with pytest.raises(DataError, match=r"'left_eye'.* are needed here"):
        make_dataset(content, skeleton=COCO_PERSON)


@pytest.mark.parametrize("layout", ["train2017", "train", "images", "images/train"])
def test_finds_images_in_cocos_layout(make_dataset: Make, layout: str) -> None:
    flat = make_dataset()
    root = flat.annotation_file.parent / "coco"
    shutil.copytree(flat.root, root / layout)
    assert CocoPose(root, flat.annotation_file).files[3] == root / layout / "0003.png"


def test_the_name_of_the_annotation_file_decides_between_train_and_val(make_dataset: Make, tmp_path: Path) -> None:
    flat = make_dataset()
    for split in ("train", "val"):
        shutil.copytree(flat.root, tmp_path / "coco" / split)
    shutil.copy(flat.annotation_file, tmp_path / "person_val.json")
    shutil.copy(flat.annotation_file, tmp_path / "people.json")
    assert CocoPose(tmp_path / "coco", tmp_path / "person_val.json").files[0] == tmp_path / "coco/val/0000.png"
    with pytest.raises(DataError, match=r"is at train/0000\.png and at val/0000\.png"):
        CocoPose(tmp_path / "coco", tmp_path / "people.json")


def set_in(section: str, number: int, **values: Any) -> Callable[[Content], None]:
    """A change of some values of one row; ... removes the key."""

    def change(content: Content) -> None:
        row = content[section][number]
        row.update(values)
        for key in [key for key, value in values.items() if value is ...]:
            del row[key]

    return change


def with_dogs(content: Content, name: str = "dog", **of_the_first: Any) -> None:
    """A second category with keypoints of its own."""
    content["categories"].append({"id": 2, "name": name, "keypoints": ["nose", "tail"]})
    content["annotations"][0].update(of_the_first)


def shares(content: Content) -> None:
    """Coordinates relative to the image, as YOLO has them."""
    for row in content["annotations"]:
        joints = row.get("keypoints", [])
        row["keypoints"] = [v if i % 3 == 2 else v / 100 for i, v in enumerate(joints)]


BAD_FILES: dict[str, tuple[Callable[[Content], Any], str]] = {
    "no images": (lambda c: c.pop("images"), "section 'images' is missing"),
    "no annotations": (lambda c: c.pop("annotations"), "section 'annotations' is missing"),
    "no categories": (lambda c: c.pop("categories"), "section 'categories' is missing"),
    "section of another type": (lambda c: c.update(images={"id": 1}), "section 'images' is not a list"),
    "empty images": (lambda c: c["images"].clear(), "section 'images' is empty"),
    "no people": (lambda c: c["annotations"].clear(), "no annotation is a person"),
    "only crowds": (lambda c: [row.update(iscrowd=1) for row in c["annotations"]], "no annotation is a person"),
    "no keypoints declared": (set_in("categories", 0, keypoints=[]), "no category declares keypoints"),
    "keypoints declared as text": (set_in("categories", 0, keypoints="nose"), "is no list of names"),
    "bad skeleton": (set_in("categories", 0, skeleton=[[1, 9]]), "leave the range of its 3 keypoints"),
    "two categories of a name": (lambda c: with_dogs(c, "person"), "Two categories .* are called 'person'"),
    "keypoints of another category": (
        lambda c: with_dogs(c, keypoints=[5, 5, 2, 9, 9, 2]),
        "annotation 1 has keypoints of 6. Give a list of 9 numbers, x y v for each of 3 keypoints of 'person'",
    ),
    "too few keypoints": (set_in("annotations", 0, keypoints=[1, 2, 2]), "annotation 1 has keypoints of 3. .* 9 num"),
    "keypoints that are text": (
        set_in("annotations", 0, keypoints=["a"] * 9),
        "no number .*'a' for nose",
    ),
    "NaN joint": (set_in("annotations", 0, keypoints=[float("nan")] + [0] * 8), "annotation 1 has NaN or infinity"),
    "infinite box": (
        set_in("annotations", 0, bbox=[0, 0, float("inf"), 2]),
        "annotation 1 has bbox .* NaN or inf",
    ),
    "visibility 3": (set_in("annotations", 0, keypoints=[1, 1, 3] + [0] * 6), "annotation 1 has visibility 3. Use 0"),
    "visibility 0.5": (set_in("annotations", 0, keypoints=[1, 1, 0.5] + [0] * 6), "annotation 1 has visibility 0.5"),
    "no box and no joint of a person": (
        lambda c: [row.update(keypoints=[]) for row in c["annotations"]],
        "nothing to learn",
    ),
    "dangling image": (set_in("annotations", 2, image_id=99), "annotation 4 has image_id 99, which is not"),
    "dangling category": (set_in("annotations", 2, category_id=7), "annotation 4 has category_id 7, which is not"),
    "duplicate image id": (
        set_in("images", 1, id=10),
        r"image 10 has the id of images\[0\], too",
    ),
    "id that is text": (set_in("images", 1, id="a"), r"images\[1\] has id 'a'. Give it an integer"),
    "no image id": (set_in("annotations", 1, image_id=...), "annotation 2 has image_id None"),
    "negative box": (set_in("annotations", 0, bbox=[5, 5, -3, 4]), "annotation 1 has bbox .* without area"),
    "box of text": (set_in("annotations", 0, bbox=["a", 2, 3, 4]), "annotation 1 has bbox .* Give a list of 4 numbers"),
    "box too large": (set_in("annotations", 0, bbox=[10**400, 2, 3, 4]), "annotation 1 has bbox .* too large"),
    "short box": (set_in("annotations", 0, bbox=[1, 2, 3]), r"annotation 1 has bbox \[1, 2, 3\] of 3"),
    "negative area": (set_in("annotations", 0, area=-4), "annotation 1 has area -4"),
    "NaN area": (set_in("annotations", 0, area=float("nan")), "annotation 1 has area nan: it is NaN or infinity"),
    "path upwards": (set_in("images", 0, file_name="../secret.png"), "image 10 has file_name .* outside the image"),
    "absolute path": (set_in("images", 0, file_name="/etc/passwd"), "image 10 has file_name .* outside the image"),
    "Windows path": (set_in("images", 0, file_name="..\\secret.png"), "image 10 has file_name .* outside the image"),
    "no file name": (set_in("images", 0, file_name=...), "image 10 has file_name None"),
    "no width": (set_in("images", 0, width=...), "image 10 has width None"),
    "height 0": (set_in("images", 0, height=0), "image 10 has height 0"),
    "iscrowd in words": (set_in("annotations", 0, iscrowd="maybe"), "annotation 1 has iscrowd 'maybe'. Use 0"),
    "complete in words": (set_in("images", 0, complete="partly"), "image 10 has complete 'partly'. Use true or false"),
    "visibility that is a boolean": (set_in("annotations", 0, keypoints=[1, 1, True] + [0] * 6), "True for nose"),
    "huge joint": (set_in("annotations", 0, keypoints=[10**400, 1, 2] + [0] * 6), "annotation 1 .* too large"),
    "huge area": (set_in("annotations", 0, area=10**400), "annotation 1 has area 1000.* too large"),
    "huge id": (set_in("annotations", 0, image_id=2**64), "annotation 1 has image_id 18446744073709551616, which"),
    "lines that are no pairs": (
        set_in("categories", 0, skeleton=[[1, 2, 3]]),
        "'skeleton' is .* count from 1",
    ),
    "fractions of the image": (shares, "joints lie between 0 and 1, as fractions of the image. Give pixels"),
    "missing image": (
        set_in("images", 1, file_name="nowhere.png"),
        "1 of 4 images of train.json are missing, such as n",
    ),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_bad_annotations_get_one_clear_line(make_dataset: Make, content: Content, case: str) -> None:
    make_dataset()
    change, message = BAD_FILES[case]
    change(content)
    with pytest.raises(DataError, match=message) as caught:
        make_dataset(content)
    assert "\n" not in str(caught.value)
    assert "train.json" in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[1, 2]", "\x00\x01", '"text"', "[" * 100_000])
def test_text_that_is_no_annotation_json(make_dataset: Make, text: str) -> None:
    with pytest.raises(DataError, match=r"train\.json( is not valid JSON|: must hold one json object)"):
        make_dataset(text)


def test_missing_annotation_file_or_folder(make_dataset: Make, tmp_path: Path) -> None:
    dataset = make_dataset()
    with pytest.raises(DataError, match=r"Can't read .*nowhere\.json: no such file"):
        CocoPose(dataset.root, tmp_path / "nowhere.json")
    with pytest.raises(DataError, match="nowhere: no such folder of images"):
        CocoPose(tmp_path / "nowhere", dataset.annotation_file)


def photograph(height: int = 60, width: int = 80) -> np.ndarray:
    """Smooth colours, so that lossy formats keep them."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 3, y * 4, np.full_like(x, 90)], axis=-1).astype(np.uint8)


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.bmp", "a.webp", "a.tif"])
def test_truncated_images_are_named(make_dataset: Make, content: Content, name: str) -> None:
    content["images"][0]["file_name"] = name
    folder = make_dataset().root
    Image.fromarray(photograph()).save(folder / name)
    dataset = make_dataset(content)
    assert dataset.read_image(0).shape == (60, 80, 3)
    data = (folder / name).read_bytes()
    for size in (len(data) * 2 // 3, 10, 0):
        (folder / name).write_bytes(data[:size])
        with pytest.raises(DataError, match=rf"Can't read the image .*{name}: "):
            dataset.read_image(0)


def test_a_image_that_vanished_or_has_another_size(make_dataset: Make) -> None:
    dataset = make_dataset()
    cv2.imwrite(str(dataset.file(1)), photograph(80, 60))
    with pytest.raises(DataError, match=r"0001\.png: this image is 60x80, but train\.json says 80x60"):
        dataset.read_image(1)
    dataset.file(0).unlink()
    with pytest.raises(DataError, match=r"Can't read .*0000\.png: no such file"):
        dataset.read_image(0)


def test_exif_orientation_is_honoured(make_dataset: Make, content: Content) -> None:
    content["images"][0]["file_name"] = "turned.jpg"
    folder = make_dataset().root
    upright = photograph()
    exif = Image.Exif()
    exif[0x0112] = 6  # a viewer turns the stored image by 90 degrees clockwise
    Image.fromarray(np.rot90(upright)).save(folder / "turned.jpg", exif=exif, quality=95)
    for shrink in (1, 2):
        image = make_dataset(content).read_image(0, shrink)
        assert np.abs(image.astype(int) - upright).mean() < 4


def test_orientation_in_xmp_is_obeyed(tmp_path: Path) -> None:
    file = tmp_path / "turned.jpg"
    pixels = np.random.default_rng(0).integers(0, 256, (16, 32, 3), dtype=np.uint8).repeat(4, 0).repeat(4, 1)
    Image.fromarray(pixels).save(file, quality=95, subsampling=0)
    packet = b'http://ns.adobe.com/xap/1.0/\0<x:xmpmeta xmlns:x="adobe:ns:meta/" tiff:Orientation="6"/>'
    content = file.read_bytes()
    file.write_bytes(content[:2] + b"\xff\xe1" + (len(packet) + 2).to_bytes(2, "big") + packet + content[2:])
    for shrink in (1, 4):
        assert sia.io.images.read_image(file, shrink).shape == (128, 64, 3)


@pytest.mark.parametrize("mode", ["L", "CMYK", "RGBA", "P", "1", "I;16"])
def test_every_colour_mode_becomes_rgb(make_dataset: Make, content: Content, mode: str) -> None:
    name = "a.jpg" if mode == "CMYK" else "a.png"
    content["images"][0]["file_name"] = name
    folder = make_dataset().root
    source = Image.fromarray(photograph())
    stored = source.convert("L").convert("I;16") if mode == "I;16" else source.convert(mode)
    stored.save(folder / name)
    image = make_dataset(content).read_image(0)
    assert image.shape == (60, 80, 3) and image.dtype == np.uint8
    if mode in ("CMYK", "RGBA"):
        assert np.abs(image.astype(int) - photograph()).mean() < 6


def test_real_photographs(photographs: Path) -> None:
    dataset = CocoPose(photographs / "coco_person" / "images", photographs / "coco_person" / "val.json")
    assert len(dataset) == 346 and dataset.report == {}
    assert dataset.skeleton == COCO_PERSON
    assert sum(len(dataset.annotation(index)) for index in range(346)) == 1371
    assert dataset.read_image(0).shape[:2] == dataset.size(0)


def test_memory_stays_small(make_dataset: Make, content: Content) -> None:
    """Arrays, not one dictionary per annotation: COCO has 118,000 images, and every worker has a copy."""
    dataset = make_dataset(content)
    assert not [value for value in vars(dataset._content).values() if isinstance(value, (list, dict)) and value]
    assert json.dumps(dataset.skeleton.to_dict())


@pytest.mark.parametrize(
    "name",
    [
        "C:\\data\\img\\0000.png", "/home/x/img/0000.png", "file:///img/0000.png", "../0000.png", "img/0000%2Epng",
        "/data/local-files/?d=img/0000.png",
    ],
)  # fmt: skip
def test_names_of_other_computers_lead_to_the_file(make_dataset: Make, content: Content, name: str) -> None:
    make_dataset()
    content["images"][0]["file_name"] = name
    dataset = make_dataset(content)
    assert dataset.file(0) == dataset.root / "0000.png"
    assert dataset.report == {"images found by the last parts of their names": 1}
    content["images"][0]["file_name"] = f"{name}x"
    with pytest.raises(DataError, match=r"outside the image folder|images of train\.json are missing"):
        make_dataset(content)


def test_a_foreign_name_is_not_taken_for_the_file_of_another_image(make_dataset: Make, content: Content) -> None:
    make_dataset()
    content["images"][0]["file_name"] = "/home/x/0001.png"
    with pytest.raises(DataError, match=r"image 10 has file_name '/home/x/0001\.png', outside the image folder"):
        make_dataset(content)

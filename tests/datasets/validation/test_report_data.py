"""Every check: silent on faultless annotations, and found when its defect is planted in them."""

from __future__ import annotations

import copy
import json
import shutil

import cv2
import numpy as np
import pytest
from PIL import Image

from datasets.coco.coco_pose import CocoPose
from datasets.validation import CHECKS, Severity
from sia.errors import DataError

STRUCTURAL = {"json", "sections"}


PLANTS = {
    "confidences": (lambda s: s.person.update(keypoint_confidences=[87.0] * 17), 0, 0),
    "sections": (lambda s: s.content.pop("categories"), None, None),
    "skeleton": (lambda s: s.content["categories"][0]["skeleton"].append([3, 99]), None, None),
    "flag": (lambda s: s.person.update(iscrowd="maybe"), 0, 0),
    "written-otherwise": (lambda s: s.person.update(iscrowd="0"), 0, 0),
    "keypoint-names": (lambda s: s.content["categories"][0].update(keypoints=list(range(17))), None, None),
    "annotation-id": (lambda s: s.person.pop("id"), 0, 0),
    "flips-unknown": (
        lambda s: s.content["categories"][0].update(keypoints=[f"kp_{k}" for k in range(17)]),
        None,
        None,
    ),
    "bbox-rotated": (lambda s: s.person.update(attributes={"rotation": 30.0}), 0, 0),
    "person-empty": (lambda s: s.person.update(keypoints=[], num_keypoints=0, bbox=[0, 0, 0, 0], area=0), 0, 0),
    "image-name-foreign": (lambda s: s.image.update(file_name="C:\\data\\" + s.image["file_name"]), 0, None),
    "image-id-twice": (lambda s: s.content["images"][1].update(id=s.image["id"]), 1, None),
    "annotation-id-twice": (lambda s: s.content["annotations"][1].update(id=s.person["id"]), 1, 1),
    "category-id-twice": (
        lambda s: s.content["categories"].append({"id": s.content["categories"][0]["id"], "name": "dog"}),
        None,
        None,
    ),
    "dangling-image": (lambda s: s.person.update(image_id=123456789), None, 0),
    "dangling-category": (lambda s: s.person.update(category_id=77), 0, 0),
    "image-name": (lambda s: s.image.update(file_name="../secret.jpg"), 0, None),
    "image-missing": (lambda s: s.image_path.unlink(), 0, None),
    "image-broken": (lambda s: s.image_path.write_bytes(s.image_path.read_bytes()[:3000]), 0, None),
    "image-size-missing": (lambda s: s.image.pop("width"), 0, None),
    "image-size": (lambda s: s.image.update(height=s.image["height"] + 1), 0, None),
    "keypoints-length": (lambda s: s.person["keypoints"].pop(), 0, 0),
    "keypoints-number": (lambda s: joint(s, 5, float("nan")), 0, 0),
    "joint-outside-image": (lambda s: joint(s, 5, s.image["width"] + 1.5), 0, 0),
    "bbox-malformed": (lambda s: s.person.update(bbox=[1, 2, 3]), 0, 0),
    "bbox-missing": (lambda s: s.person.pop("bbox"), 0, 0),
    "area-malformed": (lambda s: s.person.update(area=-1), 0, 0),
    "area-missing": (lambda s: s.person.pop("area"), 0, 0),
    "joint-at-origin": (lambda s: joint(s, 9, 0, 0), 0, 0),
    "num-keypoints": (lambda s: s.person.update(num_keypoints=s.person["num_keypoints"] - 1), 0, 0),
    "area-of-box": (lambda s: s.person.update(area=s.person["area"] * 9), 0, 0),
    "joints-at-one-point": (lambda s: joint(s, 9, *s.person["keypoints"][3 * 10 : 3 * 10 + 2]), 0, 0),
    "crowd-with-keypoints": (lambda s: s.person.update(iscrowd=1), 0, 0),
    **dict.fromkeys(
        ("flips-inferred", "sigmas-inferred", "own-skeleton"),
        (lambda s: s.content["categories"][0]["keypoints"].__setitem__(0, "snout"), None, None),
    ),
    "flip-pair": (lambda s: s.content["categories"][0].update(flip_pairs=[["left_eye", "right_eye"]]), None, None),
}
"""What plants each defect, and at which image and annotation it has to be found (None: at none)."""


def plant(check, image=0, row=0):
    """Registers what plants a defect, and where it has to be found (None: at no image, no annotation)."""

    def register(function):
        PLANTS[check] = (function, image, row)
        return function

    return register


def joint(sample, index, *values):
    sample.person["keypoints"][3 * index : 3 * index + len(values)] = values


def recount(sample):
    sample.person["num_keypoints"] = sum(v > 0 for v in sample.person["keypoints"][2::3])


@plant("json", None, None)
def _(sample):
    sample.content = "unfinished"


@plant("skeleton-order", None, None)
def _(sample):
    names = sample.content["categories"][0]["keypoints"]
    names[1], names[2] = names[2], names[1]


@plant("skeleton-base", None, None)
def _(sample):
    category = sample.content["categories"][0]
    category["skeleton"] = [[a - 1, b - 1] for a, b in category["skeleton"]]


@plant("nobody", None, None)
def _(sample):
    for row in sample.content["annotations"]:
        row["keypoints"], row["num_keypoints"] = [0] * 51, 0


@plant("units", None, None)
def _(sample):
    sizes = {image["id"]: (image["width"], image["height"]) for image in sample.content["images"]}
    for row in sample.content["annotations"]:
        width, height = sizes[row["image_id"]]
        row["bbox"] = [value / side for value, side in zip(row["bbox"], (width, height) * 2, strict=True)]


@plant("id", 1, None)
def _(sample):
    image = sample.content["images"][1]
    for row in sample.content["annotations"]:
        row["image_id"] = "a" if row["image_id"] == image["id"] else row["image_id"]
    image["id"] = "a"


@plant("bbox-corners", None, None)
def _(sample):
    x, y, width, height = sample.person["bbox"]
    sample.content["annotations"] = [sample.person]
    sample.person["bbox"] = [x, y, x + width, y + height]
    sample.image["width"], sample.image["height"] = int(x + width) + 1, int(y + height) + 1
    pixels = cv2.imread(str(sample.image_path))
    cv2.imwrite(str(sample.image_path), cv2.resize(pixels, (sample.image["width"], sample.image["height"])))


@plant("units-percent", None, None)
def _(sample):
    for image in sample.content["images"]:
        image.update(width=300, height=300)
        cv2.imwrite(str(sample.image_path.with_name(image["file_name"])), np.zeros((300, 300, 3), np.uint8))
    points = [value for _ in range(17) for value in (60, 60, 2)]
    row = {**sample.person, "keypoints": points, "num_keypoints": 17, "bbox": [10, 10, 80, 85], "area": 4000}
    sample.content["annotations"] = [{**row, "id": key} for key in range(1, 26)]


@plant("visibility")
def _(sample):
    sample.person["keypoints"][3 * 5 + 2] = 3


@plant("bbox-empty")
def _(sample):
    sample.person["bbox"][2] = 0


@plant("image-twice", 4, None)
def _(sample):
    shutil.copyfile(sample.image_path, sample.image_path.with_name("again.jpg"))
    sample.content["images"].append({**sample.image, "id": 999, "file_name": "again.jpg"})


@plant("unlabelled-with-place")
def _(sample):
    sample.person["keypoints"][3 * 9 + 2] = 0
    recount(sample)


@plant("joint-outside-box")
def _(sample):
    width = 0.4 * sample.person["bbox"][2]
    sample.person["bbox"][2] = width
    sample.person["area"] = 0.5 * width * sample.person["bbox"][3]


@plant("bbox-outside-image")
def _(sample):
    sample.person["bbox"][2] = sample.image["width"]
    sample.person["bbox"][0] = 20
    sample.person["area"] = 0.3 * sample.person["bbox"][2] * sample.person["bbox"][3]


@plant("person-twice", 0, -1)
def _(sample):
    moved = [value + 0.2 * (i % 3 < 2) for i, value in enumerate(sample.person["keypoints"])]
    sample.content["annotations"].append({**sample.person, "id": 987654321, "keypoints": moved})


@plant("left-right")
def _(sample):
    points = np.array(sample.person["keypoints"], float).reshape(-1, 3)
    points[[5, 6, 7, 8, 9, 10, 11, 12]] = points[[6, 5, 8, 7, 10, 9, 12, 11]]
    sample.person["keypoints"] = points.ravel().tolist()


@plant("limb")
def _(sample):
    points = np.array(sample.person["keypoints"], float).reshape(-1, 3)
    points[9, :2] = points[7, :2] + 3 * (points[6, :2] - points[12, :2])  # a forearm as long as three trunks
    points[9, :2] = points[9, :2].clip(1, (sample.image["width"] - 1, sample.image["height"] - 1))
    points[9, 2] = 1
    points[[1, 2, 3, 4], 2] = 2
    sample.person["keypoints"] = points.ravel().tolist()


@plant("never-labelled", None, None)
def _(sample):
    for row in sample.content["annotations"]:
        row["keypoints"][:3] = [0, 0, 0]
        row["num_keypoints"] = sum(v > 0 for v in row["keypoints"][2::3])


@plant("never-hidden", None, None)
def _(sample):
    for row in sample.content["annotations"]:
        row["keypoints"][2::3] = [2 * (v > 0) for v in row["keypoints"][2::3]]


def found(report_data, check):
    return [issue for issue in report_data.issues if issue.check == check]


def other_split(sample, bend):
    """A second split beside the first: one image, turned upside down unless `bend` makes it another."""
    folder = sample.folder / "other"
    folder.mkdir()
    image = {**sample.image, "file_name": "other.jpg"}
    pixels = cv2.imread(str(sample.image_path))
    cv2.imwrite(str(folder / "other.jpg"), pixels[::-1])
    bend(folder, image, pixels)
    content = {**sample.content, "images": [image], "annotations": []}
    (sample.folder / "val.json").write_text(json.dumps(content))
    return sample.folder / "val.json", folder


SPLITS = {
    "split-same-image": lambda sample, folder, image, pixels: shutil.copyfile(sample.image_path, folder / "other.jpg"),
    "split-similar-image": lambda sample, folder, image, pixels: cv2.imwrite(
        str(folder / "other.jpg"), cv2.resize(pixels, None, fx=0.7, fy=0.7), [cv2.IMWRITE_JPEG_QUALITY, 60]
    ),
    "split-same-video": lambda sample, folder, image, pixels: (
        (folder / "other.jpg").rename(folder / "walk_0007.jpg"),
        image.update(file_name="walk_0007.jpg"),
        sample.image_path.rename(sample.image_path.with_name("walk_0001.jpg")),
        sample.image.update(file_name="walk_0001.jpg"),
    ),
}
MODEL = {"person-missing", "left-right"}


def test_faultless_annotations_are_silent(sample):
    assert sample.validate().issues == []


def test_every_check_has_a_test():
    assert set(CHECKS) == set(PLANTS) | set(SPLITS) | MODEL


@pytest.mark.parametrize("check", PLANTS)
def test_a_planted_defect_is_found_and_not_taken_for_another_error(sample, check):
    bend, image, row = PLANTS[check]
    bend(sample)
    report_data = sample.validate()
    hits = found(report_data, check)
    assert hits, report_data.issues
    if check not in STRUCTURAL | {"skeleton-order"}:
        rows = len(sample.content["annotations"])
        assert (image, row % rows if row is not None else None) in [(hit.image, hit.row) for hit in hits]
    assert report_data.total(CHECKS[check].severity) > 0
    errors = {issue.check for issue in report_data.issues if CHECKS[issue.check].severity is Severity.ERROR}
    besides = {"dangling-image"} if check in ("image-id-twice", "id") else set()
    assert check in STRUCTURAL | {"skeleton-order", "skeleton"} or errors <= {check, *besides}


@pytest.mark.parametrize("check", [check for check in PLANTS if check not in ("image-broken", "image-size")])
def test_training_refuses_what_is_an_error(sample, check):
    """No more, and no less; what is wrong inside of images is found when they are read."""
    bend, *_ = PLANTS[check]
    bend(sample)
    errors = sample.validate().total(Severity.ERROR)
    try:
        CocoPose(sample.folder / "images", sample.file)
    except DataError:
        assert errors
    else:
        assert not errors


@pytest.mark.parametrize("check", SPLITS)
def test_what_two_splits_share_is_found(sample, check):
    other = other_split(sample, lambda *place: SPLITS[check](sample, *place))
    hits = found(sample.validate(other=other), check)
    assert [hit.image for hit in hits] == [0]
    assert other[0].name in hits[0].message


def test_different_splits_are_silent(sample):
    other = other_split(sample, lambda *place: None)
    assert sample.validate(other=other).issues == []


def test_a_faulty_other_split_is_named(sample):
    (sample.folder / "val.json").write_text("{}")
    with pytest.raises(DataError, match=r"val\.json: section 'images' is missing"):
        sample.validate(other=(sample.folder / "val.json", sample.folder / "images"))


def predictions(sample, order=None):
    """Results of a model that sees exactly person 0, with other sides if asked for."""
    points = np.array(sample.person["keypoints"], float).reshape(-1, 3)[order or slice(None)]
    points[:, 2] = 1
    row = {"image_id": sample.image["id"], "category_id": sample.content["categories"][0]["id"], "score": 0.9}
    row |= {"bbox": sample.person["bbox"], "keypoints": points.ravel().tolist()}
    (sample.folder / "results.json").write_text(json.dumps([row]))
    return sample.folder / "results.json"


def test_a_model_that_agrees_is_silent(sample):
    assert sample.validate(results=predictions(sample)).issues == []


def test_a_model_finds_people_without_annotation(sample):
    sample.content["annotations"] = [r for r in sample.content["annotations"] if r["image_id"] != sample.image["id"]]
    person = copy.deepcopy(sample.person)
    sample.content["annotations"].append({**person, "image_id": sample.content["images"][1]["id"]})
    (hit,) = found(sample.validate(results=predictions(sample)), "person-missing")
    assert hit.image == 0


def test_people_in_a_crowd_need_no_annotation(sample):
    results = predictions(sample)
    sample.person.update(iscrowd=1, keypoints=[0] * 51, num_keypoints=0)
    assert found(sample.validate(results=results), "person-missing") == []


def test_a_model_finds_swapped_sides(sample):
    swapped = [0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15]
    hits = found(sample.validate(results=predictions(sample, swapped)), "left-right")
    assert [hit.row for hit in hits] == [0]
    assert "A model agrees" in hits[0].message


def test_exif_explains_another_size(sample):
    with Image.open(sample.image_path) as image:
        exif = image.getexif()
        exif[0x0112] = 6
        image.save(sample.image_path, exif=exif, quality=95)
    (hit,) = found(sample.validate(), "image-size") if sample.image["width"] != sample.image["height"] else (None,)
    assert hit is None or "EXIF turns it" in hit.message


def test_people_without_keypoints_are_twice_by_their_boxes(sample):
    sample.person.update(keypoints=[0] * 51, num_keypoints=0)
    sample.content["annotations"].append({**sample.person, "id": 987654321})
    (hit,) = found(sample.validate(), "person-twice")
    assert "IoU" in hit.message

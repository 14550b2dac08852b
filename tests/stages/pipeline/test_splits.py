"""Splits: what is alike stays together, nothing is lost, the seed decides, and altered images are noticed."""

from __future__ import annotations

import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from datasets.synthetic import write_dataset
from sia.errors import DataError
from stages.pipeline.splits import Image, check_images, describe, make_splits, read_splits
from stages.stage import SPLITS


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """30 images; 1 to 3 are one image at other sizes and qualities, 4 to 7 are of one video."""
    folder = tmp_path_factory.mktemp("people")
    write_dataset(folder, 30, 8, 64, 0, 0)
    content = json.loads((folder / "train.json").read_text())
    first = cv2.imread(str(folder / "images" / "train" / "000000.jpg"))
    for number, quality in ((1, 60), (2, 40)):
        cv2.imwrite(str(folder / "images" / "train" / f"{number:06d}.jpg"), first, [cv2.IMWRITE_JPEG_QUALITY, quality])
    for number in range(3, 7):
        name = f"walk_{number}.jpg"
        (folder / "images" / "train" / f"{number:06d}.jpg").rename(folder / "images" / "train" / name)
        content["images"][number] |= {"file_name": name, "photographer": "somebody"}
    content["annotations"][0]["note"] = "kept"
    (folder / "train.json").write_text(json.dumps({**content, "licences": [1]}))
    return folder


def split(people: Path, folder: Path, test: str | None = None, share: float = 0.2, seed: int = 0):
    folder.mkdir(exist_ok=True)
    return make_splits(folder, people / "images", people / "train.json", test and people / test, share, seed)


def ids(folder: Path, part: str) -> set[int]:
    return {image["id"] for image in json.loads((folder / f"{part}.json").read_text())["images"]}


def test_every_image_is_in_one_part(people: Path, tmp_path: Path) -> None:
    images = split(people, tmp_path)
    parts = [ids(tmp_path, part) for part in SPLITS]
    assert sum(map(len, parts)) == len(set.union(*parts)) == len(images) == 30
    assert [len(part) for part in parts] == [18, 6, 6]
    assert read_splits(tmp_path) == images


def test_what_is_alike_stays_together(people: Path, tmp_path: Path) -> None:
    for seed in range(6):
        images = split(people, tmp_path / str(seed), seed=seed)
        groups = {number: images[number].group for number in range(30)}
        assert groups[0] == groups[1] == groups[2] != groups[3] == groups[4] == groups[5] == groups[6]
        parts = [images[number].part for number in range(7)]
        assert len(set(parts[:3])) == len(set(parts[3:])) == 1
    assert "7 images in 2 groups of near-duplicates or videos" in describe(images)


def test_frames_that_may_be_of_one_video_are_told() -> None:
    images = [Image(n, f"gym/{n:04d}.jpg", f"{n:064x}", 1, n, "fit") for n in range(30)]
    others = [Image(30 + n, f"{n:012d}.jpg", f"{n:064x}", 1, 30 + n, "fit") for n in range(40)]
    assert "images called gym... are taken for photographs" in describe(images)
    assert "gym" not in describe(images + others) and "called" not in describe(others)


def test_the_seed_decides_and_the_order_does_not(people: Path, tmp_path: Path) -> None:
    names = {}
    content = json.loads((people / "train.json").read_text())
    turned = {**content, "images": content["images"][::-1]}
    (people / "turned-train.json").write_text(json.dumps(turned))
    for name, file, seed in (("a", "train", 0), ("b", "train", 0), ("c", "train", 1), ("d", "turned-train", 0)):
        (tmp_path / name).mkdir()
        make_splits(tmp_path / name, people / "images", people / f"{file}.json", None, 0.2, seed)
        names[name] = ids(tmp_path / name, "test")
    assert names["a"] == names["b"] == names["d"] != names["c"]
    assert (tmp_path / "a" / "fit.json").read_bytes() == (tmp_path / "b" / "fit.json").read_bytes()


def test_extra_keys_are_kept_and_files_are_found(people: Path, tmp_path: Path) -> None:
    split(people, tmp_path)
    contents = [json.loads((tmp_path / f"{part}.json").read_text()) for part in SPLITS]
    assert all(content["licences"] == [1] and content["categories"] for content in contents)
    images = [image for content in contents for image in content["images"]]
    assert sum(image.get("photographer") == "somebody" for image in images) == 4
    assert any(row.get("note") == "kept" for content in contents for row in content["annotations"])
    assert all((people / "images" / image["file_name"]).is_file() for image in images)
    for content in contents:
        known = {image["id"] for image in content["images"]}
        assert {row["image_id"] for row in content["annotations"]} <= known
    source = json.loads((people / "train.json").read_text())
    assert sum(len(content["annotations"]) for content in contents) == len(source["annotations"])


def test_a_given_test_part_is_taken_whole_and_its_doubles_are_left_out(people: Path, tmp_path: Path) -> None:
    content = json.loads((people / "val.json").read_text())
    double = people / "images" / "val" / content["images"][0]["file_name"]
    image = cv2.imread(str(people / "images" / "train" / "000000.jpg"))
    cv2.imwrite(str(double), cv2.resize(cv2.resize(image, (50, 50)), (64, 64)))
    images = split(people, tmp_path, "val.json")
    assert ids(tmp_path, "test") == {image["id"] for image in content["images"]}
    assert len(ids(tmp_path, "fit")) + len(ids(tmp_path, "calibrate")) == 27
    assert "3 left out, as they are nearly the same as images of -VAL_ANN" in describe(images)


def test_too_few_images_are_an_error(people: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="The part 'calibrate' has 0 images"):
        split(people, tmp_path, share=0.01)


def test_altered_images_are_noticed(people: Path, tmp_path: Path) -> None:
    images = split(people, tmp_path)
    root, made = people / "images", 2e9
    check_images(root, images, made)
    file = root / images[20].file
    good = file.read_bytes()
    os.utime(file)
    check_images(root, images, 0.0)  # touched, but the same
    try:
        file.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
        with pytest.raises(DataError, match=f"{file.name} was altered"):
            check_images(root, images, 0.0)
        file.unlink()
        with pytest.raises(DataError, match="Can't read the image"):
            check_images(root, images, made)
    finally:
        file.write_bytes(good)


def test_real_photographs(photographs: Path, tmp_path: Path) -> None:
    """60 of them have no doubles: a fingerprint that finds some would be too coarse."""
    content = json.loads((photographs / "coco_person" / "val.json").read_text())
    chosen = {**content, "images": content["images"][:60]}
    known = {image["id"] for image in chosen["images"]}
    chosen["annotations"] = [row for row in content["annotations"] if row["image_id"] in known]
    (tmp_path / "val60.json").write_text(json.dumps(chosen))
    images = make_splits(tmp_path, photographs / "coco_person", tmp_path / "val60.json", None, 0.2, 0)
    assert len(np.unique([image.group for image in images])) == 60

"""Which image id of an annotation file a file has."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sia.coco.image_ids import ImageIds
from sia.errors import DataError
from sia.skeletons.skeleton import COCO_PERSON


def ann_file(folder: Path, names: dict[int, str]) -> Path:
    category = {"id": 7, "name": "person", "keypoints": list(COCO_PERSON.names), "skeleton": []}
    images = [{"id": number, "file_name": name} for number, name in names.items()]
    path = folder / "val.json"
    path.write_text(json.dumps({"images": images, "annotations": [], "categories": [category]}))
    return path


def ids(tmp_path: Path, files: list[str], names: dict[int, str]) -> dict[str, int]:
    found = ImageIds.annotated([tmp_path / file for file in files], ann_file(tmp_path, names), COCO_PERSON)
    assert found.category == 7
    return {str(path.relative_to(tmp_path)): number for path, number in found.of.items()}


def test_names_with_and_without_folders(tmp_path: Path) -> None:
    assert ids(tmp_path, ["a/1.jpg", "b/1.jpg", "b/3.jpg"], {5: "a/1.jpg", 6: "b/1.jpg", 9: "2.jpg"}) == {
        "a/1.jpg": 5, "b/1.jpg": 6
    }  # fmt: skip
    assert ids(tmp_path, ["c/1.jpg"], {5: "train2017\\1.jpg"}) == {"c/1.jpg": 5}
    assert ids(tmp_path, ["a/1.jpg", "c/1.jpg"], {5: "a/1.jpg"}) == {"a/1.jpg": 5}


def test_ids_written_as_text_are_numbers(tmp_path: Path) -> None:
    path = ann_file(tmp_path, {5: "a.jpg"})
    path.write_text(path.read_text().replace('"id": 5', '"id": "5"'))
    assert ImageIds.annotated([tmp_path / "a.jpg"], path, COCO_PERSON).of == {tmp_path / "a.jpg": 5}


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({1: "other.jpg"}, "has none of the 2 images"),
        ({1: "1.jpg"}, "Image 1 of .* is .*a/1.jpg and .*b/1.jpg"),
        ({1: "a/1.jpg", 2: "a/1.jpg"}, "as images 1 and 2"),
    ],
)
def test_what_can_not_be_told(tmp_path: Path, names: dict[int, str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        ids(tmp_path, ["a/1.jpg", "b/1.jpg"], names)


@pytest.mark.parametrize(
    ("names", "numbers"),
    [
        (["000000000139.jpg", "000000000285.jpg"], [139, 285]),  # COCO
        (["COCO_val2014_000000000042.jpg"], [42]),  # the last number counts
        (["a1.jpg", "b1.jpg"], [1, 2]),  # two the same
        (["cat.jpg", "7.jpg"], [1, 2]),  # one has none
        (["0123456789012345678901.jpg"], [1]),  # too long for 64 bits
        ([], []),
    ],
)
def test_numbers_of_files_without_annotations(names: list[str], numbers: list[int]) -> None:
    assert [*ImageIds.numbered([Path(name) for name in names]).of.values()] == numbers

"""The report: faulty images first, every value escaped, nothing but data from the outside in it."""

from __future__ import annotations

import json
import re

import pytest

from datasets.validation.report import choose, write_report
from tests.datasets.validation.test_report_data import PLANTS


def page_data(folder):
    """The JSON inside the page."""
    (line,) = re.findall(r"const report = (.*);\n", (folder / "index.html").read_text("utf-8"))
    return json.loads(line)


def test_report(sample, tmp_path):
    PLANTS["joint-outside-image"][0](sample)
    folder = tmp_path / "report"
    folder.mkdir()
    write_report(sample.validate(), folder, 3)
    data = page_data(folder)
    assert data["totals"]["error"] == 0
    assert [check["count"] for check in data["checks"] if check["name"] == "joint-outside-image"] == [1]
    assert data["images"][0]["image"] == 0
    assert sorted(path.name for path in (folder / "images").iterdir()) == sorted(
        image_path["src"].removeprefix("images/") for image_path in data["images"]
    )
    assert len(data["images"]) == 3
    issues = json.loads((folder / "findings.json").read_text())["findings"]
    assert issues[0]["annotation_id"] == sample.person["id"]
    assert issues[0]["joints"] == [5]


def test_the_faulty_come_first_in_turn(sample):
    PLANTS["joint-outside-image"][0](sample)
    PLANTS["num-keypoints"][0](sample)
    other = next(row for row in sample.content["annotations"] if row["image_id"] != sample.image["id"])
    other["bbox"] = []
    report_data = sample.validate()
    place = [image["id"] for image in sample.content["images"]].index(other["image_id"])
    assert [info.image for info in choose(report_data, 2)] == [place, 0]
    assert sorted(info.image for info in choose(report_data, 99)) == [0, 1, 2, 3]
    assert choose(report_data, 0) == []


@pytest.mark.parametrize("name", ["</script><script>alert(1)</script>.jpg", "a'b\"c&amp;.jpg"])
def test_names_can_not_break_out_of_the_page(sample, tmp_path, name):
    sample.image["file_name"] = name
    folder = tmp_path / "report"
    folder.mkdir()
    write_report(sample.validate(), folder, 2)
    text = (folder / "index.html").read_text("utf-8")
    assert text.count("<script>") == text.count("</script>") == 2
    assert page_data(folder)["findings"][0]["file_name"] == name


def test_the_page_loads_nothing_from_elsewhere(sample, tmp_path):
    write_report(sample.validate(), tmp_path, 1)
    addresses = set(re.findall(r"https?://[^\s\"'<)]+", (tmp_path / "index.html").read_text("utf-8")))
    assert addresses <= {"http://www.w3.org/2000/svg"}

"""Whatever stands in a file, the inspection ends with findings and never with a traceback."""

from __future__ import annotations

import copy
import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.coco.coco_pose import CocoPose
from datasets.validation import CHECKS, Severity, validate
from datasets.validation.fixes import REPAIRS, fix
from datasets.validation.report import write_report
from sia.coco.annotation_file import OF_IMAGES
from sia.coco.annotation_parser import parse
from sia.coco.coco_files import load_ground_truth
from sia.errors import DataError
from tests.datasets.conftest import coco_content, write_images

JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**20), 10**20),
    st.floats(),
    st.just(10**400),
    st.text(max_size=3),
    st.sampled_from(["0", "1", "12", "10", 10.0, 1.0, "true", "yes", " 11 ", [], "2e3", "C:\\\\x\\\\0001.png"]),
    st.lists(st.one_of(st.none(), st.integers(-3, 3), st.floats(), st.text(max_size=2)), max_size=9),
    st.dictionaries(st.text(max_size=2), st.integers(), max_size=2),
)


def places(value, path=()):
    """The paths to everything in nested lists and dictionaries."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*path, key)
        yield from places(inner, (*path, key))


@st.composite
def bent(draw):
    """COCO content with junk at up to three places."""
    content = copy.deepcopy(coco_content(2))
    for _ in range(draw(st.integers(1, 3))):
        *parents, last = draw(st.sampled_from(sorted(places(content), key=str)))
        inner = content
        for key in parents:
            inner = inner[key]
        inner[last] = draw(JUNK)
    return content


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Images, and faultless.json."""
    folder = tmp_path_factory.mktemp("junk")
    write_images(folder / "images", coco_content(2, 30, 40))
    (folder / "faultless.json").write_text(json.dumps(coco_content(2)))
    return folder


@settings(max_examples=50, deadline=None)
@given(content=bent())
def test_any_junk_ends_in_findings(folder, content):
    file = folder / "bent.json"
    file.write_text(json.dumps(content))
    report_data = validate(file, folder / "images", (folder / "faultless.json", folder / "images"))
    assert all(issue.check in CHECKS for issue in report_data.issues)
    with tempfile.TemporaryDirectory() as report:
        write_report(report_data, Path(report), 1)
    if report_data.data is not None:
        before = str(report_data.data.content)
        fix(report_data.data, report_data.infos, report_data.issues)
        assert str(report_data.data.content) == before  # as text, since NaN is not equal to itself


OF_PIXELS = {"image-broken", "image-size"}


def refuses(read, *values, **options) -> bool:
    try:
        read(*values, **options)
    except DataError as error:
        assert "\n" not in str(error)
        return True
    return False


@settings(max_examples=300, deadline=None)
@given(content=bent())
def test_training_evaluation_and_validator_agree(folder, content):
    """Training stops exactly where the validator finds an error; evaluation, too, but for names and sizes of images."""
    file = folder / "agree.json"
    file.write_text(json.dumps(content))
    checks = {issue.check for issue in validate(file, folder / "images").issues} - OF_PIXELS
    found = {check for check in checks if CHECKS[check].severity is Severity.ERROR}
    assert refuses(CocoPose, folder / "images", file) == bool(found), found
    parsed = parse(json.loads(file.read_text()))
    if parsed.skeleton is not None:
        assert refuses(load_ground_truth, file, parsed.skeleton) == bool(found - {*OF_IMAGES, "image-missing"}), found


@settings(max_examples=100, deadline=None)
@given(content=bent())
def test_what_is_repaired_is_read_as_the_file_itself(folder, content):
    """--fix writes what training takes: the same people, and nothing more to take."""
    file = folder / "repair.json"
    file.write_text(json.dumps(content))
    report_data = validate(file, folder / "images")
    if refuses(CocoPose, folder / "images", file):
        return
    copy, _ = fix(report_data.data, report_data.infos, report_data.issues)
    before = CocoPose(folder / "images", file)
    file.write_text(json.dumps(copy))
    after = CocoPose(folder / "images", file)
    mended = {issue.check for issue in validate(file, folder / "images").issues} & set(REPAIRS)
    assert mended <= {"bbox-outside-image", "image-name-foreign", "person-twice"}
    for index in range(len(before)):
        np.testing.assert_array_equal(before.annotation(index).areas, after.annotation(index).areas)


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_any_cut_file_ends_in_findings(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("cut")
    text = json.dumps(coco_content(1))
    file = folder / "a.json"
    file.write_text(text[: data.draw(st.integers(0, len(text) - 1))])
    assert validate(file, folder).counts() == {"json": 1}

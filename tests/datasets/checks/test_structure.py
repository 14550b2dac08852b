"""Whatever stands in a file, the inspection ends with findings and never with a traceback."""

from __future__ import annotations

import copy
import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.checks import CHECKS, inspect
from datasets.checks.repairs import repair
from datasets.checks.report import write_report
from tests.datasets.conftest import coco_content, write_images

JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**20), 10**20),
    st.floats(),
    st.just(10**400),
    st.text(max_size=3),
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
    """Pictures, and faultless.json."""
    folder = tmp_path_factory.mktemp("junk")
    write_images(folder / "images", coco_content(2, 30, 40))
    (folder / "faultless.json").write_text(json.dumps(coco_content(2)))
    return folder


@settings(max_examples=50, deadline=None)
@given(content=bent())
def test_any_junk_ends_in_findings(folder, content):
    file = folder / "bent.json"
    file.write_text(json.dumps(content))
    inspection = inspect(file, folder / "images", (folder / "faultless.json", folder / "images"))
    assert all(finding.check in CHECKS for finding in inspection.findings)
    with tempfile.TemporaryDirectory() as report:
        write_report(inspection, Path(report), 1)
    if inspection.data is not None:
        before = str(inspection.data.content)
        repair(inspection.data, inspection.pictures, inspection.findings)
        assert str(inspection.data.content) == before  # as text, since NaN is not equal to itself


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_any_cut_file_ends_in_findings(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("cut")
    text = json.dumps(coco_content(1))
    file = folder / "a.json"
    file.write_text(text[: data.draw(st.integers(0, len(text) - 1))])
    assert inspect(file, folder).counts() == {"json": 1}

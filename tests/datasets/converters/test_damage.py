"""Files that are cut off, or have a byte changed, are imported or refused in one line; nothing else happens."""

from __future__ import annotations

import contextlib
import json

from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.converters import import_cvat, import_labelme, import_yolo
from sia.errors import DataError
from tests.datasets.converters.test_cvat import SHAPES, box, one
from tests.datasets.converters.test_labelme import labelme, shape
from tests.datasets.converters.test_yolo import ROW, save_image

CVAT = one(f'<skeleton label="person" group_id="1">{SHAPES}</skeleton>' + box({"bbox": [1, 2, 60, 50]}, 1)).encode()
LABELME = json.dumps(labelme([shape("nose", [[5, 6]]), shape("person", [[1, 2], [31, 42]], "rectangle")])).encode()
YAML = b"kpt_shape: [2, 3]\nflip_idx: [1, 0]\nkpt_names: {0: [left, right]}\nnames: {0: person}\n"


@st.composite
def damaged(draw, whole):
    """Cut off, or with a byte changed."""
    place = draw(st.integers(0, len(whole) - 1))
    if draw(st.booleans()):
        return whole[:place]
    return whole[:place] + bytes([draw(st.integers(0, 255))]) + whole[place + 1 :]


@contextlib.contextmanager
def at_most_one_line():
    try:
        yield
    except DataError as error:
        assert "\n" not in str(error)


@settings(max_examples=80, deadline=None)
@given(content=damaged(CVAT))
def test_cvat(tmp_path_factory, content):
    file = tmp_path_factory.mktemp("cvat") / "a.xml"
    file.write_bytes(content)
    with at_most_one_line():
        import_cvat(file).content()


@settings(max_examples=80, deadline=None)
@given(content=damaged(LABELME))
def test_labelme(tmp_path_factory, content):
    folder = tmp_path_factory.mktemp("labelme")
    (folder / "a.json").write_bytes(content)
    with at_most_one_line():
        import_labelme(folder).content()


@settings(max_examples=60, deadline=None)
@given(settings_file=damaged(YAML), row=damaged(ROW.encode()))
def test_yolo(tmp_path_factory, settings_file, row):
    folder = tmp_path_factory.mktemp("yolo")
    save_image(folder / "images" / "a.png", 9, 9)
    (folder / "labels").mkdir()
    (folder / "labels" / "a.txt").write_bytes(row)
    (folder / "data.yaml").write_bytes(settings_file)
    with at_most_one_line():
        import_yolo(folder / "data.yaml", folder / "images").content()

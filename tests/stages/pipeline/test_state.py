"""state.json and splits.json: they come back as they were written, and every fault is one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sia.errors import DataError
from sia.evaluation.significance import Interval, Proof
from stages.pipeline.splits import FILE as SPLITS
from stages.pipeline.splits import describe, read_splits
from stages.pipeline.state import FILE, Record, State, StoredFile, plain

DIGEST = "0" * 64
ONE = Interval(0.5, 0.4, 0.6)


def state(folder: Path) -> State:
    file = StoredFile("1-baseline/test.json", DIGEST)
    after = {part: f"1-baseline/{part}.json" for part in ("calibrate", "test")}
    first = Record("1-baseline", {"-LR": "auto"}, {"part fit": file}, True, [file], after=after, measured=ONE)
    second = Record("3-ensemble", {}, {}, True, after=after, proof=Proof(ONE, ONE, Interval(0, 0, 0), 9, True))
    return State(folder, {"seed": 3}, {}, [], 2.0, {"started": "now"}, {"baseline": first, "ensemble": second})


def test_it_comes_back(tmp_path: Path) -> None:
    before = state(tmp_path)
    before.stages["baseline"].figures = {"AP": {"of": [1, None, "a"]}}
    before.write()
    assert State.read(tmp_path) == before
    assert State.read(tmp_path / "other") is None


@pytest.mark.parametrize(
    ("keys", "value", "message"),
    [
        ([], [], "Expected `object`, got `array`"),
        (["format"], "sia_pose_pipeline/9", "$.format"),
        (["config"], None, "$.config"),
        (["sources"], {"-TRAIN_ANN": {"path": "a", "sha256": "x"}}, "$.sources[...].sha256"),
        (["splits"], [{"path": "a", "sha256": DIGEST}], "annotation files that it began with"),
        (["stages"], [], "$.stages"),
        (["stages", "baseline", "seconds"], "3", "$.stages[...].seconds"),
        (["stages", "baseline", "folder"], "../elsewhere", "$.stages[...].folder"),
        (["stages", "baseline", "folder"], "..", "is not in the pipeline's folder"),
        (["stages", "baseline", "images"], ["/etc/passwd"], "/etc/passwd of the stage baseline is not in"),
        (["stages", "baseline", "after"], {"test": "a.json"}, "its results of calibrate or test are not in it"),
        (["stages", "baseline", "after"], {"test": "a\0.json"}, "$.stages[...].after[...]"),
        (["stages", "baseline", "measured", "low"], None, "$.stages[...].measured.low"),
        (["stages", "ensemble", "proof", "images"], 0.5, "$.stages[...].proof.images"),
        (
            ["stages", "ensemble", "figures"],
            {"a": [[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]},
            "nested in more than 16 levels",
        ),
    ],
)
def test_a_state_that_can_not_be(tmp_path: Path, keys: list[str], value: Any, message: str) -> None:
    state(tmp_path).write()
    content = holder = {"": json.loads((tmp_path / FILE).read_text())}
    *way, last = ["", *keys]
    for key in way:
        holder = holder[key]
    holder[last] = value
    (tmp_path / FILE).write_text(json.dumps(content[""]))
    with pytest.raises(DataError) as caught:
        State.read(tmp_path)
    assert message in str(caught.value)
    assert "Start anew in another -PIPELINE folder." in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "change", [{"group": -1}, {"group": "a"}, {"part": "train"}, {"image_id": 10**30}, {"sha256": 3}, {"file": ""}]
)
def test_splits_that_can_not_be(tmp_path: Path, change: dict) -> None:
    row = {"image_id": 1, "file": "a.jpg", "sha256": DIGEST, "size": 9, "group": 2**40, "part": "fit"}
    (tmp_path / SPLITS).write_text(json.dumps({"seed": 0, "images": [row]}))
    assert describe(read_splits(tmp_path)).startswith("fit 1, calibrate 0, test 0")  # and no array of 2^40 groups
    (tmp_path / SPLITS).write_text(json.dumps({"seed": 0, "images": [{**row, **change}]}))
    with pytest.raises(DataError, match=rf"\$\.images\[0\]\.{next(iter(change))}"):
        read_splits(tmp_path)


def test_figures_of_any_library_become_plain() -> None:
    figures = {"AP": np.float32(0.5), "curve": np.array([1.0, np.nan]), 3: (True, None, 2), "path": Path("a/b")}
    assert plain(figures) == {"AP": 0.5, "curve": [1.0, None], "3": [True, None, 2], "path": "a/b"}

"""The table of latencies, and which file is timed at which size."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from benchmarks.peers.contestants import Entry
from benchmarks.peers.latency import Timed, make_candidates, parse_model, table

OURS = Entry("sia_pose_simple", "sia_pose_simple")


def test_an_exported_file_is_timed_at_its_own_size_only(tmp_path: Path) -> None:
    for name in ("best.pt", "model.onnx", "model.xml"):
        (tmp_path / name).touch()
    texts = ("sia_pose_simple={}/best.pt", "sia_pose_simple@256={}/model.onnx", "sia_pose_simple@192={}/model.xml")
    models = [parse_model(text.format(tmp_path)) for text in texts]
    found = make_candidates(argparse.Namespace(sizes=[192, 256], models=models))
    assert [(one.side, one.runtime) for one in found] == [
        (192, "eager"), (192, "openvino"), (256, "eager"), (256, "onnx"),
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["sia_pose_simple", "sia_pose_simple=nowhere.pt"])
def test_a_file_that_is_not_there_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="must exist"):
        parse_model(text)


def test_table_has_medians_fastest_first() -> None:
    slow = Timed(OURS, "eager", 192, Path("a"), [{"milliseconds": m, "megabytes": 400.0} for m in (9.0, 30.0, 10.0)])
    fast = Timed(OURS, "openvino", 192, Path("b"), [{"milliseconds": 4.0, "megabytes": m} for m in (200.0, 300.0)])
    slow.AP = 12.34
    assert table([slow, fast]).splitlines()[2:] == [
        "| 192 | sia_pose_simple | openvino | 4.0 | 300 |  |",
        "| 192 | sia_pose_simple | eager | 10.0 | 400 | 12.3 |",
    ]
